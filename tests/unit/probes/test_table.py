# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of probes: one more in it goes the whole way through a repeat, and nothing else has to know of it."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runner.guest_sessions import CASE, COMPLETED, FAILED, World, make_pair, make_world

from switchover.guests.capabilities import LAB_CAPABILITIES, Need
from switchover.guests.qemu import QemuGuest
from switchover.probes import table
from switchover.probes.probe import Ended, Given, Probe, RunningProbe, Seen
from switchover.record.checks import CheckId
from switchover.record.errors import NotSupported
from switchover.record.measurement import Findings, Measurement, NotChecked, make_check
from switchover.record.record import Record, VerdictName
from switchover.record.rundir import RepeatDirectory
from switchover.record.units import Direction, Unit
from switchover.report.fields import render_fields
from switchover.runner import guest_session
from switchover.runner.case_runner import run_repeat
from switchover.scenarios.case import Case

WATCH = CheckId.IRQ_LOAD
TEMPERATURE = Measurement("temperature", 7, Unit.SECONDS, Direction.LOWER, "how warm it is", "thermometer")


@dataclass(frozen=True)
class Warmth:
    where: str

    def find(self, ended: Ended) -> Findings:
        assert not ended.paused
        return Findings((make_check(WATCH, True, "warm", self.where),), (TEMPERATURE,))


class Thermometer(Probe):
    """Is wanted by cases that are logged in to anew, since no key of scenarios is its own."""

    name = "temperature"
    needs = (Need.CLOCK,)
    checks = (WATCH,)

    def __init__(self, world: World) -> None:
        self.world = world
        self.error: Exception | None = None
        self.always = False

    def is_wanted(self, case: Case) -> bool:
        return case.login_after or self.always

    def is_needed(self, case: Case) -> bool:
        return case.login_after

    @contextlib.contextmanager
    def start(self, given: Given) -> Iterator[RunningProbe]:
        given.step("temperature before")
        self.world.note(f"start thermometer on {given.guest.host.name}")
        if self.error:
            raise self.error
        try:
            yield Reading(self.world)
        finally:
            self.world.note("end thermometer")

    def list_measurements(self) -> Sequence[Measurement]:
        return (TEMPERATURE,)


class Reading(RunningProbe):
    def __init__(self, world: World) -> None:
        self.world = world

    def settle(self) -> None:
        self.world.note("settle thermometer")

    def finish(self, arrival: QemuGuest) -> Seen:
        self.world.note(f"finish thermometer on {arrival.host.name}")
        return Warmth(arrival.host.name)

    def collect(self) -> Mapping[str, Iterator[Mapping[str, Any]]]:
        self.world.note("collect thermometer")
        return {"temperature.jsonl": iter([{"degrees": 7}])}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return make_world(monkeypatch)


@pytest.fixture
def thermometer(world: World, monkeypatch: pytest.MonkeyPatch) -> Thermometer:
    """In the table, with all that there is."""
    own = Thermometer(world)
    monkeypatch.setattr(table, "PROBES", (*table.PROBES, own))
    return own


WARM = replace(CASE, login_after=True)


def run(world: World, tmp_path: Path, case: Case, *outcomes: Any) -> Record:
    world.outcomes = list(outcomes)
    return run_repeat(case, 1, make_pair(world), RepeatDirectory(tmp_path), {})


@pytest.mark.usefixtures("thermometer")
def test_the_whole_way(world: World, tmp_path: Path) -> None:
    """It starts just before the migration, in a step of its own, is finished where the guest arrived and before that is
    asked, and then undone; what it found and its evidence are in the record and beside it.
    """
    record = run(world, tmp_path, WARM, COMPLETED)
    assert [line for line in world.log if "thermometer" in line or line.startswith(("migrate", "examine"))] == [
        "start thermometer on a",
        "migrate source to destination at at b",
        "settle thermometer",
        "finish thermometer on b",
        "examine destination",
        "collect thermometer",
        "end thermometer",
    ]
    assert list(record.seconds)[-4:] == ["temperature before", "migrate", "ask after", "release"]
    assert [(check.id, check.observed) for check in record.checks] == [(WATCH, "b")]
    assert record.measured("temperature") == 7
    assert record.not_checked == ()
    assert json.loads((tmp_path / "temperature.jsonl").read_text(encoding="utf-8")) == {"degrees": 7}


def test_of_a_migration_that_did_not_complete(thermometer: Thermometer, world: World, tmp_path: Path) -> None:
    """There are no findings, but the evidence; that of the second migration, by which such a case is followed, is none
    of the record's.
    """
    thermometer.always = True
    record = run(world, tmp_path, WARM, FAILED, COMPLETED)
    assert WATCH not in {check.id for check in record.checks}
    assert record.measured("temperature") is None
    told = [line for line in world.log if "thermometer" in line]
    assert told == [
        "start thermometer on a",
        "collect thermometer",
        "end thermometer",
        "start thermometer on a",
        "settle thermometer",
        "finish thermometer on b",
        "end thermometer",
    ]
    assert (tmp_path / "temperature.jsonl").exists()


@pytest.mark.usefixtures("thermometer")
def test_a_case_that_does_not_want_it(world: World, tmp_path: Path) -> None:
    """Nothing of it is done, or told but what its probes say where they are off: heartbeats that their numbers are
    missing for that.
    """
    record = run(world, tmp_path, CASE, COMPLETED)
    assert not any("thermometer" in line for line in world.log)
    assert "temperature before" not in record.seconds
    assert WATCH not in {check.id for check in record.checks}
    assert {number.note for number in record.measurements if number.name == "downtime.outside"} == {"the probe is off"}
    assert not (tmp_path / "temperature.jsonl").exists()


def test_a_guest_that_lacks_something(
    thermometer: Thermometer, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check that is not made is told with what the guest lacks, and that the case depends on it, which is why it is
    not right; where it is no probe of the case, nothing is told.
    """
    monkeypatch.setattr(thermometer, "start", lambda given: contextlib.nullcontext(Blind()))
    lacking = LAB_CAPABILITIES.without(Need.CLOCK)
    monkeypatch.setattr(guest_session, "find_capabilities", lambda guest, spec: lacking)
    record = run(world, tmp_path, WARM, COMPLETED)
    assert record.not_checked == (NotChecked(WATCH, WATCH.claim, Need.CLOCK, needed=True),)
    assert WATCH.claim in record.mismatch
    assert run(world, tmp_path, CASE, COMPLETED).not_checked == ()


class Blind(RunningProbe):
    def finish(self, arrival: QemuGuest) -> Seen:
        return table.PROBES[0].off


def test_a_case_that_is_none_without_it(thermometer: Thermometer, world: World, tmp_path: Path) -> None:
    """The verdict is of the step of the probe, nothing is migrated, and there is no evidence."""
    thermometer.error = NotSupported("There is no thermometer.")
    record = run(world, tmp_path, WARM, COMPLETED)
    assert record.verdict.name is VerdictName.NOT_SUPPORTED
    assert not any(line.startswith(("migrate", "collect")) for line in world.log)
    assert list(record.seconds)[-1] == "temperature before"


@pytest.mark.usefixtures("thermometer")
def test_its_numbers_are_in_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the key that asks for it."""
    monkeypatch.setattr("switchover.report.fields.PROBES", table.PROBES)
    text = render_fields()
    assert "With the probe `temperature` these too:" in text
    assert "| `temperature` | s | lower | how warm it is | thermometer |" in text
