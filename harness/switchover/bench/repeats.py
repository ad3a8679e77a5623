# SPDX-License-Identifier: GPL-2.0-or-later
"""One repeat of a case for a measurement."""

from pathlib import Path

from switchover.guests.places import GuestPlace
from switchover.record.record import Record
from switchover.record.rundir import make_run_directory
from switchover.runner.case_runner import RunContext, run_repeat
from switchover.runner.host_pair import HostPair
from switchover.scenarios.case import Case


def run_once(
    case: Case,
    number: int,
    pair: HostPair,
    scratch: Path,
    fingerprint: dict[str, object],
    context: RunContext | None = None,
    place: GuestPlace | None = None,
) -> Record:
    """A repeat with a run directory of its own in ``scratch``."""
    directory = make_run_directory("bench", scratch)
    return run_repeat(case, number, pair, directory.repeat(case.id, number), fingerprint, context, place)
