# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover run`` and ``switchover show``, as people call them."""

import contextlib
import json
from pathlib import Path

import pytest

from switchover.cli import run as verb
from switchover.cli.main import main
from switchover.lab.lab import Lab
from switchover.runner import leased_hosts

WRONG = """
version = 1
[scenario]
title = "A migration that is expected to be blocked, and is not"
[device]
initial_bytes = "4 MiB"
stop_copy_bytes = "1 MiB"
[expect]
verdict = "blocked"
side = "source"
because = "this test wants a case that is not as expected"
"""


def place_in(directory: Path) -> list[str]:
    """Of a run that leaves nothing elsewhere."""
    return ["--output", str(directory), "--history", "off"]


@pytest.fixture(autouse=True)
def borrowed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session's lab: it is leased by the session itself."""
    monkeypatch.setattr(verb, "acquire_lab", lambda **_: contextlib.nullcontext(lab))
    assert leased_hosts.LeasedLab(lab).find_loss() == ""


@pytest.mark.quick
def test_a_scenario_of_the_catalogue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both cases of the standard question are as expected, with one guest; ``show`` says the same again from the
    directory.
    """
    assert main(["run", "precopy", "--repeat", "1", "--share-guest", *place_in(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "2 cases: 2 as expected" in told
    assert told.count("save iterable") == 2
    (path,) = tmp_path.iterdir()
    assert {entry.name for entry in path.iterdir()} == {
        "run.json",
        "plan.json",
        "junit.xml",
        "metrics.jsonl",
        "report.html",
        "precopy.device.pre_copy-off",
        "precopy.device.pre_copy-on",
    }
    assert main(["show", "last", "--runs", str(tmp_path)]) == 0
    assert told.strip() == f"{capsys.readouterr().out.strip()}\nreport: {path / 'report.html'}"
    assert main(["show", str(path), "pre_copy=on", "--json"]) == 0
    (case,) = json.loads(capsys.readouterr().out)["cases"]
    (repeat,) = case["repeats"]
    assert repeat["record"]["verdict"]["name"] == "completed"
    assert repeat["record"]["states"]["source"][0] == "pre-copy"


def test_a_case_that_is_not_as_expected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong expectation ends in exit code 1, with the failure text."""
    scenario = tmp_path / "wrong.toml"
    scenario.write_text(WRONG)
    assert main(["run", str(scenario), *place_in(tmp_path / "runs")]) == 1
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("NOT AS EXPECTED  wrong #1: expected blocked, was completed")
    names = [line[2:12].strip() for line in lines[start + 1 :] if line.startswith("  ") and line[2:12].strip()]
    assert names == ["claim", "observed", "when", "cause", "evidence", "repeat", "look"]
    assert any("completed after" in line for line in lines[start:])
