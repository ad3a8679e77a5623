# SPDX-License-Identifier: GPL-2.0-or-later
"""``run`` and ``show`` without hosts: what they take, and how they end."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.run.test_execution import World
from tests.unit.scenarios.samples import HEAD

from switchover.cli import run as verb
from switchover.cli.main import main
from switchover.record.errors import NotReady
from switchover.record.record import VerdictName
from switchover.run.execution import execute


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """In place of a lab and of what runs there."""
    world = World()

    def execute_there(*arguments: Any, **options: Any) -> None:
        execute(*arguments, **options, run=world.run)

    monkeypatch.setattr(verb, "execute", execute_there)
    monkeypatch.setattr(verb, "borrow_lab", lambda stays: contextlib.nullcontext())
    monkeypatch.setattr(verb, "LabStage", lambda lab: world)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.delenv("GITLAB_CI", raising=False)
    return world


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    path = tmp_path / "one.toml"
    path.write_text(HEAD + "[axes]\nvcpus = [1, 2]\n")
    return str(path)


def run(scenario: str, tmp_path: Path, *words: str) -> int:
    return main(["run", scenario, "--output", str(tmp_path / "runs"), *words])


def only_run(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "runs").iterdir()
    return path


def test_all_as_expected(world: World, scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0, with the answers on standard output, which show repeats; JUnit beside the records."""
    assert run(scenario, tmp_path, "--repeat", "2") == 0
    told = capsys.readouterr().out
    assert "4 cases" not in told
    assert "2 cases: 2 as expected" in told
    assert len(world.ran) == 4
    path = only_run(tmp_path)
    assert (path / "junit.xml").read_text().count("<testcase") == 4
    assert main(["show", "last", "--runs", str(tmp_path / "runs")]) == 0
    assert capsys.readouterr().out.strip() == told.strip()
    assert main(["show", str(path), "vcpus=2"]) == 0
    assert "#2 vcpus=2  verdict completed" in capsys.readouterr().out


def test_an_experiment(world: World, scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a scenario compares is said at the end of its run, and by ``show`` and ``compare`` in the same words."""
    with open(scenario, "a") as file:
        file.write('[compare]\naxis = "vcpus"\nbaseline = 2\n')
    assert run(scenario, tmp_path, "--repeat", "2") == 0
    told = capsys.readouterr().out
    path = str(only_run(tmp_path))
    assert main(["compare", path]) == 0
    words = capsys.readouterr().out
    assert words.startswith("vcpus compared with 2, in turns: ")
    assert words in told
    assert main(["show", path]) == 0
    assert words in capsys.readouterr().out


def test_a_case_that_is_not_as_expected(
    world: World, scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """1, and the failure in full; to show it again is no failure."""
    world.outcomes["vcpus=1 #1"] = [VerdictName.HUNG]
    assert run(scenario, tmp_path) == 1
    assert "NOT AS EXPECTED  vcpus=1 #1: expected completed, was hung" in capsys.readouterr().out
    assert main(["show", str(only_run(tmp_path)), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cases"][0]["outcome"] == "not as expected"


def test_an_infrastructure_error(world: World, scenario: str, tmp_path: Path) -> None:
    """3, unless a case was not as expected."""
    world.outcomes["vcpus=1 #1"] = [VerdictName.INFRASTRUCTURE_ERROR]
    assert run(scenario, tmp_path) == 3


def test_nothing_but_not_supported(world: World, scenario: str, tmp_path: Path) -> None:
    """0, and 3 with --strict."""
    world.lacking = frozenset({"qemu-system-x86_64"})
    assert run(scenario, tmp_path) == 0
    assert run(scenario, tmp_path, "--strict") == 3


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (ValueError("x"), 4), (NotReady("x"), 3)])
def test_what_ends_a_run(
    world: World, scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    """The answers that there are, are given; the exit code is the error's."""
    world.outcomes["vcpus=1 #1"] = [error]
    assert run(scenario, tmp_path) == code
    out = capsys.readouterr().out
    assert "vcpus=2  not run: " in out
    assert "2 cases" in out


def test_selected_cases(world: World, scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only those run; a selection that is empty is the user's mistake, and leaves no run."""
    assert run(scenario, tmp_path, "--only", "*=2") == 0
    assert world.ran == ["vcpus=2 #1"]
    assert run(scenario, tmp_path / "other", "--only", "nothing") == 2
    assert "No case fits" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_keeping_off_a_terminal(
    world: World, scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said at once, not after an hour: nobody could end the wait."""
    assert run(scenario, tmp_path, "--keep-on-fail") == 2
    assert "needs a terminal" in capsys.readouterr().err
    assert world.log == []


def test_hosts_that_scenarios_name(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that there is not is a mistake; one of the inventory is not supported, which takes no lab."""
    path = tmp_path / "far.toml"
    path.write_text(HEAD + '[source]\nhost = "rack1"\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert run(str(path), tmp_path) == 2
    assert "no host 'rack1'" in capsys.readouterr().err
    inventory = tmp_path / "config" / "switchover" / "inventory.toml"
    inventory.parent.mkdir(parents=True)
    inventory.write_text('version = 1\n[host.rack1]\naddress = "10.0.0.11"\n')
    assert run(str(path), tmp_path, "--strict") == 3
    assert "rack1, a host of the inventory: cases run on lab hosts only" in capsys.readouterr().out
    assert "lease" not in world.log


def test_a_run_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Show says so, and how to see what there is."""
    assert main(["show", "nothing", "--runs", str(tmp_path)]) == 2
    assert "switchover list" in capsys.readouterr().err


def test_runs_are_listed(world: World, scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With how many repeats were right and wrong, and cases that are not supported."""
    world.outcomes["vcpus=1 #1"] = [VerdictName.HUNG]
    run(scenario, tmp_path)
    capsys.readouterr()
    assert main(["list", "--runs", str(tmp_path / "runs")]) == 0
    assert "2 cases, 1 repeats right, 1 wrong" in capsys.readouterr().out
