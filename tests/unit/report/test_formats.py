# SPDX-License-Identifier: GPL-2.0-or-later
"""Formats of reports: each tells the same run, and those that leave a file leave it."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.report.test_summary import make_example

from switchover.cli.main import main
from switchover.record.paths import history_file
from switchover.report.formats import FORMATS, write_reports
from switchover.report.rundata import read_run


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "metrics"])  # that tells of numbers only
def test_a_format_tells_the_whole_run_or_some_cases(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every case of the run is in it; of cases that are asked for, only these; and the command prints the same."""
    directory = make_example(tmp_path)
    run = replace(read_run(directory), history=history_file())
    whole = FORMATS[name].render(run)
    assert all(case.id in whole for case in run.cases)
    one, other = (case for case in run.cases if case.id.startswith("device."))
    assert one.id in FORMATS[name].render(run, [one])
    assert other.id not in FORMATS[name].render(run, [one]).replace(str(directory.path), "") or name == "json"
    assert main(["show", str(directory.path), "--format", name]) == 0
    assert capsys.readouterr().out == f"{whole}\n"


def test_files_that_a_run_leaves(tmp_path: Path) -> None:
    """JUnit's file is where CI looks for it, and no two formats have one name."""
    directory = make_example(tmp_path)
    run = read_run(directory)
    write_reports(run, directory)
    assert (directory.path / "junit.xml").read_text() == FORMATS["junit"].render(run)
    names = [made.file for made in FORMATS.values() if made.file]
    assert len(set(names)) == len(names)
