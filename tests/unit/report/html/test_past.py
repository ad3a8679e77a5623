# SPDX-License-Identifier: GPL-2.0-or-later
"""Earlier runs on a page: out of the history, in order, with their changes, bounded, and text that stays text."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.builders import make_record
from tests.unit.report.history.test_store import make_row
from tests.unit.report.html.test_page import EVIL, Reader
from tests.unit.runs import make_line, make_run

from switchover.cli.main import main
from switchover.record.paths import history_file
from switchover.record.record import Verdict, VerdictName
from switchover.report.gate.questions import GATED
from switchover.report.history.store import History
from switchover.report.html import past as module
from switchover.report.html.page import render_page
from switchover.report.html.past import MOST_LEVELS, MOST_RUNS, choose_past, make_past
from switchover.report.metrics import MetricRow, list_metrics
from switchover.report.rundata import RunData, read_run


def make_earlier(run: RunData, count: int, *, step: float = 0.0, at: int = 0, case: str = "a") -> list[MetricRow]:
    """Rows of so many runs before this one, a minute apart, of two repeats each. ``step``: by how much the level is
    higher from run ``at`` on, where QEMU is another one.
    """
    (own,) = [row for row in list_metrics(run) if (row.case, row.metric) == (case, "downtime.explained")][:1]
    return [
        replace(
            own,
            run=f"night-{number:03}",
            run_started=f"2026-01-01T{number // 60:02}:{number % 60:02}:00+00:00",
            repeat=repeat,
            value=0.2 + step * (number >= at) + number % 3 / 1000 + repeat / 10000,
            fingerprint={**own.fingerprint, "qemu": f"{EVIL} 11.1" if number >= at else "10.0"},
        )
        for number in range(count)
        for repeat in (1, 2)
    ]


def make_this(tmp_path: Path, cases: Sequence[str] = ("a",), downtime: float = 0.25) -> RunData:
    """A run with a history beside it, in which it is not yet itself."""
    directory = make_run(tmp_path, [make_record(case, downtime=downtime) for case in cases], [*map(make_line, cases)])
    return replace(read_run(directory), history=tmp_path / "history.sqlite")


def keep(run: RunData, rows: Sequence[MetricRow]) -> None:
    assert run.history is not None
    with History.open(run.history, make=True) as history:
        history.add(rows)


def show(run: RunData, number: int = 0) -> dict[str, Any]:
    """What its page has of earlier runs of a case."""
    found: dict[str, Any] = Reader(render_page(run)).details(number)["past"]
    return found


def test_earlier_runs_and_this_one(tmp_path: Path) -> None:
    """The oldest first and this run last, each with median, smallest and largest of its repeats; downtime before all
    other numbers; a later run is not there, nor one twice of which the history has this run as well.
    """
    run = make_this(tmp_path)
    keep(run, make_earlier(run, 3))
    keep(run, [*list_metrics(run), make_row("later", case="a", run_started="2999-01-01T00:00:00+00:00")])
    told = show(run)
    assert told["why"] == ""
    assert [name for name, _, _ in told["runs"]] == ["night-000", "night-001", "night-002", run.directory.path.name]
    assert told["own"] == 3
    assert told["runs"][1][1:] == ["2026-01-01T00:01", f"{EVIL} 11.1"]
    (number,) = told["numbers"]
    assert (number["name"], number["unit"]) == ("downtime.explained", "s")
    assert number["levels"] == [
        [0, 2, 0.20015, 0.2001, 0.2002], [1, 2, 0.20115, 0.2011, 0.2012], [2, 2, 0.20215, 0.2021, 0.2022],
        [3, 1, 0.25, 0.25, 0.25],
    ]  # fmt: skip
    assert (number["changes"], number["left_out"], number["searched"]) == ([], "", True)


def test_a_change_with_what_else_changed(tmp_path: Path) -> None:
    """Where trend finds it, in its words, with the words of the fingerprint; runs of another class are counted."""
    run = make_this(tmp_path)
    earlier = make_earlier(run, 30, step=0.05, at=15)
    keep(run, earlier)
    keep(run, [replace(row, run=f"other {row.run}", definition=99) for row in earlier[:4]])
    (number,) = show(run)["numbers"]
    ((at, told, words),) = number["changes"]
    assert at == 15
    assert told.startswith("worse since 2026-01-01T00:15: 201.2 ms → 251.1 ms (1.25 times), by ")
    assert words == [["qemu", "10.0", f"{EVIL} 11.1"]]
    assert number["left_out"] == "2 runs left out, of another machine, start, question or definition than the last"
    assert EVIL not in " ".join(Reader(render_page(run)).words), "it is in what is packed, and nowhere else"


def test_a_case_that_has_no_number_this_time(tmp_path: Path) -> None:
    """What it had before is shown all the same."""
    run = make_this(tmp_path, ["a", "b"])
    keep(run, [*make_earlier(run, 2), *(replace(row, case="b") for row in make_earlier(run, 2))])
    failed = replace(make_record("b"), verdict=Verdict(VerdictName.FAILED, "source"), measurements=(), mismatch="x")
    run.directory.repeat("b", 1).write_record(failed)
    told = show(replace(read_run(run.directory), history=run.history), 1)
    assert [name for name, _, _ in told["runs"]] == ["night-000", "night-001"]
    assert told["own"] is None


def test_runs_of_one_name(tmp_path: Path) -> None:
    """As those of avocado's jobs have: they are told apart by their start."""
    run = make_this(tmp_path)
    keep(run, [replace(row, run=run.directory.path.name) for row in make_earlier(run, 3)])
    told = show(run)
    assert (len(told["runs"]), told["own"]) == (4, 3)


@pytest.mark.parametrize("wrong", ["none", "missing", "damaged", "empty"])
def test_where_there_is_nothing(tmp_path: Path, wrong: str) -> None:
    """It is said in a line why, and the page is there."""
    run = make_this(tmp_path)
    assert run.history is not None
    if wrong == "damaged":
        run.history.write_text("no database at all, and longer than the head of one would be")
    if wrong == "empty":
        keep(run, [make_row(case="another")])
    told = show(replace(run, history=None) if wrong == "none" else run)
    words = {
        "none": "It was made without a history",
        "missing": f"There is no history {run.history}.",
        "damaged": "is no history of switchover",
        "empty": "no number of an earlier run of this case",
    }
    assert words[wrong] in told["why"]
    assert "\n" not in told["why"]
    assert told["runs"] == told["numbers"] == []


def test_only_the_last_runs(tmp_path: Path) -> None:
    """However long the history is, in every number the same many, and those that come to a value."""
    run = make_this(tmp_path, ["a", "b"])
    earlier = make_earlier(run, MOST_RUNS + 20)
    lacking = [replace(row, value=None) if row.run == "night-069" else row for row in earlier]
    keep(run, [*lacking, *(replace(row, case="b") for row in earlier if row.run < "night-060")])
    for number, first, last in ((0, "night-019", "night-068"), (1, "night-010", "night-059")):
        runs = [name for name, _, _ in show(run, number)["runs"]]
        assert (runs[0], runs[-2], len(runs)) == (first, last, MOST_RUNS + 1)


def test_how_many_numbers_have_a_past() -> None:
    """All of a few cases; of many the gated ones, downtime first, so that all levels together are bounded."""
    names = [f"n{number:02}" for number in range(20)]
    few = [make_row(case=str(case), metric=name) for case in range(5) for name in [*names, "time.total"]]
    assert choose_past(few, 5) == list(dict.fromkeys([*GATED, *names]))
    hops = [make_row(case=str(case), hop=hop) for case in range(100) for hop in (1, 2, 3)]
    assert len(choose_past(hops, 100)) * 300 * MOST_RUNS <= MOST_LEVELS
    assert choose_past([], 10**6) == ["downtime.explained"]


def test_how_many_changes_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many numbers that may have changed the first ones; of the others it is said that nobody looked."""
    monkeypatch.setattr(module, "MOST_SEARCHES", 1)
    run = make_this(tmp_path, ["a", "b"])
    earlier = make_earlier(run, 20, step=0.05, at=10)
    rows = [*earlier, *(replace(row, case="b") for row in earlier), *list_metrics(run)]
    found = make_past(rows, ["downtime.explained"], run.head.started)
    assert [(len(found[case][0].changes), found[case][0].searched) for case in "ab"] == [(1, True), (0, False)]


def test_a_page_that_is_made_later(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Has the history beside the runs, or the one that is named."""
    run = make_this(tmp_path)
    keep(run, make_earlier(run, 2))
    words = ["show", str(run.directory.path), "--format", "html"]
    assert main([*words, "--history", str(run.history)]) == 0
    assert len(Reader(capsys.readouterr().out).details(0)["past"]["runs"]) == 3
    assert main(words) == 0
    assert str(history_file()) in Reader(capsys.readouterr().out).details(0)["past"]["why"]


def test_the_script_is_whole(tmp_path: Path) -> None:
    """Every part of the page's script is in it, once, and each knows this run by its name."""
    page = Reader(render_page(make_this(tmp_path)))
    for name in ("elements", "overview", "figures", "past", "case", "matrix", "ways"):
        part = (Path(module.__file__).parent / f"{name}.js").read_text(encoding="utf-8")
        assert page.scripts["script"].count(part.strip()) == 1
    assert len(list(Path(module.__file__).parent.glob("*.js"))) == 7
    assert json.loads(page.scripts["index"])["run"]
