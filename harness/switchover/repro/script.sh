
# --- By QMP: QEMU is this shell's own

judged='' monitor='' ticker='' # whether there is a verdict, and what this shell has to end
side='' limit=60 continued='' asked=''

connect_guest() { # TAP [QUEUES]: the guest's NIC, in a bridge if one is named; sets $netdev
    # a hub, whose other port (see QEMU's arguments) takes what the guest sends: with none the NIC would stall
    netdev='hubport,id=net,hubid=0'
    [ -n "$BRIDGE" ] || return 0
    netdev="tap,id=net,ifname=$1,script=no,downscript=no${2:+,queues=$2}"
    echo "$1" >"$here/tap"
    { ip tuntap add dev "$1" mode tap ${2:+multi_queue} && ip link set dev "$1" master "$BRIDGE" up; } || give_up "no tap in $BRIDGE"
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

release_side() { # SIDE: its QEMU first
    # another shell may do the same now: the one that started this side, whose QEMU ended, and one with "clean"
    [ -d "$WORK/$1" ] || return 0
    end_qemu "$1"
    [ ! -s "$WORK/$1/proxy" ] || kill -KILL "-$(cat "$WORK/$1/proxy")" 2>/dev/null || :
    remove_devices "$1"
    for tap in $(cat "$WORK/$1/tap" 2>/dev/null); do
        ip link delete dev "$tap" 2>/dev/null || :
        [ ! -e "/sys/class/net/$tap" ] || say "not removed: $tap"
    done
    [ -z "$LOGS" ] || keep_logs "$1" || say "not all logs are in $LOGS"
    # a QEMU that was just ended still has its exit status written there
    rm -rf "${WORK:?}/$1" 2>/dev/null || { sleep 1 && rm -rf "${WORK:?}/$1"; } || say "not removed: $WORK/$1"
    rmdir "$WORK" 2>/dev/null || :
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

open_monitor() { # of $side, waiting for QEMU if it is just starting; ends the script if QEMU does not come up. After the
    # verdict it fails instead
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
        [ -z "$judged" ] || return 1
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

check_faults() {
    [ -z "$IMPOSSIBLE" ] || give_up "$IMPOSSIBLE"
    [ -z "$NEEDS_LINK" ] || [ -n "$LINK" ] || give_up "set LINK to the network interface that is to be disturbed"
    [ -z "$NEEDS_DESTINATION" ] || [ -d "$WORK/destination" ] ||
        give_up "$NEEDS_DESTINATION, which must be on this host: sh $0 all"
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
    if [ -n "$way_in" ]; then
        ask "{\"execute\": \"migrate-incoming\", \"arguments\": {\"uri\": \"$way_in\"}}" || {
            case $error in *'Address already in use'* | *'Failed to bind'*) give_up "it cannot listen: $error" ;; esac
            conclude refused
        }
        open_way destination
        say "the destination listens on $way_in"
    fi
    close_monitor
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
            do_timed
            if [ "$status" = pre-switchover ] && [ -z "$continued" ]; then
                continued=yes
                tell '{"execute": "migrate-continue", "arguments": {"state": "pre-switchover"}}'
            fi
            if [ -z "$asked" ]; then
                asked=yes
                tell '{"execute": "query-migrate"}'
            fi
            [ "$seconds" -lt "$SETTLE_SECONDS" ] || let_go
            step_limit
            ;;
        esac
        case $status in completed | failed | cancelled) return 0 ;; esac
    done
    return 1
}

note_counters() { # of the answer in $line
    rest=${line#*\"ram\": \{}
    rest=${rest%%\}*}
    rest=${rest#*\"remaining\": }
    left=${rest%%[!0-9]*}
    rest=${line#*\"vfio\": \{\"transferred\": }
    if [ "$rest" = "$line" ]; then rest=0; fi
    note_progress "$left" "${rest%%[!0-9]*}"
}

set_limit() { # MILLISECONDS
    tell "{\"execute\": \"migrate-set-parameters\", \"arguments\": {\"downtime-limit\": $1}}"
}

migrate() {
    check_faults
    side=source
    open_monitor
    set_up "$SOURCE_CAPABILITIES" "$PARAMETERS"
    open_way source
    limit=$DEADLINE seconds=0 status=''
    enter before
    ask "{\"execute\": \"migrate\", \"arguments\": {\"uri\": \"$way_out\"}}" || {
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
    [ "$status" != completed ] || {
        close_monitor
        deliver
    }
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
    [ "$verdict" != completed ] || [ ! -d "$WORK/destination" ] || look_at_destination || verdict=crashed
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

look_at_destination() { # fails if its QEMU has ended, as it does when the guest crashes
    side=destination
    if open_monitor && ask '{"execute": "query-status"}'; then
        say "the guest on the destination: $line"
    fi
    close_monitor
    [ -z "$error" ] || say "$side: $error"
    [ ! -e "$here/exit" ]
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
