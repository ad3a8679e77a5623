# SPDX-License-Identifier: GPL-2.0-or-later
"""The matrix of a run, and of the newest runs of its cases."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.builders import make_record
from tests.unit.runs import make_line, make_run

from switchover.cli.main import main
from switchover.record.ending import Ending
from switchover.record.errors import UsageError
from switchover.record.planfile import PlanLine
from switchover.record.record import Record, Verdict, VerdictName
from switchover.record.rundir import RunDirectory, list_runs
from switchover.report.latest import find_latest, has_verdict, list_cases_of
from switchover.report.matrix import Cell, choose_axes, make_cells, render_matrix
from switchover.report.rundata import read_run

POINTS = [
    ("10.0", "10.0", "8.0"),
    ("10.0", "11.1", "8.0"),
    ("11.1", "10.0", "8.0"),
    ("11.1", "11.1", "9.2"),
    ("11.1", "11.1", "8.0"),
]


def name(point: tuple[str, str, str]) -> str:
    return "source={},destination={},machine={},way=back".format(*point)


def line(point: tuple[str, str, str]) -> PlanLine:
    return replace(make_line(name(point), scenario="matrix"), rule="other-machine")


def record(point: tuple[str, str, str], verdict: VerdictName = VerdictName.COMPLETED, mismatch: str = "") -> Record:
    made = replace(make_record(name(point), 1), mismatch=mismatch)
    return made if verdict is VerdictName.COMPLETED else replace(made, verdict=Verdict(verdict, side="destination"))


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    records = [
        record(POINTS[0]),
        record(POINTS[1], VerdictName.FAILED, "expected completed, was failed"),
        record(POINTS[2]),
        *map(record, POINTS[3:]),
    ]
    return make_run(tmp_path, records, [line(point) for point in POINTS])


def cells_of(run: RunDirectory) -> list[Cell]:
    found = read_run(run)
    return make_cells([(found, case) for case in found.cases])


def test_a_cell_has_what_came_of_the_case(run: RunDirectory) -> None:
    """Verdict and expectation, downtime and bytes, and the way to the record and to a repetition."""
    good, bad, *_ = cells_of(run)
    assert (good.mark, good.verdict, good.expected, good.rule) == ("ok", "completed", "completed", "other-machine")
    assert good.axes == {"source": "10.0", "destination": "10.0", "machine": "8.0", "way": "back"}
    assert good.downtime
    assert (bad.mark, bad.verdict) == ("bad", "failed (destination)")
    assert Path(bad.record, "record.json").exists()
    assert any("repro" in words for words in bad.repeat)


def test_tables_of_three_axes(run: RunDirectory) -> None:
    """One for each value of the third; what is not as expected comes first below them, with what repeats it."""
    text = render_matrix(cells_of(run), ["source", "destination", "machine"])
    head, *rows = text.splitlines()
    assert head == "machine 8.0"
    assert rows[1].split() == ["source", "\\", "destination", "10.0", "11.1"]
    assert rows[2].startswith("10.0 ")
    assert "✓ completed" in rows[2]
    assert "✗ failed (destination)" in rows[2]
    assert "machine 9.2" in text
    assert "·" in text[text.index("machine 9.2") :]
    told = text[text.index("5 cases of 1 run: 1 not as expected, 4 as expected") :].splitlines()
    assert told[2].startswith(
        "✗ source=10.0,destination=11.1,machine=8.0,way=back: failed (destination) (expected completed)"
    )
    assert told[3].startswith("    record ")
    assert told[4].startswith("    repeat ")
    assert len([line for line in told if line.startswith("✓")]) == 4


def test_a_cell_of_several_cases_counts(run: RunDirectory) -> None:
    """Those that are not as expected first."""
    text = render_matrix(cells_of(run), ["source", "machine"])
    assert "✗ 1 ✓ 1" in text
    assert "✓ 2" in text


def test_axes_are_chosen(run: RunDirectory) -> None:
    """Those that vary, in their order; the others are told to whoever asks for one that there is not."""
    cells = cells_of(run)
    assert choose_axes(cells) == ["source", "destination", "machine"]
    assert choose_axes(cells, ["machine"]) == ["machine", "source"]
    assert choose_axes(cells, ["machine", "way"]) == ["machine", "way"]
    with pytest.raises(UsageError, match="no axis 'machin'; did you mean 'machine'"):
        choose_axes(cells, ["machin"])
    with pytest.raises(UsageError, match="up to 3 different axes"):
        choose_axes(cells, ["machine", "machine"])
    with pytest.raises(UsageError, match="no two axes"):
        choose_axes(cells[:1])


def test_nights_add_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of each case the newest run counts that came to a verdict; what was not run, or of which the environment failed,
    hides no older one.
    """
    first, second, third = POINTS[0], POINTS[1], POINTS[2]
    failed = record(first, VerdictName.FAILED, "x")
    make_run(tmp_path / "runs", [failed, record(second)], [line(first), line(second)]).path.rename(
        tmp_path / "runs" / "1"
    )
    make_run(tmp_path / "runs", [record(first)], [line(first)]).path.rename(tmp_path / "runs" / "2")
    broken = replace(record(second, VerdictName.INFRASTRUCTURE_ERROR, "x"), ending=Ending.NOT_RUN)
    make_run(tmp_path / "runs", [broken, record(third)], [line(second), line(third)]).path.rename(
        tmp_path / "runs" / "3"
    )
    runs = list_runs(tmp_path / "runs")
    ids = list_cases_of(runs, {"matrix"})
    assert ids == [name(first), name(second), name(third)]
    latest = find_latest(runs, ids)
    assert {identity: found.run.directory.path.name for identity, found in latest.items()} == {
        name(first): "2",
        name(second): "1",
        name(third): "3",
    }
    assert main(["show", "3", "--runs", str(tmp_path / "runs"), "--matrix", "source", "destination", "--latest"]) == 0
    told = capsys.readouterr().out
    assert "3 cases of 3 runs: 3 as expected" in told
    assert main(["show", "3", "--runs", str(tmp_path / "runs"), "--matrix", "--latest", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["cells"]) == 3


@pytest.mark.parametrize("verdict", [VerdictName.INFRASTRUCTURE_ERROR])
def test_an_environment_that_failed_is_no_verdict(verdict: VerdictName) -> None:
    """Nor is what somebody interrupted."""
    assert not has_verdict(record(POINTS[0], verdict))
    assert not has_verdict(replace(record(POINTS[0]), ending=Ending.INTERRUPTED))
    assert has_verdict(record(POINTS[0], VerdictName.HUNG))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--matrix", "--format", "junit"], "--matrix is shown as text or json, not as junit."),
        (["--latest"], "--latest goes with --matrix only."),
        (["--matrix", "sauce"], "There is no axis 'sauce'"),
    ],
)
def test_what_cannot_be_shown_is_told(
    run: RunDirectory, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit code 2."""
    assert main(["show", str(run.path), *words]) == 2
    assert told in capsys.readouterr().err
