# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover oracle``."""

import json
from pathlib import Path

import pytest
from tests.unit.report.test_sightings import MEMORY, SIZE, record_of

from switchover.cli.main import main
from switchover.record.rundir import make_run_directory

CASE = "unlike-guests.driver-qmp.change-mac"


def test_what_was_seen_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the records of a run into a file; noting it again changes nothing, and what was noted before stays."""
    run = make_run_directory("unlike", tmp_path)
    run.repeat(CASE, 1).write_record(record_of(MEMORY, SIZE, case=CASE))
    file = tmp_path / "seen.json"
    file.write_text(
        '{"cancelled": [{"case": "faults.fault.action-cancel.phase-active", "programs": "Q", "day": "2026-01-01"}]}'
    )
    assert main(["oracle", "seen", str(run.path), "--output", str(file)]) == 0
    noted = file.read_text()
    assert list(json.loads(noted)) == ["cancelled", "other-memory"]
    assert json.loads(noted)["other-memory"] == [{"case": CASE, "programs": "QEMU 10.0.13", "day": "2026-11-30"}]
    assert main(["oracle", "seen", str(run.path), "--output", str(file)]) == 0
    assert file.read_text() == noted
    assert "1 cases with 1 rules" in capsys.readouterr().out


def test_only_cases_of_the_catalogue_are_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Which everybody can run. One of a file of somebody's own is told, one that the catalogue has no more goes."""
    run = make_run_directory("unlike", tmp_path)
    run.repeat("it.x", 1).write_record(record_of(MEMORY, SIZE))
    file = tmp_path / "seen.json"
    file.write_text('{"cancelled": [{"case": "gone", "programs": "QEMU 1", "day": "2026-01-01"}]}')
    assert main(["oracle", "seen", str(run.path), "--output", str(file)]) == 0
    assert json.loads(file.read_text()) == {}
    assert "not noted: it.x" in capsys.readouterr().out


def test_a_file_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Is told, with what to do: where switchover is installed for everybody its own files are not the user's."""
    run = make_run_directory("unlike", tmp_path)
    assert main(["oracle", "seen", str(run.path), "--output", str(tmp_path / "no" / "seen.json")]) == 3
    assert "--output FILE" in capsys.readouterr().err
