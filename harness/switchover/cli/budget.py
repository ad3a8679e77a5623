# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover run --budget HOURS``: a part of the cases, so that nights add up."""

import argparse
import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from switchover.cli.selection import Selection
from switchover.record.errors import SwitchoverError, UsageError
from switchover.record.log import say
from switchover.record.paths import runs_directory
from switchover.record.rundir import list_runs
from switchover.record.units import format_count, format_duration
from switchover.report.history.store import History
from switchover.report.latest import find_latest
from switchover.runner.leases.durations import read_durations
from switchover.runner.turns import Turn
from switchover.scenarios.budget import choose_within, find_standing, order_by_age

_MOST_HOURS = 24 * 31


def parse_hours(text: str) -> float:
    """:raises argparse.ArgumentTypeError: it is no time, or none in which something can be run"""
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if not 0 < hours <= _MOST_HOURS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of hours above 0 and up to {_MOST_HOURS}, such as 8")
    return hours


@dataclass(frozen=True)
class Budget:
    """The time of a run from ``began``, a monotonic time. ``seconds``: by id of the case, what a case is thought to
    take, all its repeats together; ``order``: ids of those that are chosen.
    """

    budget_s: float
    cases: tuple[str, ...]
    seconds: Mapping[str, float]
    order: tuple[str, ...]
    began: float = field(default_factory=time.monotonic)

    def sort(self, turns: Sequence[Turn]) -> list[Turn]:
        """What was not run for longest first, all repeats of a case together."""
        ranks = {case: rank for rank, case in enumerate(self.order)}
        return sorted(turns, key=lambda turn: ranks[turn.line.id])

    def is_used(self, turn: Turn) -> bool:
        """Whether a case that has not begun is likely to end too late."""
        left = self.began + self.budget_s - time.monotonic()
        return turn.number == 1 and left < self.seconds[turn.line.id]


def make_budget(hours: float, selection: Selection, runs: Path | None, history: Path | None) -> Budget:
    """What fits, of a selection. ``runs``: where run directories are. Tells what was found and chosen.

    :raises UsageError: not even the first case fits
    """
    taken = read_durations(runs or runs_directory())
    seconds = {
        entry.planned.id: taken.get(entry.planned.id, entry.seconds) * plan.scenario.repeats
        for plan in selection.plans
        for entry in plan.entries
    }
    seconds |= {case.id: taken.get(case.id, case.seconds) * case.repeats for case in selection.python}
    cases = selection.ids
    last = read_last(cases, runs, history)
    ordered = order_by_age(cases, last)
    chosen = choose_within(ordered, seconds, hours * 3600)
    if not chosen:
        first = format_duration(seconds[ordered[0]])
        raise UsageError(f"--budget {hours:g} is too little for one case: {ordered[0]} takes about {first}.")
    say(
        f"budget of {format_duration(hours * 3600)}: {len(chosen)} of {format_count(len(cases), 'case')}, about "
        f"{format_duration(sum(seconds[case] for case in chosen))}; {describe_standing(cases, last)}"
    )
    return Budget(hours * 3600, tuple(cases), seconds, tuple(chosen))


def read_last(cases: Sequence[str], runs: Path | None, history: Path | None) -> dict[str, str]:
    """When each case was run last, by run directories and the history, which may be of runs that are gone."""
    last = {case: found.started for case, found in find_latest(list_runs(runs), cases).items()}
    with contextlib.suppress(SwitchoverError):
        if history is not None and history.exists():
            with History.open(history) as opened:
                for case, started in opened.find_last_starts().items():
                    last[case] = max(started, last.get(case, ""))
    return {case: last[case] for case in cases if case in last}


def describe_standing(cases: Sequence[str], last: Mapping[str, str]) -> str:
    """``312 of 445 cases were run before, the oldest 3 days ago``."""
    standing = find_standing(cases, last)
    if not standing.run:
        return f"none of {format_count(standing.of, 'case')} was run before"
    age = format_age(standing.oldest, datetime.now(UTC))
    return f"{standing.run} of {format_count(standing.of, 'case')} were run so far, the oldest {age}"


def format_age(started: str, now: datetime) -> str:
    """``3 days ago``, of a time in ISO 8601."""
    try:
        seconds = (now - datetime.fromisoformat(started)).total_seconds()
    except (ValueError, TypeError):
        return f"at {started}"
    days = int(seconds // 86_400)
    return f"{format_count(days, 'day')} ago" if days else f"{format_duration(max(0.0, seconds))} ago"
