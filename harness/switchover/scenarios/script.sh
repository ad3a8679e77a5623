# ---------------------------------------------------------------------------------------------------------------------
# From here on the script is the same for every case.

umask 077
LC_ALL=C
export LC_ALL
MDEV=/sys/bus/mdev/devices
mine='' judged='' monitor='' ticker='' disturbed='' # what this shell has to end, and whether there is a verdict
side='' status='' entered='' seconds=0 limit=60
held=$SETTLE continued='' asked='' quiet=0 remaining=0 moved=0

say() { echo "repro: $*"; }

give_up() { # nothing was tried: neither the recorded verdict nor another one
    echo "repro: $*" >&2
    exit 2
}

# --- What is made on a host, and removed from it

begin_side() { # SIDE
    side=$1
    here=$WORK/$side
    mkdir -p "$WORK"
    check_work
    mkdir "$here" 2>/dev/null || give_up "$here exists: it runs already, or was not cleaned up; sh $0 clean"
    mine="$mine $side"
    : >"$here/devices"
    : >"$here/console.log"
}

check_work() { # anybody may have made a directory of a name that can be foreseen
    [ ! -e "$WORK" ] || [ -n "$(find "$WORK" -prune -type d -user "$(id -u)")" ] || give_up "$WORK is somebody else's"
}

make_device() { # UUID TYPE
    mdev=$MDEV/$1
    [ "$(id -u)" -eq 0 ] || give_up "mediated devices are made by root"
    [ ! -e "$mdev" ] || give_up "there is a mediated device $1 already: sh $0 clean, or set another UUID"
    [ -e "$PARENT/mdev_supported_types/$2/create" ] || give_up "$PARENT has no type $2: is its module loaded?"
    echo "$1" >>"$here/devices"
    echo "$1" >"$PARENT/mdev_supported_types/$2/create" || give_up "no mediated device of type $2 can be made"
}

knob() { # NAME VALUE, of the device made last
    echo "$2" >"$mdev/knobs/$1" || give_up "the device does not take $2 as $1"
}

connect_guest() { # TAP: the guest's NIC, in a bridge if one is named; sets $netdev
    # a hub, whose other port (see QEMU's arguments) takes what the guest sends: with none the NIC would stall
    netdev='hubport,id=net,hubid=0'
    [ -n "$BRIDGE" ] || return 0
    netdev="tap,id=net,ifname=$1,script=no,downscript=no"
    echo "$1" >"$here/tap"
    { ip tuntap add dev "$1" mode tap && ip link set dev "$1" master "$BRIDGE" up; } || give_up "no tap in $BRIDGE"
}

start_qemu() { # QEMU's command line, for the side that was begun
    say "starting the $side"
    (
        set +e
        sh -c 'echo "$$" >"$0"; exec "$@"' "$here/pid" "$@" </dev/null >"$here/stderr" 2>&1
        echo "$?" >"$here/exit"
    ) >/dev/null 2>&1 &
    qemu_job=$!
    open_monitor
    close_monitor
}

is_running() { # SIDE: whether a QEMU of this script's runs on this host; a zombie has no command line
    { read -r pid <"$WORK/$1/pid"; } 2>/dev/null || return 1
    case $(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") in *"$WORK/$1/"*) return 0 ;; esac
    return 1
}

end_qemu() { # SIDE
    while is_running "$1"; do
        kill -KILL "$pid" 2>/dev/null || :
        is_running "$1" || break
        sleep 1
    done
}

release_side() { # SIDE: its QEMU first, since removing a device waits until it is closed
    # another shell may do the same now: the one that started this side, whose QEMU ended, and one with "clean"
    [ -d "$WORK/$1" ] || return 0
    end_qemu "$1"
    for uuid in $(cat "$WORK/$1/devices" 2>/dev/null); do
        { [ ! -e "$MDEV/$uuid" ] || echo 1 >"$MDEV/$uuid/remove"; } 2>/dev/null || :
        [ ! -e "$MDEV/$uuid" ] || say "not removed: mediated device $uuid"
    done
    for tap in $(cat "$WORK/$1/tap" 2>/dev/null); do
        ip link delete dev "$tap" 2>/dev/null || :
        [ ! -e "/sys/class/net/$tap" ] || say "not removed: $tap"
    done
    [ -z "$LOGS" ] || keep_logs "$1" || say "not all logs are in $LOGS"
    # a QEMU that was just ended still has its exit status written there
    rm -rf "${WORK:?}/$1" 2>/dev/null || { sleep 1 && rm -rf "${WORK:?}/$1"; } || say "not removed: $WORK/$1"
    rmdir "$WORK" 2>/dev/null || :
}

keep_logs() { # SIDE
    mkdir -p "$LOGS/$1" && cp "$WORK/$1"/*.log "$WORK/$1/stderr" "$LOGS/$1"
}

release() {
    code=$?
    trap '' INT TERM HUP
    trap - EXIT
    set +e
    close_monitor
    [ -z "$disturbed" ] || tc qdisc del dev "$LINK" root
    for side in $mine; do release_side "$side"; done
    [ -n "$judged" ] || [ "$code" -ne 1 ] || code=2
    exit "$code"
}

# --- QMP: socat in the background, a line each way through two pipes; a line "tick" each second is the clock

open_monitor() { # of $side, waiting for QEMU if it is just starting; ends the script if QEMU does not come up
    here=$WORK/$side
    [ -d "$here" ] || give_up "no $side is running on this host: sh $0 $side"
    rm -f "$here/in" "$here/out"
    mkfifo "$here/in" "$here/out"
    exec 3<>"$here/in" 4<>"$here/out"
    socat - "UNIX-CONNECT:$here/qmp,retry=120,interval=0.5" <"$here/in" >"$here/out" 2>>"$here/socat" &
    monitor=$!
    (while sleep 1; do echo tick; done) >"$here/out" 2>/dev/null &
    ticker=$!
    seconds=0
    if ! ask '{"execute": "qmp_capabilities"}'; then
        [ ! -e "$here/exit" ] || conclude refused
        give_up "the monitor of the $side does not answer: ${error:-$(cat "$here/socat")}"
    fi
}

close_monitor() {
    [ -n "$monitor" ] || return 0
    kill "$monitor" "$ticker" 2>/dev/null || :
    wait "$monitor" "$ticker" 2>/dev/null || :
    exec 3>&- 4>&-
    monitor=''
}

tell() { # JSON: a command whose answer nobody waits for
    echo "$1" >>"$here/qmp.log"
    printf '%s\n' "$1" >&3
}

next_line() { # what comes next, in $line; fails once QEMU ended ($error) or $limit seconds are over
    IFS= read -r line <&4 || return 1
    case $line in
    tick | *'"event": "MIGRATION_PASS"'*) ;; # thousands of them
    *) printf '%s\n' "$line" >>"$here/qmp.log" ;;
    esac
    case $line in
    tick)
        seconds=$((seconds + 1))
        error="the QEMU of the $side ended"
        [ ! -e "$here/exit" ] || return 1
        error="it took longer than $limit s"
        [ "$seconds" -lt "$limit" ] || return 1
        error=''
        ;;
    *'"event": "MIGRATION"'*)
        rest=${line#*\"status\": \"}
        status=${rest%%\"*}
        say "$seconds s: $side $status"
        [ "$side" != source ] || enter "$status"
        ;;
    *'"event": "VFIO_MIGRATION"'*)
        [ "$side" != source ] || case $line in *'"device-state": "stop-copy"'*) enter 'device stop-copy' ;; esac
        ;;
    esac
}

ask() { # JSON: a command, its answer in $line; fails, with $error, if QEMU rejects it or does not answer
    tell "$1"
    while next_line; do
        case $line in
        *'"event": "'*) ;;
        *'"return": '*) return 0 ;;
        *'"error": '*)
            error=$(find_text desc)
            return 1
            ;;
        esac
    done
    return 1
}

find_text() { # KEY: the string it has in $line
    printf '%s\n' "$line" | sed -n 's/.*"'"$1"'": "\([^"\\]*\(\\.[^"\\]*\)*\)".*/\1/p'
}

set_up() { # CAPABILITIES PARAMETERS, for $side
    ask "{\"execute\": \"migrate-set-capabilities\", \"arguments\": {\"capabilities\": $1}}" || conclude refused
    ask "{\"execute\": \"migrate-set-parameters\", \"arguments\": $2}" || conclude refused
}

# --- What is done on purpose

enter() { # PHASE: the faults of this phase, when it is seen first
    case $entered in *"|$1|"*) return 0 ;; esac
    entered="$entered|$1|"
    faults "$1"
}

cancel() {
    say "$seconds s: cancel"
    tell '{"execute": "migrate_cancel"}'
}

pause_guest() { # it stays so where it arrives
    say "$seconds s: stop"
    if [ -n "$status" ]; then tell '{"execute": "stop"}'; else ask '{"execute": "stop"}' || give_up "$error"; fi
}

kill_side() { # SIDE
    say "$seconds s: kill the $1's QEMU"
    end_qemu "$1"
}

disturb_link() { # queueing discipline, as tc-netem(8) has it
    say "$seconds s: $LINK: netem $*"
    disturbed=yes
    tc qdisc replace dev "$LINK" root netem "$@" || give_up "$LINK cannot be disturbed"
}

check_faults() {
    [ -z "$IMPOSSIBLE" ] || give_up "$IMPOSSIBLE"
    [ -z "$NEEDS_LINK" ] || [ -n "$LINK" ] || give_up "set LINK to the network interface that is to be disturbed"
    [ -z "$NEEDS_DESTINATION" ] || [ -d "$WORK/destination" ] ||
        give_up "this case kills the destination's QEMU, which must be on this host: sh $0 all"
}

# --- The migration

wait_until_booted() {
    [ -n "$BOOTED" ] || return 0
    say "waiting for '$BOOTED' on the guest's console"
    waited=0
    until grep -q -e "$BOOTED" "$WORK/source/console.log"; do
        [ ! -e "$WORK/source/exit" ] || give_up "the source's QEMU ended: $(cat "$WORK/source/stderr")"
        [ "$waited" -lt "$BOOT_SECONDS" ] || give_up "the guest did not boot in $BOOT_SECONDS s"
        sleep 2
        waited=$((waited + 2))
    done
}

listen() {
    side=destination
    open_monitor
    set_up "$DESTINATION_CAPABILITIES" "$PARAMETERS"
    ask "{\"execute\": \"migrate-incoming\", \"arguments\": {\"uri\": \"tcp:$DESTINATION:$PORT\"}}" ||
        give_up "the destination does not listen: $error"
    close_monitor
    say "the destination listens on $DESTINATION:$PORT"
}

follow() { # the source, until the migration has ended; fails as next_line does
    while next_line; do
        case $line in
        *'"event": "'*) ;;
        *'"return": '*)
            asked=''
            case $line in *'"ram": {'*) note_counters ;; esac
            ;;
        tick)
            if [ "$status" = pre-switchover ] && [ -z "$continued" ]; then
                continued=yes
                tell '{"execute": "migrate-continue", "arguments": {"state": "pre-switchover"}}'
            fi
            if [ -z "$asked" ]; then
                asked=yes
                tell '{"execute": "query-migrate"}'
            fi
            [ "$seconds" -lt "$SETTLE_SECONDS" ] || let_go
            ;;
        esac
        case $status in completed | failed | cancelled) return 0 ;; esac
    done
    return 1
}

note_counters() { # of the answer in $line
    before=$moved
    rest=${line#*\"ram\": \{}
    rest=${rest%%\}*}
    rest=${rest#*\"remaining\": }
    remaining=${rest%%[!0-9]*}
    rest=${line#*\"vfio\": \{\"transferred\": }
    if [ "$rest" = "$line" ]; then moved=0; else moved=${rest%%[!0-9]*}; fi
    [ "$status" = active ] || return 0
    [ "$moved" -eq 0 ] || enter 'device pre-copy'
    if [ "$remaining" -gt "$SETTLED_RAM" ] || [ "$moved" -ne "$before" ]; then quiet=0; else quiet=$((quiet + 1)); fi
    if [ "$SETTLED_VFIO" -gt 0 ] && [ "$moved" -ge "$SETTLED_VFIO" ] && [ "$remaining" -le "$SETTLED_RAM" ]; then
        quiet=2
    fi
    [ "$quiet" -lt 2 ] || let_go
}

let_go() { # RAM and the devices' pre-copy are drained, or it has taken long enough: the case's own limit
    [ -n "$held" ] || return 0
    held=''
    say "$seconds s: the switchover is let go ($remaining bytes of RAM remain, $moved of devices were moved)"
    tell "{\"execute\": \"migrate-set-parameters\", \"arguments\": {\"downtime-limit\": $DOWNTIME_LIMIT}}"
}

migrate() {
    check_faults
    side=source
    open_monitor
    set_up "$SOURCE_CAPABILITIES" "$PARAMETERS"
    limit=$DEADLINE seconds=0 status=''
    enter before
    ask "{\"execute\": \"migrate\", \"arguments\": {\"uri\": \"tcp:$DESTINATION:$PORT\"}}" || {
        [ ! -e "$here/exit" ] || conclude crashed
        [ "$seconds" -ge "$limit" ] || conclude blocked
    }
    case $status in
    completed | failed | cancelled) ;;
    *)
        if ! follow; then
            [ ! -e "$here/exit" ] || conclude crashed
            say "after $seconds s the status is '$status', $remaining bytes of RAM remain, $moved of devices were moved"
            conclude hung
        fi
        ;;
    esac
    limit=$((seconds + 60))
    error=''
    if ask '{"execute": "query-migrate"}'; then
        error=$(find_text error-desc)
        say "query-migrate: $line"
    fi
    conclude "$status"
}

# --- The verdict

conclude() { # VERDICT of what $side did; ends the script
    verdict=$1
    judged=yes
    close_monitor
    [ -z "${error:-}" ] || say "$side: $error"
    if [ "$verdict" = failed ] && [ -d "$WORK/destination" ]; then
        for _ in 1 2 3 4 5; do [ -e "$WORK/destination/exit" ] || sleep 1; done
        { read -r ended <"$WORK/destination/exit"; } 2>/dev/null || ended=0
        [ "$ended" -le 128 ] || verdict=crashed
    fi
    [ "$verdict" != completed ] || [ ! -d "$WORK/destination" ] || look_at_destination
    show_stderr source
    show_stderr destination
    recorded=$RECORDED
    [ -d "$WORK/destination" ] || recorded=$RECORDED_SEEN_FROM_SOURCE
    if [ "$verdict" = "$recorded" ]; then
        say "verdict: $verdict, as recorded"
        exit 0
    fi
    say "verdict: $verdict; the recorded one is $recorded"
    exit 1
}

look_at_destination() {
    [ ! -e "$WORK/destination/exit" ] || return 0
    side=destination
    open_monitor
    if ask '{"execute": "query-status"}'; then say "the guest on the destination: $line"; fi
    close_monitor
}

show_stderr() { # SIDE
    [ -s "$WORK/$1/stderr" ] || return 0
    say "QEMU of the $1 said:"
    sed 's/^/    /' "$WORK/$1/stderr" || : # removed meanwhile, by clean in another shell
}

wait_for_end() { # of the QEMU that this shell started
    say "Ctrl-C, or sh $0 clean, ends it"
    wait "$qemu_job" || :
    show_stderr "$side"
}

trap release EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
command -v socat >/dev/null || give_up "socat was not found"
check_work

case ${1:-} in
source)
    start_source
    wait_until_booted
    say "ready: sh $0 migrate, once the destination listens"
    wait_for_end
    ;;
destination)
    start_destination
    listen
    wait_for_end
    ;;
migrate)
    migrate
    ;;
all)
    start_source
    start_destination
    wait_until_booted
    listen
    migrate
    ;;
clean)
    release_side source
    release_side destination
    ;;
*)
    echo "usage: sh $0 all | source | destination | migrate | clean" >&2
    exit 2
    ;;
esac
