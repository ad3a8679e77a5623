# SPDX-License-Identifier: GPL-2.0-or-later
"""The plugin for pytest, from the built wheel: conformance, what pytest users know, those who do not use it."""

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.fronts.cases.conformance import ATTACHED_BYTES, MEASUREMENTS, WORDS
from tests.fronts.environment import CONFORMANCE, Environment
from tests.fronts.outcomes import EXPECTED, find_runs, read_junit, read_planned, read_records

from switchover.catalogue.outcome import NATIVE, Outcome
from switchover.hosts.waiting import wait_until
from switchover.record.record import VerdictName
from switchover.record.rundir import RunDirectory
from switchover.report.history.store import History

_CASES = f"--switchover-cases={CONFORMANCE}"
_COLLECT_S = 1.5
"""Target for collecting the catalogue, seconds."""


@dataclass(frozen=True)
class Session:
    """A session of pytest that has ended. ``run``: its run directory; None: it made none."""

    done: "subprocess.CompletedProcess[str]"
    run: RunDirectory | None
    junit: Path

    @property
    def code(self) -> int:
        return self.done.returncode

    @property
    def text(self) -> str:
        return self.done.stdout + self.done.stderr

    def require_run(self) -> RunDirectory:
        assert self.run is not None, self.text
        return self.run

    @property
    def told(self) -> dict[str, str]:
        """What the lines of ``-rA`` say of each case."""
        lines = re.findall(r"^([A-Z]+) (?:\[\d+\] )?\S*?switchover::(\S+)", self.done.stdout, re.MULTILINE)
        assert len({case for _, case in lines}) == len(lines), self.text
        return {case: word.lower() for word, case in lines}


def run_pytest(environment: Environment, place: Path, *words: str, typed: str = "", timeout: float = 120) -> Session:
    before = {run.path for run in find_runs(environment.state)}
    junit = place / "junit.xml"
    done = environment.run("pytest", f"--junitxml={junit}", *words, directory=place, typed=typed, timeout=timeout)
    made = [run for run in find_runs(environment.state) if run.path not in before]
    assert len(made) < 2, f"a session has one run directory: {made}"
    return Session(done, made[0] if made else None, junit)


@pytest.fixture(scope="module")
def conformance(with_pytest: Environment, tmp_path_factory: pytest.TempPathFactory) -> Session:
    """All cases, with workers, since one of them kills its process."""
    place = tmp_path_factory.mktemp("conformance")
    (place / "pytest.ini").write_text("[pytest]\n")
    return run_pytest(with_pytest, place, _CASES, "-rA", "-v", "-n", "2", "--strict-markers")


@pytest.mark.quick
def test_every_case_ends_as_the_table_says(conformance: Session) -> None:
    """Planned = reported: in the terminal, in JUnit and in records, each case once, each as in docs/fronts.md; the
    session fails.
    """
    assert conformance.code == pytest.ExitCode.TESTS_FAILED
    records = read_records(conformance.require_run())
    assert read_planned(conformance.require_run()) == list(EXPECTED)
    assert {case: record.verdict.name for case, record in records.items()} == {
        case: verdict for case, (_, verdict) in EXPECTED.items()
    }
    assert records["killed"].verdict.reason.startswith("the process of the case died: worker 'gw")
    skipped = {case for case, (outcome, _) in EXPECTED.items() if outcome is Outcome.SKIP}
    wanted = {case: NATIVE[outcome].pytest for case, (outcome, _) in EXPECTED.items()}
    assert conformance.told == {case: word for case, word in wanted.items() if case not in skipped}
    junit = read_junit(conformance.junit)
    assert {case: kind for case, (kind, _) in junit.items()} == {
        case: NATIVE[outcome].junit for case, (outcome, _) in EXPECTED.items()
    }


def test_a_skip_says_why(conformance: Session) -> None:
    """The reason of a case that is not supported is in the terminal, with the line of the case."""
    assert re.search(
        r"SKIPPED \[1\] \S*conformance\.py:\d+: the bench has no such device: Gerät fehlt", conformance.text
    )


def test_a_failure_in_the_house_format(conformance: Session) -> None:
    """Claim, observed, when, evidence, how to repeat: and no line of Python of the harness."""
    for case in ("fails", "claims", "errs", "speaks", "hangs", "killed"):
        text = re.search(rf"NOT AS EXPECTED  {case} #1: .*?^  pytest .*?$", conformance.text, re.MULTILINE | re.DOTALL)
        assert text is not None, case
        for name in ("claim", "observed", "when", "evidence", "repeat", "look"):
            assert re.search(rf"^  {name}  ", text[0], re.MULTILINE), (case, name)
    assert "Traceback" not in conformance.text
    assert not re.search(r"switchover/\w+/\w+\.py:\d+", conformance.text)


def test_how_a_failure_is_run_again(with_pytest: Environment, place: Path, conformance: Session) -> None:
    """The command in the text of a failure is one: it runs that case and no other."""
    found = re.search(r"^  pytest    pytest (\S+ switchover::claims)$", conformance.text, re.MULTILINE)
    assert found is not None
    again = run_pytest(with_pytest, place, "-rA", *found[1].split())
    assert again.told == {"claims": "failed"}


def test_measurements_and_files(conformance: Session) -> None:
    """A thousand numbers are properties in JUnit and in the record, one that is missing says so and is no 0; a file of
    40 MB is beside its record; words stay as they are.
    """
    records, junit = read_records(conformance.require_run()), read_junit(conformance.junit)
    properties = junit["measures"][1]
    numbers = {entry.name: entry.value for entry in records["measures"].measurements}
    assert len(numbers) == MEASUREMENTS + 1
    assert {
        f"{name} [s]": str(value) for name, value in numbers.items() if value is not None
    }.items() <= properties.items()
    assert properties["absent [bytes]"] == "missing: there was nothing to count"
    assert Path(properties["record"]).parent == conformance.require_run().repeat_path("measures", 1)
    assert (conformance.require_run().repeat_path("attaches", 1) / "large.bin").stat().st_size == ATTACHED_BYTES
    assert (conformance.require_run().repeat_path("speaks", 1) / "wörter.txt").read_text() == f"{WORDS}\n"
    assert records["speaks"].mismatch == WORDS
    assert WORDS in conformance.junit.read_text()


def test_what_show_says(with_pytest: Environment, place: Path, conformance: Session) -> None:
    """``switchover show`` reads the run directory that the summary names."""
    named = re.search(r"^run directory: (.*)$", conformance.done.stdout, re.MULTILINE)
    assert named is not None
    assert Path(named[1]) == conformance.require_run().path
    shown = with_pytest.run("switchover", "show", named[1], directory=place)
    assert all(case in shown.stdout for case in EXPECTED), shown.stdout
    assert "the process of the case died" in shown.stdout


def test_nobody_who_does_not_use_it_pays(with_pytest: Environment, place: Path) -> None:
    """Installed and not used: the plugin is loaded, and no room of the package, no library, no file in the state."""
    (place / "test_plain.py").write_text(
        "import sys\n"
        "def test_it(request):\n"
        "    assert request.config.pluginmanager.hasplugin('switchover')\n"
        "    ours = sorted(name for name in sys.modules if name.split('.')[0] == 'switchover')\n"
        "    assert len(ours) == 4 and ours[:2] == ['switchover', 'switchover.fronts'], ours\n"
        "    assert not {'paramiko', 'pydantic', 'psutil', 'scipy', 'filelock'} & set(sys.modules)\n"
    )
    for words in ([], ["-n", "1"]):
        session = run_pytest(with_pytest, place, *words)
        assert session.code == 0, session.text
        assert session.run is None
        assert "run directory" not in session.text


def test_a_name_that_means_nothing(with_pytest: Environment, place: Path) -> None:
    """Ids, tags, files and pairs that there are not: an error of usage that says what is like it; nothing is run."""
    for words, said in (
        ([_CASES, "switchover:clams"], "claims"),
        ([_CASES, "--switchover-tag=conformanc"], "conformance"),
        ([_CASES, "--switchover-tag=conformance", "--switchover-tag=-conformance"], "No case is selected"),
        (["--switchover-cases=nowhere.py"], "nowhere.py"),
        (["--switchover", "--switchover-pair=a,b,c"], "is not a pair"),
        (["--switchover", "--switchover-pair=nobody"], "nobody"),
    ):
        session = run_pytest(with_pytest, place, *words)
        assert session.code == pytest.ExitCode.USAGE_ERROR, (words, session.text)
        assert said in session.text
        assert "INTERNALERROR" not in session.text
        assert session.run is None, words


def test_nothing_is_selected(with_pytest: Environment, place: Path) -> None:
    """``-k`` that leaves nothing is no success, as in pytest."""
    session = run_pytest(with_pytest, place, _CASES, "-k", "no-such")
    assert session.code == pytest.ExitCode.NO_TESTS_COLLECTED
    assert session.run is None


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (["-k", "passes.way-direct"], ["passes.way-direct"]),
        (["-m", "kills"], ["killed"]),
        (["switchover:passes"], ["passes.way-direct", "passes.way-bypass"]),
        (["switchover:*-bypass", "switchover::errs"], ["passes.way-bypass", "errs"]),
        (["--switchover-tag=kills"], ["killed"]),
        (["--deselect=switchover::killed", "-k", "killed or errs"], ["errs"]),
    ],
)
def test_what_is_chosen(with_pytest: Environment, place: Path, words: list[str], ids: list[str]) -> None:
    """Words, tags, ``-k``, ``-m`` and ``--deselect`` choose cases by the very ids that other fronts have."""
    session = run_pytest(with_pytest, place, _CASES, "--strict-markers", "--collect-only", "-q", *words)
    listed = re.findall(r"^switchover::(.*)$", session.done.stdout, re.MULTILINE)
    assert listed == ids, session.text
    assert session.run is None


def test_files_beside_cases(with_pytest: Environment, place: Path) -> None:
    """With files named, tests and cases; with the option alone, cases and nothing else."""
    (place / "test_own.py").write_text("def test_own(): pass\n")
    both = run_pytest(with_pytest, place, _CASES, "test_own.py", "--collect-only", "-q")
    assert "test_own.py::test_own" in both.text
    assert f"{len(EXPECTED) + 1} tests collected" in both.text
    alone = run_pytest(with_pytest, place, _CASES, "--collect-only", "-q")
    assert f"{len(EXPECTED)} tests collected" in alone.text


def test_the_first_failure_ends_it(with_pytest: Environment, place: Path) -> None:
    """``-x``: cases after it are planned, and have records that say why they were not run."""
    session = run_pytest(with_pytest, place, _CASES, "-x", "-rA", "-k", "fails or claims or errs")
    assert session.told == {"fails": "failed"}
    records = read_records(session.require_run())
    assert list(records) == ["claims", "errs", "fails"]
    assert records["claims"].verdict.reason == "not run: stopping after 1 failures"
    assert records["errs"].mismatch


def test_those_that_failed_last(with_pytest: Environment, place: Path) -> None:
    """``--lf`` runs cases that failed or were errors, and only those."""
    first = run_pytest(with_pytest, place, _CASES, "-v", "-k", "passes or claims or errs")
    assert re.search(r"^switchover::passes\.way-direct PASSED", first.text, re.MULTILINE), "ids are told as they are"
    session = run_pytest(with_pytest, place, _CASES, "-rA", "--lf")
    assert session.told == {"claims": "failed", "errs": "error"}


def test_an_interruption(with_pytest: Environment, place: Path) -> None:
    """The case that ran is an error with a record, those after it have one too, and pytest ends as interrupted."""
    (place / "interrupted.py").write_text(
        "import os, signal\n"
        "from switchover import Needs, case\n"
        "@case(needs=Needs(hosts=0))\n"
        "def stops(context):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "@case(needs=Needs(hosts=0))\n"
        "def later(context):\n"
        "    pass\n"
    )
    session = run_pytest(with_pytest, place, "--switchover-cases=interrupted.py", "-rA")
    assert session.code == pytest.ExitCode.INTERRUPTED
    assert session.told == {"stops": NATIVE[Outcome.INTERRUPTED].pytest}
    assert read_junit(session.junit)["stops"][0] == NATIVE[Outcome.INTERRUPTED].junit
    records = read_records(session.require_run())
    assert records["stops"].verdict.reason == "interrupted"
    assert records["later"].verdict.reason == "not run: interrupted"


def test_the_debugger(with_pytest: Environment, place: Path) -> None:
    """``--pdb`` opens where the case failed, once for each failure, and does so for no skip; ``c`` goes
    on, and outcomes are as without.
    """
    typed = "p 'found', found\nc\nc\n"
    session = run_pytest(with_pytest, place, _CASES, "-rA", "--pdb", "-k", "fails or skips or hangs", typed=typed)
    assert session.text.count("entering PDB") == 2, session.text
    assert "('found', 0)" in session.text
    assert session.told == {"fails": "failed", "hangs": "failed"}
    assert read_records(session.require_run())["fails"].verdict.name is VerdictName.CHECKS_FAILED
    assert "fronts/pytest_debugger.py" not in session.text.partition("entering PDB")[0]


def test_time_in_the_debugger(with_pytest: Environment, place: Path) -> None:
    """It does not count: a case that failed is not hung, since somebody looked at it for longer than it may take."""
    begun, limit = place / "begun", 1.0
    (place / "own.py").write_text(
        "import pathlib\n"
        "from switchover import Needs, case\n"
        f"@case(needs=Needs(hosts=0), timeout_s={limit})\n"
        "def quick(context):\n"
        f"    pathlib.Path({str(begun)!r}).touch()\n"
        "    assert not context\n"
    )
    words = [str(with_pytest.python), "-m", "pytest", "--switchover-cases=own.py", "--pdb"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=place, env=with_pytest.variables, stdin=pipe, stdout=pipe, text=True) as process:
        wait_until("the case to begin", begun.exists, timeout=60)
        time.sleep(3 * limit)  # nobody types anything for longer than the case may take
        said, _ = process.communicate("c\n", timeout=60)
    record = read_records(find_runs(with_pytest.state)[-1])["quick"]
    assert record.verdict.name is VerdictName.CHECKS_FAILED, said


def test_quitting_the_debugger(with_pytest: Environment, place: Path) -> None:
    """``q`` ends the session after the case, whose record says how it failed."""
    session = run_pytest(with_pytest, place, _CASES, "-rA", "--pdb", "-k", "fails or claims", typed="q\n")
    assert session.code == pytest.ExitCode.INTERRUPTED
    records = read_records(session.require_run())
    assert records["fails"].verdict.name is VerdictName.CHECKS_FAILED
    assert records["claims"].verdict.reason.startswith("not run: ")


def write_inventory(place: Path) -> None:
    """With one host, at whose address nobody listens."""
    key = place / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (place / "inventory.toml").write_text(
        f'version = 1\n[host.gone]\naddress = "127.0.0.1"\nport = 9\nuser = "root"\nkey = "{key}"\n'
        f'host_key = "{key.with_suffix(".pub").read_text().strip()}"\n'
    )


def test_hosts_that_cannot_be_had(with_pytest: Environment, place: Path) -> None:
    """A host that does not answer: an error for each case, with a record, never a skip; and it is tried once."""
    write_inventory(place)
    session = run_pytest(
        with_pytest,
        place,
        "switchover:precopy",
        "-rA",
        "--switchover-pair=gone",
        "--switchover-inventory=inventory.toml",
    )
    assert session.code == pytest.ExitCode.TESTS_FAILED, session.text
    assert session.told
    assert set(session.told.values()) == {"error"}, session.text
    records = read_records(session.require_run())
    assert set(records) == set(session.told)
    assert {record.verdict.name for record in records.values()} == {VerdictName.INFRASTRUCTURE_ERROR}


def test_more_workers_than_pairs(with_pytest: Environment, place: Path) -> None:
    """A worker has a pair of its own: too few are an error of usage, before anything is started."""
    write_inventory(place)
    hosts = ["--switchover-pair=gone", "--switchover-inventory=inventory.toml"]
    session = run_pytest(with_pytest, place, "switchover:precopy", "-n", "2", *hosts)
    assert session.code == pytest.ExitCode.USAGE_ERROR, session.text
    assert "2 workers need as many pairs of hosts; 1 are named" in session.text


def test_numbers_go_into_the_history(with_pytest: Environment, conformance: Session) -> None:
    """Once for a session, whichever worker they are from; nothing is said of it."""
    with History.open(with_pytest.state / "switchover" / "history.sqlite") as history:
        rows = history.find_rows("measures", "figure 008")
    assert [row.value for row in rows if row.run == conformance.require_run().path.name] == [1.0]
    assert "history" not in conformance.done.stdout


@pytest.mark.parametrize(
    ("setting", "option", "made"),
    [("ours.sqlite", "", True), ("off", "", False), ("off", "ours.sqlite", True), ("ours.sqlite", "off", False)],
)
def test_the_history_is_named_by_a_setting_or_an_option(
    with_pytest: Environment, place: Path, setting: str, option: str, made: bool
) -> None:
    """The option counts before the setting; off is none."""
    (place / "pytest.ini").write_text(f"[pytest]\nswitchover_history = {setting}\n")
    words = [f"--switchover-history={option}"] if option else []
    session = run_pytest(with_pytest, place, _CASES, "-k", "measures", *words)
    assert session.code == 0, session.text
    assert (place / "ours.sqlite").exists() == made
    with History.open(with_pytest.state / "switchover" / "history.sqlite", make=True) as history:
        assert session.require_run().path.name not in {row.run for row in history.find_rows("measures", "figure 008")}


def test_a_history_that_cannot_be_written_fails_no_session(with_pytest: Environment, place: Path) -> None:
    """A line of the summary says so, with how to add the run later."""
    session = run_pytest(with_pytest, place, _CASES, "-k", "measures", "--switchover-history=pytest.ini/none")
    assert session.code == 0, session.text
    assert session.done.stdout.count("warning: the run is not in the history: ") == 1
    assert f"switchover history import {session.require_run().path}" in session.done.stdout


def test_fixtures_that_everybody_has(with_pytest: Environment, place: Path) -> None:
    """The ladder begins with a prefix, and short names are there for those who ask for them."""
    listed = run_pytest(with_pytest, place, "--fixtures").done.stdout
    names = set(
        re.findall(r"^(\w+) (?:\[session scope\] )?-- .*site-packages/switchover/fronts/", listed, re.MULTILINE)
    )
    assert names == {
        f"switchover_{name}"
        for name in (
            "run",
            "inventory",
            "testbed",
            "lab",
            "host_pair",
            "source",
            "destination",
            "case",
            "guest",
            "migration",
            "migrated_guest",
            "run_case",
            "irq_recorder",
        )
    }
    (place / "conftest.py").write_text('pytest_plugins = ["switchover.fronts.fixtures"]\n')
    listed = run_pytest(with_pytest, place, "--fixtures").done.stdout
    short = set(
        re.findall(r"^(\w+) (?:\[session scope\] )?-- .*site-packages/switchover/fronts/fixtures", listed, re.MULTILINE)
    )
    assert {f"switchover_{name}" for name in short} == names - {"switchover_run", "switchover_case"}


def test_errors_of_tests_with_fixtures(with_pytest: Environment, place: Path) -> None:
    """In people's own tests, too, hosts that fail are an error and no failure, what is not there is a skip, and a wrong
    id is told without a line of the harness.
    """
    (place / "test_own.py").write_text(
        "import switchover\n"
        "def test_error(switchover_run):\n"
        "    raise switchover.NotReady('no power', why='a fuse')\n"
        "def test_skip(switchover_run):\n"
        "    raise switchover.NotSupported('no such device')\n"
        "def test_typo(switchover_run):\n"
        "    switchover_run.find_runnable('precopi.device.pre_copy-on')\n"
        "def test_elsewhere():\n"
        "    raise switchover.NotReady('not ours')\n"
    )
    session = run_pytest(with_pytest, place, "-rA")
    junit = {name: kind for name, (kind, _) in read_junit(session.junit).items()}
    assert junit == {"test_error": "error", "test_skip": "skipped", "test_typo": "failure", "test_elsewhere": "failure"}
    assert "test_own.py:7" in session.text
    assert "near it are" in session.text
    assert not re.search(r"switchover/\w+/\w+\.py:\d+", session.text)


@pytest.mark.parametrize("version", ["7.4.4"])
def test_a_pytest_that_is_too_old(with_pytest: Environment, place: Path, version: str) -> None:
    """It says so to those who use the plugin, and does not disturb others."""
    old = place / "old"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(old), f"pytest=={version}"]
    subprocess.run(pip, check=True, capture_output=True)
    variables = {"PYTHONPATH": str(old)}
    (place / "test_plain.py").write_text("def test_it(): pass\n")
    plain = with_pytest.run("pytest", "test_plain.py", "-p", "no:xdist", directory=place, variables=variables)
    assert plain.returncode == 0, plain.stdout + plain.stderr
    assert f"pytest-{version}" in plain.stdout
    using = with_pytest.run("pytest", _CASES, "-p", "no:xdist", directory=place, variables=variables)
    assert using.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"switchover needs pytest 8.0 or newer; this is {version}" in using.stderr


def test_how_long_collecting_takes(with_pytest: Environment, place: Path) -> None:
    """The catalogue is collected within twice the target of processor time, which a busy machine stretches less."""
    seconds, processor, text = [], [], ""
    for _ in range(3):
        start, before = time.monotonic(), os.times()
        text = run_pytest(with_pytest, place, "--switchover", "--collect-only", "-q").text
        seconds.append(time.monotonic() - start)
        after = os.times()
        processor.append(sum(after[2:4]) - sum(before[2:4]))
    found = re.search(r"(\d+) tests collected", text)
    assert found is not None
    print(f"\npytest --collect-only: {found[1]} cases in {min(seconds):.2f} s, target {_COLLECT_S} s")
    assert int(found[1]) > 150
    assert min(processor) < 2 * _COLLECT_S
