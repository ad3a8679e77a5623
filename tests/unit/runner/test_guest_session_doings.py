# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest session whose guest reboots, or is without a device for a while: who has it, and what is said anew."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.builders import make_result
from tests.unit.runner.guest_sessions import CASE, COMPLETED, World, make_world, travel

from switchover.migration.phases import Action, Intervened, Phase
from switchover.record.errors import GuestCrashed, Refused
from switchover.record.measurement import Check, NotChecked
from switchover.runner.guest_session import GuestSession, find_why_not_again, migrate_again
from switchover.scenarios.case import Case
from switchover.scenarios.faults import Fault
from switchover.scenarios.oracle import find_rule

UNPLUG, PLUG = Fault(Action.UNPLUG_DEVICE, Phase.BEFORE), Fault(Action.PLUG_DEVICE, Phase.AFTER)
AWAY = replace(CASE, faults=(UNPLUG, PLUG))
LEFT = replace(CASE, faults=(UNPLUG,))
REBOOTS = replace(CASE, faults=(Fault(Action.REBOOT_GUEST, Phase.ACTIVE),))
RESETS = replace(CASE, faults=(Fault(Action.RESET_DEVICE, Phase.ACTIVE),))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """One in which what is to be done before a migration is done."""
    made = make_world(monkeypatch)
    migrate = made.migrate

    def migrate_after(source: Any, destination: Any, address: str, *rest: Any) -> Any:
        for one in rest[2]:
            if one.phase is Phase.BEFORE:
                one.act()
        return migrate(source, destination, address, *rest)

    monkeypatch.setattr("switchover.runner.guest_session.migrate_sides", migrate_after)
    return made


def log_of(world: World, case: Case) -> tuple[list[str], list[Intervened]]:
    """From the migration on; what was made after it."""
    made: list[Intervened] = []

    def use(guest: GuestSession) -> None:
        made.extend(guest.attempt(case).interventions)

    travel(world, use)
    begin = next(number for number, line in enumerate(world.log) if "plug" in line or line.startswith("migrate "))
    return world.log[begin:], made


def test_a_device_is_plugged_in_where_the_guest_has_come_to(world: World) -> None:
    """It is unplugged at the source, the destination begins without it, and it is plugged in there before the guest is
    asked.
    """
    world.outcomes = [COMPLETED]
    log, made = log_of(world, AWAY)
    assert log[:4] == [
        "unplug dut of source",
        "migrate source to destination at at b",
        "plug dut into port 1 of destination",
        "examine destination",
    ]
    assert [(one.name, one.phase, one.status) for one in made] == [("plug device", Phase.AFTER, "completed")]


@pytest.mark.parametrize("outcome", [make_result("cancelled"), Refused("no", command="migrate")])
def test_a_device_is_plugged_in_where_the_guest_has_stayed(world: World, outcome: Any) -> None:
    """Also where the migration was rejected."""
    world.outcomes = [outcome]
    log, made = log_of(world, AWAY)
    assert log[2:4] == ["plug dut into port 1 of source", "examine source, which stayed"]
    assert [one.rejected for one in made] == [""]


def test_a_device_that_is_rejected(world: World) -> None:
    """Is told with the words that reject it; the guest is examined without it."""
    world.outcomes = [COMPLETED]
    world.fail = {"plug dut into port 1 of destination": Refused("no", why="vfio: no such device")}
    log, made = log_of(world, AWAY)
    assert "examine destination" in log
    assert [one.rejected for one in made] == ["vfio: no such device"]


def test_a_guest_that_ended_gets_no_device(world: World) -> None:
    """Nothing is asked of a QEMU that is gone."""
    world.outcomes = [GuestCrashed("source ended")]
    world.codes = {"source": 0}
    log, made = log_of(world, AWAY)
    assert not any(line.startswith("plug") for line in log)
    assert made == []


def test_a_guest_gets_its_device_back_for_the_next_case(world: World) -> None:
    """One that was left without it; its driver has it again, and its state is a new one."""
    world.outcomes = [COMPLETED, COMPLETED]

    def use(guest: GuestSession) -> None:
        guest.attempt(LEFT)
        assert guest.side.absent == {"dut"}
        guest.attempt(CASE, "next")

    travel(world, use)
    begin = world.log.index("plug dut into port 1 of destination")
    assert world.log[begin + 1 :][:4] == ["1 devices taken"] * 2 + ["seed 0", "migrate destination to next at at a"]


def test_a_second_migration_is_without_the_device_too(world: World) -> None:
    """A device that cannot migrate must not be there in it: it is given back, and taken again."""
    world.outcomes = [make_result("cancelled"), COMPLETED]

    def use(guest: GuestSession) -> None:
        guest.attempt(AWAY)
        again = migrate_again(guest, AWAY, "second")
        assert isinstance(again, Check)
        assert again.passed

    travel(world, use)
    lines = [line for line in world.log if "plug" in line or line.startswith("migrate ")]
    assert lines[2:] == [
        "plug dut into port 1 of source",
        "unplug dut of source",
        "migrate source to second at at b",
        "plug dut into port 1 of second",
    ]


def test_no_second_migration_of_a_guest_that_cannot(world: World) -> None:
    """Where the oracle knows that even one in order does not complete, that is told, and nothing is tried."""
    properties = {**CASE.source.references[0].properties, "x-migration-multifd-transfer": "on"}
    side = replace(CASE.source, devices=(replace(CASE.source.references[0], properties=properties),))
    cannot = replace(CASE, source=side, destination=side)
    world.outcomes = [make_result("cancelled")]

    def use(guest: GuestSession) -> None:
        guest.attempt(cannot)
        again = migrate_again(guest, cannot, "second")
        assert isinstance(again, NotChecked)
        assert again.reason.startswith("it cannot complete: with on, and not auto, there is no other way for the state")

    travel(world, use)
    assert not any(line.startswith("migrate") and "second" in line for line in world.log)
    with_multifd = replace(cannot, settings=replace(CASE.settings, capabilities={"multifd": True}))
    assert not find_why_not_again(with_multifd)


def test_no_second_migration_where_the_scenario_names_why() -> None:
    """A rule that depends on the hosts is not chosen by itself: a case expects it, or the guest is tried again. It
    counts only where it is about the guest in order too.
    """
    rule = find_rule("dma-logging-that-nobody-reads")
    assert rule is not None
    ours = CASE.source.references[0]
    side = replace(CASE.source, devices=(replace(ours, knobs=replace(ours.knobs, dirty_tracking=True)),))
    tracks = replace(CASE, source=side, destination=side)
    assert not find_why_not_again(tracks)
    assert not find_why_not_again(replace(CASE, expectation=rule.expectation))
    named = replace(tracks, expectation=replace(rule.expectation, because="as the scenario says"))
    assert find_why_not_again(named).startswith("it cannot complete: logging is started without an error")


@pytest.mark.parametrize(("case", "canary"), [(REBOOTS, True), (RESETS, False)])
def test_what_a_guest_says_is_said_anew(world: World, case: Case, canary: bool) -> None:
    """After a case that changed it, before the next migration: a boot has lost the canary too."""
    world.outcomes = [COMPLETED, COMPLETED]

    def use(guest: GuestSession) -> None:
        guest.attempt(case)
        world.log.clear()
        guest.attempt(CASE, "next")

    travel(world, use)
    told = [line for line in world.log if line in ("canary", "seed 0", "1 devices taken")]
    assert told == [*(["canary"] if canary else []), "1 devices taken", "seed 0"]
