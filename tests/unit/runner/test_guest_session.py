# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest session: it moves on completion, stays otherwise, and every side is released once, whatever fails."""

from dataclasses import replace
from typing import Any, cast

import pytest
from tests.unit.builders import make_result
from tests.unit.runner.guest_sessions import CASE, COMPLETED, FAILED, FIRST, World, make_world, name_of, travel

from switchover.checks.faults import list_faults
from switchover.devices.reference import Knobs
from switchover.guests.snapshots import Beginning
from switchover.migration.drivers import DRIVERS
from switchover.migration.phases import Action, Intervened, Phase
from switchover.record.checks import CheckId
from switchover.record.errors import GuestCrashed, HostLost, Refused, UsageError
from switchover.record.mismatch import MismatchKind
from switchover.record.record import Death, VerdictName
from switchover.runner.attempt import Attempt
from switchover.runner.guest_session import GuestSession
from switchover.runner.listener import RunListener
from switchover.runner.verdict import judge_attempt
from switchover.scenarios.case import Case, with_driver, with_one_device
from switchover.scenarios.expectation import Expectation, find_mismatches
from switchover.scenarios.faults import Fault


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return make_world(monkeypatch)


def test_it_moves_on_completion(world: World) -> None:
    """The guest boots while both sides are up; after completion the side that it left is released at once, its
    evidence first, and the one where it lives at the end.
    """
    world.outcomes = [COMPLETED]

    def use(made: GuestSession) -> None:
        pair = made.pair
        assert made.attempt(CASE).result is COMPLETED
        assert made.pair == pair.reversed()
        assert name_of(made.side) == "destination"
        world.note("in use")

    travel(world, use)
    arrived = ["examine destination", "keep source", "end source", "in use", "keep destination", "end destination"]
    assert world.log == [*FIRST, *arrived]


@pytest.mark.parametrize("status", ["failed", "cancelled", None])
def test_it_stays_without_completion(world: World, status: str | None) -> None:
    """Without completion the guest is looked at where it stayed, and whether its device made its fault; the side that
    waited for it is released.
    """
    world.outcomes = [make_result(status)]

    def use(made: GuestSession) -> None:
        pair = made.pair
        attempt = made.attempt(CASE)
        assert [check.label for check in attempt.checks] == [
            "guest.not-on-destination",
            "guest.on-source",
            "device.fault, source",
        ]
        assert (made.pair, name_of(made.side)) == (pair, "source")
        world.note("in use")

    travel(world, use)
    stayed = ["examine source, which stayed", "keep destination", "end destination"]
    assert world.log == [*FIRST, *stayed, "in use", "keep source", "end source"]


def test_devices_that_were_put_in_order_are_told_as_that(world: World) -> None:
    """What is claimed of a second migration is claimed of devices in order: they make nothing dirty any more."""
    world.outcomes = [FAILED]
    dirty = with_one_device(Knobs(dirty_bytes_per_sec=1 << 20, fail_at="STOP"))

    def use(made: GuestSession) -> None:
        made.attempt(replace(CASE, source=dirty))
        made.heal()
        assert made.side.spec.references[0].knobs == Knobs()

    travel(world, use, source=dirty)
    assert "knobs of source: fail_at none" in world.log


def test_there_and_back_and_there(world: World) -> None:
    """It boots once; each time the guest is to say what it said first, one generation later for each move."""
    world.outcomes = [COMPLETED, FAILED, COMPLETED]

    def use(made: GuestSession) -> None:
        for number in range(3):
            made.attempt(CASE, f"hop {number}")

    travel(world, use)
    assert [line for line in world.log if line.startswith(("start", "boot", "migrate", "end"))] == [
        "start source on a",
        "start hop 0 on b",
        "boot source",
        "migrate source to hop 0 at at b",
        "end source",
        "start hop 1 on a",
        "migrate hop 0 to hop 1 at at a",
        "end hop 1",
        "start hop 2 on a",
        "migrate hop 0 to hop 2 at at a",
        "end hop 0",
        "end hop 2",
    ]
    assert [answers.devices[0].generation for answers in world.before] == [1, 2]


@pytest.mark.parametrize(
    ("code", "ended", "last"),
    [
        ({"source": -9}, "source", []),
        ({"source": -9, "destination": 1}, "source", []),
        ({"destination": -9}, "destination", ["examine source, which stayed"]),
        ({}, "", ["examine source, which stayed"]),
    ],
)
def test_a_crash_is_a_attempt(world: World, code: dict[str, int], ended: str, last: list[str]) -> None:
    """A QEMU that ended, or a guest that panicked, is what the attempt came to; a guest that may still run is asked."""
    world.outcomes = [error := GuestCrashed("ended")]
    world.codes = code
    found: list[Attempt] = []
    travel(world, lambda made: found.append(made.attempt(CASE)))
    (attempt,) = found
    assert (attempt.result, attempt.error, attempt.ended) == (None, error, ended)
    assert attempt.checks
    assert world.log == [*FIRST, *last, "keep destination", "end destination", "keep source", "end source"]


KILLS = replace(CASE, faults=(Fault(Action.KILL_SOURCE, Phase.ACTIVE),), source=with_one_device(Knobs()))
KILL = Intervened("kill source", Phase.ACTIVE, "active", 1, 2)


@pytest.mark.parametrize(
    ("status", "killed", "made", "shown"), [(-9, True, [KILL], True), (-11, False, [], False), (-9, False, [], False)]
)
def test_a_kill_is_told_from_another_death(
    world: World, status: int, killed: bool, made: list[Intervened], shown: bool
) -> None:
    """Of a case that kills its source: what was done is told though there is no result, and a source that died by
    something else did not die of it.
    """
    world.outcomes = [GuestCrashed("ended")]
    world.codes, world.killed, world.made = {"source": status}, {"source"} if killed else set(), made
    found: list[Attempt] = []
    travel(world, lambda guest_session: found.append(guest_session.attempt(KILLS)))
    (attempt,) = found
    assert attempt.interventions == tuple(made)
    assert attempt.deaths == (Death("source", status, made=shown),)
    assert [check.passed for check in attempt.checks if check.id == CheckId.MIGRATION_FAULTS] == [shown]
    labels, verdict = list_faults(KILLS), judge_attempt(attempt)
    wrong = find_mismatches(Expectation(VerdictName.CRASHED, "source"), verdict, attempt.checks, labels, attempt.deaths)
    assert [one.kind for one in wrong] == ([] if shown else [MismatchKind.FAULT])


def test_a_blocked_migration_is_a_attempt(world: World) -> None:
    """What QEMU rejects leaves the guest where it is, and it is looked at."""
    world.outcomes = [error := Refused("the source QEMU rejected migrate.")]
    found: list[Attempt] = []
    travel(world, lambda made: found.append(made.attempt(CASE)))
    assert (found[0].error, found[0].ended) == (error, "")
    assert [check.label for check in found[0].checks] == ["guest.not-on-destination", "guest.on-source"]
    assert "examine source, which stayed" in world.log


STEPS = ["start source on a", *FIRST[1:], "examine destination", "keep source", "end source"]


@pytest.mark.parametrize("error", [HostLost("gone"), KeyboardInterrupt(), ValueError("a bug")])
@pytest.mark.parametrize("step", STEPS)
def test_whatever_fails_every_side_that_was_started_ends_once(world: World, step: str, error: BaseException) -> None:
    """An error at any step passes, and each side that was started has ended, once, its evidence having been kept."""
    world.outcomes = [COMPLETED]
    world.fail = {step: error}
    with pytest.raises(type(error)):
        travel(world, lambda made: cast(None, made.attempt(CASE)))
    started = [line.split()[1] for line in world.log if line.startswith("start ") and line != step]
    ended = [line.split()[1] for line in world.log if line.startswith("end ")]
    kept = [line.split()[1] for line in world.log if line.startswith("keep ")]
    assert sorted(ended) == sorted(started)
    assert sorted(kept) == sorted(started)


@pytest.mark.parametrize("outcome", [COMPLETED, FAILED, GuestCrashed("it ended")])
def test_an_attempt_is_told_while_both_sides_are_there(world: World, outcome: Any) -> None:
    """However it went: nothing is released before, so that somebody may look."""
    world.outcomes = [outcome]

    class Attempts(RunListener):
        def attempted(self, case: Case, source: Any, destination: Any, came_to: object) -> None:
            world.note(f"attempted {case.id}: {name_of(source)}, {name_of(destination) if destination else 'nobody'}")

        def release(self, guest: object, name: str) -> None:
            world.note(f"keep {name}")

    def use(made: GuestSession) -> None:
        made.listener = Attempts()
        made.attempt(CASE)

    travel(world, use)
    told = world.log.index(f"attempted {CASE.id}: source, destination")
    assert not any(line.startswith(("keep", "end")) for line in world.log[:told])
    assert any(line.startswith("end") for line in world.log[told:])


def test_a_destination_that_did_not_come_up_is_told(world: World) -> None:
    """The source is there alone, and the error passes."""
    world.fail = {"start destination on b": Refused("no such property")}
    told: list[Any] = []

    class Attempts(RunListener):
        def attempted(self, case: Case, source: object, destination: object, came_to: object) -> None:
            told.append((destination, type(came_to)))

    def use(made: GuestSession) -> None:
        made.listener = Attempts()
        made.attempt(CASE)

    with pytest.raises(Refused):
        travel(world, use)
    assert told == [(None, Refused)]


def test_a_state_takes_its_sizes_along(world: World) -> None:
    """Where the guest arrived its device has the sizes of the one that it left, whatever the case gave it."""
    world.outcomes = [COMPLETED]
    case = replace(CASE, destination=with_one_device(Knobs(initial_bytes=4096, save_bytes_per_sec=7)))

    def use(made: GuestSession) -> None:
        made.attempt(case)
        (device,) = made.side.spec.references
        assert device.knobs == replace(Knobs(), save_bytes_per_sec=7)

    travel(world, use)


@pytest.mark.parametrize(("size", "again"), [(4096, True), (Knobs().initial_bytes, False)])
def test_a_state_of_another_size_is_another_state(world: World, size: int, again: bool) -> None:
    """Knobs that change the size of the state change its checksum: the guest is given a state anew, and asked what it
    says of it. Other knobs leave it as it is.
    """
    world.outcomes = [COMPLETED]

    def use(made: GuestSession) -> None:
        made.attempt(CASE)
        world.log.clear()
        made.take_knobs(with_one_device(Knobs(initial_bytes=size, save_bytes_per_sec=7)))
        assert ("seed 0" in world.log) is again
        assert made.before is not None
        (device,) = made.before.devices
        assert device.generation == (1 if again else 2), "as it says now, or as it was to arrive"

    travel(world, use)


def test_what_its_driver_cannot_do(world: World) -> None:
    """A guest of libvirt is booted for the driver's reason, and not let reboot, before anything is done to it."""

    def use(made: GuestSession) -> None:
        assert made.beginning == Beginning("cold", DRIVERS["libvirt"].cannot_restore)
        with pytest.raises(UsageError, match="libvirt runs"):
            made.reboot()
        world.note("in use")

    travel(world, use, source=with_driver(CASE, "libvirt").source)
    assert world.log == ["start source on a", "in use", "keep source", "end source"]
