# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of probes, and what is done with all of them; nothing else knows one by its name."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from switchover.guests.capabilities import GuestCapabilities
from switchover.guests.qemu import QemuGuest
from switchover.probes.irq_threads import IRQ_THREADS
from switchover.probes.outside import OUTSIDE
from switchover.probes.probe import Ended, Given, Probe, RunningProbe, Seen
from switchover.record.measurement import Findings, NotChecked
from switchover.scenarios.case import Case

PROBES: tuple[Probe, ...] = (IRQ_THREADS, OUTSIDE)
"""In the order in which they start: what comes last has the least time between its start and the migration."""


@dataclass(frozen=True)
class _Off(RunningProbe):
    """One that the case does not want."""

    seen: Seen

    def finish(self, arrival: QemuGuest) -> Seen:
        return self.seen


@dataclass(frozen=True)
class RunningProbes:
    """All of a migration, in their order; made by :func:`start_probes`."""

    running: tuple[tuple[Probe, RunningProbe], ...]

    def settle(self) -> None:
        """All in turn; see :meth:`RunningProbe.settle`."""
        for _, running in self.running:
            running.settle()

    def finish(self, arrival: QemuGuest, *, beside: bool) -> list[Seen]:
        """Once, after a migration that completed: those that finish while the guest is asked (``beside``), or those
        that do so before.
        """
        return [running.finish(arrival) for probe, running in self.running if probe.finishes_beside is beside]


@contextlib.contextmanager
def start_probes(given: Given, ended: Callable[[RunningProbe], None]) -> Iterator[RunningProbes]:
    """All probes that the case wants, for a ``with`` block around its migration. ``ended``: is told of each when the
    block is left, whatever the migration came to, and before the probe is undone. Raises as :meth:`Probe.start`.
    """
    with contextlib.ExitStack() as stack:
        probes: list[tuple[Probe, RunningProbe]] = []
        for probe in PROBES:
            running: RunningProbe = _Off(probe.off)
            if probe.is_wanted(given.case):
                running = stack.enter_context(probe.start(given))
                stack.callback(ended, running)
            probes.append((probe, running))
        yield RunningProbes(tuple(probes))


def find_all(seen: Iterable[Seen], ended: Ended) -> Findings:
    """What several probes have found, one after the other. Pure."""
    found = [one.find(ended) for one in seen]
    return Findings(
        tuple(check for one in found for check in one.checks),
        tuple(number for one in found for number in one.measurements),
        tuple(entry for one in found for entry in one.not_checked),
    )


def list_lacking(case: Case, capabilities: GuestCapabilities) -> Iterator[NotChecked]:
    """Checks that probes of the case would make, and for want of what its guest does not have they do not. Pure."""
    for probe in PROBES:
        if probe.is_wanted(case) and (lacking := capabilities.lacks(probe.needs)):
            for check in probe.checks:
                yield NotChecked(check, check.claim, lacking, needed=probe.is_needed(case))
