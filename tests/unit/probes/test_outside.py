# SPDX-License-Identifier: GPL-2.0-or-later
"""The probe from outside: what stands in its way, and how its numbers and its check read."""

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from switchover.guests.capabilities import LAB_CAPABILITIES, Need
from switchover.guests.places import PLACES, GuestPlace, put_in_place
from switchover.guests.qemu import GuestKeys, QemuGuest
from switchover.guests.spec import GuestSpec
from switchover.hosts.heartbeat import Outlet
from switchover.hosts.waiting import paced
from switchover.migration.downtime import ExplainedDowntime, Part, UnexplainedDowntime
from switchover.migration.outside import (
    RESUME_BOUND_S,
    Control,
    Gap,
    OutsideDowntime,
    Traffic,
    UnseenDowntime,
)
from switchover.probes import outside
from switchover.probes.outside import OUTSIDE, Heard, compare_with_outside, find_obstacle, measure_outside, parse_sent
from switchover.probes.probe import Ended, Given
from switchover.record.checks import CheckId
from switchover.record.measurement import Check, Measurement, NotChecked
from switchover.record.units import Unit
from switchover.scenarios.case import Case

A, B = (
    Outlet(tuple(f"{name}.{place}" for place in range(3)), "10.77.0.250", "52:54:00:53:6f:ff") for name in ("/a", "/b")
)
BOTH: Mapping[str, Outlet | None] = {"source": A, "destination": B}
CONTROL = Control(0.01, 100, 0, 0.0101, 0.012, 0.015)
TRAFFIC = Traffic(500, 503, 3, 1, 2, (Gap("source", 7, 0.04, 0), Gap("destination", 9, 0.02, 0)))
SEEN = OutsideDowntime(0.31, 0, 310_000_000, 0, CONTROL, TRAFFIC)
PARTS = tuple(
    Part(name, "", seconds, 0)
    for name, seconds in (
        ("stop", 0.02),
        ("save iterable", 0.1),
        ("save the rest", 0.05),
        ("transfer and load", 0.1),
        ("start", 0.03),
    )
)
EXPLAINED = ExplainedDowntime(0.3, 0.002, 0, 300_000_000, "dst-precopy-bh-vm-started", PARTS, (), (), ())


def by_name(
    outside: OutsideDowntime | UnseenDowntime, explained: ExplainedDowntime | UnexplainedDowntime = EXPLAINED
) -> dict[str, Measurement]:
    return {number.name: number for number in measure_outside(outside, explained)}


def test_the_numbers() -> None:
    """Each from its own source; the silence is bound by the resolution, the difference by the clocks too."""
    numbers = by_name(SEEN)
    assert {name: number.value for name, number in numbers.items()} == {
        "downtime.outside": 0.31,
        "outside.period": 0.0101,
        "outside.resolution": 0.015,
        "outside.stall": 0.04,
        "outside.lost": 3,
        "outside.reordered": 2,
        "outside.duplicated": 1,
        "downtime.outside.resume": pytest.approx(0.01),
    }
    bounds = {name: number.bound for name, number in numbers.items() if number.bound is not None}
    assert bounds == {"downtime.outside": 0.015, "downtime.outside.resume": pytest.approx(0.017)}
    assert not any(number.note for number in numbers.values())
    counts = {name for name, number in numbers.items() if number.unit is Unit.HEARTBEATS}
    assert counts == {"outside.lost", "outside.reordered", "outside.duplicated"}
    assert by_name(replace(SEEN, traffic=replace(TRAFFIC, stalls=())))["outside.stall"].value == 0


def test_what_was_not_seen_is_missing_with_its_reason() -> None:
    """No number is made up: all are missing without the probe; what the control interval told stays."""
    numbers = by_name(UnseenDowntime("the probe is off"))
    assert {number.value for number in numbers.values()} == {None}
    assert {number.note for number in numbers.values()} == {"the probe is off"}
    numbers = by_name(UnseenDowntime("no heartbeat from the destination", CONTROL, TRAFFIC))
    assert (numbers["downtime.outside"].value, numbers["downtime.outside.resume"].value) == (None, None)
    assert numbers["outside.resolution"].value == 0.015
    assert by_name(SEEN, UnexplainedDowntime("no checkpoint"))["downtime.outside.resume"].note == "no checkpoint"


def test_what_is_strange_is_noted() -> None:
    """Losses inside the silence, and a guest that is heard later than it may take from its start."""
    assert "2 heartbeats" in by_name(replace(SEEN, lost=2))["downtime.outside"].note
    latest = 0.3 + RESUME_BOUND_S + 0.017
    assert by_name(replace(SEEN, seconds=latest - 0.001))["downtime.outside.resume"].note == ""
    assert "until it is heard" in by_name(replace(SEEN, seconds=latest + 0.001))["downtime.outside.resume"].note


@pytest.mark.parametrize(
    ("seconds", "passed"),
    [(0.0, False), (0.252, False), (0.254, True), (0.3, True), (2.316, True), (2.318, False), (60.0, False)],
)
def test_the_silence_is_judged_from_both_sides(seconds: float, passed: bool) -> None:
    """Until its start the guest cannot be heard for 0.27 s here, and it may take 2 s from the end of the downtime
    (0.3 s) to be heard: a silence that is shorter or longer, by more than 15 ms + 2 ms, contradicts it.
    """
    check = compare_with_outside(EXPLAINED, replace(SEEN, seconds=seconds), needed=False)
    assert isinstance(check, Check)
    assert check.passed is passed


def test_a_guest_on_a_slow_lab_has_longer_to_be_heard() -> None:
    """What it may take from its start is stretched by the lab's pace."""
    late = replace(SEEN, seconds=4.0)
    with paced(2.0):
        check = compare_with_outside(EXPLAINED, late, needed=False)
        assert isinstance(check, Check)
        assert check.passed
        assert by_name(late)["downtime.outside.resume"].note == ""


@pytest.mark.parametrize("seconds", [0.0, 0.31, 5.0])
@pytest.mark.parametrize(("longest_s", "made"), [(0.132, True), (0.134, False), (2.5, False)])
def test_a_noisy_control_interval_makes_no_check(seconds: float, longest_s: float, made: bool) -> None:
    """With an error of more than half of what is to be heard any value would pass: then nothing was checked."""
    seen = replace(SEEN, seconds=seconds, control=replace(CONTROL, longest_s=longest_s))
    found = compare_with_outside(EXPLAINED, seen, needed=True)
    assert isinstance(found, Check) is made
    if isinstance(found, NotChecked):
        assert found.needed
        assert "too coarse for a silence of 0.270000 s" in found.why


def test_no_check_without_both() -> None:
    """Without one of the numbers there is no check, and the reason why."""
    missing = compare_with_outside(UnexplainedDowntime("no checkpoint"), SEEN, needed=False)
    unseen = compare_with_outside(EXPLAINED, UnseenDowntime("no heartbeat"), needed=True)
    assert isinstance(missing, NotChecked)
    assert isinstance(unseen, NotChecked)
    assert (missing.why, missing.needed, unseen.why, unseen.needed) == ("no checkpoint", False, "no heartbeat", True)


def give(outlets: Mapping[str, Outlet | None], guest: object = None) -> Given:
    return Given(Case("x"), cast(QemuGuest, guest), (), outlets, GuestKeys("", "", "", ""))


@pytest.mark.parametrize(
    ("outlets", "lacking", "obstacle"),
    [
        ({"source": None, "destination": B}, (), "a host has no outlet to the controller"),
        ({"source": A, "destination": None}, (Need.SENDER,), "a host has no outlet to the controller"),
        ({"source": B, "destination": B}, (), "source and destination are one host"),
        (BOTH, (Need.SENDER,), f"the guest lacks {Need.SENDER}"),
    ],
)
def test_obstacles(outlets: Mapping[str, Outlet | None], lacking: tuple[Need, ...], obstacle: str) -> None:
    """Where heartbeats cannot be had, the block is entered all the same, the number is missing for that reason, and
    there is no evidence; the step is told all the same.
    """
    steps: list[str] = []
    given = replace(give(outlets), capabilities=LAB_CAPABILITIES.without(*lacking), step=steps.append)
    with OUTSIDE.start(given) as running:
        found = running.finish(cast(QemuGuest, None)).downtime
        assert running.collect() == {}
    assert isinstance(found, UnseenDowntime)
    assert (found.reason.startswith(obstacle), steps) == (True, ["control interval"])
    assert find_obstacle(BOTH) == ""


@pytest.mark.parametrize(
    ("heartbeat_us", "needed", "told"), [(0, False, []), (0, True, [True]), (10_000, False, [False])]
)
def test_what_there_is_without_heartbeats(heartbeat_us: int, needed: bool, told: list[bool]) -> None:
    """The numbers are missing in every record; that the check was not made is told of a case that would have it."""
    case = Case("x", heartbeat_us=heartbeat_us, outside_needed=needed)
    found = OUTSIDE.off.find(Ended(case, EXPLAINED, paused=False))
    assert (found.checks, [entry.needed for entry in found.not_checked]) == ((), told)
    assert {number.note for number in found.measurements} == {"the probe is off"}


def test_a_guest_that_was_paused_was_not_silent_by_itself() -> None:
    """There is no downtime that could be compared; that it was heard at one end at a time still holds, or does not."""
    paused = UnexplainedDowntime("paused")
    found = Heard(SEEN).find(Ended(Case("x", outside_needed=True), paused, paused=True))
    assert [(check.id, check.passed) for check in found.checks] == [(CheckId.GUEST_ONE_PLACE, True)]
    assert found.not_checked == ()
    values = {number.name: number.value for number in found.measurements}
    assert (values["downtime.outside"], values["outside.lost"]) == (None, 3)
    twice = Heard(UnseenDowntime("twice", CONTROL, TRAFFIC, 0.5))
    assert [check.passed for check in twice.find(Ended(Case("x"), paused, paused=True)).checks] == [False]


@pytest.mark.parametrize(("place", "number"), [(PLACES[0], 1), (PLACES[1], 2), (None, 0)])
def test_a_receiver_for_each_guest(monkeypatch: pytest.MonkeyPatch, place: GuestPlace | None, number: int) -> None:
    """That of a guest takes the outlets of its place at both ends, and no other one's."""
    taken: list[Mapping[str, str]] = []

    def start(sockets: Mapping[str, str], token: int) -> contextlib.AbstractContextManager[object]:
        taken.append(sockets)
        raise KeyboardInterrupt

    monkeypatch.setattr(outside, "start_receiver", start)
    own = GuestSpec(mac="52:54:00:77:00:65", address="10.77.0.120")
    guest = SimpleNamespace(spec=put_in_place(GuestSpec(), place) if place else own)
    with pytest.raises(KeyboardInterrupt), OUTSIDE.start(give(BOTH, guest)):
        pytest.fail("there is no receiver")
    assert taken == [{"source": f"/a.{number}", "destination": f"/b.{number}"}]


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        ("sent 964 skipped 33 failed 0\n", 964),
        ("", None),
        ("switchover-heartbeat: Network is unreachable", None),
        ("sent x skipped 33 failed 0", None),
        ("sent 9", None),
    ],
)
def test_the_senders_last_words(words: str, sent: int | None) -> None:
    """A sender that was not reached, or failed, tells no number."""
    assert parse_sent(words) == sent
