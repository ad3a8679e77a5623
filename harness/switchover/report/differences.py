# SPDX-License-Identifier: GPL-2.0-or-later
"""Two arms of an experiment: how far apart they are, and whether that can be told. Pure; numbers only.

The difference is the Hodges-Lehmann shift, which one odd value does not move far; its interval is a bootstrap (BCa).
Whether there is a difference at all is asked of a permutation test, exact for few values. Where every round has a value
of each arm the arms are paired by round, as they were measured: what slows a whole round down is in both and cancels
out, and the test swaps values within rounds only. That takes eight rounds; with fewer nothing can be told.
"""

import math
import statistics
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

CONFIDENCE = 0.95
ALPHA = 0.01
"""A difference counts if its p is below."""
SEED = 1
"""Of all that is drawn: the same values have the same interval."""
_RESAMPLES = 9999
_FEWER_RESAMPLES = 1999
_MANY_CELLS = 2500
"""Above that many pairs of values fewer resamples are drawn, else it takes many seconds."""
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
    difference to be told. ``paired``: by round. ``count``: pairs, or values of the smaller arm.
    """

    shift: float
    low: float | None
    high: float | None
    p: float | None
    paired: bool
    count: int

    @property
    def is_told(self) -> bool:
        """Whether there is a difference, as far as can be told: chance is excluded, and the interval is on one side."""
        if self.low is None or self.high is None or self.p is None:
            return False
        return self.p < ALPHA and (self.low > 0 or self.high < 0)


def describe_spread(values: Sequence[float]) -> Spread | None:
    """None: there are no values."""
    return Spread(len(values), statistics.median(values), min(values), max(values)) if values else None


def smallest_p(count: int, other: int = 0) -> float:
    """The smallest two-sided p that a permutation test can have: of ``count`` pairs, or of two arms."""
    return min(1.0, 2 / (math.comb(count + other, count) if other else 2**count))


def count_needed(*, paired: bool) -> int:
    """The fewest values of each arm, or pairs of them, with which a difference can be told."""
    return next(n for n in range(1, 100) if smallest_p(n, 0 if paired else n) < ALPHA)


def find_difference(baseline: Sequence[float], other: Sequence[float], *, paired: bool) -> Difference | None:
    """``other`` − ``baseline``. None: no value.

    ``paired``: both have a value of the same round at the same index.

    :raises ValueError: arms that are paired have not as many values
    """
    if paired and len(baseline) != len(other):
        raise ValueError(f"{len(baseline)} values cannot be paired with {len(other)}")
    if not baseline or not other:
        return None
    import numpy  # here and below: they take a second to import, and few commands need them

    first, second = numpy.asarray(baseline, float), numpy.asarray(other, float)
    count = min(len(first), len(second))
    shift = float(_middle_of_pairs(second - first) if paired else _middle_shift(first, second))
    attainable = smallest_p(count) if paired else smallest_p(len(first), len(second))
    if attainable >= ALPHA:
        return Difference(shift, None, None, None, paired, count)
    low, high = _find_interval(first, second, paired=paired)
    return Difference(shift, low, high, _find_p(first, second, paired=paired), paired, count)


def find_ratio(baseline: Sequence[float], other: Sequence[float], *, paired: bool) -> Difference | None:
    """``other`` / ``baseline``, of positive values: a difference of logarithms; ``shift`` and interval are factors."""
    logs = find_difference([math.log(value) for value in baseline], [math.log(value) for value in other], paired=paired)
    if logs is None:
        return None
    low, high = (None if edge is None else math.exp(edge) for edge in (logs.low, logs.high))
    return Difference(math.exp(logs.shift), low, high, logs.p, logs.paired, logs.count)


def _middle_of_pairs(differences: Any, axis: int = -1) -> Any:
    """Median of the means of all pairs of differences, each with itself too."""
    import numpy

    values = numpy.moveaxis(differences, axis, -1)
    first, second = numpy.triu_indices(values.shape[-1])
    return numpy.median((values[..., first] + values[..., second]) / 2, axis=-1)


def _middle_shift(first: Any, second: Any, axis: int = -1) -> Any:
    """Median of the differences of every value of one arm to every value of the other."""
    import numpy

    first, second = numpy.moveaxis(first, axis, -1), numpy.moveaxis(second, axis, -1)
    differences = second[..., :, None] - first[..., None, :]
    return numpy.median(differences.reshape((*differences.shape[:-2], -1)), axis=-1)


def _find_interval(first: Any, second: Any, *, paired: bool) -> tuple[float, float]:
    import numpy
    from scipy import stats  # type: ignore[import-untyped]

    data, statistic = ((second - first,), _middle_of_pairs) if paired else ((first, second), _middle_shift)
    if all(numpy.ptp(sample) == 0 for sample in data):
        exact = float(statistic(*data))  # nothing to draw from
        return exact, exact
    cells = len(first) * len(second)

    def draw(method: str) -> tuple[float, float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", stats.DegenerateDataWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            interval = stats.bootstrap(
                data, statistic, n_resamples=_RESAMPLES if cells <= _MANY_CELLS else _FEWER_RESAMPLES,
                batch=max(1, _BATCH_CELLS // cells), vectorized=True, confidence_level=CONFIDENCE, method=method,
                rng=numpy.random.default_rng(SEED),
            ).confidence_interval  # fmt: skip
        return float(interval.low), float(interval.high)

    low, high = draw("BCa")
    # BCa has no answer where leaving a value out changes nothing
    return draw("percentile") if math.isnan(low) or math.isnan(high) else (low, high)


def _find_p(first: Any, second: Any, *, paired: bool) -> float:
    """Two-sided, of the difference of means, over all ways to deal the values out if they are few enough."""
    import numpy
    from scipy import stats

    found = stats.permutation_test(
        (first, second), lambda one, two, axis: numpy.mean(two, axis) - numpy.mean(one, axis),
        permutation_type="samples" if paired else "independent", vectorized=True, n_resamples=_RESAMPLES,
        batch=max(1, _BATCH_CELLS // (len(first) + len(second))), rng=numpy.random.default_rng(SEED),
    )  # fmt: skip
    return float(found.pvalue)
