# SPDX-License-Identifier: GPL-2.0-or-later
"""One repeat of a case for a measurement."""

from collections.abc import Callable
from pathlib import Path

from switchover.guests.warm import SavedGuests
from switchover.record.record import Record
from switchover.record.rundir import make_run_directory
from switchover.run.pair import Pair
from switchover.run.repeat import Observer, run_repeat
from switchover.scenarios.case import Case


def run_once(
    case: Case,
    number: int,
    pair: Pair,
    scratch: Path,
    fingerprint: dict[str, object],
    saved_guests: SavedGuests | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> Record:
    """A repeat with a run directory of its own in ``scratch``. ``on_step``: told of each step as it begins."""
    directory = make_run_directory("bench", scratch)
    observer = Observer(step=on_step, saved_guests=saved_guests)
    return run_repeat(case, number, pair, directory.repeat(case.id, number), fingerprint, observer)
