# ---------------------------------------------------------------------------------------------------------------------
# From here on the script is the same for every case.

umask 077
LC_ALL=C
export LC_ALL
MDEV=/sys/bus/mdev/devices
mine='' disturbed='' # what this shell has to end
restore_at='' # the second in which the link is whole again
status='' entered='' seconds=0 held=$SETTLE quiet=0 remaining=0 moved=0 step_due='' # how far the migration is

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

need_function() { # ADDRESS or ADDRESS/virtfnN, DRIVER: sets $passed to its path in sysfs
    passed=$(readlink -f "/sys/bus/pci/devices/$1") && [ -e "$passed/vendor" ] || give_up "there is no PCI function $1"
    driver=$(readlink "$passed/driver") || driver=none
    case ${driver##*/} in
    *vfio*) ;;
    *) give_up "$1 is with the driver ${driver##*/}, and has to be with $2: bind it, or set another function" ;;
    esac
}

find_parent() { # TYPE: PARENT if it makes such devices, else any that does
    for parent in "$PARENT" /sys/class/mdev_bus/*; do
        [ ! -e "$parent/mdev_supported_types/$1/create" ] || { echo "$parent" && return; }
    done
    return 1
}

make_device() { # UUID TYPE
    mdev=$MDEV/$1
    [ "$(id -u)" -eq 0 ] || give_up "mediated devices are made by root"
    [ ! -e "$mdev" ] || give_up "there is a mediated device $1 already: sh $0 clean, or set another UUID"
    maker=$(find_parent "$2") || give_up "neither $PARENT nor another device has the type $2: is its module loaded?"
    echo "$1" >>"$here/devices"
    echo "$1" >"$maker/mdev_supported_types/$2/create" || give_up "no mediated device of type $2 can be made"
}

knob() { # NAME VALUE, of the device made last
    echo "$2" >"$mdev/knobs/$1" || give_up "the device does not take $2 as $1"
}

remove_devices() { # SIDE: once its QEMU has ended, since removing a device waits until it is closed
    for uuid in $(cat "$WORK/$1/devices" 2>/dev/null); do
        { [ ! -e "$MDEV/$uuid" ] || echo 1 >"$MDEV/$uuid/remove"; } 2>/dev/null || :
        [ ! -e "$MDEV/$uuid" ] || say "not removed: mediated device $uuid"
    done
}

keep_logs() { # SIDE
    mkdir -p "$LOGS/$1" && cp "$WORK/$1"/*.log "$WORK/$1/stderr" "$LOGS/$1"
}

# --- What is done on purpose

enter() { # PHASE: the faults of this phase, when it is seen first
    case $entered in *"|$1|"*) return 0 ;; esac
    entered="$entered|$1|"
    faults "$1"
}

disturb_link() { # queueing discipline, as tc-netem(8) has it
    say "$seconds s: $LINK: netem $*"
    disturbed=yes
    tc qdisc replace dev "$LINK" root netem "$@" || give_up "$LINK cannot be disturbed"
}

restore_in() { # SECONDS: the link is whole again then
    restore_at=$((seconds + $1))
}

do_timed() { # what is due by this second of the migration
    timed_faults
    [ "$restore_at" = "$seconds" ] || return 0
    say "$seconds s: $LINK is whole again"
    disturbed='' restore_at=''
    tc qdisc del dev "$LINK" root || give_up "$LINK cannot be restored"
}

note_progress() { # BYTES of RAM that remain, BYTES of devices that were moved
    before=$moved remaining=$1 moved=$2
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
    set_limit "$DOWNTIME_LIMIT"
}

step_limit() { # the next of the limits that follow each other, once it is due; called every second
    [ -z "$held" ] && [ "$status" = active ] && [ -n "$DOWNTIME_STEPS" ] || return 0
    [ -n "$step_due" ] || step_due=$((seconds + STEP_SECONDS))
    [ "$seconds" -ge "$step_due" ] || return 0
    step_due=$((step_due + STEP_SECONDS))
    say "$seconds s: the downtime limit becomes ${DOWNTIME_STEPS%% *} ms"
    set_limit "${DOWNTIME_STEPS%% *}"
    case $DOWNTIME_STEPS in *' '*) DOWNTIME_STEPS=${DOWNTIME_STEPS#* } ;; *) DOWNTIME_STEPS='' ;; esac
}
