# SPDX-License-Identifier: GPL-2.0-or-later
"""Covering arrays against all points there are."""

from collections.abc import Mapping, Sequence
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from switchover.scenarios.covering import Forbidden, cover, list_tuples

Axes = tuple[list[int], int, list[dict[int, frozenset[int]]]]


@st.composite
def make_axes(draw: DrawFn) -> Axes:
    """Sizes of axes, a strength, and what is forbidden."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=6))
    numbers = st.integers(0, len(sizes) - 1)

    def values(axis: int) -> st.SearchStrategy[frozenset[int]]:
        return st.frozensets(st.integers(0, sizes[axis] - 1), min_size=1)

    forbidden = [
        {axis: draw(values(axis)) for axis in draw(st.sets(numbers, min_size=1, max_size=4))}
        for _ in range(draw(st.integers(0, 8)))
    ]
    return sizes, draw(st.integers(2, 4)), forbidden


def list_allowed(sizes: Sequence[int], forbidden: Sequence[Forbidden]) -> list[tuple[int, ...]]:
    """All points in which nothing forbidden is whole."""
    return [
        point
        for point in product(*(range(size) for size in sizes))
        if not any(all(point[axis] in values for axis, values in one.items()) for one in forbidden)
    ]


@given(make_axes())
@settings(max_examples=300, deadline=None)
def test_all_that_is_allowed_is_covered(axes: Axes) -> None:
    """No point has what is forbidden, and whatever meets in some point that is allowed meets in one of the array; none
    is there twice, they are in order, and the same each time.
    """
    sizes, strength, forbidden = axes
    points = cover(sizes, strength, forbidden)
    allowed = list_allowed(sizes, forbidden)
    assert set(points) <= set(allowed)
    strength = min(strength, len(sizes))

    def list_met(among: Sequence[tuple[int, ...]]) -> set[tuple[int, ...]]:
        return {one for point in among for one in list_tuples(sizes, strength, point)}

    assert list_met(points) == list_met(allowed)
    assert list(points) == sorted(set(points))
    assert cover(sizes, strength, forbidden) == points


@given(make_axes())
@settings(max_examples=100, deadline=None)
def test_no_point_is_idle(axes: Axes) -> None:
    """Without any one of the points something would be missing."""
    sizes, strength, forbidden = axes
    strength = min(strength, len(sizes))
    points = cover(sizes, strength, forbidden)
    for point in points:
        others = {one for other in points if other != point for one in list_tuples(sizes, strength, other)}
        assert set(list_tuples(sizes, strength, point)) - others


def test_they_are_few() -> None:
    """Arrays have not many more points than the two largest axes make, or the three largest."""
    assert len(cover([5, 5, 4, 4, 4, 3, 3, 2], 2)) <= 30
    assert len(cover([6, 5, 5, 4, 4, 4, 4, 4, 4, 4, 3, 3, 3, 3, 2, 2], 3)) <= 240


def test_what_is_free_is_the_first_value() -> None:
    """Where nothing is to be covered any more, the first value stands that is allowed there."""
    points = cover([4, 4, 2, 2], 2, [{2: frozenset({0}), 0: frozenset({3})}])
    met: Mapping[bool, int] = {one: sum(point[3] == int(one) for point in points) for one in (False, True)}
    assert met[False] >= met[True]
    assert all(point[2] == 1 for point in points if point[0] == 3)


def test_a_value_more_at_the_end_leaves_most_points() -> None:
    """Most points stay as they are when the last axis gets a value after its others."""
    sizes = [5, 4, 4, 3]
    before, after = cover([*sizes, 3], 2), cover([*sizes, 4], 2)
    assert len({*before} & {*after}) > len(before) / 2


def test_what_follows_from_several_exclusions_is_found() -> None:
    """The only third value of an axis is forbidden with either value of another: so it is in no point."""
    forbidden = [{0: frozenset({2}), 1: frozenset({0})}, {0: frozenset({2}), 1: frozenset({1})}]
    points = cover([3, 2, 3], 2, forbidden)
    assert {point[0] for point in points} == {0, 1}
    assert cover([1, 2], 2, [{0: frozenset({0})}]) == ()
