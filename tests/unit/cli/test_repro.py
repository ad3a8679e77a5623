# SPDX-License-Identifier: GPL-2.0-or-later
"""``repro`` and ``attach`` without hosts: what they take, what they run, and how they end."""

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.builders import make_record
from tests.unit.runs import make_run

from switchover.cli import repro as verb
from switchover.cli.main import main
from switchover.hosts import processes
from switchover.record.paths import history_file
from switchover.record.record import Record, Verdict, VerdictName
from switchover.record.rundir import RepeatDirectory
from switchover.report.history.store import History
from switchover.runner.case_runner import RunContext
from switchover.runner.standard import PRE_COPY_OFF, PRE_COPY_ON
from switchover.scenarios.case import Case
from switchover.scenarios.preflight import HostFacts, Known
from switchover.scenarios.recorded import render_settings


def record_of(case: Case, number: int = 1, verdict: VerdictName = VerdictName.COMPLETED) -> Record:
    mismatch = "" if verdict is VerdictName.COMPLETED else f"expected completed, was {verdict}"
    made = make_record(case.id, number)
    return replace(
        made,
        settings=render_settings(case),
        expectation=asdict(case.expectation),
        verdict=Verdict(verdict),
        mismatch=mismatch,
    )


class Harness:
    """In place of a lab and of what runs there: verdicts to come to, one repeat after the other."""

    def __init__(self) -> None:
        self.verdicts: list[VerdictName] = []
        self.ran: list[Case] = []
        self.lacking: Mapping[str, None] = {}

    def ask(self, cases: object) -> Known:
        facts = HostFacts("hosta", self.lacking)
        return Known((facts, facts))

    def pair(self, hosts: object) -> object:
        return object()

    def fingerprint(self, case: Case, hosts: object) -> Mapping[str, Any]:
        return {}

    def run(
        self,
        case: Case,
        number: int,
        pair: object,
        directory: RepeatDirectory,
        fingerprint: Mapping[str, Any],
        context: RunContext,
    ) -> Record:
        assert context.snapshots is not None, "a warm guest is saved once for all repeats"
        self.ran.append(case)
        record = record_of(case, number, self.verdicts.pop(0))
        directory.write_record(record)
        return record


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Harness:
    harness = Harness()
    monkeypatch.setattr(verb, "acquire_lab", lambda name: contextlib.nullcontext(object()))
    monkeypatch.setattr(verb, "LeasedLab", lambda lab: harness)
    monkeypatch.setattr(verb, "run_repeat", harness.run)
    return harness


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A run with both standard cases, one of them wrong in its second repeat."""
    wrong = replace(record_of(PRE_COPY_ON, 2, VerdictName.FAILED), settings=render_settings(PRE_COPY_ON))
    make_run(tmp_path / "runs", [record_of(PRE_COPY_OFF), record_of(PRE_COPY_ON), wrong])
    return tmp_path / "runs"


def repro(runs: Path, *words: str) -> int:
    return main(["repro", "last", *words, "--runs", str(runs), "--output", str(runs.parent / "again")])


def test_once(harness: Harness, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The very case is run, into a run directory of its own; the repeat that was wrong is the one to compare with."""
    harness.verdicts = [VerdictName.COMPLETED]
    assert repro(runs, "pre_copy=on") == 0
    assert harness.ran == [PRE_COPY_ON]
    told = capsys.readouterr()
    assert "1 repeats, 1 as expected, 0 with the verdict of the record, failed" in told.out
    assert "repeat 2 of the record: failed" in told.err
    (directory,) = (runs.parent / "again").iterdir()
    assert (directory / "device.pre_copy=on" / "01" / "record.json").exists()
    with History.open(history_file()) as history:
        (row,) = history.find_rows("device.pre_copy=on", "downtime.explained")
    assert row.run == directory.name


def test_on_hosts_that_lack_something(
    harness: Harness, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On hosts of the inventory instead of a lab; what a case needs and they lack is said, and nothing is run."""
    inventory = runs.parent / "inventory.toml"
    inventory.write_text('version = 1\n[host.rack1]\naddress = "10.0.0.11"\n')
    monkeypatch.setattr(verb, "acquire_lab", None)
    leased = contextlib.nullcontext(harness)
    monkeypatch.setattr(verb, "lease_inventory_hosts", lambda inventory, names, pair: leased)
    words = ["pre_copy=on", "--hosts", "rack1", "--inventory", str(inventory)]
    harness.verdicts = [VerdictName.COMPLETED]
    assert repro(runs, *words) == 0
    harness.lacking = {"qemu-system-x86_64": None}
    assert repro(runs, *words) != 0
    assert "hosta has no qemu-system-x86_64" in capsys.readouterr().err
    assert len(harness.ran) == 1


def test_until_it_fails(harness: Harness, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It goes on until the verdict is not the expected one, and says how many repeats that took."""
    harness.verdicts = [VerdictName.COMPLETED] * 3 + [VerdictName.FAILED, VerdictName.COMPLETED]
    assert repro(runs, "pre_copy=on", "--until-fail") == 1
    assert len(harness.ran) == 4
    told = capsys.readouterr().out
    assert "4 repeats, 3 as expected, 1 with the verdict of the record, failed" in told
    assert "#4: expected completed, was failed" in told


@pytest.mark.parametrize(("words", "count"), [(["--repeat", "3"], 3), (["--repeat", "2", "--until-fail"], 2)])
def test_so_many_times(harness: Harness, runs: Path, words: Sequence[str], count: int) -> None:
    """A number bounds the repeats, with --until-fail too; without it a failure does not end them."""
    first = VerdictName.COMPLETED if "--until-fail" in words else VerdictName.FAILED
    harness.verdicts = [first, *[VerdictName.COMPLETED] * 5]
    assert repro(runs, "pre_copy=on", *words) == (0 if first is VerdictName.COMPLETED else 1)
    assert len(harness.ran) == count


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["pre_copy"], "matches 2 cases"),
        (["nonsense"], "no case 'nonsense'"),
        (["pre_copy=on", "--repeat", "0"], "at least 1"),
    ],
)
def test_bad_words(
    harness: Harness, runs: Path, words: Sequence[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A case that is not there or not one only, and no repeat at all, are usage errors; nothing is made."""
    with contextlib.suppress(SystemExit):
        assert repro(runs, *words) == 2
    assert told in capsys.readouterr().err
    assert harness.ran == []
    assert not (runs.parent / "again").exists()


def test_a_case_that_was_not_run(harness: Harness, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It cannot be repeated from its record."""
    make_run(tmp_path / "runs", [replace(record_of(PRE_COPY_ON), settings={})])
    assert repro(tmp_path / "runs", "on") == 2
    assert "it was not run" in capsys.readouterr().err


SIDE = {
    "host": "hosta",
    "address": {"kind": "local"},
    "pid": 7,
    "monitor": "/m",
    "console": "/c",
    "log": "/l",
    "guest_address": "10.77.0.101",
    "key": "/k",
    "host_key": "ssh-ed25519 AAAA x",
}


@pytest.mark.parametrize(("way", "program"), [("--ssh", "ssh"), ("--console", "tail")])
def test_attach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, program: str) -> None:
    """The process becomes the program that leads to the guest."""
    run = make_run(tmp_path, [record_of(PRE_COPY_OFF)])
    kept = {"schema_version": 1, "case": "a=1", "process": os.getpid(), "sides": {"source": SIDE}}
    run.repeat("a=1", 1).write_text("kept.json", json.dumps(kept))
    became: list[Sequence[str]] = []
    monkeypatch.setattr(processes, "replace_process", became.append)
    monkeypatch.setattr(processes, "require_program", lambda name, **_: name)
    assert main(["attach", "last", "a=1", "source", way, "--runs", str(tmp_path)]) == 0
    assert [command[0] for command in became] == [program]


def test_attach_to_a_monitor_that_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The environment is not ready; no trace."""
    run = make_run(tmp_path, [record_of(PRE_COPY_OFF)])
    side = SIDE | {"monitor": str(tmp_path / "none")}
    kept = {"schema_version": 1, "case": "a=1", "process": os.getpid(), "sides": {"source": side}}
    run.repeat("a=1", 1).write_text("kept.json", json.dumps(kept))
    assert main(["attach", "last", "a=1", "source", "--qmp", "--runs", str(tmp_path)]) == 3
    assert "does not answer" in capsys.readouterr().err


def test_attach_to_a_run_that_keeps_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its guests are gone, or never were kept: said with how they would be."""
    make_run(tmp_path, [record_of(PRE_COPY_OFF)])
    assert main(["attach", "last", "x", "source", "--qmp", "--runs", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "keeps no guests" in told
    assert "--keep-on-fail" in told
