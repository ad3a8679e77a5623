# SPDX-License-Identifier: GPL-2.0-or-later
"""``run`` with cases in Python that need no hosts: verdicts, exit codes, parts, runs that go on, executions again."""

import base64
import contextlib
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from tests.unit.runner.test_plan_runner import World

from switchover.catalogue.conduct import conduct
from switchover.catalogue.worker import ConductApart
from switchover.cli import pairs as pairs_of_run
from switchover.cli import run as verb
from switchover.cli.main import main
from switchover.lab.labfile import LabFile, write_lab_file
from switchover.record.paths import history_file
from switchover.record.record import Record
from switchover.record.rundir import RepeatDirectory, RunDirectory
from switchover.report.history.store import History

HEAD = """
import os, signal, time
from pathlib import Path
from switchover import Context, Needs, Unit, case
NONE = Needs(hosts=0)
HERE = Path(__file__).parent
"""
CASES = """
@case(needs=NONE, tags=["good"], number=[1, 2])
def passes(context: Context, number: int) -> None:
    \"\"\"It passes.\"\"\"
    context.attach("number.txt", str(number))
    context.measure("number", number, Unit.INTERRUPTS, definition="a number")

@case(needs=NONE, tags=["bad"])
def fails(context: Context) -> None:
    context.check("sum", 4, 2 + 3, claim="two and three are four")

@case(needs=NONE, tags=["bad"])
def errs(context: Context) -> None:
    raise ValueError("no such thing")

@case(needs=NONE)
def skips(context: Context) -> None:
    context.skip("no device is here")
"""
DYING = """
@case(needs=NONE, timeout_s=0.5)
def hangs(context: Context) -> None:
    time.sleep(60)

@case(needs=NONE)
def killed(context: Context) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cases run in this process: a child for each takes a second."""

    def call(
        self: ConductApart, number: int, repeat: RepeatDirectory, run: RunDirectory, address: Mapping[str, object]
    ) -> Record:
        return conduct(self.case, number, repeat, None)

    monkeypatch.setattr(ConductApart, "__call__", call)


@pytest.fixture
def cases(tmp_path: Path) -> str:
    return write(tmp_path, CASES)


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "some.py"
    path.write_text(HEAD + text)
    return str(path)


def run(tmp_path: Path, *words: str) -> int:
    return main(["run", *words, "--output", str(tmp_path / "runs")])


def list_runs(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "runs").glob("*"), key=lambda path: path.stat().st_mtime_ns)


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def verdicts(path: Path) -> dict[str, str]:
    return {record["case"]: record["verdict"]["name"] for record in map(read, path.glob("*/01/record.json"))}


@pytest.mark.usefixtures("here")
def test_what_comes_of_them(cases: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each has its record, its line of the plan, and its test case in JUnit; a failure comes before an error."""
    assert run(tmp_path, cases) == 1
    (path,) = list_runs(tmp_path)
    assert verdicts(path) == {
        "passes.number-1": "completed",
        "passes.number-2": "completed",
        "fails": "checks-failed",
        "errs": "infrastructure-error",
        "skips": "not-supported",
    }
    plan = read(path / "plan.json")
    assert [line["id"] for line in plan["cases"]] == ["passes.number-1", "passes.number-2", "fails", "errs", "skips"]
    assert {group["file"] for group in plan["scenarios"]} == {cases}
    assert plan["scenarios"][0]["title"] == "It passes."
    record = read(path / "passes.number-2" / "01" / "record.json")
    assert record["settings"]["parameters"] == {"number": "2"}
    assert [(entry["name"], entry["value"]) for entry in record["measurements"]] == [("number", 2)]
    assert (path / "passes.number-2" / "01" / "number.txt").read_text() == "2"
    assert "ValueError: no such thing" in (path / "errs" / "01" / "traceback.txt").read_text()
    suites = {suite.attrib["name"]: suite for suite in ElementTree.parse(path / "junit.xml").getroot()}
    counts = {
        name: [suite.attrib[kind] for kind in ("tests", "failures", "errors", "skipped")]
        for name, suite in suites.items()
    }
    assert counts == {
        "passes": ["2", "0", "0", "0"],
        "fails": ["1", "1", "0", "0"],
        "errs": ["1", "0", "1", "0"],
        "skips": ["1", "0", "0", "1"],
    }
    told = capsys.readouterr()
    assert "two and three are four: expected 4, observed 5" in told.out
    assert f"run {cases} --only errs" in told.out
    # once in a line of progress, with the line of the case
    line = (HEAD + CASES).partition("raise ValueError")[0].count("\n") + 1
    assert f"; NOT AS EXPECTED: ValueError: no such thing ({cases}:{line}) (took" in told.err


def test_ends_of_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that takes too long is hung, and one whose process dies is an infrastructure error; both can be repeated."""
    path = write(tmp_path, DYING)
    assert run(tmp_path, path) == 1
    (directory,) = list_runs(tmp_path)
    assert verdicts(directory) == {"hangs": "hung", "killed": "infrastructure-error"}
    told = capsys.readouterr().out
    assert "killed by signal 9" in told
    for name in ("hangs", "killed"):
        assert f"run {path} --only {name}" in told
        assert (directory / name / "01" / "case.log").exists()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--tag", "good"], 0),
        (["--only", "errs"], 3),
        (["--tag", "bad"], 1),
        (["--only", "skips"], 0),
        (["--only", "skips", "--strict"], 3),
        (["--tag=-good", "--tag=-bad", "--strict"], 3),
        (["--tag", "god"], 2),
    ],
)
def test_exit_codes(cases: str, tmp_path: Path, words: list[str], code: int) -> None:
    """As for scenarios; what the user got wrong leaves no run directory."""
    assert run(tmp_path, cases, *words) == code
    assert len(list_runs(tmp_path)) == (code != 2)


@pytest.mark.usefixtures("here")
def test_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each case is in one part of three, with its repeats; a part may be empty, which is a mistake, as one that there
    is not.
    """
    path = write(
        tmp_path, "@case(needs=NONE, number=range(12))\ndef many(context: Context, number: int) -> None: ...\n"
    )
    found: list[str] = []
    for number in (1, 2, 3):
        assert run(tmp_path, path, "--shard", f"{number}/3", "--repeat", "2") == 0
        newest = list_runs(tmp_path)[-1]
        found += verdicts(newest)
        assert len(list(newest.glob("*/02/record.json"))) == len(verdicts(newest))
    assert sorted(found) == sorted(f"many.number-{number}" for number in range(12))
    capsys.readouterr()
    for word, told in (("4/3", "'4/3' is not a part"), ("x", "'x' is not a part")):
        assert run(tmp_path, path, "--shard", word) == 2
        assert told in capsys.readouterr().err
    codes = [run(tmp_path, path, "--only", "*-1", "--shard", f"{number}/2") for number in (1, 2)]
    assert sorted(codes) == [0, 2]
    assert "a part may be empty" in capsys.readouterr().err


MIDDLE = """
@case(needs=NONE, number=[1, 2, 3])
def steps(context: Context, number: int) -> None:
    with (HERE / "log").open("a") as log:
        log.write(f"{number} ")
    if number == 2 and (HERE / "interrupt").exists():
        context.attach("half.txt", "half")
        raise KeyboardInterrupt
"""


@pytest.fixture
def interrupted(here: None, tmp_path: Path) -> Path:
    """A run that was interrupted in the second of three cases."""
    (tmp_path / "interrupt").touch()
    assert run(tmp_path, write(tmp_path, MIDDLE)) == 130
    (tmp_path / "interrupt").unlink()
    (path,) = list_runs(tmp_path)
    return path


def test_a_run_goes_on(interrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What has no verdict is run, in the same directory, and nothing is left of the execution that was interrupted;
    then there is nothing to go on with.
    """
    assert verdicts(interrupted) == {
        "steps.number-1": "completed",
        "steps.number-2": "infrastructure-error",
        "steps.number-3": "infrastructure-error",
    }
    assert run(tmp_path, "--resume", "last") == 0
    assert (tmp_path / "log").read_text().split() == ["1", "2", "2", "3"]
    assert set(verdicts(interrupted).values()) == {"completed"}
    assert not (interrupted / "steps.number-2" / "01" / "half.txt").exists()
    assert list_runs(tmp_path) == [interrupted]
    assert (interrupted / "junit.xml").read_text().count("<testcase") == 3
    capsys.readouterr()
    assert run(tmp_path, "--resume", interrupted.name) == 2
    assert "has a verdict" in capsys.readouterr().err


def test_a_run_that_was_killed_goes_on(interrupted: Path, tmp_path: Path) -> None:
    """What was executed as the harness was killed has files, and no record: it is run from its beginning."""
    place = interrupted / "steps.number-1" / "01"
    (place / "record.json").unlink()
    (place / "hop" / "01").mkdir(parents=True)
    assert run(tmp_path, "--resume", str(interrupted)) == 0
    assert (tmp_path / "log").read_text().split() == ["1", "2", "1", "2", "3"]
    assert [path.name for path in place.iterdir()] == ["record.json"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["some.py"], "continues with the cases of its run"),
        (["--tag", "good"], "continues with the cases of its run"),
        (["--only", "x"], "continues with the cases of its run"),
        (["--repeat", "2"], "continues with the cases of its run"),
        (["--shard", "1/2"], "continues with the cases of its run"),
    ],
)
def test_a_run_goes_on_with_its_own_cases(
    interrupted: Path, tmp_path: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What chooses cases does not go with it."""
    assert run(tmp_path, *words, "--resume", "last") == 2
    assert told in capsys.readouterr().err


def test_runs_that_cannot_go_on(interrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that there is not, one that another process carries out, one whose file has lost a case; nothing changes."""
    before = sorted(interrupted.rglob("*"))
    assert run(tmp_path, "--resume", "none") == 2
    with RunDirectory(interrupted).hold():
        assert run(tmp_path, "--resume", "last") == 2
    assert "has not ended yet" in capsys.readouterr().err
    path = tmp_path / "other" / "some.py"
    path.parent.mkdir()
    path.write_text((tmp_path / "some.py").read_text().replace("[1, 2, 3]", "[1, 2]"))
    plan = (interrupted / "plan.json").read_text().replace(str(tmp_path / "some.py"), str(path))
    (interrupted / "plan.json").write_text(plan)
    assert run(tmp_path, "--resume", "last") == 2
    assert "no case steps.number-3 any more" in capsys.readouterr().err
    assert sorted(interrupted.rglob("*")) == before


FLAKY = """
@case(needs=NONE)
def flaky(context: Context) -> None:
    tries = len(list(HERE.glob("try-*"))) + 1
    (HERE / f"try-{tries}").touch()
    context.attach("try.txt", str(tries))
    if tries < 3:
        raise OSError(f"try {tries}")

@case(needs=NONE)
def wrong(context: Context) -> None:
    with (HERE / "wrong").open("a") as log:
        log.write("x")
    context.fail("wrong")
"""


@pytest.mark.usefixtures("here")
def test_infrastructure_errors_are_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last execution counts, and the record tells what those before it came to; all files are kept."""
    assert run(tmp_path, write(tmp_path, FLAKY), "--only", "flaky", "--retry-infra", "2") == 0
    (path,) = list_runs(tmp_path)
    place = path / "flaky" / "01"
    record = read(place / "record.json")
    assert record["verdict"]["name"] == "completed"
    assert [one["verdict"] for one in record["earlier"]] == ["infrastructure-error"] * 2
    assert "OSError: try 1" in record["earlier"][0]["reason"]
    tries = [(place / name / "try.txt").read_text() for name in ("earlier-1", "earlier-2", ".")]
    assert tries == ["1", "2", "3"]
    assert read(place / "earlier-2" / "record.json")["verdict"]["name"] == "infrastructure-error"
    assert (path / "junit.xml").read_text().count("<testcase") == 1
    assert "is tried again" in capsys.readouterr().err


@pytest.mark.usefixtures("here")
def test_so_often_and_no_more(tmp_path: Path) -> None:
    """An error that stays is one; what is not as expected is never tried again."""
    path = write(tmp_path, FLAKY)
    assert run(tmp_path, path, "--only", "flaky", "--retry-infra", "1") == 3
    assert len(read(list_runs(tmp_path)[-1] / "flaky" / "01" / "record.json")["earlier"]) == 1
    assert run(tmp_path, path, "--only", "wrong", "--retry-infra", "3") == 1
    assert (tmp_path / "wrong").read_text() == "x"


INVENTORY = """version = 1
[host.rack1]
address = "10.0.0.11"
[host.rack2]
address = "10.0.0.12"
[host.rack3]
address = "10.0.0.13"
"""


@pytest.fixture
def inventory(tmp_path: Path) -> str:
    path = tmp_path / "inventory.toml"
    path.write_text(INVENTORY)
    return str(path)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--pair", "rack1,rack9"], "There is no host 'rack9'; did you mean 'rack"),
        (["--pair", "rack1,rack2,rack3"], "is not a pair"),
        (["--pair", "rack1,"], "is not a pair"),
        (["--pair", ""], "is not a pair"),
        (["--pair", "rack1,rack2", "--pair", "hosta,hostb"], "hosts of a lab and hosts of the inventory"),
        (["--pair", "rack1,hostb"], "hosts of a lab and hosts of the inventory"),
        (["--pair", "rack1,rack2", "--hosts", "rack3"], "--pair does not go with"),
        (["--pair", "rack1,rack2", "--share-guest"], "--pair does not go with"),
    ],
)
def test_pairs_that_are_none(
    cases: str, tmp_path: Path, inventory: str, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistake of the user, told before there is a run directory."""
    assert run(tmp_path, cases, "--inventory", inventory, *words) == 2
    assert told in " ".join(capsys.readouterr().err.split())
    assert list_runs(tmp_path) == []


def test_a_case_that_names_its_hosts(tmp_path: Path, inventory: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "far.toml"
    path.write_text('version = 1\n[scenario]\ntitle = "x"\n[source]\nhost = "rack1"\n')
    assert run(tmp_path, str(path), "--inventory", inventory, "--pair", "rack2,rack3") == 2
    assert "--pair cannot be used with a case that names its hosts" in capsys.readouterr().err


@pytest.mark.usefixtures("here")
class NamedLab(World):
    """Hosts that processes of cases find in the file of a lab that does not run: without one they would boot theirs."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        directory.mkdir(exist_ok=True)
        for name in ("key", "key.pub", "host_key.pub", "guest_host_key", "guest_host_key.pub"):
            (directory / name).write_text("x\n")
        write_lab_file(directory, LabFile("far", "switchover-lab-none", str(directory), 0, {}, {}, ["hosta"]))

    @property
    def address(self) -> Mapping[str, object]:
        return {"lab": str(self._directory)}


def test_on_hosts_of_an_inventory_that_is_named(
    tmp_path: Path, inventory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process of a case finds the hosts in the same file."""
    files: list[object] = []

    @contextlib.contextmanager
    def lease(*_: Any, file: Path | None = None) -> Iterator[World]:
        files.append(file)
        yield NamedLab(tmp_path / "lab")

    monkeypatch.setattr(verb, "lease_inventory_hosts", lease)
    path = write(tmp_path, "@case()\ndef far(context: Context) -> None: ...\n")
    run(tmp_path, path, "--hosts", "rack1,rack2", "--inventory", inventory)
    assert files == [Path(inventory)]


def test_on_pairs(
    tmp_path: Path, inventory: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cases are spread over the pairs, each under a lease; one that needs no hosts opens none."""
    used: list[str] = []

    @contextlib.contextmanager
    def lease(_: Any, names: Any, pair: tuple[str, str], **others: Any) -> Iterator[World]:
        used.append(f"{pair[0]}-{pair[1]} {others['place']}")
        yield NamedLab(tmp_path / "lab")

    monkeypatch.setattr(pairs_of_run, "lease_inventory_hosts", lease)
    monkeypatch.setattr(pairs_of_run, "look_at_health", lambda watch: lambda leased: "")
    path = write(tmp_path, CASES + "@case(number=range(6))\ndef far(context: Context, number: int) -> None: ...\n")
    words = ["--inventory", inventory, "--pair", "rack1,rack2", "--pair", "rack3"]
    assert run(tmp_path, path, "--only", "*s.*", *words) == 0
    assert used == []
    assert run(tmp_path, path, "--only", "far", *words) == 0
    assert len(used) == 12  # to look at the hosts, and for the case
    assert set(used) <= {"rack1-rack2 1", "rack3-rack3 2"}
    told = capsys.readouterr()
    assert "6 cases: 6 as expected" in told.out
    assert " on rack" in told.err


def test_a_lab_for_pairs_that_does_not_start(
    tmp_path: Path, cases: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was not run has its record, with the reason."""

    def borrow(**_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(pairs_of_run, "acquire_lab", borrow)
    assert run(tmp_path, cases, "--pair", "hosta,hostb") == 130
    (path,) = list_runs(tmp_path)
    reasons = {read(record)["verdict"]["reason"] for record in path.glob("*/01/record.json")}
    assert reasons == {"not run: interrupted"}
    assert len(list(path.glob("*/01/record.json"))) == 5
    assert (path / "junit.xml").exists()


@pytest.mark.usefixtures("here")
def test_numbers_go_into_the_history(cases: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside the runs, into the file that is named, or nowhere; a history that cannot be written fails no run, and says
    so in a line. The page has it, with the run in it.
    """
    mine = tmp_path / "mine.sqlite"
    for words in ([], ["--history", str(mine)], ["--history", "off"]):
        assert run(tmp_path, cases, "--only", "passes.number-1", *words) == 0
    kept = []
    for path in (history_file(), mine):
        with History.open(path) as history:
            kept += history.find_rows("passes.number-1", "number")
    assert [row.value for row in kept] == [1, 1]
    assert "history" not in capsys.readouterr().err
    assert run(tmp_path, cases, "--only", "passes.number-1", "--history", str(mine / "none")) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "the run is not in the history" in line]
    assert len(said) == 1
    assert f"switchover history import {list_runs(tmp_path)[-1]} --history {mine}/none" in said[0]
    assert run(tmp_path, cases, "--only", "passes.number-1", "--history", str(mine)) == 0
    page = (list_runs(tmp_path)[-1] / "report.html").read_text(encoding="utf-8")
    packed = page.partition('id="case-0">')[2].partition("<")[0]
    past = json.loads(zlib.decompress(base64.b64decode(packed)))["past"]
    assert [name for name, _, _ in past["runs"]] == [kept[-1].run, list_runs(tmp_path)[-1].name]
