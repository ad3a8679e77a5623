# SPDX-License-Identifier: GPL-2.0-or-later
"""``demo`` without a lab: what it leaves in the history."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
from tests.unit.builders import make_record

from switchover.cli import demo as verb
from switchover.cli.main import main
from switchover.record.paths import history_file
from switchover.record.record import Record
from switchover.record.rundir import RepeatDirectory
from switchover.report.history.store import History
from switchover.scenarios.case import Case


@pytest.fixture(autouse=True)
def nothing_is_booted(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(case: Case, number: int, pair: object, repeat: RepeatDirectory, *_: object) -> Record:
        record = make_record(case.id, number)
        repeat.write_record(record)
        return record

    lab: Any = type("Lab", (), {"file": type("File", (), {"hosts": ["hosta", "hostb"]})})
    monkeypatch.setattr(verb, "acquire_lab", lambda: contextlib.nullcontext(lab))
    monkeypatch.setattr(verb, "pair_of_lab", lambda lab: None)
    monkeypatch.setattr(verb, "collect_fingerprint", lambda lab, pair: {})
    monkeypatch.setattr(verb, "run_repeat", run)


def test_its_numbers_go_into_the_history(tmp_path: Path) -> None:
    """Of both cases and all repeats; none with off."""
    words = ["demo", "--repeats", "2", "--output", str(tmp_path / "runs")]
    assert main([*words, "--history", "off"]) == 0
    assert not history_file().exists()
    assert main(words) == 0
    with History.open(history_file()) as history:
        assert history.count_runs() == 1
        assert len(history.find_rows_of(["downtime.explained"])) == 4
