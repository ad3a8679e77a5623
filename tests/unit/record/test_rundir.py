# SPDX-License-Identifier: GPL-2.0-or-later
"""The run directory: its layout, and no half of a file in it."""

import json
import os
import sys
from pathlib import Path

import pytest
from tests.unit.builders import make_record

from switchover.record.errors import NotReady
from switchover.record.planfile import PlanLine, list_missing, make_skipped
from switchover.record.record import Verdict, VerdictName
from switchover.record.rundir import RepeatDirectory, RunDirectory, folder_of, list_runs, make_run_directory


def test_its_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new directory tells what made it and when; two at once do not meet."""
    monkeypatch.setattr(sys, "argv", ["switchover", "demo", "--repeats", "2"])
    first, second = (make_run_directory("demo", tmp_path / "runs") for _ in range(2))
    assert first.path != second.path
    assert "-demo-" in first.path.name
    head = json.loads((first.path / "run.json").read_text())
    assert (head["title"], head["command"]) == ("demo", "switchover demo --repeats 2")
    assert head["started"].endswith("+00:00")


def test_its_default_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a place it is among the user's states."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert make_run_directory("x").path.parent == tmp_path / "switchover" / "runs"


def test_records_by_case_and_repeat(tmp_path: Path) -> None:
    """Records come back by case, then by repeat, in whatever order they were written."""
    run = RunDirectory(tmp_path)
    order = [("b", 2), ("a", 10), ("b", 1), ("a", 9)]
    for case, number in order:
        run.repeat(case, number).write_record(make_record(case, number))
    assert [(record.case, record.repeat) for record in run.records()] == sorted(order)
    assert RunDirectory(tmp_path / "none").records() == []


def test_more_than_99_repeats_stay_in_order(tmp_path: Path) -> None:
    """A series of a hundred comes back in its order."""
    run = RunDirectory(tmp_path)
    for number in (100, 11):
        run.repeat("a", number).write_record(make_record("a", number))
    assert [record.repeat for record in run.records()] == [11, 100]


@pytest.mark.parametrize("case", ["a/b", "../../etc", "axis=a b;x", "ä"])
def test_a_case_stays_in_its_directory(tmp_path: Path, case: str) -> None:
    """Whatever a case is called, it is one folder of the run directory."""
    directory = RunDirectory(tmp_path).repeat(case, 1).path
    assert directory.parent.parent == tmp_path
    assert directory.is_dir()
    assert ".." not in directory.relative_to(tmp_path).parts


def test_a_case_of_two_dots_stays_in_its_directory(tmp_path: Path) -> None:
    """Not even this name leads out."""
    directory = RunDirectory(tmp_path / "run").repeat("..", 1).path
    assert directory.resolve().is_relative_to(tmp_path / "run")


def test_files_of_a_repeat(tmp_path: Path) -> None:
    """Texts, lines of JSON and the record, as they were given."""
    directory = RunDirectory(tmp_path).repeat("a", 1)
    directory.write_text("source.console", "ready → €\n")
    directory.write_lines("samples.jsonl", [{"at_ns": 1}, {"text": "a\nb"}])
    directory.write_lines("empty.jsonl", [])
    assert (directory.path / "source.console").read_text() == "ready → €\n"
    lines = (directory.path / "samples.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"at_ns": 1}, {"text": "a\nb"}]
    assert (directory.path / "empty.jsonl").read_text() == ""


def test_no_half_of_a_file_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk leaves the file as it was, nothing beside it, and an error that says so."""
    directory = RepeatDirectory(tmp_path)
    directory.write_text("record.json", "old")

    def fail(self: Path, text: str, *args: object, **options: object) -> int:
        with open(self, "w") as file:
            file.write(text[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(NotReady, match="No space left on device") as caught:
        directory.write_text("record.json", "new and longer")
    assert "free some space" in caught.value.fix
    assert (tmp_path / "record.json").read_text() == "old"
    assert os.listdir(tmp_path) == ["record.json"]


def test_a_file_appears_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is complete a file is under another name."""
    seen: list[bool] = []
    real = Path.write_text

    def watch(self: Path, text: str, *args: object, **options: object) -> int:
        count = real(self, text)
        seen.append((tmp_path / "record.json").exists())
        return count

    monkeypatch.setattr(Path, "write_text", watch)
    RepeatDirectory(tmp_path).write_text("record.json", "x")
    assert seen == [False]
    assert (tmp_path / "record.json").read_bytes() == b"x"


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """A place under a file is an error with its path."""
    (tmp_path / "file").touch()
    with pytest.raises(NotReady, match="file"):
        make_run_directory("x", tmp_path / "file")


def test_a_long_name_of_a_case(tmp_path: Path) -> None:
    """A case of many axes has a folder, too, and not that of another one that begins alike."""
    run = RunDirectory(tmp_path)
    names = ["axis=value,ä" * 60 + end for end in ("1", "2")]
    for name in names:
        run.repeat(name, 1).write_record(make_record(name))
    assert [record.case for record in run.records()] == sorted(names, key=lambda name: folder_of(name))
    assert len({folder_of(name) for name in names}) == 2
    assert all(len(folder_of(name).encode()) <= 200 for name in names)


def test_a_directory_that_several_processes_agreed_on(tmp_path: Path) -> None:
    """Whoever comes second finds it, with the head that the first wrote."""
    first = make_run_directory("pytest", tmp_path, name="agreed", command="pytest -n 2")
    second = make_run_directory("pytest", tmp_path, name="agreed", command="another")
    assert first == second
    assert second.read_head().command == "pytest -n 2"


def test_the_next_repeat(tmp_path: Path) -> None:
    """It is one that nobody has, also if its directory was made before anything was written there."""
    run = make_run_directory("x", tmp_path)
    run.repeat("case", 1)
    assert run.next_repeat("case")[0] == 2
    number, repeat = run.next_repeat("case")
    assert (number, repeat.path) == (3, run.repeat_path("case", 3))
    assert run.next_repeat("another")[0] == 1


def test_a_record_is_asked_for(tmp_path: Path) -> None:
    """One that is not there is none, and asking for it makes no directory; paths are by case and number."""
    run = make_run_directory("x", tmp_path)
    for number in (10, 2, 1):
        run.repeat("b", number).write_record(make_record("b", number))
    assert run.find_record("b", 2) == make_record("b", 2)
    assert run.has_record("b", 10)
    assert run.find_record("a", 1) is None
    assert not run.has_record("b", 3)
    assert not run.repeat_path("a", 1).exists()
    assert [path.parent.name for path in run.record_paths()] == ["01", "02", "10"]


def test_repeats_that_are_missing(tmp_path: Path) -> None:
    """Of a case that is not supported one record is all that there should be."""
    run = make_run_directory("x", tmp_path)
    line = PlanLine("a", "a", "s", 3, {}, "", 1.0)
    assert list_missing(run, line) == [1, 2, 3]
    run.repeat("a", 2).write_record(make_record("a", 2))
    assert list_missing(run, line) == [1, 3]
    run.repeat("a", 1).write_record(make_skipped(line, Verdict(VerdictName.NOT_SUPPORTED)))
    assert list_missing(run, line) == []


def test_runs_are_listed_by_their_names(tmp_path: Path) -> None:
    """Directories without a head are no runs, and without a directory there is none."""
    runs = [make_run_directory("x", tmp_path, name=name) for name in ("2026-2", "2026-1")]
    (tmp_path / "other").mkdir()
    assert list_runs(tmp_path) == runs[::-1]
    assert list_runs(tmp_path / "nowhere") == []
