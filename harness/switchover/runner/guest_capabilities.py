# SPDX-License-Identifier: GPL-2.0-or-later
"""What probes, loads and faults need of a guest: what it lacks is told, and the checks that need it are not made."""

from collections.abc import Sequence
from dataclasses import dataclass

from switchover.guests.capabilities import CANARY, CONSOLE, DEVICE, GuestCapabilities, Need
from switchover.record.checks import CheckId
from switchover.record.errors import NotSupported
from switchover.record.measurement import NotChecked
from switchover.scenarios.case import Case
from switchover.scenarios.faults import Action


@dataclass(frozen=True)
class Probe:
    """``checks``: those that are made with it."""

    needs: tuple[Need, ...]
    checks: tuple[CheckId, ...]


_BOOT = Probe((Need.BOOT_ID,), (CheckId.GUEST_BOOT_ID,))
_CANARY = Probe(CANARY, (CheckId.GUEST_CANARY,))
_CONSOLE = Probe(CONSOLE, (CheckId.GUEST_CONSOLE,))
_DEVICE = Probe(
    DEVICE,
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
LOADS = {"dma_pages_per_sec": DEVICE, "irq_rates": DEVICE}
"""Knobs of the device that put a load on the guest, which has to take part."""
FAULTS = {Action.PANIC_GUEST: (Need.SYSRQ,)}
"""Faults that are made inside the guest."""
WARM = (Need.CLOCK, Need.ROOT)
"""Of a guest that is restored, whose clock is set."""


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
        if means.lacks(probe.needs)
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
    devices = [*case.source.references, *case.destination.references]
    wanted = {knob: needs for knob, needs in LOADS.items() if any(getattr(device.knobs, knob) for device in devices)}
    problems = {f"the load {knob}": means.lacks(needs) for knob, needs in wanted.items()}
    problems |= {f"the fault {fault.action}": means.lacks(FAULTS.get(fault.action, ())) for fault in case.faults}
    if case.source.guest.start == "warm":
        problems["a warm guest"] = means.lacks(WARM)
    lacking = [f"{words} (for {what})" for what, words in problems.items() if words]
    if lacking:
        raise NotSupported(f"The guest lacks {', and '.join(lacking)}.")
