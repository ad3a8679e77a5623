
# --- By virsh: libvirt has QEMU

judged='' background='' side='' # whether there is a verdict, and what this shell has to end
DESTINATION_URI=${DESTINATION_URI:-qemu+ssh://root@$DESTINATION/system}

find_emulator() { # PROGRAM: its path, which domains want; one that this host does not have is where Debian has it
    command -v "$1" || echo "/usr/bin/${1##*/}"
}

render_address() { # ADDRESS of a PCI function, as a domain has it
    echo "$1" | sed 's/^\(.*\):\(.*\):\(.*\)\.\(.*\)$/domain="0x\1" bus="0x\2" slot="0x\3" function="0x\4"/'
}

write_xml() { # FILE, from standard input; without a bridge the guest's NIC is connected to nothing
    if [ -n "$BRIDGE" ]; then
        cat >"$1"
    else
        sed -e 's/<interface type="bridge">/<interface type="ethernet">/' -e '/<source bridge=/d' >"$1"
    fi
}

own() { # SIDE: the user that libvirt runs QEMU as gets the directory
    [ -z "$OWNER" ] || { chmod 755 "$WORK" && chown -R "$OWNER" "$WORK/$1"; } || give_up "$OWNER cannot have $WORK/$1"
}

is_there() { # whether this host has the domain
    virsh domstate "$DOMAIN" >/dev/null 2>&1
}

release_side() { # SIDE
    [ -d "$WORK/$1" ] || return 0
    if is_there; then virsh destroy "$DOMAIN" >/dev/null || say "not ended: $DOMAIN"; fi
    remove_devices "$1"
    [ -z "$LOGS" ] || { mkdir -p "$LOGS/$1" && cp "$WORK/$1"/*.log "$WORK/$1"/*.xml "$LOGS/$1"; } ||
        say "not all logs are in $LOGS"
    rm -rf "${WORK:?}/$1"
    rmdir "$WORK" 2>/dev/null || :
}

release() {
    code=$?
    trap '' INT TERM HUP
    trap - EXIT
    set +e
    # shellcheck disable=SC2086 # it is a list
    [ -z "$background" ] || kill $background 2>/dev/null
    [ -z "$disturbed" ] || tc qdisc del dev "$LINK" root
    for side in $mine; do release_side "$side"; done
    [ -n "$judged" ] || [ "$code" -ne 1 ] || code=2
    exit "$code"
}

# --- What is done on purpose

cancel() {
    say "$seconds s: domjobabort"
    virsh domjobabort "$DOMAIN" || :
}

kill_proxy() { give_up "this script has no proxy"; }

pause_guest() { # libvirt resumes a guest on the destination that was suspended on the way
    say "$seconds s: suspend"
    virsh suspend "$DOMAIN" >/dev/null || :
}

kill_side() { # SIDE
    say "$seconds s: kill the $1's QEMU"
    case $1 in
    source) kill -KILL "$(cat "/run/libvirt/qemu/$DOMAIN.pid")" || : ;;
    *) virsh -c "$DESTINATION_URI" destroy "$DOMAIN" >/dev/null || : ;;
    esac
}

set_limit() { # MILLISECONDS
    virsh migrate-setmaxdowntime "$DOMAIN" "$1" || say "libvirt does not take a downtime limit of $1 ms"
}

# --- The migration

start() { # SIDE: what libvirt does not make; and of the source, the domain
    begin_side "$1"
    "make_$1"
    "xml_$1" | write_xml "$here/$1.xml"
    own "$1"
    [ "$1" = source ] || return 0
    say "starting the source"
    if ! virsh create "$here/source.xml" --validate >"$here/virsh.log" 2>&1; then
        error=$(cat "$here/virsh.log")
        conclude refused
    fi
}

wait_until_booted() {
    [ -n "$BOOTED" ] || return 0
    say "waiting for '$BOOTED' on the guest's console"
    waited=0
    until grep -q -e "$BOOTED" "$WORK/source/console.log"; do
        is_there || give_up "the source's QEMU ended"
        [ "$waited" -lt "$BOOT_SECONDS" ] || give_up "the guest did not boot in $BOOT_SECONDS s"
        sleep 2
        waited=$((waited + 2))
    done
}

listen_to_events() { # of QEMU, and a line "tick" each second, which is the clock
    rm -f "$here/events"
    mkfifo "$here/events"
    exec 4<>"$here/events"
    # whoever writes into a pipe, writes late; the first event must not be missed
    stdbuf -oL virsh qemu-monitor-event "$DOMAIN" --loop >"$here/events" 2>/dev/null &
    background=$!
    (while sleep 1; do echo tick; done) >"$here/events" 2>/dev/null &
    background="$background $!"
    sleep 2
}

follow() { # until virsh migrate has ended; fails if it does not in the time that there is
    ended=''
    while IFS= read -r line <&4; do
        case $line in
        tick)
            seconds=$((seconds + 1))
            [ -z "$ended" ] || return 0
            # what QEMU said before it ended is read first: the next tick is the last
            if [ -e "$here/ended" ]; then ended=yes && continue; fi
            [ "$seconds" -lt "$DEADLINE" ] || return 1
            do_timed
            look
            [ "$seconds" -lt "$SETTLE_SECONDS" ] || let_go
            step_limit
            ;;
        *'event MIGRATION '*)
            status=$(find_text status)
            say "$seconds s: source $status"
            echo "$line" >>"$here/events.log"
            enter "$status"
            ;;
        *'event VFIO_MIGRATION '*)
            echo "$line" >>"$here/events.log"
            [ "$(find_text device-state)" != stop-copy ] || enter 'device stop-copy'
            ;;
        esac
    done
    return 1
}

find_text() { # KEY: the string it has in $line
    printf '%s\n' "$line" | sed -n 's/.*"'"$1"'": *"\([^"]*\)".*/\1/p'
}

look() { # at libvirt's job; while a device is saved QEMU tells nothing
    job=$(timeout 5 virsh domjobinfo "$DOMAIN" --rawstats 2>/dev/null) || return 0
    left=$(echo "$job" | sed -n 's/^memory_remaining[: ]*\([0-9]*\).*/\1/p')
    sent=$(echo "$job" | sed -n 's/^vfio_data_transferred[: ]*\([0-9]*\).*/\1/p')
    [ -z "$left" ] || note_progress "$left" "${sent:-0}"
}

migrate() {
    here=$WORK/source side=source
    [ -d "$here" ] && is_there || give_up "no source is running on this host: sh $0 source"
    [ -n "$DESTINATION" ] || give_up "set DESTINATION to the address of the destination's host"
    [ -z "$IMPOSSIBLE" ] || give_up "$IMPOSSIBLE"
    [ -z "$NEEDS_LINK" ] || [ -n "$LINK" ] || give_up "set LINK to the network interface that is to be disturbed"
    xml_destination | write_xml "$WORK/source/destination.xml"
    here=$WORK/source
    rm -f "$here/ended"
    listen_to_events
    if [ -n "$held" ]; then set_limit "$HOLD_LIMIT"; else set_limit "$DOWNTIME_LIMIT"; fi
    enter before
    (
        set +e
        # shellcheck disable=SC2086 # they are several words
        virsh migrate $OPTIONS --xml "$here/destination.xml" --migrateuri "tcp://$DESTINATION" "$DOMAIN" \
            "$DESTINATION_URI" >"$here/migrate.log" 2>&1
        echo "$?" >"$here/ended"
    ) 4<&- &
    if ! follow; then
        say "after $seconds s the status is '$status', $remaining bytes of RAM remain, $moved of devices were moved"
        cancel
        waited=0
        until [ -e "$here/ended" ] || [ "$waited" -ge 30 ]; do sleep 1 && waited=$((waited + 1)); done
        conclude hung
    fi
    error=$(cat "$here/migrate.log")
    read -r code <"$here/ended"
    if [ "$code" -eq 0 ]; then
        virsh -c "$DESTINATION_URI" domjobinfo "$DOMAIN" --completed --rawstats 2>/dev/null || :
        say "the guest on the destination: $(virsh -c "$DESTINATION_URI" domstate "$DOMAIN")"
        conclude completed
    fi
    is_there || conclude crashed
    case $status in
    cancelled) conclude cancelled ;;
    '') case $error in
        *'exited while connecting to monitor'* | *'unexpectedly closed the monitor'*) conclude refused ;;
        *) conclude blocked ;;
        esac ;;
    *) conclude failed ;;
    esac
}

# --- The verdict

conclude() { # VERDICT; ends the script
    judged=yes
    [ -z "${error:-}" ] || say "virsh: $error"
    if [ "$1" = "$RECORDED_SEEN_FROM_SOURCE" ]; then
        say "verdict: $1, as recorded"
        exit 0
    fi
    say "verdict: $1; the recorded one is $RECORDED_SEEN_FROM_SOURCE"
    exit 1
}

trap release EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
command -v virsh >/dev/null || give_up "virsh was not found"
check_work

case ${1:-} in
source)
    start source
    wait_until_booted
    mine=''
    say "ready: sh $0 migrate, once the destination is; sh $0 clean ends it"
    ;;
destination)
    start destination
    mine=''
    say "ready; sh $0 clean, once all is over"
    ;;
migrate)
    migrate
    ;;
clean)
    release_side source
    release_side destination
    ;;
*)
    echo "usage: sh $0 source | destination | migrate | clean" >&2
    exit 2
    ;;
esac
