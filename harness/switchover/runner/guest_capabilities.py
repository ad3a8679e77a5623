# SPDX-License-Identifier: GPL-2.0-or-later
"""What probes, loads and faults need of a guest, and what a guest has of it.

The lab's guest has all of it. A guest of the user is asked once, with one command; what it lacks is told, and the
checks that need it are not made.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from switchover.guests.spec import GuestSpec
from switchover.hosts.host import Host
from switchover.record.checks import CheckId
from switchover.record.errors import CommandFailed, NotSupported
from switchover.record.measurement import NotChecked
from switchover.scenarios.case import Case
from switchover.scenarios.faults import Action


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


@dataclass(frozen=True)
class Probe:
    """``checks``: those that are made with it."""

    needs: tuple[Need, ...]
    checks: tuple[CheckId, ...]


_BOOT = Probe((Need.BOOT_ID,), (CheckId.GUEST_BOOT_ID,))
_CANARY = Probe((Need.MEMORY, Need.DIGEST), (CheckId.GUEST_CANARY,))
_CONSOLE = Probe((Need.CONSOLE,), (CheckId.GUEST_CONSOLE,))
_DEVICE = Probe(
    (Need.DRIVER, Need.ROOT),
    (
        CheckId.DEVICE_GENERATION,
        CheckId.DEVICE_SCRATCH,
        CheckId.DEVICE_SEED,
        CheckId.DEVICE_CHECKSUM,
        CheckId.DEVICE_CHECKSUM_BY_GUEST,
        CheckId.DEVICE_INTERRUPT,
    ),
)
_OUTSIDE = Probe((Need.SENDER, Need.ROOT), (CheckId.DOWNTIME_OUTSIDE,))
_FUNCTIONS = Probe((Need.PCI,), (CheckId.GUEST_PCI_FUNCTIONS, CheckId.GUEST_PCI_DRIVERS))
PROBES = (_BOOT, _CANARY, _CONSOLE, _DEVICE, _FUNCTIONS, _OUTSIDE)
"""Those that need something of the guest; checks of bytes and states are made on the hosts."""
LOADS = {"dma_pages_per_sec": (Need.DRIVER, Need.ROOT), "irq_rates": (Need.DRIVER, Need.ROOT)}
"""Knobs of the device that put a load on the guest, which has to take part."""
FAULTS = {Action.PANIC_GUEST: (Need.SYSRQ,)}
"""Faults that are made inside the guest."""
WARM = (Need.CLOCK, Need.ROOT)
"""Of a guest that is restored, whose clock is set."""


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

    def allows(self, probe: Probe) -> bool:
        return not self.lacks(probe.needs)

    @property
    def has_device(self) -> bool:
        """Whether the guest can be asked about its devices."""
        return self.allows(_DEVICE)

    @property
    def has_canary(self) -> bool:
        return self.allows(_CANARY)

    @property
    def has_console(self) -> bool:
        return self.allows(_CONSOLE)

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
true
"""


def find_capabilities(guest: Host, spec: GuestSpec) -> GuestCapabilities:
    """Ask a guest what it has, with one command; the lab's is not asked. A guest without a shell has nothing."""
    if spec.is_of_lab:
        return LAB_CAPABILITIES
    try:
        return parse_means(guest.run(["sh", "-c", _SCRIPT], timeout=60).text)
    except CommandFailed:
        return GuestCapabilities(frozenset())


def parse_means(text: str) -> GuestCapabilities:
    """Lines of a word, or of a word and a value; others are left alone.

    >>> parse_means("digest md5sum\\nmemory /run\\nroot\\n").canary
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
    means = GuestCapabilities(frozenset(has), directory, digest)
    missing = [need for need, value in ((Need.MEMORY, directory), (Need.DIGEST, digest)) if not value]
    return means.without(*missing)


def list_not_checked(case: Case, means: GuestCapabilities) -> tuple[NotChecked, ...]:
    """Checks that the case would have, and for want of what its guest does not."""
    wanted: Sequence[Probe] = PROBES if case.heartbeat_us else PROBES[:-1]
    if not case.source.references:
        wanted = [probe for probe in wanted if probe is not _DEVICE]
    if not case.source.functions:
        wanted = [probe for probe in wanted if probe is not _FUNCTIONS]
    return tuple(
        NotChecked(check, check.claim, means.lacks(probe.needs), needed=probe is _OUTSIDE and case.outside_needed)
        for probe in wanted
        if not means.allows(probe)
        for check in probe.checks
    )


def lacking_for_outside(means: GuestCapabilities) -> str:
    """Why a guest can send no heartbeats; empty if it can."""
    lacking = means.lacks(_OUTSIDE.needs)
    return f"the guest lacks {lacking}" if lacking else ""


def require_capabilities(case: Case, means: GuestCapabilities) -> None:
    """A load or a fault that the guest cannot take part in is not left out: the case would be another question.

    :raises NotSupported: there is one, with what the guest lacks
    """
    devices = [*case.source.devices, *case.destination.devices]
    wanted = {knob: needs for knob, needs in LOADS.items() if any(getattr(device.knobs, knob) for device in devices)}
    problems = {f"the load {knob}": means.lacks(needs) for knob, needs in wanted.items()}
    problems |= {f"the fault {fault.action}": means.lacks(FAULTS.get(fault.action, ())) for fault in case.faults}
    if case.source.guest.start == "warm":
        problems["a warm guest"] = means.lacks(WARM)
    lacking = [f"{words} (for {what})" for what, words in problems.items() if words]
    if lacking:
        raise NotSupported(f"The guest lacks {', and '.join(lacking)}.")
