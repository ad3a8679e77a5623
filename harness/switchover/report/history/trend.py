# SPDX-License-Identifier: GPL-2.0-or-later
"""Since when a number is as it is: where its level changed from one run to the next. Pure; numbers only.

A run counts as the median of its repeats. Places where the level may have changed are found by PELT with the cost of
absolute deviations, which an odd run moves little; each of them counts only if the runs around it differ by the test
that comparisons of arms use. So the chance to see a change where there is none is small (docs/history.md has figures).
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from switchover.report.differences import Difference, find_difference
from switchover.report.metrics import MetricRow

_PENALTY = 4.0
"""Per change and logarithm of the number of runs, in units of the noise."""
_SHORTEST = 3
"""Runs that a level has at least: fewer are odd runs, not a level."""
_FEWEST = 2 * _SHORTEST
_BLOCK = 6
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
    of another machine, start, question or definition. ``searched``: whether changes were looked for.
    """

    case: str
    hop: int
    metric: str
    unit: str
    direction: str
    levels: tuple[RunLevel, ...]
    changes: tuple[Change, ...]
    left_out: int
    searched: bool = True


def make_trends(rows: Iterable[MetricRow], *, most_searches: int | None = None) -> list[Trend]:
    """One for each number of each case, of repeats that completed. ``rows``: the oldest run first.

    ``most_searches``: changes are looked for in so many numbers that may have some, each of which takes a twentieth of
    a second; the first ones.
    """
    found: dict[tuple[str, int, str], list[MetricRow]] = {}
    for row in rows:
        if row.value is not None and row.verdict == "completed":
            found.setdefault((row.case, row.hop, row.metric), []).append(row)
    trends, searches = [], 0
    for of_key in found.values():
        trend = _make_trend(of_key)
        if may_have_changed([level.median for level in trend.levels]):
            searches += 1
            if most_searches is None or searches <= most_searches:
                trend = replace(trend, changes=tuple(_find_changes(trend.levels)))
            else:
                trend = replace(trend, searched=False)
        trends.append(trend)
    return trends


def _make_trend(rows: Sequence[MetricRow]) -> Trend:
    """Without its changes."""
    last = rows[-1]
    asked = last.comparable
    by_run: dict[tuple[str, str], list[MetricRow]] = {}
    classes: dict[tuple[int, int], str] = {}  # rows of one repeat, and of many, have one fingerprint
    for row in rows:
        of_row = (id(row.fingerprint), row.definition)
        if of_row not in classes:
            classes[of_row] = row.comparable
        if classes[of_row] == asked:
            by_run.setdefault((row.run_started, row.run), []).append(row)
    levels = tuple(
        RunLevel(run, started, tuple(row.value for row in of_run if row.value is not None), of_run[-1].fingerprint)
        for (started, run), of_run in by_run.items()
    )
    left_out = len({(row.run_started, row.run) for row in rows} - by_run.keys())
    return Trend(last.case, last.hop, last.metric, last.unit, last.direction, levels, (), left_out)


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


def may_have_changed(medians: Sequence[float]) -> bool:
    """False: PELT would find no place. That is much quicker to see of most numbers than by asking it.

    Runs are taken in blocks. A level costs at least what the blocks that lie within it cost each for itself, and each
    change breaks one block at most. If by that no levels can cost less than one for all runs, none will be found.
    """
    if len(medians) < _FEWEST or len(set(medians)) == 1:
        return False
    penalty = find_penalty(medians)
    blocks = [_cost(medians[start : start + _BLOCK]) for start in range(0, len(medians), _BLOCK)]
    first, *others = sorted(blocks, reverse=True)
    least = sum(blocks) + penalty - first + sum(min(0.0, penalty - cost) for cost in others)
    return least < _cost(medians)


def _cost(medians: Sequence[float]) -> float:
    """Of one level for all of them: the sum of their distances from its median."""
    ordered = sorted(medians)
    half = len(ordered) // 2
    return sum(ordered[-half:]) - sum(ordered[:half]) if half else 0.0


def find_penalty(medians: Sequence[float]) -> float:
    """Of a change, in the unit of the number."""
    noise = max(_measure_noise(medians), _LEAST_NOISE * abs(statistics.median(medians)), 1e-12)
    return _PENALTY * math.log(len(medians)) * noise


def _find_places(medians: Sequence[float]) -> list[int]:
    """Indexes at which a new level may begin."""
    if not may_have_changed(medians):
        return []
    import numpy
    import ruptures  # type: ignore[import-untyped]
    from ruptures.costs import CostL1  # type: ignore[import-untyped]

    class Costs(CostL1):  # type: ignore[misc]
        """The same numbers, ten times as quick of so few runs."""

        def error(self, start: int, end: int) -> float:
            return _cost(medians[start:end])

    search = ruptures.Pelt(custom_cost=Costs(), min_size=_SHORTEST, jump=1)
    search.fit(numpy.asarray(medians, float).reshape(-1, 1))
    return [int(place) for place in search.predict(pen=find_penalty(medians))[:-1]]


def _measure_noise(medians: Sequence[float]) -> float:
    """The standard deviation of runs, by how those differ that follow one another: a change of level hardly shows."""
    steps = [abs(later - earlier) for earlier, later in pairwise(medians)]
    return statistics.median(steps) / 0.6745 / math.sqrt(2)
