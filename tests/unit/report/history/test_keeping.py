# SPDX-License-Identifier: GPL-2.0-or-later
"""The end of a run: its numbers go into a history, and a history that cannot be written fails none."""

from pathlib import Path

import pytest
from tests.unit.builders import make_record
from tests.unit.runs import make_line, make_run

from switchover.record.errors import NotReady
from switchover.record.paths import history_file
from switchover.record.rundir import RunDirectory
from switchover.report.history.keeping import find_history, keep_numbers, keeping_numbers
from switchover.report.history.store import History
from switchover.report.rundata import read_run


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return make_run(tmp_path / "runs", [make_record("a"), make_record("a", 2)], [make_line("a", 2)])


def count(path: Path) -> tuple[int, int]:
    """Runs, and downtimes of the case ``a``."""
    with History.open(path) as history:
        return history.count_runs(), len(history.find_rows("a", "downtime.explained"))


def test_what_is_named() -> None:
    """A file, none, or the one beside the runs; a file may be called off."""
    assert find_history("off") is None
    assert find_history("./off") == Path("off")
    assert find_history("") == find_history(None) == history_file()


def test_numbers_are_kept(run: RunDirectory, tmp_path: Path) -> None:
    """Of a directory, or of a run that was read back, in a history that is made for it; twice is once."""
    path = tmp_path / "new" / "history.sqlite"
    assert keep_numbers(run, path) == keep_numbers(read_run(run), path) == ""
    assert count(path) == (1, 2)


def test_a_run_without_numbers_makes_no_history(tmp_path: Path) -> None:
    """Nor one that is to be in none."""
    path = tmp_path / "history.sqlite"
    assert keep_numbers(make_run(tmp_path / "runs", [], [make_line("a")]), path) == ""
    assert keep_numbers(make_run(tmp_path / "runs", [make_record("a")]), None) == ""
    assert not path.exists()
    assert not history_file().exists()


@pytest.mark.parametrize("wrong", ["history", "run"])
def test_what_cannot_be_done_is_one_line(run: RunDirectory, tmp_path: Path, wrong: str) -> None:
    """A history that is none, a run that cannot be read: it is said with the command that adds the run later."""
    path = tmp_path / "history.sqlite"
    (path if wrong == "history" else run.path / "run.json").write_text("no database, and no head of a run either")
    (line,) = keep_numbers(run, path).splitlines()
    assert line.startswith("warning: the run is not in the history: ")
    assert line.endswith(f"Add it later: switchover history import {run.path} --history {path}")


def test_numbers_of_a_run_that_ends_early_are_kept(
    run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What ended it goes on to whoever asked, also where the history cannot be written."""
    path = tmp_path / "history.sqlite"
    for file in (path, run.path / "run.json" / "none"):
        with pytest.raises(NotReady, match="gone"), keeping_numbers(run, file):
            raise NotReady("gone")
    assert count(path) == (1, 2)
    assert capsys.readouterr().err.count("warning: the run is not in the history") == 1
