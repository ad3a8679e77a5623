# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest of the user that lacks something travels too."""

from dataclasses import replace

import pytest
from tests.unit.runner.guest_sessions import (
    CASE,
    COMPLETED,
    LOOP,
    Watch,
    World,
    make_pair,
    make_saved_guests,
    make_world,
)

from switchover.devices.reference import Knobs
from switchover.guests.capabilities import LAB_CAPABILITIES, GuestCapabilities, Need
from switchover.guests.questions import Unanswered
from switchover.record.errors import NotSupported
from switchover.runner import guest_session
from switchover.runner.attempt import Attempt
from switchover.runner.guest_session import start_guest_session
from switchover.scenarios.case import Case, make_case, with_start


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return make_world(monkeypatch)


WARM = with_start(CASE, "warm")
OWN = make_case("own", replace(CASE.source, guest=replace(CASE.source.guest, initramfs="/own")), heartbeat_us=0)


def travel_with(
    world: World, monkeypatch: pytest.MonkeyPatch, case: Case, capabilities: GuestCapabilities
) -> list[Attempt]:
    monkeypatch.setattr(guest_session, "find_capabilities", lambda guest, spec: capabilities)
    world.outcomes = [COMPLETED]
    made: list[Attempt] = []
    with start_guest_session(case.source, make_pair(world), LOOP, Watch(world), make_saved_guests(world)) as started:
        made.append(started.attempt(case))
    return made


def test_a_guest_of_the_user_is_only_asked_what_it_can(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without canary and driver it gets neither, migrates, and what is not checked goes with the attempt."""
    capabilities = LAB_CAPABILITIES.without(Need.DIGEST, Need.DRIVER)
    (attempt,) = travel_with(world, monkeypatch, OWN, capabilities)
    assert not {"canary", "seed 0", "1 devices taken"} & set(world.log)
    assert "examine destination" in world.log
    assert {entry.lacking for entry in attempt.not_checked} == {Need.DIGEST, Need.DRIVER}


def test_a_driver_that_takes_no_device_is_lacking(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a guest of the user the driver may not fit; in the lab's that is an error. So is no room for the canary."""
    (attempt,) = travel_with(world, monkeypatch, OWN, LAB_CAPABILITIES)
    assert attempt.not_checked == ()
    assert "1 devices taken" in world.log
    world.log.clear()
    world.unable = {"1 devices taken", "canary"}
    (attempt,) = travel_with(world, monkeypatch, OWN, LAB_CAPABILITIES)
    assert {entry.lacking for entry in attempt.not_checked} == {Need.DRIVER, Need.MEMORY}
    assert world.asked_last == {"boot", "macs"}, "nothing is told or asked that it lacks the means for"
    for line, words in (("canary", "no canary"), ("1 devices taken", "no 1 devices taken")):
        world.unable = {line}
        with pytest.raises(Unanswered) as caught:
            travel_with(world, monkeypatch, WARM, LAB_CAPABILITIES)
        assert caught.value.why == words


def test_what_has_no_need_of_its_own_is_an_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that took the device and does not give it a state is broken, and lacks nothing."""
    world.unable = {"seed 0"}
    with pytest.raises(Unanswered, match="seed-0"):
        travel_with(world, monkeypatch, OWN, LAB_CAPABILITIES)


def test_a_load_that_the_guest_cannot_take_part_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is migrated then, and both sides are released."""
    device = replace(OWN.source.references[0], knobs=Knobs(irq_rates=(5,)))
    case = make_case("loaded", replace(OWN.source, devices=(device,)), heartbeat_us=0)
    with pytest.raises(NotSupported, match="irq_rates"):
        travel_with(world, monkeypatch, case, LAB_CAPABILITIES.without(Need.DRIVER))
    assert not any(line.startswith("migrate") for line in world.log)
    assert {"end source", "end destination"} <= set(world.log)
