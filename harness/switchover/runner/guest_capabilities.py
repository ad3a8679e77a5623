# SPDX-License-Identifier: GPL-2.0-or-later
"""What checks, loads and faults need of a guest: what it lacks is told, and the checks that need it are not made."""

from collections.abc import Sequence
from dataclasses import dataclass

from switchover.guests.capabilities import CANARY, CONSOLE, DEVICE, GuestCapabilities, Need
from switchover.probes.table import list_lacking
from switchover.record.checks import CheckId
from switchover.record.errors import NotSupported
from switchover.record.measurement import NotChecked
from switchover.scenarios.case import Case
from switchover.scenarios.faults import Action


@dataclass(frozen=True)
class Requirement:
    """``checks``: those that are made with it."""

    needs: tuple[Need, ...]
    checks: tuple[CheckId, ...]


_BOOT = Requirement((Need.BOOT_ID,), (CheckId.GUEST_BOOT_ID,))
_CANARY = Requirement(CANARY, (CheckId.GUEST_CANARY,))
_CONSOLE = Requirement(CONSOLE, (CheckId.GUEST_CONSOLE,))
_DEVICE = Requirement(
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
_FUNCTIONS = Requirement((Need.PCI,), (CheckId.GUEST_PCI_FUNCTIONS, CheckId.GUEST_PCI_DRIVERS))
REQUIREMENTS = (_BOOT, _CANARY, _CONSOLE, _DEVICE, _FUNCTIONS)
"""Of checks that need something of the guest, those of probes aside; bytes and states are checked on the hosts."""
LOADS = {"dma_pages_per_sec": DEVICE, "irq_rates": DEVICE}
"""Knobs of the device that put a load on the guest, which has to take part."""
FAULTS = {Action.PANIC_GUEST: (Need.SYSRQ,)}
"""Faults that are made inside the guest."""
WARM = (Need.CLOCK, Need.ROOT)
"""Of a guest that is restored, whose clock is set."""


def list_not_checked(case: Case, means: GuestCapabilities) -> tuple[NotChecked, ...]:
    """Checks that the case would have, and for want of what its guest does not; those of its probes last."""
    wanted: Sequence[Requirement] = REQUIREMENTS
    if not case.source.references:
        wanted = [requirement for requirement in wanted if requirement is not _DEVICE]
    if not case.source.functions:
        wanted = [requirement for requirement in wanted if requirement is not _FUNCTIONS]
    lacking = (
        NotChecked(check, check.claim, means.lacks(requirement.needs))
        for requirement in wanted
        if means.lacks(requirement.needs)
        for check in requirement.checks
    )
    return (*lacking, *list_lacking(case, means))


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
