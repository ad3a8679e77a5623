# SPDX-License-Identifier: GPL-2.0-or-later
"""Since when a number is as it is: where its level changed from one run to the next. Pure; numbers only.

A run counts as the median of its repeats. Places where the level may have changed are found by PELT with the cost of
absolute deviations, which an odd run moves little; each of them counts only if the runs around it differ by the test
that comparisons of arms use. So the chance to see a change where there is none is small (docs/history.md has figures).
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from switchover.report.differences import Difference, find_difference
from switchover.report.metrics import MetricRow

_PENALTY = 4.0
"""Per change and logarithm of the number of runs, in units of the noise."""
_SHORTEST = 3
"""Runs that a level has at least: fewer are odd runs, not a level."""
_FEWEST = 2 * _SHORTEST
_LEAST_NOISE = 1e-3
"""Of the median: numbers that never vary have no noise, and the least change would count."""


@dataclass(frozen=True)
class RunLevel:
    """A number in one run. ``values``: of its repeats; ``fingerprint``: of the last of them."""

    run: str
    started: str
    values: tuple[float, ...]
    fingerprint: Mapping[str, str]

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclass(frozen=True)
class Change:
    """Where the level changed. ``at``: the first run of the new level; ``before``, ``after``: medians of the runs of
    both levels; ``difference``: between the runs of both, in the unit of the number; ``changed``: words of the
    fingerprint that differ between this run and the one before it, old and new.
    """

    at: RunLevel
    before: float
    after: float
    difference: Difference
    changed: Mapping[str, tuple[str, str]]

    @property
    def factor(self) -> float | None:
        return self.after / self.before if self.before > 0 and self.after >= 0 else None


@dataclass(frozen=True)
class Trend:
    """A number of a case over runs that compare. ``left_out``: runs whose numbers do not compare with the last one's:
    of another machine, start, question or definition.
    """

    case: str
    hop: int
    metric: str
    unit: str
    direction: str
    levels: tuple[RunLevel, ...]
    changes: tuple[Change, ...]
    left_out: int


def make_trends(rows: Iterable[MetricRow]) -> list[Trend]:
    """One for each number of each case, of repeats that completed. ``rows``: the oldest run first."""
    found: dict[tuple[str, int, str], list[MetricRow]] = {}
    for row in rows:
        if row.value is not None and row.verdict == "completed":
            found.setdefault((row.case, row.hop, row.metric), []).append(row)
    return [_make_trend(of_key) for of_key in found.values()]


def _make_trend(rows: Sequence[MetricRow]) -> Trend:
    last = rows[-1]
    by_run: dict[tuple[str, str], list[MetricRow]] = {}
    for row in rows:
        if row.comparable == last.comparable:
            by_run.setdefault((row.run_started, row.run), []).append(row)
    levels = tuple(
        RunLevel(run, started, tuple(row.value for row in of_run if row.value is not None), of_run[-1].fingerprint)
        for (started, run), of_run in by_run.items()
    )
    left_out = len({(row.run_started, row.run) for row in rows} - by_run.keys())
    changes = tuple(_find_changes(levels))
    return Trend(last.case, last.hop, last.metric, last.unit, last.direction, levels, changes, left_out)


def _find_changes(levels: Sequence[RunLevel]) -> Iterable[Change]:
    medians = [level.median for level in levels]
    places = _find_places(medians)
    edges = [0, *places, len(levels)]
    for start, place, end in zip(edges, places, edges[2:], strict=False):
        first, second = medians[start:place], medians[place:end]
        difference = find_difference(first, second, paired=False)
        if difference is not None and difference.is_told:
            before, after = levels[place - 1].fingerprint, levels[place].fingerprint
            changed = {
                key: (before.get(key, ""), after.get(key, ""))
                for key in sorted({*before, *after})
                if before.get(key, "") != after.get(key, "")
            }
            yield Change(levels[place], statistics.median(first), statistics.median(second), difference, changed)


def _find_places(medians: Sequence[float]) -> list[int]:
    """Indexes at which a new level may begin."""
    if len(medians) < _FEWEST or len(set(medians)) == 1:
        return []
    import numpy
    import ruptures  # type: ignore[import-untyped]

    noise = max(_measure_noise(medians), _LEAST_NOISE * abs(statistics.median(medians)), 1e-12)
    search = ruptures.Pelt(model="l1", min_size=_SHORTEST, jump=1)
    search.fit(numpy.asarray(medians, float).reshape(-1, 1) / noise)
    return [int(place) for place in search.predict(pen=_PENALTY * math.log(len(medians)))[:-1]]


def _measure_noise(medians: Sequence[float]) -> float:
    """The standard deviation of runs, by how those differ that follow one another: a change of level hardly shows."""
    steps = [abs(later - earlier) for earlier, later in pairwise(medians)]
    return statistics.median(steps) / 0.6745 / math.sqrt(2)
