# SPDX-License-Identifier: GPL-2.0-or-later
"""Counts of a trace against counters of the kernel that have nothing to do with tracing. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from switchover.irq.activations import Tally
from switchover.irq.recording import RecordingEnd, RecordingStart


@dataclass(frozen=True)
class CrossCheck:
    """A count of the trace and the bounds that counters of the kernel set for it; None: they are not known."""

    what: str
    traced: int
    least: int | None
    most: int | None

    @property
    def agrees(self) -> bool | None:
        if self.least is None or self.most is None:
            return None
        return self.least <= self.traced <= self.most


def check_counters(irq: int, tally: Tally, start: RecordingStart, end: RecordingEnd | None) -> tuple[CrossCheck, ...]:
    """Hard handlers against /proc/interrupts, runs of the threads against their scheduler's own count.

    An edge that comes while the handler runs on another CPU is counted there and handled here, and several such edges
    are handled once (kernel/irq/chip.c, handle_edge_irq): so where interrupts came on several CPUs all that is known
    from below is that some were handled, and where they came on one CPU, that each was. CPUs that went offline are not
    in /proc/interrupts any more: only the others are compared.
    """
    opened, closed = (end.opened, end.closed) if end else (None, None)
    checks = []
    interrupt = start.before.find_interrupt(irq)
    sharers = max(1, len(interrupt.actions)) if interrupt else 1
    least = most = None
    handlers = tally.handlers.total()
    if opened and closed:
        first, last = (one.interrupts.get(irq, {}) for one in (opened.before, closed.after))
        outer = _subtract(first, last)
        within = _subtract(*(one.interrupts.get(irq, {}) for one in (opened.after, closed.before)))
        most, surely = sum(outer.values()), max(0, sum(within.values()))
        least = surely if sum(count > 0 for count in outer.values()) == 1 else min(1, surely)
        if first.keys() ^ last.keys():
            handlers = sum(tally.handlers[cpu] for cpu in first.keys() & last.keys())
    checks.append(CrossCheck("hard handlers against /proc/interrupts", -(-handlers // sharers), least, most))
    for thread in start.before.threads_of(irq):
        if thread.secondary:
            continue
        least = most = None
        if opened and closed and all(thread.pid in one.runs for one in (opened.before, closed.after)):
            inner = closed.before.runs.get(thread.pid, 0) - opened.after.runs.get(thread.pid, 0)
            least, most = max(0, inner), closed.after.runs[thread.pid] - opened.before.runs[thread.pid]
        checks.append(CrossCheck(f"runs of thread {thread.pid}", tally.runs[thread.pid], least, most))
    return tuple(checks)


def _subtract(first: Mapping[int, int], last: Mapping[int, int]) -> dict[int, int]:
    """How much each CPU's count grew, of those that have one at both times."""
    return {cpu: last[cpu] - first[cpu] for cpu in first.keys() & last.keys()}
