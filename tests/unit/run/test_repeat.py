# SPDX-License-Identifier: GPL-2.0-or-later
"""A repeat leaves a record, whatever happens to it."""

from pathlib import Path
from typing import Any

import pytest
from tests.unit.builders import EXACT, make_measurement, make_result
from tests.unit.fakes import FaultyHost

from switchover.devices.reference import Knobs
from switchover.guests.qemu import GuestKeys
from switchover.record.errors import GuestCrashed, HostLost, Refused
from switchover.record.record import VerdictName, read_record
from switchover.record.rundir import RepeatDirectory
from switchover.run import repeat
from switchover.run.case import Case, End, Pair
from switchover.run.passage import Passage
from switchover.run.repeat import Stopwatch, run_repeat

HOST = FaultyHost(lambda method, argument: method, "")
PAIR = Pair(End(HOST, "a"), End(HOST, "b"), GuestKeys("", "", "", ""))
CASE = Case(id="device.pre_copy=on", knobs=Knobs())


def run_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outcome: Passage | BaseException) -> Any:
    def execute(case: Case, pair: Pair, watch: Stopwatch, directory: RepeatDirectory, found: dict[str, Any]) -> Passage:
        watch.begin("start source")
        found["qemu"] = {"source": "10.0.2"}
        watch.begin("migrate")
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(repeat, "_execute", execute)
    return run_repeat(CASE, 3, PAIR, RepeatDirectory(tmp_path), {"switchover": "0.1.0"})


def test_a_completed_repeat(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The record on disk is the one that is returned, with settings, fingerprint, times and numbers."""
    number = make_measurement("downtime.explained", 0.25)
    record = run_with(monkeypatch, tmp_path, Passage(make_result(), {"source": ["stop"]}, {"parts": []}, (number,)))
    assert record.verdict.name is VerdictName.COMPLETED
    assert (record.case, record.repeat) == ("device.pre_copy=on", 3)
    assert list(record.seconds) == ["start source", "migrate"]
    assert record.fingerprint == {"switchover": "0.1.0", "qemu": {"source": "10.0.2"}}
    assert record.measured("downtime.explained") == 0.25
    assert record.clocks["source"] == {"offset_ns": EXACT.offset_ns, "bound_ns": EXACT.bound_ns, "exchanges": 1}
    assert record.settings["device_properties"] == {"enable-migration": "on", "migration-events": "on"}
    on_disk = read_record(tmp_path / "record.json")
    assert on_disk.verdict == record.verdict
    assert on_disk.measurements == record.measurements


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (Refused("the source QEMU rejected migrate.", why="blocker"), VerdictName.BLOCKED),
        (GuestCrashed("ended"), VerdictName.CRASHED),
        (HostLost("gone"), VerdictName.INFRASTRUCTURE_ERROR),
    ],
)
def test_errors_become_verdicts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, name: VerdictName
) -> None:
    """An expected error is a verdict by its class and step, recorded and not raised."""
    record = run_with(monkeypatch, tmp_path, error)
    assert record.verdict.name is name
    assert read_record(tmp_path / "record.json").verdict == record.verdict
    assert record.downtime == {"reason": "there was no migration"}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a bug")])
def test_an_interruption_and_a_bug_are_recorded_and_raised(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException
) -> None:
    """They end the run, and the record is there."""
    with pytest.raises(type(error)):
        run_with(monkeypatch, tmp_path, error)
    record = read_record(tmp_path / "record.json")
    assert record.verdict.name is VerdictName.INFRASTRUCTURE_ERROR
    assert record.verdict.reason.startswith("migrate: ")


def test_the_stopwatch() -> None:
    """Steps follow one another, each with its own seconds; ending without a step is nothing."""
    watch = Stopwatch()
    watch.end()
    assert watch.seconds == {}
    watch.begin("a")
    watch.begin("b")
    watch.end()
    assert list(watch.seconds) == ["a", "b"]
    assert all(0 <= seconds < 1 for seconds in watch.seconds.values())
