# SPDX-License-Identifier: GPL-2.0-or-later
"""Ids of cases: the same characters are fine everywhere, and two cases never have one."""

import re

from hypothesis import given
from hypothesis import strategies as st

from switchover.record.rundir import folder_of
from switchover.scenarios.ids import make_ids, make_word, parse_id, render_id

KCIDB_PATH = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
"""``path`` of a test, KCIDB's schema: words of these characters with single dots between them."""

NAMES = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda name: name.strip("."))
AXES = st.text("abcdefghijklmnopqrstuvwxyz._", min_size=1)
VALUES = st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.lists(st.integers()))
POINTS = st.lists(AXES, unique=True, max_size=3).flatmap(
    lambda axes: st.lists(st.fixed_dictionaries({axis: VALUES.map(make_word) for axis in axes}), max_size=8)
)


def unique(points: list[dict[str, str]]) -> list[dict[str, str]]:
    return list({render_id(point): point for point in points}.values())


@given(NAMES, POINTS)
def test_spelling(name: str, points: list[dict[str, str]]) -> None:
    """Whatever names and values are, an id is a path of KCIDB, and a name of a file as it is."""
    for identity in make_ids(name, unique(points)):
        assert KCIDB_PATH.fullmatch(identity), identity
        assert len(identity) > 150 or folder_of(identity) == identity


@given(NAMES, POINTS)
def test_distinct(name: str, points: list[dict[str, str]]) -> None:
    """Values that differ make ids that differ, also if they are spelled alike."""
    points = unique(points)
    assert len(set(make_ids(name, points))) == len(points)


@given(NAMES, POINTS, st.randoms())
def test_of_its_values_alone(name: str, points: list[dict[str, str]], random: object) -> None:
    """The order of cases has nothing to do with their ids."""
    points = unique(points)
    ids = dict(zip(map(render_id, points), make_ids(name, points), strict=True))
    backwards = points[::-1]
    assert dict(zip(map(render_id, backwards), make_ids(name, backwards), strict=True)) == ids


@given(POINTS)
def test_what_people_read_is_the_values(points: list[dict[str, str]]) -> None:
    """The spelling with ``=`` and ``,`` gives back the values of axes, which have no ``=`` in their names."""
    for point in points:
        if point:
            assert parse_id(render_id(point)) == point


def test_a_third_one_changes_nothing() -> None:
    """Cases that are spelled alike have a digest of their own values each."""
    first = make_ids("x", [{"a": "1+2"}, {"a": "1=2"}])
    assert make_ids("x", [{"a": "1+2"}, {"a": "1 2"}, {"a": "1=2"}])[::2] == first
    assert all(re.fullmatch(r"x\.a-1_2-[0-9a-f]{4}", identity) for identity in first)
