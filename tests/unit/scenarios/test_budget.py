# SPDX-License-Identifier: GPL-2.0-or-later
"""Which cases are run in the time that there is."""

from hypothesis import given
from hypothesis import strategies as st

from switchover.scenarios.budget import Standing, choose_within, find_standing, order_by_age

CASES = st.lists(st.text("abcdefgh", min_size=1, max_size=2), unique=True, max_size=12)
TIMES = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=2), st.sampled_from(["2026-01-01", "2026-01-02", "2026-02-01"])
)


@given(CASES, TIMES)
def test_those_never_run_come_first(cases: list[str], last: dict[str, str]) -> None:
    """Then those whose last run is longest ago; of equals the first of the plan."""
    ordered = order_by_age(cases, last)
    assert sorted(ordered) == sorted(cases)
    keys = [(last.get(case, ""), cases.index(case)) for case in ordered]
    assert keys == sorted(keys)


@given(CASES, st.floats(0, 50), st.data())
def test_what_is_chosen_fits(cases: list[str], budget_s: float, data: st.DataObject) -> None:
    """It is the beginning, and one case more would not fit."""
    seconds = {case: data.draw(st.floats(0, 20)) for case in cases}
    chosen = choose_within(cases, seconds, budget_s)
    assert chosen == cases[: len(chosen)]
    assert sum(seconds[case] for case in chosen) <= budget_s + 1e-6
    if len(chosen) < len(cases):
        assert sum(seconds[case] for case in cases[: len(chosen) + 1]) > budget_s - 1e-6


@given(CASES.filter(bool), st.integers(1, 5))
def test_nights_add_up(cases: list[str], a_night: int) -> None:
    """Each night runs the next part; after so many nights as it takes all were run, and the first come again."""
    last: dict[str, str] = {}
    for night in range(-(-len(cases) // a_night)):
        assert find_standing(cases, last) == Standing(len(cases), night * a_night, "night 00" if night else "")
        for case in choose_within(order_by_age(cases, last), dict.fromkeys(cases, 1.0), a_night):
            last[case] = f"night {night:02}"
    assert last.keys() == set(cases)
    assert order_by_age(cases, last)[0] == cases[0] or len(cases) % a_night


def test_standing_of_others_does_not_count() -> None:
    """Only of the cases that are asked for."""
    assert find_standing(["a", "b"], {"b": "2026", "c": "2020"}) == Standing(2, 1, "2026")
