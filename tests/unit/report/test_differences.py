# SPDX-License-Identifier: GPL-2.0-or-later
"""Two arms: the shift, its interval, and whether there is one at all."""

import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchover.report import differences
from switchover.report.differences import (
    ALPHA,
    Difference,
    _count_outside,
    correct_for_arms,
    count_needed,
    describe_spread,
    find_difference,
    find_ratio,
    smallest_p,
)

VALUES = st.lists(st.floats(0.01, 10), min_size=1, max_size=12)


def draw(mean: float, count: int = 10, *, seed: int, deviation: float = 0.05) -> list[float]:
    generator = random.Random(seed)
    return [generator.gauss(mean, deviation) for _ in range(count)]


def require_difference(baseline: list[float], other: list[float], *, paired: bool) -> Difference:
    found = find_difference(baseline, other, paired=paired)
    assert found is not None
    return found


def test_known_answers() -> None:
    """Ten pairs, each 1 more: exactly that, and two of the 1,024 ways to swap them are as far apart. Arms that are not
    paired: 2 of 252 ways for five each.
    """
    baseline = [float(number) for number in range(10)]
    found = require_difference(baseline, [value + 1 for value in baseline], paired=True)
    assert (found.shift, found.low, found.high, found.p) == (1, 1, 1, 2 / 1024)
    found = require_difference([1.0, 2, 3, 4, 5], [11.0, 12, 13, 14, 15], paired=False)
    assert found.shift == 10
    assert found.p == pytest.approx(2 / 252)
    assert found.is_told


def test_the_shift_is_that_of_hodges_and_lehmann() -> None:
    """The median of all differences between the arms, and of the means of all pairs of differences in rounds."""
    assert require_difference([0.0, 0, 0], [1.0, 2, 9], paired=False).shift == 2
    # of the 36 pairs of them with each other and themselves, 15 have a mean of 1 and 10 one of 2
    assert require_difference([0.0] * 8, [1.0] * 5 + [3.0] * 2 + [30.0], paired=True).shift == 2


@pytest.mark.parametrize("paired", [True, False])
def test_a_shift_is_found(paired: bool) -> None:
    """One second less is found, with an interval around it, whether paired or not."""
    found = require_difference(draw(2, seed=1), draw(1, seed=2), paired=paired)
    assert found.is_told
    assert found.low is not None
    assert found.high is not None
    assert found.low < -1 + 0.06
    assert found.high > -1 - 0.06
    assert found.low < found.shift < found.high < 0


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_no_shift_is_not_found(paired: bool, seed: int) -> None:
    """Of twenty pairs of arms that are drawn alike none is told apart."""
    assert not require_difference(draw(2, seed=seed), draw(2, seed=seed + 100), paired=paired).is_told


def test_drift_cancels_out_in_rounds() -> None:
    """A machine that gets slower all the time hides 0.1 s from arms as a whole, and not from rounds."""
    baseline = [2 + 0.2 * number + error for number, error in enumerate(draw(0, seed=5, deviation=0.01))]
    other = [2 + 0.2 * number - 0.1 + error for number, error in enumerate(draw(0, seed=6, deviation=0.01))]
    assert require_difference(baseline, other, paired=True).is_told
    assert not require_difference(baseline, other, paired=False).is_told


def test_one_odd_value_decides_nothing() -> None:
    """A repeat that took ten times as long moves the shift by little; the answer is less sure, and no other one."""
    other = draw(1, seed=2)
    other[4] = 10
    found = require_difference(draw(2, seed=1), other, paired=True)
    assert found.shift == pytest.approx(-1, abs=0.1)
    assert found.low is not None
    assert found.low < -0.9
    assert found.is_told is False  # nine of ten pairs, against the largest: p = 86 of 1,024 ways


@pytest.mark.parametrize("paired", [True, False])
def test_shift_interval_and_p_are_of_one_estimator(paired: bool) -> None:
    """Twenty rounds that are 50 ms shorter each, but one that took a minute longer: a test of means is blind (p = 0.98
    for the like), one of ranks is not.
    """
    baseline, other = draw(2, 20, seed=1, deviation=0.01), draw(1.95, 20, seed=2, deviation=0.01)
    other[7] += 60
    found = require_difference(baseline, other, paired=paired)
    assert found.is_told
    assert found.shift == pytest.approx(-0.05, abs=0.01)
    assert found.p is not None
    assert found.p < 0.005


@pytest.mark.parametrize(("pairs", "outside"), [(6, 1), (8, 4), (10, 9), (20, 53), (50, 435)])
def test_the_interval_of_pairs_is_wilcoxons(pairs: int, outside: int) -> None:
    """The critical values of the signed-rank test at 5 %, two-sided, as printed tables have them (0, 3, 8, 52, 434):
    the interval begins with the next estimate.
    """
    assert _count_outside(pairs) == outside


@pytest.mark.parametrize(("first", "second", "outside"), [(5, 5, 3), (10, 10, 24), (20, 20, 128), (3, 20, 9)])
def test_the_interval_of_arms_apart_is_that_of_mann_and_whitney(first: int, second: int, outside: int) -> None:
    """The critical values of U at 5 %, two-sided, as printed tables have them (2, 23, 127, 8)."""
    assert _count_outside(first, second) == _count_outside(second, first) == outside


@pytest.mark.parametrize("counts", [(50,), (50, 50)])
def test_many_values_have_an_approximation_that_fits(counts: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the exact distribution takes too long the normal one gives nearly the same rank."""
    exact = _count_outside(*counts)
    monkeypatch.setattr(differences, "_MANY_CELLS", 0)
    assert _count_outside(*counts) == pytest.approx(exact, abs=2)


def test_several_arms_are_corrected_for() -> None:
    """Holm: the smallest p times the number of arms, the next times one less, none below the one before it."""
    ps = [0.03, 0.001, None, 0.02, 0.9]
    corrected = correct_for_arms([Difference(1, 0, 2, p, True, 10, 5) for p in ps])
    assert [one.p for one in corrected] == [pytest.approx(0.06), pytest.approx(0.004), None, pytest.approx(0.06), 0.9]
    assert [one.p for one in correct_for_arms([Difference(1, 0, 2, 0.004, True, 10)])] == [0.004]
    assert (count_needed(paired=True, arms=2), count_needed(paired=True, arms=5)) == (9, 10)
    few = find_difference([1.0] * 8, [2.0] * 8, paired=True, arms=2)
    assert few is not None
    assert (few.p, few.arms) == (None, 2)


@pytest.mark.parametrize(("paired", "needed", "p"), [(True, 8, 2 / 2**8), (False, 5, smallest_p(5, 5))])
def test_too_few(paired: bool, needed: int, p: float) -> None:
    """Below the number with which chance could be excluded there is a shift, and no interval and no p; with it there
    is all.
    """
    assert count_needed(paired=paired) == needed
    few = require_difference([1.0] * (needed - 1), [2.0] * (needed - 1), paired=paired)
    assert (few.shift, few.low, few.high, few.p, few.is_told) == (1, None, None, None, False)
    enough = require_difference([1.0] * needed, [2.0] * needed, paired=paired)
    assert enough.is_told
    assert enough.p == pytest.approx(p)


def test_one_value() -> None:
    """One pair, and one value against many: no more than the shift."""
    assert require_difference([1.0], [3.0], paired=True).shift == 2
    found = require_difference([1.0], [3.0] * 20, paired=False)
    assert (found.shift, found.is_told, found.p) == (2, False, None)


def test_nothing_is_missing() -> None:
    """An arm without values is no difference, and pairs have to be pairs."""
    assert find_difference([], [1.0], paired=False) is None
    assert find_difference([], [], paired=True) is None
    assert describe_spread([]) is None
    with pytest.raises(ValueError, match="cannot be paired"):
        find_difference([1.0], [1.0, 2.0], paired=True)


def test_ties() -> None:
    """Arms that are the same are 0 apart, with p 1; ties in some rounds count for neither."""
    same = require_difference([0.5] * 10, [0.5] * 10, paired=True)
    assert (same.shift, same.low, same.high, same.p, same.is_told) == (0, 0, 0, 1, False)
    some = require_difference([1.0] * 12, [2.0] * 9 + [1.0] * 3, paired=True)
    assert some.p == pytest.approx(2 / 2**9)


def test_a_ratio() -> None:
    """Half of it is half of it, with the interval as factors."""
    found = find_ratio(draw(2, seed=1), [value / 2 for value in draw(2, seed=1)], paired=True)
    assert found is not None
    assert (found.shift, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    assert find_ratio([], [1.0], paired=False) is None


@settings(max_examples=25, deadline=None)
@given(VALUES, VALUES)
def test_the_interval_lies_within_the_extremes(baseline: list[float], other: list[float]) -> None:
    """Shift and interval are no further apart than values are, p is a probability, and the same is found again."""
    found = require_difference(baseline, other, paired=False)
    lowest, highest = min(other) - max(baseline), max(other) - min(baseline)
    for value in (found.shift, found.low, found.high):
        assert value is None or lowest - 1e-9 <= value <= highest + 1e-9
    assert found.p is None or 0 < found.p <= 1
    assert found == find_difference(baseline, other, paired=False)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 10), st.floats(0.01, 10)), min_size=1, max_size=12))
def test_the_other_way_round(pairs: list[tuple[float, float]]) -> None:
    """Exchanging the arms changes the sign of the shift and nothing of p."""
    first, second = [one for one, _ in pairs], [two for _, two in pairs]
    there, back = require_difference(first, second, paired=True), require_difference(second, first, paired=True)
    assert there.shift == pytest.approx(-back.shift)
    assert there.p == (None if back.p is None else pytest.approx(back.p))


@given(VALUES)
def test_a_spread(values: list[float]) -> None:
    """Median and extremes, and how many."""
    found = describe_spread(values)
    assert found is not None
    assert (found.count, found.median, found.low, found.high) == (
        len(values),
        statistics.median(values),
        min(values),
        max(values),
    )


@given(st.integers(1, 30), st.integers(1, 30))
def test_the_smallest_p(first: int, second: int) -> None:
    """As many ways as there are to deal values to two arms, both ends counted."""
    assert smallest_p(first, second) == min(
        1, 2 * math.factorial(first) * math.factorial(second) / math.factorial(first + second)
    )
    assert 0 < ALPHA < 0.05
