# SPDX-License-Identifier: GPL-2.0-or-later
"""Results for tmt, by its own schema and its own loader."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import tmt.log
import tmt.result
import tmt.utils
from referencing import Registry
from referencing.jsonschema import DRAFT7
from tests.unit.builders import make_record
from tests.unit.runs import make_run
from tmt._compat.pathlib import Path as TmtPath

from switchover.report.export.tmt import render_tmt
from switchover.report.rundata import RunData, read_run


def load(text: str) -> list[tmt.result.Result]:
    """As tmt reads ``results.json``: by the schema of results, then into its own type."""
    found: list[dict[str, Any]] = tmt.utils.json_to_list(text)
    schema = tmt.utils.load_schema(TmtPath("results.yaml"))
    schemas = [(name, DRAFT7.create_resource(one)) for name, one in tmt.utils.load_schema_store().items()]
    jsonschema.Draft7Validator(schema, registry=Registry().with_resources(schemas)).validate(found)
    return [tmt.result.Result.from_serialized(one) for one in found]


def test_tmt_takes_any_run(any_run: RunData) -> None:
    """A result for each repeat, with a name of its own that tells the case."""
    loaded = load(render_tmt(any_run).text)
    assert [one.name for one in loaded] == [f"/{record.case}/{record.repeat}" for record in any_run.records]


def test_tmt(planned: RunData) -> None:
    """Each outcome has tmt's word; numbers are notes, checks checks, files logs."""
    loaded = load(render_tmt(planned).text)
    assert [str(one.result.value) for one in loaded] == ["pass", "pass", "pass", "fail", "skip", "error"]
    assert "downtime.explained: 0.25 s" in loaded[0].note
    assert "bytes.wire: missing" in loaded[0].note
    assert [check.name for check in loaded[3].check] == ["guest.on-source"]
    assert TmtPath("device.pre_copy=off/01/source.events.jsonl") in loaded[3].log
    assert json.loads(render_tmt(planned).text)[0]["duration"] == "00:00:12"


def test_tmt_of_other_endings(odd: RunData) -> None:
    """What somebody interrupted is no pass; of a check that failed it is told what was observed in place of what."""
    loaded = load(render_tmt(odd).text)
    assert [str(one.result.value) for one in loaded] == ["pass", "fail", "error", "skip"]
    assert "expected yes, observed no" in loaded[1].check[0].note
    assert all(len(check.note) == 1 for check in loaded[0].check)


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.4, "00:00:00"), (59.6, "00:01:00"), (3725, "01:02:05"), (360000, "100:00:00")]
)
def test_a_duration(tmp_path: Path, seconds: float, told: str) -> None:
    """Hours, minutes and seconds, and when it began by one zone, with a fraction."""
    record = replace(make_record("a"), seconds={"migrate": seconds}, started="2026-11-21T12:00:00+02:00")
    (found,) = json.loads(render_tmt(read_run(make_run(tmp_path, [record]))).text)
    assert found["duration"] == told
    assert found["start-time"] == "2026-11-21T10:00:00.000000+00:00"
