# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that is the subject: there before its first migration, and whatever a migration came to, while it lives."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runner.guest_sessions import CASE, COMPLETED, FAILED, World, make_pair, make_saved_guests, make_world

from switchover.devices.reference import Knobs
from switchover.record.errors import GuestCrashed, Refused, UsageError
from switchover.record.record import Record, VerdictName
from switchover.record.rundir import RepeatDirectory
from switchover.runner.case_runner import RunContext, run_repeat
from switchover.runner.listener import RunListener
from switchover.runner.subject_guest import SubjectGuest, start_subject_guest
from switchover.scenarios.case import Case, SideSpec, make_case, with_one_device

REFUSED = Refused("QEMU refused the device.", why="no such property")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = make_world(monkeypatch)
    world.wait_for_destination = lambda: None  # type: ignore[method-assign]  # there is none before the guest
    return world


class Subject:
    """A guest that is held, and its migrations, each as a repeat."""

    def __init__(self, world: World, held: SubjectGuest, directory: Path) -> None:
        self.world, self.held, self.directory = world, held, directory
        self.pair = make_pair(world)

    def migrate(self, outcome: Any = COMPLETED, case: Case = CASE) -> Record:
        place = self.directory / str(len(list(self.directory.iterdir())) + 1)
        place.mkdir()
        self.world.outcomes = [outcome]
        context = RunContext(snapshots=make_saved_guests(self.world), shared=self.held)
        return run_repeat(case, 1, self.pair, RepeatDirectory(place), {}, context)


@pytest.fixture
def subject(world: World, tmp_path: Path) -> Iterator[Subject]:
    directory = tmp_path / "repeats"
    directory.mkdir()
    with start_subject_guest(CASE, make_pair(world), make_saved_guests(world)) as held:
        yield Subject(world, held, directory)
    assert [line for line in world.log if line.startswith("end ")], "it ends with the block"


def test_it_is_there_before_its_first_migration(subject: Subject, world: World) -> None:
    """Booted, with its devices; no destination is started yet."""
    assert "boot source" in world.log
    assert not any(line.startswith("start destination") for line in world.log)
    assert subject.held.require().migrations == 0


def test_it_goes_on(subject: Subject, world: World) -> None:
    """There and back, the same guest."""
    first = subject.held.require()
    for number in (1, 2):
        assert subject.migrate().verdict.name is VerdictName.COMPLETED
        assert subject.held.require() is first
        assert first.migrations == number
    assert sum(line.startswith("boot") for line in world.log) == 1


@pytest.mark.parametrize("outcome", [REFUSED, FAILED])
def test_it_survives_a_migration_that_did_not_complete(subject: Subject, world: World, outcome: Any) -> None:
    """A destination that is refused, or a migration that fails, leaves it on the source; the next one completes.
    Nothing is done with it meanwhile that nobody asked for: no second migration.
    """
    first = subject.held.require()
    record = subject.migrate(outcome)
    assert record.verdict.name is (VerdictName.REFUSED if outcome is REFUSED else VerdictName.FAILED)
    assert sum(line.startswith("migrate ") for line in world.log) == 1
    assert subject.migrate().verdict.name is VerdictName.COMPLETED
    assert subject.held.require() is first
    assert first.migrations == 1


def test_it_survives_a_destination_that_does_not_start(subject: Subject, world: World) -> None:
    """QEMU refuses what the destination is started with, before anything is migrated."""
    first = subject.held.require()
    world.fail = {"start destination on b": REFUSED}
    assert subject.migrate().verdict.name is VerdictName.REFUSED
    assert subject.migrate().verdict.name is VerdictName.COMPLETED
    assert subject.held.require() is first


def test_one_that_has_ended(subject: Subject, world: World) -> None:
    """It is never replaced: whoever wants it is told."""
    subject.held.end()
    with pytest.raises(GuestCrashed, match="The guest has ended"):
        subject.held.require()
    record = subject.migrate()
    assert record.verdict.name is VerdictName.CRASHED
    assert sum(line.startswith("start source") for line in world.log) == 1


def test_a_case_that_it_cannot_go_on_with(subject: Subject) -> None:
    """Another driver, or another number of devices, is a mistake of whoever asks."""
    guest = replace(CASE.source.guest, driver="libvirt")
    for source in (replace(CASE.source, guest=guest), SideSpec(devices=())):
        with pytest.raises(UsageError, match="cannot go on with the case y"):
            subject.held.take(make_case("y", source), subject.pair, RunListener(), None)


def test_it_gets_the_devices_of_a_case(subject: Subject, world: World) -> None:
    """Knobs of the next migration, on the device that it has."""
    subject.migrate(case=make_case("y", with_one_device(Knobs(fail_at="read:7")), heartbeat_us=0))
    assert "knobs of source: fail_at read:7" in world.log
