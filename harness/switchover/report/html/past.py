# SPDX-License-Identifier: GPL-2.0-or-later
"""What a page shows of earlier runs: numbers of its cases out of a history, as trends, bounded in size and time."""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from switchover.record.errors import SwitchoverError
from switchover.report.gate.questions import GATED
from switchover.report.history.store import History
from switchover.report.history.text import describe_change, describe_left_out, describe_programs
from switchover.report.history.trend import RunLevel, Trend, make_trends
from switchover.report.metrics import MetricRow, list_metrics
from switchover.report.rundata import CaseResult, RunData

MOST_RUNS = 50
"""Earlier runs of each number, the last ones."""
MOST_LEVELS = 50_000
"""Of all cases together, runs of all numbers: of many cases, fewer numbers have a past."""
MOST_SEARCHES = 50
"""Numbers in which changes are looked for, of those that may have some: two seconds at most."""
NOWHERE = "It was made without a history: there are no numbers of earlier runs."
NONE = "The history has no number of an earlier run of this case that compares with this one."


@dataclass(frozen=True)
class Past:
    """By case. ``why``: why there is none of any case; empty: of some there may be. ``own``: start and name of the run
    itself: runs of other machines, and of jobs of avocado, may have its name.
    """

    trends: Mapping[str, Sequence[Trend]] = field(default_factory=dict)
    why: str = ""
    own: tuple[str, str] = ("", "")


def read_past(run: RunData, cases: Sequence[CaseResult]) -> Past:
    """Out of the history of the run, of runs that began before it, and of the run itself. A history that cannot be read
    is no harm: then it is said why.
    """
    if run.history is None:
        return Past(why=NOWHERE)
    own = [row for row in list_metrics(run, cases) if row.value is not None and row.verdict == "completed"]
    metrics = choose_past(own, len(cases))
    try:
        earlier = _read(run.history, metrics, [case.id for case in cases], run.head.started)
    except SwitchoverError as error:
        return Past(why=f"There are no numbers of earlier runs. {error.what}")
    trends = make_past([*earlier, *own], metrics, run.head.started)
    return Past(trends, own=(run.head.started, run.directory.path.name))


def _read(path: Path, metrics: Sequence[str], cases: Sequence[str], before: str) -> list[MetricRow]:
    with History.open(path) as history:
        return history.find_recent(metrics, cases, before=before, runs=MOST_RUNS)


def choose_past(own: Iterable[MetricRow], cases: int) -> list[str]:
    """Numbers that have a past: those that are gated first, then others of the run, as many as the bound of all levels
    allows; one at least. ``cases``: how many there are. Pure.
    """
    names: dict[str, None] = {}
    series: set[tuple[str, int]] = set()
    for row in own:
        names[row.metric] = None
        series.add((row.case, row.hop))
    return list(dict.fromkeys([*GATED, *names]))[: max(1, MOST_LEVELS // (MOST_RUNS * max(1, cases, len(series))))]


def make_past(rows: Iterable[MetricRow], metrics: Sequence[str], run_started: str) -> dict[str, list[Trend]]:
    """By case, in the order of the numbers; of those that a run had that began before this one. Pure."""
    order = {name: place for place, name in enumerate(metrics)}
    chosen = [row for row in rows if row.metric in order]
    chosen.sort(key=lambda row: (order[row.metric], row.run_started, row.run, row.repeat))
    found: dict[str, list[Trend]] = {}
    for trend in make_trends(chosen, most_searches=MOST_SEARCHES):
        if trend.levels[0].started < run_started:
            found.setdefault(trend.case, []).append(trend)
    return found


def make_past_details(past: Past, case: str) -> dict[str, Any]:
    """Of a case's own view: ``runs`` that its numbers are of, ``own``, which of them is this one, and ``numbers``, the
    levels of which name a run by its place.
    """
    trends = past.trends.get(case, ())
    runs: dict[tuple[str, str], list[str]] = {}
    for level in (level for trend in trends for level in trend.levels):
        runs.setdefault((level.started, level.run), [level.run, level.started[:16], describe_programs(level)])
    keys = sorted(runs)
    places = {key: place for place, key in enumerate(keys)}
    return {
        "why": past.why or ("" if trends else NONE),
        "runs": [runs[key] for key in keys],
        "own": places.get(past.own),
        "numbers": [_make_number(trend, places) for trend in trends],
    }


def _make_number(trend: Trend, places: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    starts = [(level.started, level.run) for level in trend.levels]
    return {
        "name": f"hop {trend.hop}: {trend.metric}" if trend.hop else trend.metric,
        "unit": trend.unit,
        "levels": [[places[key], *_shorten(level)] for key, level in zip(starts, trend.levels, strict=True)],
        "changes": [
            [
                starts.index((change.at.started, change.at.run)),
                describe_change(change, trend),
                [[key, old[:400], new[:400]] for key, (old, new) in change.changed.items()],
            ]
            for change in trend.changes
        ],
        "left_out": describe_left_out(trend),
        "searched": trend.searched,
    }


def _shorten(level: RunLevel) -> Iterator[float]:
    """How many repeats, median, smallest and largest, to six digits."""
    yield len(level.values)
    yield from (float(f"{pick(level.values):.6g}") for pick in (statistics.median, min, max))
