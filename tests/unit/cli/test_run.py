# SPDX-License-Identifier: GPL-2.0-or-later
"""``run`` and ``show`` without hosts: what they take, and how they end."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runner.test_plan_runner import World
from tests.unit.scenarios.samples import HEAD

from switchover.cli import run as verb
from switchover.cli.main import main
from switchover.hosts.inventory import Inventory
from switchover.record.errors import NotReady
from switchover.record.record import VerdictName
from switchover.runner.plan_runner import execute
from switchover.scenarios.preflight import HostFacts, Known


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """In place of a lab and of what runs there."""
    world = World()

    def execute_there(*arguments: Any, **options: Any) -> None:
        execute(*arguments, **options, run=world.run)

    monkeypatch.setattr(verb, "execute", execute_there)

    def borrow(*, stays: bool, hosts: int) -> Any:
        world.log.append(f"lab of {hosts}")
        return contextlib.nullcontext()

    monkeypatch.setattr(verb, "acquire_lab", borrow)
    monkeypatch.setattr(verb, "LeasedLab", lambda lab: world)
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
    told, _, last = told.strip().rpartition("\n")
    assert capsys.readouterr().out.strip() == told
    assert last == f"report: {path / 'report.html'}"
    assert (path / "report.html").is_file()
    assert main(["show", str(path), "vcpus=2"]) == 0
    assert "#2 one.vcpus-2  verdict completed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 2),
        ('[source]\nhost = "hostb"\n', 2),
        ('[source]\nhost = "hostc"\n', 3),
        ('[source]\nhost = "hostd"\n[destination]\nhost = "hosta"\n', 4),
    ],
)
def test_a_lab_with_the_hosts_that_are_named(world: World, tmp_path: Path, text: str, count: int) -> None:
    """Two at least, and as many as it takes for a case to find the one that it names."""
    path = tmp_path / "far.toml"
    path.write_text(HEAD + text)
    run(str(path), tmp_path)
    assert [line for line in world.log if line.startswith("lab of")] == [f"lab of {count}"]


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
    world.outcomes["one.vcpus-1 #1"] = [VerdictName.HUNG]
    assert run(scenario, tmp_path) == 1
    assert "NOT AS EXPECTED  one.vcpus-1 #1: expected completed, was hung" in capsys.readouterr().out
    assert main(["show", str(only_run(tmp_path)), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cases"][0]["outcome"] == "not as expected"


def test_an_infrastructure_error(world: World, scenario: str, tmp_path: Path) -> None:
    """3, unless a case was not as expected."""
    world.outcomes["one.vcpus-1 #1"] = [VerdictName.INFRASTRUCTURE_ERROR]
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
    world.outcomes["one.vcpus-1 #1"] = [error]
    assert run(scenario, tmp_path) == code
    out = capsys.readouterr().out
    assert "one.vcpus-2  not run: " in out
    assert "2 cases" in out


def read_events(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Each line of standard output as an object."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_events(world: World, scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json, standard output has lines of JSON and nothing else: the plan, each repeat twice, the end."""
    world.outcomes["one.vcpus-1 #1"] = [VerdictName.HUNG]
    assert run(scenario, tmp_path, "--json") == 1
    events = read_events(capsys)
    path = str(only_run(tmp_path))
    assert [event["event"] for event in events] == ["run-started", *["repeat-started", "repeat-ended"] * 2, "run-ended"]
    assert [case["case"] for case in events[0]["cases"]] == ["one.vcpus-1", "one.vcpus-2"]
    assert events[0]["cases"][0]["expected"] == "completed"
    assert (events[0]["version"], events[0]["directory"]) == (1, path)
    wrong = next(event for event in events if event.get("verdict") == "hung")
    assert wrong["mismatch"].startswith("expected completed, was hung")
    assert (wrong["case"], wrong["repeat"]) == ("one.vcpus-1", 1)
    assert all((Path(event["directory"]) / "record.json").exists() for event in events if "verdict" in event)
    assert [event["mismatch"] for event in events if event.get("verdict") == "completed"] == [""]
    assert events[-1] | {"time": ""} == {
        "event": "run-ended",
        "time": "",
        "counts": {"not as expected": 1, "as expected": 1},
        "exit_code": 1,
        "directory": path,
    }


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (ValueError("x"), 4), (NotReady("x"), 3)])
def test_events_of_a_run_that_an_error_ends(
    world: World, scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    """The last line has the code with which the command ends."""
    world.outcomes["one.vcpus-1 #1"] = [error]
    assert run(scenario, tmp_path, "--json") == code
    assert read_events(capsys)[-1]["exit_code"] == code


def test_selected_cases(world: World, scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only those run; a selection that is empty is the user's mistake, and leaves no run."""
    assert run(scenario, tmp_path, "--only", "*=2") == 0
    assert world.ran == ["one.vcpus-2 #1"]
    assert run(scenario, tmp_path / "other", "--only", "nothing") == 2
    assert "No case matches" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_keeping_off_a_terminal(
    world: World, scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said at once, not after an hour: nobody could end the wait."""
    assert run(scenario, tmp_path, "--keep-on-fail") == 2
    assert "needs a terminal" in capsys.readouterr().err
    assert world.log == []


INVENTORY = """version = 1
[host.rack1]
address = "10.0.0.11"
[host.rack2]
address = "10.0.0.12"
"""


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A scenario that names a host of an inventory for one side; the inventory has two."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    inventory = tmp_path / "config" / "switchover" / "inventory.toml"
    inventory.parent.mkdir(parents=True)
    inventory.write_text(INVENTORY)
    path = tmp_path / "far.toml"
    path.write_text(HEAD + '[source]\nhost = "rack1"\n')
    return str(path)


def test_a_host_that_there_is_not(world: World, tmp_path: Path, far: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake, in a scenario as with --hosts; so are three hosts, and a lab besides. Nothing is leased."""
    assert run(far, tmp_path, "--hosts", "rack1,rack3") == 2
    assert "no host 'rack3'" in capsys.readouterr().err
    assert run(far, tmp_path, "--hosts", "rack1,rack2,rack1") == 2
    assert "is not a pair" in capsys.readouterr().err
    assert run(far, tmp_path, "--hosts", "rack1", "--keep-lab") == 2
    assert "cannot be combined with --lab or --keep-lab" in capsys.readouterr().err
    Path(far).write_text(HEAD + '[source]\nhost = "rack7"\n')
    assert run(far, tmp_path) == 2
    assert "no host 'rack7'" in capsys.readouterr().err
    assert "lease" not in world.log


def test_half_in_the_lab(world: World, tmp_path: Path, far: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A guest does not migrate between a lab host and another: not supported, which takes no lab, and vice versa."""
    assert run(far, tmp_path, "--strict") == 3
    assert "rack1, a host of the inventory: this run is in the lab" in capsys.readouterr().out
    assert "lease" not in world.log
    Path(far).write_text(HEAD + '[source]\nhost = "hosta"\n')
    assert run(far, tmp_path, "--strict", "--hosts", "rack1") == 3
    assert "hosta, a lab host: this run is on hosts of the inventory" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "words", "names", "pair"),
    [
        ("", ["--hosts", "rack1,rack2"], {"rack1", "rack2"}, ("rack1", "rack2")),
        ("", ["--hosts", "rack2"], {"rack2"}, ("rack2", "rack2")),
        ('[source]\nhost = "rack1"\n', ["--hosts", "rack2"], {"rack1", "rack2"}, ("rack2", "rack2")),
        ('[source]\nhost = "rack1"\n[destination]\nhost = "rack2"\n', [], {"rack1", "rack2"}, ("", "")),
    ],
)
def test_on_hosts_of_the_inventory(
    world: World,
    tmp_path: Path,
    far: str,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    words: list[str],
    names: set[str],
    pair: tuple[str, str],
) -> None:
    """Those that are given, and those that cases name, are leased, and no lab is."""
    asked: list[tuple[set[str], tuple[str, str]]] = []

    @contextlib.contextmanager
    def lease(inventory: Inventory, names: set[str], pair: tuple[str, str], **_: object) -> Iterator[World]:
        assert list(inventory.host) == ["rack1", "rack2"]
        asked.append((names, pair))
        with world.lease():
            yield world

    monkeypatch.setattr(verb, "lease_inventory_hosts", lease)
    monkeypatch.setattr(verb, "acquire_lab", None)
    facts = HostFacts("rack")
    monkeypatch.setattr(world, "ask", lambda cases: Known((facts, facts), dict.fromkeys(("rack1", "rack2"), facts)))
    Path(far).write_text(HEAD + text)
    assert run(far, tmp_path, *words) == 0
    assert asked == [(names, pair)]
    assert world.ran == ["far #1"]


def test_a_run_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Show says so, and how to see what there is."""
    assert main(["show", "nothing", "--runs", str(tmp_path)]) == 2
    assert "switchover list" in capsys.readouterr().err


def test_runs_are_listed(world: World, scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With how many repeats were right and wrong, and cases that are not supported."""
    world.outcomes["one.vcpus-1 #1"] = [VerdictName.HUNG]
    run(scenario, tmp_path)
    capsys.readouterr()
    assert main(["list", "--runs", str(tmp_path / "runs")]) == 0
    assert "2 cases, 1 repeats right, 1 wrong" in capsys.readouterr().out


def test_a_budget(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was not run for longest is run first, as much as fits; run after run all of it, and then again. What there
    was no time for is not planned, and nothing is not as expected of it.
    """
    path = tmp_path / "four.toml"
    path.write_text(HEAD + "[axes]\nvcpus = [1, 2, 3, 4]\n")
    hours = str(3 * 10 / 3600)  # three warm cases
    history = ["--history", str(tmp_path / "history")]
    assert run(str(path), tmp_path, "--budget", hours, *history) == 0
    told = capsys.readouterr().err
    assert "3 of 4 cases, about 30 s; none of 4 cases was run before" in told
    assert "3 of 4 cases were run so far" in told
    assert [entry.partition(" ")[0] for entry in world.ran] == ["four.vcpus-1", "four.vcpus-2", "four.vcpus-3"]
    world.log.clear()
    assert run(str(path), tmp_path, "--budget", hours, *history) == 0
    assert world.ran[0].startswith("four.vcpus-4 ")
    assert "4 of 4 cases were run so far" in capsys.readouterr().err


def test_a_budget_that_is_used_up(
    world: World, scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where cases take longer than was thought, the rest is left for the next run."""
    monkeypatch.setattr("switchover.cli.budget.Budget.is_used", lambda budget, turn: turn.line.id.endswith("2"))
    assert run(scenario, tmp_path, "--budget", "1") == 0
    assert [entry.partition(" ")[0] for entry in world.ran] == ["one.vcpus-1"]
    told = capsys.readouterr()
    assert "1 of the chosen cases are left for the next run" in told.err
    assert "1 case: 1 as expected" in told.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--budget", "0"), "'0' is no number of hours above 0"),
        (("--budget", "eight"), "'eight' is no number of hours"),
        (("--budget", "nan"), "'nan' is no number of hours"),
        (("--budget", "0.0001"), "--budget 0.0001 is too little for one case: one.vcpus-1 takes about 10 s."),
        (("--budget", "1", "--pair", "hosta,hostb"), "--budget does not go with --pair."),
    ],
)
def test_a_budget_that_cannot_be(
    world: World, scenario: str, tmp_path: Path, words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Told before anything is done, with exit code 2."""
    with contextlib.suppress(SystemExit):
        assert run(scenario, tmp_path, *words) == 2
    assert told in capsys.readouterr().err
    assert world.log == []
