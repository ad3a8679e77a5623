# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest has of what checks, probes, loads and faults need of one.

The lab's guest has all of it. A guest of the user is asked once, with one command.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from switchover.guests.spec import GuestSpec
from switchover.hosts.host import Host
from switchover.record.errors import CommandFailed


class Need(StrEnum):
    """Something in a guest; the value is how people are told that it is not there."""

    BOOT_ID = "/proc/sys/kernel/random/boot_id"
    MEMORY = "a writable directory in memory (of /dev/shm, /run, /tmp, /) with room for a MiB"
    DIGEST = "head, and md5sum or sha256sum"
    CONSOLE = "a console of its kernel on ttyS0 (in /proc/consoles)"
    DRIVER = "the driver refdev_guest, with all devices taken"
    ROOT = "a login as root"
    SENDER = "/usr/bin/switchover-heartbeat"
    SYSRQ = "/proc/sysrq-trigger, writable"
    CLOCK = "date"
    PCI = "/sys/bus/pci/devices"
    NETWORK = "/sys/class/net"


CANARY = (Need.MEMORY, Need.DIGEST)
"""Of a guest that keeps a canary in its memory."""
CONSOLE = (Need.CONSOLE,)
"""Of a guest whose console tells of oopses."""
DEVICE = (Need.DRIVER, Need.ROOT)
"""Of a guest that tells what it sees of its reference devices."""


@dataclass(frozen=True)
class GuestCapabilities:
    """What a guest has. ``directory``: in memory, for the canary; ``digest``: the program that reads it."""

    has: frozenset[Need]
    directory: str = ""
    digest: str = ""

    @property
    def canary(self) -> str:
        """Path of the file that must stay as it is."""
        return f"{self.directory.rstrip('/')}/canary"

    def lacks(self, needs: Iterable[Need]) -> str:
        """In words, which of these a guest lacks; empty if none."""
        return "; ".join(need for need in needs if need not in self.has)

    @property
    def has_device(self) -> bool:
        """Whether the guest can be asked about its devices."""
        return not self.lacks(DEVICE)

    @property
    def has_canary(self) -> bool:
        return not self.lacks(CANARY)

    def without(self, *needs: Need) -> "GuestCapabilities":
        return replace(self, has=self.has - set(needs))


LAB_CAPABILITIES = GuestCapabilities(frozenset(Need), "/", "md5sum")
"""Of the lab's guest, the root of which is in memory."""

_DIRECTORIES = ("/dev/shm", "/run", "/tmp", "/")
_SCRIPT = r"""
[ -r /proc/sys/kernel/random/boot_id ] && echo boot_id
while read -r device place type options; do
    case $type in tmpfs | ramfs | rootfs) [ -w "$place" ] && echo "memory $place" ;; esac
done </proc/mounts
if command -v head >/dev/null; then
    for program in sha256sum md5sum; do command -v $program >/dev/null && echo "digest $program"; done
fi
while read -r name rest; do [ "$name" = ttyS0 ] && echo console; done </proc/consoles
[ -e /sys/bus/pci/drivers/refdev_guest ] && echo driver
[ "$(id -u)" = 0 ] && echo root
[ -x /usr/bin/switchover-heartbeat ] && echo sender
[ -w /proc/sysrq-trigger ] && echo sysrq
command -v date >/dev/null && echo clock
[ -d /sys/bus/pci/devices ] && echo pci
[ -d /sys/class/net ] && echo network
true
"""


def find_capabilities(guest: Host, spec: GuestSpec) -> GuestCapabilities:
    """Ask a guest what it has, with one command; the lab's is not asked. A guest without a shell has nothing."""
    if spec.is_of_lab:
        return LAB_CAPABILITIES
    try:
        return parse_capabilities(guest.run(["sh", "-c", _SCRIPT], timeout=60).text)
    except CommandFailed:
        return GuestCapabilities(frozenset())


def parse_capabilities(text: str) -> GuestCapabilities:
    """Lines of a word, or of a word and a value; others are left alone.

    >>> parse_capabilities("digest md5sum\\nmemory /run\\nroot\\n").canary
    '/run/canary'
    """
    has: set[Need] = set()
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        word, _, value = line.strip().partition(" ")
        if word.upper() in Need.__members__ and word == word.lower():
            has.add(Need[word.upper()])
            found.setdefault(word, []).append(value)
    directory = next((place for place in _DIRECTORIES if place in found.get("memory", ())), "")
    digest = next((name for name in found.get("digest", ()) if name), "")
    capabilities = GuestCapabilities(frozenset(has), directory, digest)
    missing = [need for need, value in ((Need.MEMORY, directory), (Need.DIGEST, digest)) if not value]
    return capabilities.without(*missing)
