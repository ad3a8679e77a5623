# SPDX-License-Identifier: GPL-2.0-or-later
"""Two arms of an experiment: how far apart they are, and whether that can be told. Pure; numbers only.

The difference is the Hodges-Lehmann shift. Its interval and the test whether there is a difference at all are of the
same ranks as it is: Wilcoxon's signed ranks for pairs, those of Mann and Whitney for arms apart. So one odd value moves
none of the three far. Where every round has a value of each arm the arms are paired by round, as they were measured:
what slows a whole round down is in both and cancels out, and the test swaps values within rounds only. That takes eight
rounds; with fewer nothing can be told. Of several arms p is corrected by Holm's method.
"""

import functools
import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

CONFIDENCE = 0.95
ALPHA = 0.01
"""A difference counts if its p is below."""
SEED = 1
"""Of all that is drawn: the same values have the same p."""
_RESAMPLES = 9999
_MANY_CELLS = 2500
"""Above that many pairs of values the interval is by the normal approximation of the ranks' distribution."""
_BATCH_CELLS = 1 << 20


@dataclass(frozen=True)
class Spread:
    """Values of one arm, in their unit."""

    count: int
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """Of an arm against the baseline, in the unit of the values.

    ``low``, ``high``: the 95 % interval of ``shift``. They and ``p`` are None if there are too few values for any
    difference to be told. ``paired``: by round. ``count``: pairs, or values of the smaller arm. ``arms``: how many are
    held against the baseline; ``p`` is corrected for them, the interval is not.
    """

    shift: float
    low: float | None
    high: float | None
    p: float | None
    paired: bool
    count: int
    arms: int = 1

    @property
    def is_told(self) -> bool:
        """Whether there is a difference, as far as can be told: chance is excluded, and the interval is on one side."""
        if self.low is None or self.high is None or self.p is None:
            return False
        return self.p < ALPHA and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Shift:
    """How far one arm is from another, with its interval at any confidence. ``estimates``: sorted; ``other``: values of
    the second arm, 0 if the arms are paired and ``count`` is that of pairs.
    """

    estimates: Any
    count: int
    other: int = 0

    @property
    def middle(self) -> float:
        import numpy  # here and below: it takes a second to import, and few commands need it

        return float(numpy.median(self.estimates))

    def find_interval(self, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
        """None: there are too few values to tell anything with this confidence."""
        outside = _count_outside(self.count, self.other, confidence)
        return (float(self.estimates[outside - 1]), float(self.estimates[-outside])) if outside > 0 else None


def describe_spread(values: Sequence[float]) -> Spread | None:
    """None: there are no values."""
    return Spread(len(values), statistics.median(values), min(values), max(values)) if values else None


def smallest_p(count: int, other: int = 0) -> float:
    """The smallest two-sided p that a permutation test can have: of ``count`` pairs, or of two arms."""
    return min(1.0, 2 / (math.comb(count + other, count) if other else 2**count))


def count_needed(*, paired: bool, arms: int = 1) -> int:
    """The fewest values of each arm, or pairs of them, with which a difference can be told; see :class:`Difference`."""
    return next(n for n in range(1, 100) if smallest_p(n, 0 if paired else n) * arms < ALPHA)


def correct_for_arms(differences: Sequence[Difference]) -> list[Difference]:
    """Of one number of several arms against one baseline, with p as each has it for itself: with p by Holm's method, so
    that the chance to tell any arm apart that is not is no larger than with one arm. Those without a p are none.
    """
    order = sorted((one.p, index) for index, one in enumerate(differences) if one.p is not None)
    corrected, largest = list(differences), 0.0
    for place, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - place)))
        corrected[index] = replace(differences[index], p=largest)
    return corrected


def find_difference(
    baseline: Sequence[float], other: Sequence[float], *, paired: bool, arms: int = 1
) -> Difference | None:
    """``other`` − ``baseline``. None: no value.

    ``paired``: both have a value of the same round at the same index. ``arms``: how many are held against this
    baseline; :func:`correct_for_arms` takes all of them.

    :raises ValueError: arms that are paired have not as many values
    """
    shift = find_shift(baseline, other, paired=paired)
    if shift is None:
        return None
    count, middle = min(len(baseline), len(other)), shift.middle
    attainable = smallest_p(count) if paired else smallest_p(len(baseline), len(other))
    edges = shift.find_interval()
    if attainable * arms >= ALPHA or edges is None:
        return Difference(middle, None, None, None, paired, count, arms)
    return Difference(middle, *edges, _find_p(baseline, other, paired=paired), paired, count, arms)


def find_shift(baseline: Sequence[float], other: Sequence[float], *, paired: bool) -> Shift | None:
    """As :func:`find_difference`, without the test."""
    if paired and len(baseline) != len(other):
        raise ValueError(f"{len(baseline)} values cannot be paired with {len(other)}")
    if not baseline or not other:
        return None
    import numpy

    first, second = numpy.asarray(baseline, float), numpy.asarray(other, float)
    if paired:
        return Shift(_list_means(second - first), len(first))
    return Shift(_list_shifts(first, second), len(first), len(second))


def find_ratio(baseline: Sequence[float], other: Sequence[float], *, paired: bool) -> Difference | None:
    """``other`` / ``baseline``, of positive values: a difference of logarithms; ``shift`` and interval are factors."""
    logs = find_difference([math.log(value) for value in baseline], [math.log(value) for value in other], paired=paired)
    if logs is None:
        return None
    low, high = (None if edge is None else math.exp(edge) for edge in (logs.low, logs.high))
    return Difference(math.exp(logs.shift), low, high, logs.p, logs.paired, logs.count)


def _list_means(differences: Any) -> Any:
    """Means of all pairs of differences, each with itself too; in order."""
    import numpy

    first, second = numpy.triu_indices(len(differences))
    return numpy.sort((differences[first] + differences[second]) / 2)


def _list_shifts(first: Any, second: Any) -> Any:
    """Differences of every value of one arm to every value of the other, in order."""
    import numpy

    return numpy.sort((second[:, None] - first[None, :]).ravel())


def _count_outside(first: int, second: int = 0, confidence: float = CONFIDENCE) -> int:
    """The rank (from 1) of the estimate that the interval begins with: the largest with which it lies above the true
    shift in at most half of what ``confidence`` leaves (2.5 % of all draws with 95 %). 0 or less: there is none.
    ``first``: pairs; with ``second``: the values of each arm.
    """
    if second and first * second <= _MANY_CELLS:
        ways = _deal_ranks(first, second)
    elif not second and first**2 <= _MANY_CELLS:
        ways = _sign_ranks(first)
    else:
        mean = first * second / 2 if second else first * (first + 1) / 4
        variance = mean * (first + second + 1) / 6 if second else mean * (2 * first + 1) / 6
        return math.floor(mean + statistics.NormalDist().inv_cdf((1 - confidence) / 2) * math.sqrt(variance))
    limit = (1 - confidence) / 2 * sum(ways)
    return sum(below <= limit for below in itertools.accumulate(ways))


@functools.lru_cache(64)
def _sign_ranks(count: int) -> list[int]:
    """In how many of the 2ⁿ ways to give the ranks 1 … n a sign the positive ones sum up to 0, 1, 2 …"""
    ways = [1]
    for rank in range(1, count + 1):
        ways = [one + other for one, other in zip(ways + [0] * rank, [0] * rank + ways, strict=True)]
    return ways


@functools.lru_cache(64)
def _deal_ranks(first: int, second: int) -> list[int]:
    """In how many ways to deal values to two arms 0, 1, 2 … pairs have the larger one in the first arm: coefficients of
    the Gaussian binomial.
    """
    ways = [1] + [0] * (first * second)
    for factor in range(1, first + 1):
        for index in range(len(ways) - 1, second + factor - 1, -1):
            ways[index] -= ways[index - second - factor]
        for index in range(factor, len(ways)):
            ways[index] += ways[index - factor]
    return ways


def _find_p(baseline: Sequence[float], other: Sequence[float], *, paired: bool) -> float:
    """Two-sided, of the ranks, over all ways to deal the values out if they are few enough. Ties share their ranks."""
    import numpy
    from scipy import stats  # type: ignore[import-untyped]

    first, second = numpy.asarray(baseline, float), numpy.asarray(other, float)
    if paired:
        ranks = numpy.sign(second - first) * stats.rankdata(numpy.abs(second - first))
        first, second = numpy.zeros_like(ranks), ranks
    else:
        ranks = stats.rankdata(numpy.concatenate((first, second)))
        first, second = ranks[: len(first)], ranks[len(first) :]
    found = stats.permutation_test(
        (first, second),
        lambda one, two, axis: numpy.mean(two, axis) - numpy.mean(one, axis),
        permutation_type="samples" if paired else "independent",
        vectorized=True,
        n_resamples=_RESAMPLES,
        batch=max(1, _BATCH_CELLS // (len(first) + len(second))),
        rng=numpy.random.default_rng(SEED),
    )
    return float(found.pvalue)
