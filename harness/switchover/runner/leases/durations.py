# SPDX-License-Identifier: GPL-2.0-or-later
"""How long cases took in earlier runs, from their run directories."""

import statistics
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from switchover.record.errors import UsageError
from switchover.record.planfile import find_plan
from switchover.record.record import VerdictName
from switchover.record.rundir import RunDirectory, list_runs
from switchover.record.shape import parse_json

NEWEST = 50
"""Runs that are read: older ones say little of a harness and hosts that have changed since."""


def read_durations(runs_directory: Path, newest: int = NEWEST) -> dict[str, float]:
    """Seconds of a repeat by id of its case: the median of all that were run; also by ``CASE@SCENARIO``.

    Repeats that were not run, and infrastructure errors, which end early, do not count. What cannot be read is left
    out: an estimate is missed by nobody.
    """
    found: dict[str, list[float]] = defaultdict(list)
    for directory in list_runs(runs_directory)[: -newest - 1 : -1]:
        names = _names(directory)
        for path in directory.record_paths():
            taken = _read_seconds(path)
            if taken is not None:
                case, seconds = taken
                for name in {case, names.get(case, case)}:
                    found[name].append(seconds)
    return {name: statistics.median(values) for name, values in found.items()}


def estimate(case: str, scenario: str, durations: Mapping[str, float], otherwise: float) -> float:
    """Seconds of a repeat of a case; ``otherwise``, the plan's own estimate, where it was never run."""
    return durations.get(f"{case}@{scenario}", durations.get(case, otherwise))


def _names(directory: RunDirectory) -> dict[str, str]:
    """``CASE@SCENARIO`` by the id that a case has in its run."""
    try:
        plan = find_plan(directory)
    except UsageError:
        return {}
    return {line.id: f"{line.case}@{line.scenario}" for line in plan.cases} if plan else {}


def _read_seconds(path: Path) -> tuple[str, float] | None:
    """Case and seconds, without the rest of the record, which may be of another version."""
    try:
        fields = parse_json(path.read_text(encoding="utf-8"))
        seconds = sum(float(value) for value in fields["seconds"].values())
        failed = fields["verdict"]["name"] == VerdictName.INFRASTRUCTURE_ERROR
        return None if failed or seconds <= 0 else (str(fields["case"]), seconds)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
