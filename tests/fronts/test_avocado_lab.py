# SPDX-License-Identifier: GPL-2.0-or-later
"""avocado runs migrations in a lab that the job boots, one test at a time, and stops it."""

import itertools
import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.fronts.avocado_environment import Avocado, list_processes, require_environment

from switchover.record.record import Record
from switchover.report.rundata import read_run
from switchover.report.summary import render_run

pytestmark = pytest.mark.lab


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


def _find_span(record: Record) -> tuple[datetime, datetime]:
    """When it ran; the steps of a repeat follow one another."""
    began = datetime.fromisoformat(record.started)
    return began, began + timedelta(seconds=sum(record.seconds.values()))
