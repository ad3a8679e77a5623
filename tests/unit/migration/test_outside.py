# SPDX-License-Identifier: GPL-2.0-or-later
"""The silence between the sides, from arrivals; losses and their like are counted and never hidden."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.hosts.heartbeat import Arrival
from switchover.migration.outside import (
    MIN_CONTROL,
    Control,
    OutsideDowntime,
    UnseenDowntime,
    find_outside_downtime,
    find_smallest_period,
    is_supported,
)

MS = 1_000_000
PERIOD = 10 * MS
MIGRATE = 500 * MS
"""When the migration of these tests begins; the switchover is at one second."""


GUEST = 7_000 * MS
"""What the guest's clock is ahead of ours."""


def beats(side: str, first: int, count: int, at: int) -> list[Arrival]:
    times = [at + number * PERIOD for number in range(count)]
    return [Arrival(side, time, first + number, GUEST + time) for number, time in enumerate(times)]


def make_arrivals(silence_ms: int = 300, lost: int = 0) -> list[Arrival]:
    """100 heartbeats from the source, the last one at 990 ms; then silence, then 50 from the destination."""
    return beats("source", 0, 100, 0) + beats("destination", 100 + lost, 50, (990 + silence_ms) * MS)


def find(arrivals: list[Arrival], sent: int | None = None) -> OutsideDowntime:
    found = find_outside_downtime(arrivals, 0.01, MIGRATE, sent)
    assert isinstance(found, OutsideDowntime), found
    return found


@given(st.integers(1, 5000), st.randoms(use_true_random=False))
def test_the_silence_between_the_sides(silence_ms: int, generator: random.Random) -> None:
    """From the last heartbeat of the source to the first of the destination, in whatever order they are handed over."""
    arrivals = make_arrivals(silence_ms)
    generator.shuffle(arrivals)
    found = find(arrivals)
    assert found.seconds == pytest.approx(silence_ms / 1e3)
    assert (found.start_ns, found.end_ns) == (990 * MS, (990 + silence_ms) * MS)
    assert found.control == Control(0.01, 50, 0, 0.01, 0.01, 0.01)
    traffic = found.traffic
    assert (traffic.arrivals, traffic.lost, traffic.duplicated, traffic.reordered) == (150, 0, 0, 0)
    assert traffic.stalls == ()


@given(st.integers(0, 20))
def test_a_gap_with_losses_is_told_from_silence(lost: int) -> None:
    """Heartbeats that were sent in the gap and lost are counted in it: it was not silence."""
    found = find(make_arrivals(lost=lost))
    assert found.lost == lost
    assert found.traffic.lost == lost


@given(st.sets(st.integers(51, 98)), st.integers(0, 10))
def test_every_loss_is_counted(gone: set[int], unseen_at_the_end: int) -> None:
    """Losses while the guest ran, and those after the last arrival, by what the sender says it sent."""
    arrivals = [arrival for arrival in make_arrivals() if arrival.sequence not in gone]
    found = find(arrivals, sent=150 + unseen_at_the_end)
    assert found.traffic.lost == len(gone) + unseen_at_the_end
    assert found.lost == 0
    assert find(arrivals).traffic.lost == len(gone)


def test_duplicates_and_reordering_are_counted() -> None:
    """What arrives twice is a duplicate, what arrives after a later one is reordered, and neither is a loss."""
    arrivals = make_arrivals()
    first, second = arrivals[60], arrivals[61]
    arrivals[60:62] = [
        Arrival("source", first.at_ns, second.sequence, second.guest_ns),
        Arrival("source", second.at_ns, first.sequence, first.guest_ns),
        Arrival("source", second.at_ns + 1, first.sequence, first.guest_ns),
    ]
    traffic = find(arrivals).traffic
    assert (traffic.lost, traffic.duplicated, traffic.reordered) == (0, 1, 1)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(50, 2000))
def test_heartbeats_that_were_held_back_end_no_silence(first: int, second: int, held_ms: int) -> None:
    """What the guest sent before it stopped may come in two bursts while QEMU stops its devices, each late by as much:
    the silence began before.
    """
    arrivals = make_arrivals(silence_ms=3 * held_ms)
    for number in range(100 - first - second, 100):
        burst = 1 if number < 100 - second else 2
        arrivals[number] = replace(arrivals[number], at_ns=990 * MS + burst * held_ms * MS + number)
    found = find(arrivals)
    assert found.late == first + second
    assert found.seconds == pytest.approx((3 * held_ms + (first + second) * 10) / 1e3)
    assert (found.lost, found.traffic.lost) == (0, 0)


@given(st.integers(0, 5000))
def test_a_guest_that_goes_on_after_a_stall_is_heard(stall_ms: int) -> None:
    """However long it could not be heard: what it sent since ends the stall, and the silence begins with the last."""
    held = [replace(one, at_ns=one.at_ns + (stall_ms * MS if one.sequence >= 70 else 0)) for one in make_arrivals()]
    moved = [replace(one, guest_ns=one.guest_ns + (stall_ms * MS if one.sequence >= 70 else 0)) for one in held]
    found = find(moved)
    assert found.late == 0
    assert found.seconds == pytest.approx(0.3)


def test_stalls_while_the_guest_ran_are_listed() -> None:
    """A gap within one side, above the resolution, is a stall and not the downtime; the longest comes first."""
    shifted = [
        Arrival(
            arrival.side,
            arrival.at_ns + (50 * MS if arrival.sequence >= 70 else 0) + (700 * MS if arrival.sequence >= 120 else 0),
            arrival.sequence,
            arrival.guest_ns,
        )
        for arrival in make_arrivals()
    ]
    found = find(shifted)
    assert found.seconds == pytest.approx(0.3)
    assert [(stall.side, round(stall.seconds, 6)) for stall in found.traffic.stalls] == [
        ("destination", 0.71),
        ("source", 0.06),
    ]


@pytest.mark.parametrize(
    ("arrivals", "reason"),
    [
        ([], "fewer than"),
        (beats("source", 0, MIN_CONTROL - 1, 0) + beats("destination", 50, 50, 2000 * MS), "fewer than"),
        (beats("source", 0, 100, 0), "no heartbeat from the destination"),
        (beats("destination", 0, 100, 0), "no heartbeat from the source"),
        (beats("source", 0, 100, 0) + beats("destination", 100, 50, 980 * MS), "both sides at once"),
    ],
)
def test_what_was_not_seen_is_missing(arrivals: list[Arrival], reason: str) -> None:
    """Without heartbeats of both sides, one after the other, there is no number but a reason."""
    found = find_outside_downtime(arrivals, 0.01, MIGRATE)
    assert isinstance(found, UnseenDowntime)
    assert reason in found.reason


@pytest.mark.parametrize(("first", "overlap"), [(90, 0.01), (99, 0.01), (100, None)])
def test_a_guest_that_runs_at_both_ends(first: int, overlap: float | None) -> None:
    """Two guests go on with the same numbers. Heartbeats of one guest that were late on their way have numbers from
    before those of the destination.
    """
    found = find_outside_downtime(beats("source", 0, 100, 0) + beats("destination", first, 50, 980 * MS), 0.01, MIGRATE)
    assert isinstance(found, UnseenDowntime)
    assert found.overlap_s == (overlap and pytest.approx(overlap))


def control(period_ms: float, *, lost: int = 0, median: float = 1.0, p99: float = 1.2) -> Control:
    period = period_ms / 1e3
    return Control(period, 100, lost, median * period, p99 * period, 3 * period)


@pytest.mark.parametrize(
    ("changes", "supported"),
    [({}, True), ({"lost": 1}, False), ({"median": 1.06}, False), ({"p99": 2.0}, False), ({"p99": 1.99}, True)],
)
def test_what_a_supported_period_is(changes: dict[str, float], supported: bool) -> None:
    """Nothing lost, the rate held within 5 %, 99 of 100 gaps below two periods."""
    assert is_supported(control(10, **changes)) is supported  # type: ignore[arg-type]


def test_the_smallest_supported_period() -> None:
    """The smallest one above which all are supported too: one that holds by luck among those that do not is none."""
    controls = [control(1), control(2, p99=3), control(20), control(10), control(5)]
    assert find_smallest_period(controls) == control(5)
    assert find_smallest_period([control(10), control(10, lost=1), control(20)]) == control(20)
    assert find_smallest_period([control(20, lost=1), control(10)]) is None
    assert find_smallest_period([]) is None
