# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover history``, ``trend`` and ``compare --history``: what they print, and what they refuse."""

import json
from pathlib import Path

import pytest
from tests.unit.builders import make_record
from tests.unit.report.history.test_trend import make_rows
from tests.unit.runs import make_line, make_run

from switchover.cli.main import main
from switchover.record.paths import history_file
from switchover.report.history.store import History
from switchover.report.metrics import list_metrics
from switchover.report.rundata import read_run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A number that became a third larger with the 16th of 30 runs."""
    file = tmp_path / "history.sqlite"
    with History.open(file, make=True) as history:
        history.add(make_rows(1, 30, step=0.33, at=15))
    return file


def test_what_there_is(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Cases with their runs, a number run by run, and the same for programs."""
    assert main(["history", "--history", str(path)]) == 0
    assert capsys.readouterr().out == "c  30 runs, 1 number\n1 case, 30 runs\n"
    assert main(["history", "c", "downtime.explained", "--history", str(path)]) == 0
    told = capsys.readouterr().out
    assert told.count(" 3 × ") == 30
    assert "worse since 2026-01-16" in told
    assert main(["trend", "c", "downtime.explained", "--json", "--history", str(path)]) == 0
    (trend,) = json.loads(capsys.readouterr().out)["trends"]
    assert (len(trend["levels"]), len(trend["changes"])) == (30, 1)


@pytest.mark.parametrize("words", [["trend"], ["trend", "c"]])
def test_what_changed(path: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    """Of all cases, or of one: since when, how far, and what else did."""
    assert main([*words, "--history", str(path)]) == 0
    told = capsys.readouterr().out
    assert told.startswith("c  downtime.explained\n  ── worse since 2026-01-16T00:00: ")
    assert "qemu: 10.0 → 11.1\n1 of 1 number changed" in told


def test_runs_are_added_where_they_are_looked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without ``--history`` in the state directory."""
    run = make_run(tmp_path, [make_record("a")], [make_line("a")])
    assert main(["history", "import", str(run.path)]) == 0
    assert "1 run added to" in capsys.readouterr().err
    with History.open(history_file()) as history:
        assert history.count_runs() == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["history", "c"], "takes a CASE and a METRIC"),
        (["history", "import"], "takes a CASE and a METRIC"),
        (["history", "c", "downtime"], "has no 'downtime' of 'c'"),
        (["history", "d", "downtime.explained"], "has no 'downtime.explained' of 'd'"),
        (["trend", "d"], "has no numbers of 'd'"),
        (["history", "import", "/nowhere"], "cannot be read"),
    ],
)
def test_what_is_refused(path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert main([*words, "--history", str(path)]) == 2
    assert message in capsys.readouterr().err


def test_a_history_as_the_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Against eight earlier runs with the same downtime, one that took twice as long is worse, and fails; the run
    itself, which the history has too, is no part of its baseline.
    """
    runs = []
    for number in range(9):
        downtime = (0.5 if number == 8 else 0.25) + number / 1000
        records = [make_record("a", repeat, downtime=downtime + repeat / 1000) for repeat in range(1, 9)]
        runs.append(make_run(tmp_path / str(number), records, [make_line("a", 8)]))
    path = tmp_path / "history.sqlite"
    with History.open(path, make=True) as history:
        for run in runs:
            history.add(list_metrics(read_run(run)))
    gate = ["compare", str(runs[-1].path), "--history", str(path), "--metric", "downtime.explained"]
    assert main([*gate, "--fail-if-worse", "5%"]) == 1
    told = capsys.readouterr().out
    assert "8 repeats against 64 of 8 runs" in told
    assert "1 worse" in told
    assert main([*gate, "--fail-if-worse", "500%"]) == 0
    assert main(gate) == 2
    assert main([*gate, "--fail-if-worse", "5%", "--axis", "x"]) == 2
