# SPDX-License-Identifier: GPL-2.0-or-later
"""Reports of KCIDB, validated by kcidb-io."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from kcidb_io.schema import V5_3  # type: ignore[import-untyped]
from tests.unit.report.test_summary import HUNG
from tests.unit.runs import make_run

from switchover.report.export.kcidb import render_kcidb
from switchover.report.export.views import encode_name
from switchover.report.rundata import RunData, read_run


def test_kcidb_takes_any_run(any_run: RunData) -> None:
    """It is valid by KCIDB's own schema, and no test has the id of another."""
    found = json.loads(render_kcidb(any_run).text, parse_constant=pytest.fail)
    V5_3.validate(found)
    ids = [test["id"] for test in found["tests"]]
    assert len(set(ids)) == len(ids)
    cases = {(test["misc"]["case"], test["misc"]["repeat"]) for test in found["tests"]}
    assert cases == {(record.case, record.repeat) for record in any_run.records}


def list_statuses(run: RunData) -> dict[str, str]:
    found = json.loads(render_kcidb(run).text)["tests"]
    return {test["misc"]["case"]: test["status"] for test in found if "number" not in test}


def test_statuses(planned: RunData) -> None:
    """Each outcome has its word of KCIDB."""
    assert list_statuses(planned) == {
        "device.pre_copy=on": "PASS",
        "device.pre_copy=off": "FAIL",
        "vcpus=2": "SKIP",
        "vcpus=3": "MISS",
    }


def test_a_number_is_a_test(chained: RunData) -> None:
    """With one number, done, at a path that tells case, hop and metric; a missing one is in misc of the repeat."""
    found = json.loads(render_kcidb(chained).text)["tests"]
    (second,) = [test for test in found if test["path"] == "switchover.chain._hop2._number.downtime.explained"]
    assert second["status"] == "DONE"
    assert second["number"] == {"value": 0.5, "unit": "s", "prefix": "metric"}
    assert second["misc"]["metric"] == "downtime.explained"
    assert "hop 2 bytes.wire" in found[0]["misc"]["missing"]


def test_a_path_and_what_it_means(odd: RunData) -> None:
    """An id that a path cannot hold is spelled, and is in misc as it is; a failure has its text."""
    for test in json.loads(render_kcidb(odd).text)["tests"]:
        assert test["path"].startswith(f"switchover.{encode_name(test['misc']['case'])}")
    wrong = next(test for test in json.loads(render_kcidb(odd).text)["tests"] if test["status"] == "FAIL")
    assert wrong["log_excerpt"].startswith("NOT AS EXPECTED")


def test_other_endings(odd: RunData) -> None:
    """What somebody interrupted is not there, and neither passed nor failed."""
    assert list(list_statuses(odd).values()) == ["PASS", "FAIL", "MISS", "SKIP"]


def test_what_a_test_says(planned: RunData, odd: RunData) -> None:
    """How long it took and what it ran on; of a number its bound, and by which powers it is told."""
    first = json.loads(render_kcidb(planned).text)["tests"][0]
    assert first["duration"] == 11.5
    assert first["environment"]["misc"]["switchover"] == "0.1.0"
    numbers = {test["misc"]["metric"]: test for test in json.loads(render_kcidb(odd).text)["tests"] if "number" in test}
    assert numbers["rate"]["number"] == {"value": 2.5, "unit": "bytes/s", "prefix": "binary"}
    assert (numbers["rate"]["misc"]["bound"], numbers["rate"]["misc"]["direction"]) == (0.5, "higher")


def test_a_long_failure(tmp_path: Path) -> None:
    """An excerpt has as many characters as KCIDB takes."""
    record = replace(HUNG, mismatch="x" * 20_000)
    found = json.loads(render_kcidb(read_run(make_run(tmp_path, [record]))).text)
    V5_3.validate(found)
    assert len(found["tests"][0]["log_excerpt"]) == 16384
