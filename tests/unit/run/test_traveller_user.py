# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest of the user that lacks something travels too."""

from dataclasses import replace

import pytest
from tests.unit.builders import make_answers
from tests.unit.run.travelling import CASE, COMPLETED, LOOP, World, make_pair, make_world, watch

from switchover.devices.reference import Knobs
from switchover.record.errors import CommandFailed, Deadline, NotSupported
from switchover.run import traveller
from switchover.run.needs import LAB_MEANS, GuestMeans, Need
from switchover.run.passage import Passage
from switchover.run.traveller import start_traveller
from switchover.scenarios.case import Case, make_case


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return make_world(monkeypatch)


OWN = make_case("own", replace(CASE.source, guest=replace(CASE.source.guest, initramfs="/own")), heartbeat_us=0)


def travel_with(world: World, monkeypatch: pytest.MonkeyPatch, case: Case, means: GuestMeans) -> list[Passage]:
    monkeypatch.setattr(traveller, "find_means", lambda guest, spec: means)
    monkeypatch.setattr(
        traveller,
        "ask_guest",
        lambda guest, count, means, functions: replace(make_answers(1, devices=count), means=means),
    )
    world.outcomes = [COMPLETED]
    made: list[Passage] = []
    with start_traveller(case.source, make_pair(world), LOOP, watch(world)) as started:
        made.append(started.attempt(case))
    return made


def test_a_guest_of_the_user_is_only_asked_what_it_can(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without canary and driver it gets neither, migrates, and what is not checked goes with the passage."""
    means = LAB_MEANS.without(Need.DIGEST, Need.DRIVER)
    (passage,) = travel_with(world, monkeypatch, OWN, means)
    assert not {"canary", "seed 0", "1 devices taken"} & set(world.log)
    assert "examine destination" in world.log
    assert {entry.lacking for entry in passage.not_checked} == {Need.DIGEST, Need.DRIVER}


def test_a_driver_that_takes_no_device_is_lacking(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a guest of the user the driver may not fit; in the lab's that is an error. So is no room for the canary."""
    (passage,) = travel_with(world, monkeypatch, OWN, LAB_MEANS)
    assert passage.not_checked == ()
    assert "1 devices taken" in world.log
    world.log.clear()
    world.fail = {"1 devices taken": Deadline("no device"), "canary": CommandFailed("no room")}
    (passage,) = travel_with(world, monkeypatch, OWN, LAB_MEANS)
    assert "seed 0" not in world.log
    assert {entry.lacking for entry in passage.not_checked} == {Need.DRIVER, Need.MEMORY}
    world.fail = {"canary": CommandFailed("no room")}
    with pytest.raises(CommandFailed):
        travel_with(world, monkeypatch, CASE, LAB_MEANS)


def test_a_load_that_the_guest_cannot_take_part_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is migrated then, and both sides are released."""
    device = replace(OWN.source.devices[0], knobs=Knobs(irq_rates=(5,)))
    case = make_case("loaded", replace(OWN.source, devices=(device,)), heartbeat_us=0)
    with pytest.raises(NotSupported, match="irq_rates"):
        travel_with(world, monkeypatch, case, LAB_MEANS.without(Need.DRIVER))
    assert not any(line.startswith("migrate") for line in world.log)
    assert {"end source", "end destination"} <= set(world.log)
