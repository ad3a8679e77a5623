# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest needs on its host and a host has not: asked of the host."""

from collections.abc import Iterable

from switchover.hosts.host import Host

# of a regular file, the file systems that no two machines mount; a block device may be seen by both
_LOOK = """
for place; do
    case $place in
        file:*) [ -r "${place#file:}" ] ;;
        bridge:*)
            bridge=${place#bridge:} bridge=${bridge%%:*}
            [ -d "/sys/class/net/$bridge/bridge" ] &&
                ip -o route get "${place##*:}" 2>/dev/null | grep -q " dev $bridge " ;;
        shared:*)
            file=${place#shared:}
            [ ! -f "$file" ] ||
                case $(stat -L -f -c %T -- "$file") in
                    ext2/ext3 | xfs | btrfs | f2fs | zfs | tmpfs | ramfs | overlayfs | squashfs) false ;;
                esac ;;
    esac || printf '%s\\n' "$place"
done
"""


def find_absent(host: Host, places: Iterable[str]) -> frozenset[str]:
    """Of :func:`switchover.scenarios.preflight.list_places`, what is not there."""
    wanted = list(dict.fromkeys(places))
    return frozenset(host.run(["sh", "-c", _LOOK, "sh", *wanted]).text.splitlines()) if wanted else frozenset()
