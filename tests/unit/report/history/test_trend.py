# SPDX-License-Identifier: GPL-2.0-or-later
"""Since when a number is as it is: changes that are there are found, and none where there is none."""

import random
import re
from dataclasses import replace
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.report.history.test_store import make_row

from switchover.report.history.text import render_changes, render_trends
from switchover.report.history.trend import Trend, find_penalty, make_trends, may_have_changed
from switchover.report.metrics import MetricRow

NOISE = st.tuples(st.integers(6, 40), st.integers(0, 3)).map(lambda pair: [1.0] * pair[0] + [2.0] * pair[1])
"""A level, and perhaps a few runs of another."""


def make_rows(
    seed: int, runs: int, *, step: float = 0.0, at: int = 10**6, odd: tuple[int, ...] = (), definition: int = 1
) -> list[MetricRow]:
    """Three repeats in each run, with 5 % of noise between runs. ``step``: by how much the level is higher from run
    ``at`` on; ``odd``: runs that took twice as long.
    """
    rng = random.Random(seed)
    rows = []
    for number in range(runs):
        level = (1 + rng.gauss(0, 0.05)) * (1 + step * (number >= at)) * (1 + (number in odd))
        started = f"2026-{1 + number // 28:02}-{1 + number % 28:02}T00:00:00+00:00"
        words = {"qemu": "11.1" if number >= at else "10.0", "controller": "A"}
        rows += [
            make_row(f"r{number:03}", repeat=repeat, value=level + rng.gauss(0, 0.01), run_started=started,
                     started=started, fingerprint=words, definition=definition)
            for repeat in range(1, 4)
        ]  # fmt: skip
    return rows


def make_one(rows: list[MetricRow]) -> Trend:
    (trend,) = make_trends(rows)
    return trend


def test_no_change_is_seen_where_there_is_none() -> None:
    """Of 200 series of noise, half of them with three odd runs, at most two seem to change."""
    found = 0
    for seed in range(200):
        odd = (5, 11, 23) if seed % 2 else ()
        found += bool(make_one(make_rows(seed, 30, odd=odd)).changes)
    assert found <= 2


@pytest.mark.parametrize("seed", range(10))
def test_a_step_is_found_where_it_is(seed: int) -> None:
    """A level that is 30 % higher from the 16th run on, in noise of 5 %: one change, there or at a neighbour; the
    medians before and after are told, and what else differs since then.
    """
    trend = make_one(make_rows(seed, 30, step=0.3, at=15))
    (change,) = trend.changes
    assert abs(int(change.at.run[1:]) - 15) <= 1
    assert change.factor == pytest.approx(1.3, abs=0.06)
    if change.at.run == "r015":
        assert change.changed == {"qemu": ("10.0", "11.1")}
    text = render_trends([trend])
    assert f"worse since {change.at.started[:16]}" in text
    assert "1 of 1 number changed" in render_changes([trend])


@given(st.lists(st.floats(0, 10), min_size=6, max_size=14) | NOISE, st.integers(0, 10**6))
@settings(deadline=None, max_examples=60)
def test_numbers_that_cannot_have_changed(values: list[float], seed: int) -> None:
    """No way to part the runs into levels of three and more costs less than one level, where it is said that there is
    none; checked against all ways to part them.
    """
    rng = random.Random(seed)
    noisy = [value + rng.gauss(0, 0.1) for value in values]
    if not may_have_changed(noisy):
        penalty = find_penalty(noisy)
        best = {0: -penalty}  # of the runs before each place
        for end in range(3, len(noisy) + 1):
            ways = [
                best[start] + penalty + sum(abs(one - median(noisy[start:end])) for one in noisy[start:end])
                for start in best
                if end - start >= 3
            ]
            best[end] = min(ways)
        whole = sum(abs(one - median(noisy)) for one in noisy)
        assert best[len(noisy)] >= whole * (1 - 1e-9)


def test_what_has_no_noise() -> None:
    """A number that never varies changes at once, and by little: bytes that a QEMU sends besides, say."""
    rows = make_rows(1, 20)
    rows = [make_row(row.run, repeat=row.repeat, value=1000 + 10 * (row.run >= "r010"), run_started=row.run_started,
                     direction="neither", unit="bytes") for row in rows]  # fmt: skip
    (change,) = make_one(rows).changes
    assert (change.at.run, change.before, change.after) == ("r010", 1000, 1010)
    assert "changed since" in render_trends([make_one(rows)])


def test_few_runs_have_no_levels() -> None:
    """With five runs nothing is said of changes, however large."""
    assert not make_one(make_rows(1, 5, step=9.0, at=3)).changes


def test_what_does_not_compare_is_left_out() -> None:
    """Runs of another machine, and of another definition, are no part of the trend of the last one, which says so."""
    older = [replace(row, run=f"older-{row.run}") for row in make_rows(1, 8, definition=2)]
    other = [make_row("other", value=9.0, fingerprint={"controller": "B"})]
    last = make_rows(2, 8)
    trend = make_one([*older, *other, *last])
    assert (len(trend.levels), trend.left_out) == (8, 9)
    assert "9 runs left out" in render_trends([trend])


def test_only_numbers_of_repeats_that_completed_count() -> None:
    rows = [*make_rows(1, 3), make_row("z", 30, value=None), make_row("z", 30, 2, value=9.0, verdict="failed")]
    assert [level.run for level in make_one(rows).levels] == ["r000", "r001", "r002"]


def test_a_level_that_changed_twice() -> None:
    """There and back: each change is held against the level before it, and ends where the next one begins; the last one
    is told where one line has to do.
    """
    rows = make_rows(1, 30, step=1.0, at=10)
    back = [replace(row, value=row.value / 2) if row.run >= "r020" and row.value else row for row in rows]
    trend = make_one(back)
    up, down = trend.changes
    assert (up.at.run, down.at.run) == ("r010", "r020")
    assert up.factor == pytest.approx(2, abs=0.2)
    assert down.factor == pytest.approx(0.5, abs=0.05)
    told = render_changes([trend])
    assert "better since 2026-01-21" in told
    assert "worse" not in told


def test_which_way_is_better() -> None:
    """More of a number of which more is better is better."""
    rows = [replace(row, direction="higher") for row in make_rows(1, 30, step=0.5, at=15)]
    assert "better since" in render_changes([make_one(rows)])


def test_what_moved_farthest_is_first() -> None:
    """Up or down: a third more comes after a third of what it was."""
    little = make_rows(1, 30, step=0.33, at=15)
    much = [replace(row, case="d", value=row.value and 3 - 2 * (row.run >= "r015")) for row in make_rows(2, 30)]
    told = render_changes(make_trends([*little, *much]))
    assert told.index("d  downtime.explained") < told.index("c  downtime.explained")
    assert told.endswith("2 of 2 numbers changed")


def test_by_how_much_less() -> None:
    """The smaller distance before the larger, as for more."""
    rows = [
        replace(row, unit="bytes", value=round(450 * (row.value or 0))) for row in make_rows(1, 30, step=-0.5, at=15)
    ]
    found = re.search(r"by (\d+) B … (\d+) B with 95% confidence", render_changes([make_one(rows)]))
    assert found is not None
    assert 100 < int(found[1]) < int(found[2]) < 400


def test_a_place_counts_only_if_the_runs_around_it_tell() -> None:
    """Four runs and four that are twice as long are too few for the test; six and six are not."""
    assert not make_one(make_rows(1, 8, step=1.0, at=4)).changes
    assert [change.at.run for change in make_one(make_rows(1, 12, step=1.0, at=6)).changes] == ["r006"]
