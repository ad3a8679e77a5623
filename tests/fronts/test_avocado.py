# SPDX-License-Identifier: GPL-2.0-or-later
"""avocado 113 with the built wheel: the same cases, verdicts, measurements and files as without, and nothing left."""

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest
from tests.fronts.avocado_environment import (
    CASES,
    Avocado,
    JobResult,
    finish,
    list_processes,
    name_of,
    require_environment,
)

from switchover.catalogue.load import load_catalogue, load_file
from switchover.catalogue.outcome import NATIVE, Outcome, find_outcome
from switchover.catalogue.worker import conduct_apart
from switchover.hosts import waiting
from switchover.hosts.ownership import take_file
from switchover.hosts.waiting import wait_until
from switchover.lab.keys import generate_key_pair
from switchover.record.record import Record, VerdictName
from switchover.record.rundir import RunDirectory, make_run_directory
from switchover.report.history.store import History
from switchover.report.rundata import read_run

CONFORMANCE = CASES / "conformance.py"
MARK = "switchover-leftover"
OURS = "avocado-runner-switchover"


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return require_environment(tmp_path_factory.mktemp("avocado-front"))


@pytest.fixture
def avocado(environment: Path, tmp_path: Path) -> Avocado:
    return Avocado(environment, tmp_path)


@pytest.fixture
def leftovers(avocado: Avocado) -> Iterator[Avocado]:
    """Of cases that leave processes behind, if they are let: none may be left."""
    yield replace(avocado, settings={"switchover.cases": f"['{CASES / 'leftovers.py'}']"})
    found = list_processes(MARK)
    left = [process.info["cmdline"] for process in found]
    for process in found:
        process.kill()
    assert not left


@pytest.fixture(scope="session")
def conformance(environment: Path, conformance_place: Path) -> JobResult:
    """All cases of conformance, in one job."""
    return Avocado(environment, conformance_place).run(f"switchover:{CONFORMANCE}")


@pytest.fixture(scope="session")
def direct(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """The same cases without avocado."""
    run = make_run_directory("direct", tmp_path_factory.mktemp("direct"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiting, "_PACES", [])  # a lab of other tests may be up in this process
        for case in load_file(CONFORMANCE):
            conduct_apart(case, 1, run.repeat(case.id, 1), run, {})
    return run


@pytest.mark.quick
def test_avocado_lists_the_whole_catalogue_under_its_ids(avocado: Avocado) -> None:
    done = avocado.call("list", "switchover:*")
    assert done.returncode == 0
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["switchover", case.id] for case in load_catalogue().cases
    ]


def test_tags_are_those_of_the_catalogue(avocado: Avocado) -> None:
    done = avocado.call("list", "-t", "libvirt,-pci", "switchover:*")
    wanted = {case.id for case in load_catalogue().select((), ("libvirt", "-pci"))}
    assert wanted
    assert {line.split()[1] for line in done.stdout.splitlines()} == wanted


def test_a_misspelt_id_is_not_found_and_near_ids_are_named(avocado: Avocado) -> None:
    done = avocado.call("run", "switchover:precopy-efect.arm-on")
    assert done.returncode == 2
    assert "precopy-effect.arm-on," in done.stdout + done.stderr


@pytest.mark.quick
def test_verdicts_measurements_checks_and_files_are_those_without_avocado(
    conformance: JobResult, direct: RunDirectory
) -> None:
    ours = {record.case: record for record in conformance.run.records()}
    assert ours.keys() == {case.id for case in load_file(CONFORMANCE)}
    for record in direct.records():
        assert _reduce(ours[record.case]) == _reduce(record)
        here = _digest(conformance.run.repeat_path(record.case, 1))
        assert here == _digest(direct.repeat_path(record.case, 1))
        # and once more among avocado's own results, in whole
        test = Path(conformance.test(record.case)["logdir"])
        assert _digest(test / "switchover" / "01") == here


def _reduce(record: Record) -> Record:
    """What must be the same wherever a case is run."""
    return replace(record, started="", seconds={}, fingerprint={})


def _digest(directory: Path) -> dict[str, str]:
    """Contents of files, but those in which times or paths of the installation are."""
    names = {path.name: path for path in directory.rglob("*") if path.is_file()}
    assert "record.json" in names
    return {
        name: "" if name in ("record.json", "traceback.txt") else hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in names.items()
    }


def test_each_outcome_has_its_status(conformance: JobResult) -> None:
    records = {record.case: record for record in conformance.run.records()}
    wanted = {case: NATIVE[find_outcome(record)].avocado.upper() for case, record in records.items()}
    assert conformance.statuses == wanted
    assert set(wanted.values()) == {"PASS", "FAIL", "ERROR", "SKIP"}
    assert conformance.statuses["killed"] == "ERROR"
    assert conformance.statuses["hangs"] == "FAIL"
    assert conformance.code == 1


def test_planned_is_reported_and_the_run_directory_can_be_read(conformance: JobResult) -> None:
    cases = load_file(CONFORMANCE)
    results = conformance.results
    assert results["total"] == len(results["tests"]) == len(cases)
    assert [line.id for line in (case.line for case in read_run(conformance.run).cases)] == [case.id for case in cases]
    assert str(conformance.run.path) in conformance.said


def test_the_whiteboard_has_verdict_and_measurements(conformance: JobResult) -> None:
    for record in conformance.run.records():
        board = json.loads(conformance.test(record.case)["whiteboard"])
        assert (board["case"], board["verdict"]) == (record.case, record.verdict.name)
        assert board["run_directory"] == str(conformance.run.path)
        assert board["measurements"] == [
            {"name": one.name, "value": one.value, "unit": one.unit, "direction": one.direction}
            for one in record.measurements
        ]


def test_a_failure_begins_as_everywhere_and_a_skip_has_its_reason(conformance: JobResult) -> None:
    records = {record.case: record for record in conformance.run.records()}
    failed = conformance.test("speaks")
    assert failed["fail_reason"] == f"NOT AS EXPECTED  speaks #1: {records['speaks'].mismatch}"
    assert conformance.test("skips")["fail_reason"] == records["skips"].verdict.reason
    log = Path(failed["logdir"], "debug.log").read_text(encoding="utf-8")
    assert "[stderr] warning: " in log
    assert "[stdlog]   claim" in log


def test_a_warning_on_standard_error_is_no_status(avocado: Avocado, tmp_path: Path) -> None:
    file = tmp_path / "warns.py"
    file.write_text(
        "import sys\nfrom switchover import Context, Needs, case\n"
        "@case(needs=Needs(hosts=0))\ndef warns(context: Context) -> None:\n    print('warning: x', file=sys.stderr)\n"
    )
    assert avocado.run(f"switchover:{file}").statuses == {"warns": "PASS"}


def test_all_axes_of_a_variant_reach_a_case_and_each_has_a_record(avocado: Avocado, tmp_path: Path) -> None:
    mux = tmp_path / "mux.yaml"
    mux.write_text(
        "counts: !mux\n  few:\n    count: 2\n  many:\n    count: 200\n"
        "others: !mux\n  a:\n    share: 0.25\n    word: 'per%cent'\n    fast: on\n"
    )
    job = avocado.run(f"switchover:{_copy(tmp_path, 'tells')}", "-m", str(mux))
    assert job.code == 0
    assert sorted(test["id"].split(";")[0] for test in job.results["tests"]) == ["1-tells", "2-tells"]
    told = {path.read_text() for path in job.run.path.glob("tells/*/parameters.txt")}
    assert told == {"2 0.25 'per%cent' True\n", "200 0.25 'per%cent' True\n"}
    assert [case.line.repeats for case in read_run(job.run).cases] == [2]


def test_parameters_of_the_command_line_are_variants_too(avocado: Avocado, tmp_path: Path) -> None:
    job = avocado.run("-p", "count=7", f"switchover:{_copy(tmp_path, 'tells')}")
    assert (job.run.path / "tells" / "01" / "parameters.txt").read_text().startswith("7 ")


def test_a_parameter_that_a_case_does_not_have_is_an_error(avocado: Avocado, tmp_path: Path) -> None:
    job = avocado.run("-p", "cuont=7", f"switchover:{_copy(tmp_path, 'tells')}")
    assert job.statuses == {"tells": "ERROR"}
    assert "cuont" in job.test("tells")["fail_reason"]
    assert job.code == 1


def _copy(place: Path, function: str) -> Path:
    """``parameters.py`` with one of its functions only."""
    head, *functions = (CASES / "parameters.py").read_text().split("\n\n\n@case")
    (chosen,) = (text for text in functions if f"def {function}(" in text)
    file = place / f"{function}.py"
    file.write_text(f"{head}\n\n\n@case{chosen}")
    return file


def test_a_test_that_avocado_ends_leaves_no_process(leftovers: Avocado) -> None:
    """Its time is up for avocado, and not for the case: a child, its child, and one that has left the session."""
    patient = replace(leftovers, settings={**leftovers.settings, "task.timeout.running": "25"})
    job = patient.run("switchover:stays")
    assert job.statuses == {"stays": "INTERRUPTED"}
    assert job.code == 8
    (record,) = job.run.records()
    assert find_outcome(record) is Outcome.INTERRUPTED
    assert json.loads(job.test("stays")["whiteboard"])["outcome"] == "interrupted"


def test_cases_that_leave_processes_leave_none(leftovers: Avocado) -> None:
    """One overruns its time, one passes, one is killed."""
    job = leftovers.run("switchover:overruns", "switchover:forgets", "switchover:dies")
    assert job.statuses == {"overruns": "FAIL", "forgets": "PASS", "dies": "ERROR"}
    assert all(record.verdict.name is VerdictName.HUNG for record in job.run.records() if record.case == "overruns")


def test_an_interruption_ends_what_runs_and_tells_what_was_not_run(leftovers: Avocado) -> None:
    """Ctrl-C: the exit status is avocado's own, and every planned case has a record."""
    running = leftovers.start("--max-parallel-tasks", "1", "switchover:stays", "switchover:forgets")
    leftovers.wait_until_runs("stays")
    os.killpg(running.pid, signal.SIGINT)
    job = leftovers.collect(running.wait(120), finish(running))
    assert job.code == 8
    records = {record.case: record for record in job.run.records()}
    assert records["stays"].verdict.reason == "interrupted"
    assert records["forgets"].verdict.reason.startswith("not run: avocado did not run it")


@pytest.mark.parametrize("which", ["process that avocado knows", "process behind it"])
def test_a_runner_that_is_killed_is_an_error_and_avocado_goes_on(leftovers: Avocado, which: str) -> None:
    """avocado alone would wait for its result for ever."""
    running = leftovers.start("switchover:stays")
    leftovers.wait_until_runs("stays")
    place = str(leftovers.place)
    runners = {process.pid: process for process in list_processes(OURS) if process in list_processes(place)}
    assert len(runners) == 2
    known = next(pid for pid, process in runners.items() if process.ppid() not in runners)
    victim = known if which == "process that avocado knows" else next(pid for pid in runners if pid != known)
    os.kill(victim, signal.SIGKILL)
    job = leftovers.collect(running.wait(120), finish(running))
    assert job.statuses == {"stays": "ERROR"}
    assert "killed" in job.test("stays")["fail_reason"]
    assert job.results["total"] == len(job.results["tests"]) == 1
    assert job.code == 1
    (record,) = job.run.records()
    assert record.mismatch


def test_avocado_that_is_killed_leaves_no_process(leftovers: Avocado) -> None:
    running = leftovers.start("switchover:stays")
    leftovers.wait_until_runs("stays")
    os.kill(running.pid, signal.SIGKILL)
    place = str(leftovers.place)
    wait_until("the end of the job", lambda: not [*list_processes(MARK), *list_processes(place)], timeout=60)
    running.communicate()


_JOB = """
import json, sys
from avocado.core.job import Job
from avocado.core.suite import TestSuite
place, cases, *inventories = sys.argv[1:]
config = {"run.results_dir": place, "sysinfo.collect.enabled": False, "switchover.cases": [cases]}
suites = [
    TestSuite.from_config(
        {**config, "resolver.references": ["switchover:wants-hosts", "switchover:tells"], "switchover.hosts": hosts,
         "switchover.inventory": inventory},
        name=name,
    )
    for name, hosts, inventory in zip("AB", ("one,two", "three"), inventories)
]
with Job(config, suites) as job:
    sys.exit(job.run())
"""


def test_suites_of_a_job_have_hosts_of_their_own_and_lost_hosts_are_errors(avocado: Avocado, tmp_path: Path) -> None:
    """The Job API: each suite says which hosts; those of neither can be had, and what needs none runs all the same."""
    pair = generate_key_pair()
    (tmp_path / "key").write_text(pair.private)
    for file, name in (("first", "one"), ("second", "three")):
        text = _INVENTORY.format(name=name, key=tmp_path / "key", public=pair.public)
        (tmp_path / f"{file}.toml").write_text(text)
    script = tmp_path / "job.py"
    script.write_text(_JOB)
    words = [str(script), str(tmp_path / "results"), str(CASES / "parameters.py")]
    done = avocado.call(*words, str(tmp_path / "first.toml"), str(tmp_path / "second.toml"), program="python")
    job = avocado.collect(done.returncode, done.stdout + done.stderr)
    found = [(name_of(test), test["status"], test["fail_reason"] or "") for test in job.results["tests"]]
    lost = {reason for name, status, reason in found if name == "wants-hosts" and status == "ERROR"}
    assert sorted((name, status) for name, status, _ in found) == [
        ("tells", "PASS"),
        ("tells", "PASS"),
        ("wants-hosts", "ERROR"),
        ("wants-hosts", "ERROR"),
    ]
    assert any("one does not answer" in reason for reason in lost)
    assert any("three does not answer" in reason for reason in lost)
    assert job.results["total"] == 4
    assert job.code == 1
    assert len(job.run.records()) == 4


_INVENTORY = """
version = 1
[host.{name}]
address = "127.0.0.1"
port = 1
key = "{key}"
host_key = "{public}"
"""


def test_the_runner_says_what_it_can(environment: Path) -> None:
    done = subprocess.run([environment / "bin" / OURS, "capabilities"], capture_output=True, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["runnables"] == ["switchover"]
    assert {"switchover.hosts", "switchover.inventory"} <= set(told["configuration_used"])


def count_runs(state: Path) -> int:
    """In the history there."""
    with History.open(state / "switchover" / "history.sqlite") as history:
        return history.count_runs()


@pytest.fixture(scope="session")
def conformance_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("conformance")


def test_a_job_adds_its_numbers_to_the_history(conformance: JobResult, conformance_place: Path) -> None:
    """Once, by the job and not by each test, with the numbers of every case that completed."""
    path = conformance_place / "state" / "switchover" / "history.sqlite"
    with History.open(path) as history:
        assert history.count_runs() == 1
        (row,) = history.find_rows("measures", "figure 008")
    assert (row.value, row.run) == (1.0, conformance.run.path.name)


@pytest.mark.parametrize("word", ["off", "mine.sqlite", "avocado.conf/none"])
def test_the_history_is_a_setting(environment: Path, tmp_path: Path, word: str) -> None:
    """A file, or none; one that cannot be is told in a line, and the job passes."""
    settings = {"switchover.history": word, "switchover.cases": f"['{CONFORMANCE}']"}
    job = Avocado(environment, tmp_path, settings).run("switchover:measures")
    assert (job.code, job.statuses) == (0, {"measures": "PASS"}), job.said
    assert (tmp_path / "mine.sqlite").exists() == (word == "mine.sqlite")
    assert job.said.count("the run is not in the history") == (word == "avocado.conf/none")
    assert not (tmp_path / "state" / "switchover" / "history.sqlite").exists()


def test_without_a_job_the_runner_makes_a_run_directory_of_its_own(environment: Path, tmp_path: Path) -> None:
    """As nobody but people do who look for what is wrong."""
    words = ["runnable-run", "-k", "switchover", "-u", "measures", f"source={CONFORMANCE}"]
    own = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    done = subprocess.run([environment / "bin" / OURS, *words], capture_output=True, text=True, cwd=tmp_path, env=own)
    assert done.returncode == 0, done.stderr
    assert "'result': 'pass'" in done.stdout
    (record,) = RunDirectory(tmp_path / "run").records()
    assert record.verdict.name is VerdictName.COMPLETED
    assert count_runs(tmp_path / "state") == 1


def _start_runner(environment: Path, place: Path) -> "subprocess.Popen[str]":
    """Of a test that needs hosts, in a job whose lab is gone, and whose lock is ``place/lock``."""
    run = make_run_directory("test", place, name="run")
    testbed = json.dumps({"lab": str(place / "lab")})
    words = [
        f"source={CASES / 'parameters.py'}",
        f"run={run.path}",
        f"lock={place / 'lock'}",
        f"testbed=json:{testbed}",
    ]
    return subprocess.Popen(
        [environment / "bin" / OURS, "runnable-run", "-k", "switchover", "-u", "wants-hosts", *words],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_STATE_HOME": str(place / "state")},
    )


def test_a_lab_that_is_gone_is_an_error(environment: Path, tmp_path: Path) -> None:
    said = finish(_start_runner(environment, tmp_path))
    assert "'result': 'error'" in said
    (record,) = RunDirectory(tmp_path / "run").records()
    assert "lab.json cannot be read" in record.verdict.reason
    assert find_outcome(record) is Outcome.ERROR


def test_a_test_waits_for_its_turn_and_says_for_whom(environment: Path, tmp_path: Path) -> None:
    """Another test has the hosts. That the lab is gone shows that it goes on when it is its turn."""
    owned = take_file(tmp_path / "lock", note="precopy")
    assert owned is not None
    runner = _start_runner(environment, tmp_path)
    assert runner.stdout is not None
    said = _read_until(runner.stdout, "waiting for the lab, which precopy has")
    assert "'result'" not in said
    owned.release(remove=False)
    assert "'result': 'error'" in finish(runner)


def test_a_test_that_is_ended_while_it_waits_was_interrupted(environment: Path, tmp_path: Path) -> None:
    """It is no skip: nobody has said anything of what it needs."""
    owned = take_file(tmp_path / "lock", note="precopy")
    assert owned is not None
    runner = _start_runner(environment, tmp_path)
    assert runner.stdout is not None
    _read_until(runner.stdout, "waiting for the lab")
    runner.terminate()
    assert "'result': 'interrupted'" in finish(runner)
    owned.release()
    (record,) = RunDirectory(tmp_path / "run").records()
    assert find_outcome(record) is Outcome.INTERRUPTED


def _read_until(stream: IO[str], words: str) -> str:
    """Lines up to one with these words; the test's own timeout ends it if there is none."""
    said = ""
    for line in stream:
        said += line
        if words in line:
            return said
    raise AssertionError(f"{words!r} was not said: {said}")
