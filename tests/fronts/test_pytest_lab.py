# SPDX-License-Identifier: GPL-2.0-or-later
"""The plugin for pytest, from the built wheel, with a real lab: cases of the catalogue, own tests, guests kept."""

import re
from pathlib import Path

import pytest
from tests.fronts.environment import CASES, Environment
from tests.fronts.outcomes import find_runs, read_junit, read_records

from switchover.record.record import VerdictName

_LONG_S = 800
"""For a lab that boots and a few cases, seconds."""
_OWN = """
import pytest
from switchover import VerdictName


def test_catalogue(run_case):
    record = run_case("precopy.device.pre_copy-on")
    assert record.verdict.name is VerdictName.COMPLETED
    assert record.check("guest.boot-id").passed


def test_not_as_expected(run_case):
    run_case("refusals.no-such-case")


@pytest.mark.switchover_case("precopy.device.pre_copy-off")
def test_there(migrated_guest, migration, destination, irq_recorder):
    assert migration.states["source"][-1] == "stop"
    assert migrated_guest.host == destination.name
    assert migrated_guest.migrations == 1
    assert migrated_guest.run(["uname", "-s"]).text.strip() == "Linux"
    assert irq_recorder(migrated_guest, seconds=1).seconds > 0


def test_hosts(lab, host_pair, source, destination):
    assert host_pair == (source, destination)
    assert source.run(["uname", "-s"]).text.strip() == "Linux"
    assert source.name != destination.name
"""


@pytest.mark.quick
def test_the_catalogue_and_own_tests(with_pytest: Environment, place: Path) -> None:
    """Cases of the catalogue and tests with the ladder of fixtures share a lab and one run directory; numbers are in
    JUnit and in the records, the same; the lab is gone afterwards.
    """
    (place / "conftest.py").write_text('pytest_plugins = ["switchover.fronts.fixtures"]\n')
    (place / "test_own.py").write_text(_OWN)
    junit = place / "junit.xml"
    done = with_pytest.run(
        "pytest",
        "switchover:precopy",
        "test_own.py",
        "-rA",
        "-v",
        f"--junitxml={junit}",
        directory=place,
        timeout=_LONG_S,
    )
    kinds = {name: kind for name, (kind, _) in read_junit(junit).items()}
    assert kinds == {
        "precopy.device.pre_copy-off": "",
        "precopy.device.pre_copy-on": "",
        "test_catalogue": "",
        "test_not_as_expected": "failure",
        "test_there": "",
        "test_hosts": "",
    }, done.stdout + done.stderr
    assert "The catalogue has no case 'refusals.no-such-case'" in done.stdout
    run = find_runs(with_pytest.state)[-1]
    records = {(record.case, record.repeat): record for record in run.records()}
    on = records["precopy.device.pre_copy-on", 1]
    properties = read_junit(junit)[on.case][1]
    assert on.measurements
    for entry in on.measurements:
        assert properties[f"{entry.name} [{entry.unit}]"] == str(
            entry.value if entry.value is not None else f"missing: {entry.note}"
        )
    assert (on.case, 2) in records, "that of the test, which ran before, and did not take the place of the case's own"
    assert records[on.case, 1].started > records[on.case, 2].started
    assert list(run.path.glob("irq-*.trace.gz"))
    assert not list((with_pytest.state / "switchover" / "labs").glob("run-*"))


def test_guests_are_kept_for_the_debugger(with_pytest: Environment, place: Path) -> None:
    """``--pdb``: of a scenario's case that is not as expected both guests are kept until ``c``, and of a case in Python
    the one that it started answers from the debugger.
    """
    (place / "own.py").write_text(
        "from switchover import build_case, case\n"
        "@case()\n"
        "def asks(context):\n"
        "    with context.testbed.start_guest(build_case('asked')) as guest:\n"
        "        found = guest.run(['cat', '/proc/sys/kernel/ostype']).text.strip()\n"
        "        assert found == 'Minix'\n"
    )
    typed = (
        "p 'kept', sorted(kept.sides), (kept.path / 'kept.json').exists()\nc\n"
        "p 'alive', guest.run(['cat', '/proc/sys/kernel/ostype']).text\nc\n"
    )
    done = with_pytest.run(
        "pytest",
        f"--switchover-cases={CASES / 'wrong.toml'}",
        "--switchover-cases=own.py",
        "-rA",
        "--pdb",
        directory=place,
        typed=typed,
        timeout=_LONG_S,
    )
    text = done.stdout + done.stderr
    assert "('kept', ['destination'], True)" in text or "('kept', ['destination', 'source'], True)" in text, text
    assert "('alive', 'Linux\\n')" in text, text
    assert text.count("entering PDB") == 2
    assert re.findall(r"^FAILED switchover::(\S+)", done.stdout, re.MULTILINE) == ["wrong", "asks"]
    records = read_records(find_runs(with_pytest.state)[-1])
    assert records["asks"].verdict.name is VerdictName.CHECKS_FAILED
    assert records["wrong"].mismatch
    assert not list(find_runs(with_pytest.state)[-1].path.glob("*/*/kept.*"))


def test_workers_have_a_lab_each(with_pytest: Environment, place: Path) -> None:
    """``-n 2``: each worker runs a case, in a lab that nobody else may use; both are in one run directory, and no lab
    is left.
    """
    done = with_pytest.run("pytest", "switchover:precopy", "-n", "2", "-v", "-rA", directory=place, timeout=_LONG_S)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert set(re.findall(r"^\[(gw\d)\].* PASSED ", done.stdout, re.MULTILINE)) == {"gw0", "gw1"}, text
    run = find_runs(with_pytest.state)[-1]
    records = read_records(run)
    assert records.keys() == {"precopy.device.pre_copy-off", "precopy.device.pre_copy-on"}
    assert {record.verdict.name for record in records.values()} == {VerdictName.COMPLETED}
    assert not list((with_pytest.state / "switchover" / "labs").glob("run-*"))
