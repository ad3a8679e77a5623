# SPDX-License-Identifier: GPL-2.0-or-later
"""What checks, loads and faults need of a guest: what it lacks is told, and the checks that need it are not made."""

from switchover.checks import table as checks
from switchover.guests.capabilities import DEVICE, GuestCapabilities, Need
from switchover.migration.phases import Action
from switchover.probes.table import list_lacking
from switchover.record.errors import NotSupported
from switchover.record.measurement import NotChecked
from switchover.scenarios.case import Case

LOADS = {"dma_pages_per_sec": DEVICE, "irq_rates": DEVICE}
"""Knobs of the device that put a load on the guest, which has to take part."""
FAULTS = {
    Action.PANIC_GUEST: (Need.SYSRQ,),
    Action.REBOOT_GUEST: (Need.ROOT, Need.BOOT_ID),
    Action.SUSPEND_GUEST: (Need.ROOT,),
    Action.RESET_DEVICE: DEVICE,
}
"""Faults that are made inside the guest."""
WARM = (Need.CLOCK, Need.ROOT)
"""Of a guest that is restored, whose clock is set."""


def list_not_checked(case: Case, capabilities: GuestCapabilities) -> tuple[NotChecked, ...]:
    """Checks that the case would have, and for want of what its guest does not; those of its probes last."""
    return (*checks.list_not_checked(case, capabilities), *list_lacking(case, capabilities))


def require_capabilities(case: Case, capabilities: GuestCapabilities) -> None:
    """A load or a fault that the guest cannot take part in is not left out: the case would be another question.

    :raises NotSupported: there is one, with what the guest lacks
    """
    devices = [*case.source.references, *case.destination.references]
    wanted = {knob: needs for knob, needs in LOADS.items() if any(getattr(device.knobs, knob) for device in devices)}
    problems = {f"the load {knob}": capabilities.lacks(needs) for knob, needs in wanted.items()}
    problems |= {f"the fault {fault.action}": capabilities.lacks(FAULTS.get(fault.action, ())) for fault in case.faults}
    if case.source.guest.start == "warm":
        problems["a warm guest"] = capabilities.lacks(WARM)
    lacking = [f"{words} (for {what})" for what, words in problems.items() if words]
    if lacking:
        raise NotSupported(f"The guest lacks {', and '.join(lacking)}.")
