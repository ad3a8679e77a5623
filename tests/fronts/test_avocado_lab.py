# SPDX-License-Identifier: GPL-2.0-or-later
"""avocado runs migrations in a lab that the job boots and stops, one test at a time, and on hosts that it is told."""

import itertools
import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.fronts.avocado_environment import CASES, Avocado, finish, list_processes, require_environment

from switchover.lab.lab import Lab, start_lab
from switchover.lab.labfile import lab_processes
from switchover.record.ending import Ending
from switchover.record.record import Record, VerdictName
from switchover.report.rundata import read_run
from switchover.report.summary import render_run

pytestmark = pytest.mark.lab
_INVENTORY = """
version = 1
[host.rack1]
address = "127.0.0.1"
port = {source[port]}
key = "{key}"
host_key = "{host_key}"
link = "{source[link]}"
[host.rack2]
address = "127.0.0.1"
port = {destination[port]}
key = "{key}"
host_key = "{host_key}"
link = "{destination[link]}"
"""


def test_a_job_boots_a_lab_and_its_tests_use_it_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    avocado = Avocado(require_environment(tmp_path / "front"), tmp_path)
    job = avocado.run(
        "--max-parallel-tasks", "3", "switchover:precopy", "switchover:processes-survive.hops-1", timeout=800
    )
    assert job.code == 0, job.said
    assert job.statuses == {
        "precopy.device.pre_copy-off": "PASS",
        "precopy.device.pre_copy-on": "PASS",
        "processes-survive.hops-1": "PASS",
    }
    spans = sorted(_find_span(record) for record in job.run.records())
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))
    tests = {case: job.test(case) for case in job.statuses}
    waited = {case: json.loads(test["whiteboard"])["waited_s"] for case, test in tests.items()}
    assert sum(seconds > 5 for seconds in waited.values()) == 2, waited
    logs = [Path(test["logdir"], "debug.log").read_text(encoding="utf-8") for test in tests.values()]
    assert sum("waiting for the lab, which " in log for log in logs) == 2
    names = {one["name"] for one in json.loads(tests["precopy.device.pre_copy-on"]["whiteboard"])["measurements"]}
    assert {"downtime.explained", "downtime.outside"} <= names
    assert "precopy.device.pre_copy-on" in render_run(read_run(job.run))
    assert not [process for process in list_processes(str(tmp_path)) if process.is_running()]
    assert not list((tmp_path / "state" / "switchover" / "labs").glob("*/lab.json"))


def test_hosts_of_an_inventory_that_are_lost_on_the_way(tmp_path: Path) -> None:
    """Tests run on the hosts that the job names. Once one of them is gone, the test on it and those after it are
    errors, and nothing of them is left on this machine.
    """
    with start_lab("avocado-hosts") as lab:
        avocado = Avocado(require_environment(tmp_path / "front"), tmp_path, _configure_hosts(lab, tmp_path))
        job = avocado.run("switchover:precopy.device.pre_copy-on", timeout=400)
        assert (job.code, job.statuses) == (0, {"precopy.device.pre_copy-on": "PASS"}), job.said
        (record,) = job.run.records()
        assert [record.fingerprint[side]["host"] for side in ("source", "destination")] == ["rack1", "rack2"]

        stays = avocado.start("--max-parallel-tasks", "1", "switchover:stays-in-a-guest", "switchover:precopy")
        avocado.wait_until_runs("stays-in-a-guest")
        lab_processes(lab.file)[0].kill()
        said = finish(stays, timeout=400)
    job = avocado.collect(stays.returncode, said)
    assert job.code == 1, said
    assert job.statuses == dict.fromkeys(
        ("stays-in-a-guest", "precopy.device.pre_copy-off", "precopy.device.pre_copy-on"), "ERROR"
    ), said
    records = {record.case: record for record in job.run.records()}
    assert {record.verdict.name for record in records.values()} == {VerdictName.INFRASTRUCTURE_ERROR}
    assert records.keys() == job.statuses.keys()
    lost = records["stays-in-a-guest"]
    assert lost.ending is Ending.HOST_LOST
    assert lost.verdict.first_line in job.test("stays-in-a-guest")["fail_reason"]  # avocado has one line of it
    assert not [process for process in list_processes(str(tmp_path)) if process.is_running()]


def _configure_hosts(lab: Lab, place: Path) -> dict[str, str]:
    """Settings of a job on the hosts of a lab, which are hosts of an inventory for it."""
    source, destination = ({"port": lab.file.ports[name], "link": lab.link_address(name)} for name in lab.file.hosts)
    inventory = place / "inventory.toml"
    inventory.write_text(
        _INVENTORY.format(
            source=source, destination=destination, key=lab.directory / "key", host_key=lab.host_key.strip()
        )
    )
    return {
        "switchover.hosts": "rack1,rack2",
        "switchover.inventory": str(inventory),
        "switchover.cases": f"['{CASES / 'in_guests.py'}']",
    }


def _find_span(record: Record) -> tuple[datetime, datetime]:
    """When it ran; the steps of a repeat follow one another."""
    began = datetime.fromisoformat(record.started)
    return began, began + timedelta(seconds=sum(record.seconds.values()))
