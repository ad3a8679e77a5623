# SPDX-License-Identifier: GPL-2.0-or-later
"""A gate as Markdown: 72 columns, worse numbers first, and nothing that others wrote is markup."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from tests.unit.builders import make_record
from tests.unit.report.test_comparison import make_experiment
from tests.unit.report.test_gate import make_repeats, make_runs
from tests.unit.report.test_markdown import OURS, TEXTS, find_long, list_headings, list_markup
from tests.unit.runs import make_line, make_run

from switchover.cli.main import main
from switchover.record.rundir import RunDirectory
from switchover.report.gate.markdown import render_gated
from switchover.report.gate.rules import Finding, Word
from switchover.report.history.store import History
from switchover.report.literal import clean
from switchover.report.metrics import list_metrics
from switchover.report.rundata import read_run


def gate(capsys: pytest.CaptureFixture[str], *words: str, status: int) -> str:
    """What it printed, which is Markdown of 72 columns and of kinds that a reader of mails has."""
    assert main(["compare", *words, "--markdown"]) == status
    made = capsys.readouterr().out
    assert find_long(made) == []
    assert list_markup(made) <= OURS
    return made


def test_two_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both are named, what became of each number with its change, interval and reason, worse ones first; the status is
    that of the gate; the case that is worse can be repeated.
    """
    old, new = make_runs(tmp_path, 0.25, 0.30)
    made = gate(capsys, old, new, "--fail-if-worse", "5%", status=1)
    assert [content for _, content in list_headings(made)] == [
        "Live migrations of QEMU guests: worse than before?",
        "What was run, and on what",
        "Worse",
        "Cannot be told",
        "Not worse",
        "How to repeat",
    ]
    together = " ".join(made.split())
    assert "by more than 5 %, with 95 % confidence over all 4 numbers: 1 worse, 2 not worse, 1 can't tell." in together
    assert f"Baseline: `{Path(old).name}`" in made
    assert made.count(f"run           {Path(old).name}") == made.count(f"run           {Path(new).name}") == 1
    worse = made[made.index("## Worse") : made.index("## Cannot")]
    assert "Case `a`" in worse
    assert "downtime.explained  251.1 ms → 301.3 ms  +20.0 % [+19." in worse
    assert "all of the interval is beyond the bound (8 repeats against 8)" in " ".join(worse.split())
    assert "no value" in made[made.index("## Cannot") : made.index("## Not worse")]
    repeat = made[made.index("## How") :]
    assert new in repeat.replace("\\\n", "")
    assert old not in repeat.replace("\\\n", "")


def test_arms_and_hops_are_repeated_by_their_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The arm that is worse, and not the one that it is held against."""
    lines = [make_line(f"arm={arm}", 10) for arm in ("off", "on", "ack")]
    run = make_run(tmp_path, make_experiment(10), lines)
    words = [str(run.path), "--axis", "arm", "--baseline", "on", "--metric", "downtime.explained"]
    made = gate(capsys, *words, "--fail-if-worse", "5%", status=1)
    worse = made[made.index("## Worse") :]
    assert "Case `arm=off against on`" in worse
    repeat = made[made.index("## How") :]
    assert "arm=off" in repeat
    assert "arm=on" not in repeat


def test_a_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its runs are the baseline, without names."""
    *earlier, last = make_runs(tmp_path, 0.25, 0.26, 0.24, 0.25, 0.5)
    path = tmp_path / "history.sqlite"
    with History.open(path, make=True) as history:
        for directory in earlier:
            history.add(list_metrics(read_run(RunDirectory(Path(directory)))))
    made = gate(capsys, last, "--history", str(path), "--fail-if-worse", "5%", status=1)
    assert "Baseline: `earlier runs`" in made
    assert "8 repeats against 32 of 4 runs" in " ".join(made.split())


@given(TEXTS)
@settings(deadline=None)
def test_any_text(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever an id, a number's name, a reason, a note and a baseline say, it is no markup and no line is too long."""
    run = read_run(make_run(tmp_path_factory.mktemp("runs"), [make_record(clean(text).strip() or "x")]))
    findings = [
        Finding(text, text, "s", "lower", word, text, 0.1, 0.05, 0.2, 0.95, 1.0, 1.1, 8, 8, 1, notes=(text,))
        for word in Word
    ]
    made = render_gated(findings, 0.05, text, [run])
    assert find_long(made) == []
    assert list_markup(made) <= OURS
    assert [tag for tag, _ in list_headings(made)][:3] == ["h1", "h2", "h2"]


def test_only_what_is_worse_is_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of two cases the one that became worse; where none did, both."""
    runs = [
        make_run(
            tmp_path / name,
            [
                replace(record, case=case)
                for case, downtime in (("slower", slower), ("same", 0.25))
                for record in make_repeats(downtime)
            ],
            [make_line("slower", 8), make_line("same", 8)],
        )
        for name, slower in (("old", 0.25), ("new", 0.5))
    ]
    words = [*(str(run.path) for run in runs), "--metric", "downtime.explained", "--fail-if-worse"]
    worse, none = (gate(capsys, *words, bound, status=status) for bound, status in (("5%", 1), ("900%", 0)))
    repeats = [made[made.index("## How to repeat") :].replace("\\\n", "") for made in (worse, none)]
    assert [("slower" in text, "same" in text) for text in repeats] == [(True, False), (True, True)]
