# SPDX-License-Identifier: GPL-2.0-or-later
"""Who is told how a run goes on: one table of events, for the plan, its repeats and the migrations in them."""

from collections.abc import Sequence

from switchover.guests.qemu import QemuGuest
from switchover.migration.session import Sample
from switchover.probes.probe import RunningProbe
from switchover.record.errors import SwitchoverError
from switchover.record.record import Record
from switchover.runner.attempt import Attempt
from switchover.runner.side import Side
from switchover.runner.turns import Turn
from switchover.scenarios.case import Case


class RunListener:
    """Hears nothing of what it is told. A listener is a subclass with the events that it wants.

    The events come from the thread that executes, but for samples, and with several pairs of hosts from several
    threads, one at a time.
    """

    def start(self, turns: Sequence[Turn]) -> None:
        """A run, before anything else."""

    def begin(self, turn: Turn) -> None:
        """A repeat."""

    def step(self, step: str) -> None:
        """A step of the repeat that was begun."""

    def sample(self, sample: Sample) -> None:
        """``query-migrate`` was answered. From another thread."""

    def sides_started(self, source: Side, destination: Side) -> None:
        """Both QEMUs wait for a migration."""

    def probe_ended(self, probe: RunningProbe) -> None:
        """A probe is undone next, whatever the migration came to."""

    def attempted(self, case: Case, source: Side, destination: Side | None, came_to: Attempt | SwitchoverError) -> None:
        """A migration came to its end, and both sides are still there; None: the destination did not come up."""

    def release(self, guest: QemuGuest, name: str) -> None:
        """A QEMU is released next, also one that did not come up. ``name``: its side."""

    def left(self, error: BaseException) -> None:
        """A block with a guest that is the subject is left by an error, and the guest is still there."""

    def end(self, turn: Turn, record: Record) -> None:
        """A repeat has its record; also the first of a case that is left out, which was never begun."""
