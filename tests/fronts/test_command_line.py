# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line among the fronts, from the built wheel: its rows of the table, and records as pytest makes them."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.fronts.environment import CONFORMANCE, ROOT, Environment
from tests.fronts.outcomes import EXPECTED, find_runs, read_junit, read_planned, read_records

from switchover.catalogue.outcome import NATIVE, Outcome, render_table
from switchover.record.errors import ExitCode
from switchover.record.record import Record
from switchover.record.rundir import RunDirectory


def test_the_table_is_up_to_date() -> None:
    """docs/fronts.md has the table that the code is."""
    assert f"\n{render_table()}\n" in (ROOT / "docs" / "fronts.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def together(with_pytest: Environment, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, int]:
    """All conformance cases in one run, and its exit code."""
    place = tmp_path_factory.mktemp("command-line")
    done = with_pytest.run("switchover", "run", str(CONFORMANCE), "--output", str(place), directory=place)
    assert "Traceback" not in done.stderr, done.stderr
    return RunDirectory(next(place.glob("*/run.json")).parent), done.returncode


def test_every_case_ends_as_the_table_says(together: tuple[RunDirectory, int]) -> None:
    """Planned = reported, in records and in its JUnit; a failure comes before an error in the exit code."""
    run, code = together
    assert code == NATIVE[Outcome.FAIL].exit_code
    assert read_planned(run) == list(EXPECTED)
    verdicts = {case: record.verdict.name for case, record in read_records(run).items()}
    assert verdicts == {case: verdict for case, (_, verdict) in EXPECTED.items()}
    kinds = {case: kind for case, (kind, _) in read_junit(run.path / "junit.xml").items()}
    assert kinds == {case: NATIVE[outcome].junit for case, (outcome, _) in EXPECTED.items()}


@pytest.mark.parametrize(
    ("case", "outcome"),
    [("passes.way-direct", Outcome.PASS), ("claims", Outcome.FAIL), ("killed", Outcome.ERROR), ("skips", Outcome.SKIP)],
)
def test_exit_codes(with_pytest: Environment, tmp_path: Path, case: str, outcome: Outcome) -> None:
    """Each outcome alone, row by row."""
    assert EXPECTED[case][0] is outcome
    words = ["run", str(CONFORMANCE), "--only", case, "--output", str(tmp_path)]
    assert with_pytest.run("switchover", *words, directory=tmp_path).returncode == NATIVE[outcome].exit_code


def test_the_exit_code_of_an_interruption(with_pytest: Environment, tmp_path: Path) -> None:
    """Ctrl-C while a case runs: its record says that it was interrupted."""
    (tmp_path / "waits.py").write_text(
        "import pathlib, time\n"
        "from switchover import Needs, case\n"
        "@case(needs=Needs(hosts=0))\n"
        "def waits(context):\n"
        f"    pathlib.Path({str(tmp_path / 'here')!r}).touch()\n"
        "    time.sleep(60)\n"
    )
    words = [str(with_pytest.python), "-m", "switchover", "run", "waits.py", "--output", str(tmp_path)]
    with subprocess.Popen(
        words,
        cwd=tmp_path,
        env=with_pytest.variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "here").exists():
            assert time.monotonic() < deadline, "the case did not begin"
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
        said, _ = process.communicate(timeout=90)
    assert process.returncode == NATIVE[Outcome.INTERRUPTED].exit_code == ExitCode.INTERRUPTED, said
    run = RunDirectory(next(tmp_path.glob("*/run.json")).parent)
    assert read_records(run)["waits"].verdict.reason.endswith("interrupted")


@pytest.mark.quick
def test_pytest_makes_the_same_records(
    with_pytest: Environment, place: Path, together: tuple[RunDirectory, int]
) -> None:
    """The same cases through pytest: ids, verdicts, measurements, checks and files are equal."""
    with_pytest.run("pytest", f"--switchover-cases={CONFORMANCE}", "-n", "1", "-q", directory=place)
    other, run = find_runs(with_pytest.state)[-1], together[0]
    ours, theirs = read_records(run), read_records(other)
    assert {case: _reduce(record) for case, record in ours.items()} == {
        case: _reduce(record) for case, record in theirs.items()
    }
    assert _list_files(run) == _list_files(other)


def _reduce(record: Record) -> tuple[object, ...]:
    """What does not depend on when, where, and by which process: the words about a dead process are the front's."""
    lost = record.mismatch.startswith("the process of the case died")
    reason = "died" if lost else record.verdict.reason
    return (
        record.verdict.name,
        reason,
        "died" if lost else record.mismatch,
        record.measurements,
        record.checks,
        record.expectation,
        {} if lost else record.settings,
    )


def _list_files(run: RunDirectory) -> dict[str, int]:
    """Files that cases left, with their sizes; not what the harness writes itself."""
    own = {"record.json", "case.log", "traceback.txt"}
    return {
        str(path.relative_to(run.path)): path.stat().st_size
        for path in run.path.glob("*/*/*")
        if path.is_file() and path.name not in own
    }
