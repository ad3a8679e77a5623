# SPDX-License-Identifier: GPL-2.0-or-later
"""How long cases took, from directories of earlier runs."""

import json
from pathlib import Path

from switchover.record.planfile import PlanFile, PlanLine, write_plan
from switchover.record.record import Record, Verdict, VerdictName
from switchover.record.rundir import RunDirectory, make_run_directory
from switchover.runner.leases.durations import estimate, read_durations


def make_run(runs: Path, *repeats: tuple[str, float], verdict: VerdictName = VerdictName.COMPLETED) -> RunDirectory:
    """A run with repeats of cases that took so long, in two steps."""
    directory = make_run_directory("made", runs)
    for number, (case, seconds) in enumerate(repeats, 1):
        steps = {"boot": seconds / 4, "migrate": seconds * 3 / 4} if seconds else {}
        record = Record(case, number, "", Verdict(verdict), {}, {}, seconds=steps)
        directory.repeat(case, number).write_record(record)
    return directory


def test_the_median_over_runs(tmp_path: Path) -> None:
    """Of all repeats that were run, whatever became of them; none that ended before its time."""
    make_run(tmp_path, ("a", 10), ("a", 12), ("b", 4))
    make_run(tmp_path, ("a", 100), ("c", 0))
    make_run(tmp_path, ("b", 6), verdict=VerdictName.HUNG)
    make_run(tmp_path, ("a", 1), ("d", 1), verdict=VerdictName.INFRASTRUCTURE_ERROR)
    assert read_durations(tmp_path) == {"a": 12, "b": 5}


def test_cases_of_one_id_in_two_scenarios(tmp_path: Path) -> None:
    """The one of the scenario comes first, then any of the id, then what the plan thinks."""
    for scenario, seconds in (("one", 10), ("two", 30)):
        run = make_run(tmp_path, ("x", seconds))
        write_plan(run, PlanFile((), (PlanLine("x", "x", scenario, 1, {}, "", 1),)))
    durations = read_durations(tmp_path)
    assert durations == {"x": 20, "x@one": 10, "x@two": 30}
    assert [estimate("x", scenario, durations, 7) for scenario in ("one", "two", "three")] == [10, 30, 20]
    assert estimate("y", "one", durations, 7) == 7


def test_what_cannot_be_read(tmp_path: Path) -> None:
    """Damaged runs, and those of a newer version, spoil nothing; a directory that is not there has nothing."""
    assert read_durations(tmp_path / "none") == {}
    run = make_run(tmp_path, ("a", 10), ("b", 10), ("c", 10), ("d", 10))
    (run.path / "plan.json").write_text("{")
    (run.path / "b" / "02" / "record.json").write_text("{")
    (run.path / "c" / "03" / "record.json").write_text('{"seconds": 3}')
    newer = run.path / "d" / "04" / "record.json"
    newer.write_text(json.dumps({**json.loads(newer.read_text()), "schema_version": 99, "later": 1}))
    assert read_durations(tmp_path) == {"a": 10, "d": 10}


def test_the_newest_runs(tmp_path: Path) -> None:
    """Older ones are not read."""
    for day, seconds in ((1, 99), (2, 10), (3, 20)):
        run = make_run(tmp_path, ("a", seconds))
        run.path.rename(tmp_path / f"2026-01-0{day}")
    assert read_durations(tmp_path, newest=2) == {"a": 15}
