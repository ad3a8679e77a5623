# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the interrupts of a machine can be recorded, for the doctor."""

from switchover.hosts.checks import Check, Finding, failed, passed, unverifiable
from switchover.hosts.host import Host
from switchover.irq.state import IrqState, read_state
from switchover.irq.tracing import Tracefs, read_tracefs


def irq_checks(host: Host, blocks: str) -> list[Check]:
    """``blocks``: the target that fails with them. The machine is asked once for all.

    :raises HostLost: the host does not answer
    """
    tracefs, state = read_tracefs(host), read_state(host)
    return [
        Check(f"{host.name}: interrupts can be traced", (blocks,), lambda: check_tracefs(tracefs)),
        Check(f"{host.name}: interrupts are threaded", (blocks,), lambda: check_threads(state)),
        Check(f"{host.name}: nobody else traces", (), lambda: check_others(tracefs)),
        Check(f"{host.name}: threads stay on one CPU", (), lambda: check_masks(state)),
    ]


def check_tracefs(tracefs: Tracefs) -> Finding:
    if obstacle := tracefs.find_obstacle():
        return failed(*obstacle)
    return passed(f"{tracefs.root}, clock {tracefs.clock}")


def check_threads(state: IrqState) -> Finding:
    if not state.interrupts:
        return unverifiable("the host tells of no interrupt")
    threaded = state.threaded
    if not threaded:
        return failed(
            f"none of {len(state.interrupts)}; booted with: {state.cmdline}",
            "boot with threadirqs on the kernel command line, or a PREEMPT_RT kernel",
        )
    return passed(f"{len(threaded)} of {len(state.interrupts)}")


def check_others(tracefs: Tracefs) -> Finding:
    """Others are not disturbed, and cost time in each interrupt."""
    if tracefs.others:
        return unverifiable(f"latencies will be longer: {', '.join(tracefs.others)}", "end what traces there")
    return passed("no other instance, event or tracer")


def check_masks(state: IrqState) -> Finding:
    """A chip that sets no effective CPU leaves the thread where it happens to be."""
    loose = [one for one in state.threaded if one.asked and not one.effective]
    if loose:
        names = ", ".join(f"{one.number} ({one.chip})" for one in loose)
        return unverifiable(f"no effective CPU: {names}; their threads may run anywhere")
    return passed("each threaded interrupt has an effective CPU")
