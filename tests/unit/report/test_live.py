# SPDX-License-Identifier: GPL-2.0-or-later
"""A run as it goes on, for people and for CI."""

import io
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from tests.unit.builders import make_record
from tests.unit.runs import make_line

from switchover.migration.session import Sample
from switchover.record.record import Verdict, VerdictName
from switchover.report.live import Estimate, LiveProgress, PlainProgress, describe_sample, find_group
from switchover.runner.turns import Turn
from switchover.scenarios.case import Case

NAMES = ("device.pre_copy=on", "device.pre_copy=off")
TURNS = [Turn(make_line(name, 2), Case(name), ("", ""), number) for number in (1, 2) for name in NAMES]


def test_where_a_migration_is() -> None:
    """Status and bytes, of the device too once it moves some."""
    reply: dict[str, Any] = {"status": "active", "ram": {"transferred": 3 << 20, "remaining": 1 << 20}}
    assert describe_sample(Sample(0, reply)) == "active, 3.0 MiB sent, 1.0 MiB of RAM left"
    reply |= {"vfio": {"transferred": 2 << 20}, "status": "device"}
    assert describe_sample(Sample(0, reply)) == "device, 3.0 MiB sent (2.0 MiB of the device), 1.0 MiB of RAM left"


@given(
    st.dictionaries(
        st.sampled_from(["status", "ram", "vfio"]),
        st.text() | st.none() | st.dictionaries(st.sampled_from(["transferred", "remaining"]), st.integers(0)),
    )
)
def test_whatever_qemu_answers(reply: Mapping[str, Any]) -> None:
    """No answer breaks it."""
    describe_sample(Sample(0, reply))


def test_the_estimate_learns() -> None:
    """The plan's numbers, times how much longer it took so far; what is left out costs nothing, in all its repeats."""
    estimate = Estimate(TURNS)
    assert estimate.seconds_left() == 100
    estimate.note(TURNS[0], replace(make_record(), seconds={"migrate": 50.0}))
    assert estimate.seconds_left() == 150
    skipped = replace(make_record(), verdict=Verdict(VerdictName.NOT_SUPPORTED), seconds={})
    estimate.note(TURNS[1], skipped)
    assert estimate.seconds_left() == 50


def run_one(progress: PlainProgress | LiveProgress) -> None:
    progress.start(TURNS)
    progress.begin(TURNS[0])
    progress.step("migrate")
    progress.sample(Sample(0, {"status": "active"}))
    progress.end(TURNS[0], make_record())


def test_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """One when a repeat begins, one when it ended, each with its number."""
    run_one(PlainProgress())
    begins, ends = capsys.readouterr().err.splitlines()
    assert begins == "[1/4] device.pre_copy=on #1 ...; about 1 min 40 s left"
    assert ends.startswith("[1/4] device.pre_copy=on #1: completed (downtime 250.0 ms")


@pytest.mark.parametrize(
    ("environment", "opening", "closing"),
    [
        ({"GITHUB_ACTIONS": "true"}, "::group::[1/4] device.pre_copy=on #1", "::endgroup::"),
        ({"GITLAB_CI": "true"}, "section_start:", "section_end:"),
    ],
)
def test_groups_of_ci(
    capsys: pytest.CaptureFixture[str], environment: dict[str, str], opening: str, closing: str
) -> None:
    """The steps of a repeat fold; its result stands below."""
    run_one(PlainProgress(find_group(environment)))
    lines = capsys.readouterr().err.split("\n")
    assert opening in lines[0]
    assert "device.pre_copy=on #1" in lines[0]
    assert lines[1].strip() == "migrate"
    assert closing in lines[2]
    assert lines[3].startswith("[1/4] device.pre_copy=on #1: completed")


def test_no_ci() -> None:
    """Elsewhere nothing folds."""
    assert find_group({"CI": "true"}) is None


def test_a_terminal() -> None:
    """The block says where the run and its repeat are; what ended stays above it."""
    out = io.StringIO()
    with LiveProgress(Console(file=out, force_terminal=True, width=100)) as live:
        live.start(TURNS)
        live.begin(TURNS[0])
        live.step("migrate")
        live.sample(Sample(0, {"status": "active"}))
        with live._console.capture() as shown:
            live._console.print(live._render())
        live.end(TURNS[0], make_record())
    assert "0 of 4 repeats, about 1 min 40 s left" in shown.get()
    assert "device.pre_copy=on #1: migrate 0 s · active" in shown.get()
    assert "device.pre_copy=on #1: completed" in out.getvalue()


@pytest.mark.parametrize(("variable", "coloured"), [("NO_COLOR", False), ("UNRELATED", True)])
def test_no_color(monkeypatch: pytest.MonkeyPatch, variable: str, coloured: bool) -> None:
    """With NO_COLOR nothing has a colour on a terminal, also what is wrong."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv(variable, "1")
    out = io.StringIO()
    with LiveProgress(Console(file=out, force_terminal=True, width=100)) as live:
        live.start(TURNS)
        live.begin(TURNS[0])
        live.end(TURNS[0], replace(make_record(), mismatch="expected completed, was hung"))
    assert "NOT AS EXPECTED" in out.getvalue()
    codes = {
        int(code) for sequence in re.findall(r"\x1b\[([\d;]*)m", out.getvalue()) for code in sequence.split(";") if code
    }
    assert any(30 <= code <= 49 or 90 <= code <= 107 for code in codes) == coloured
