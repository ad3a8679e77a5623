# SPDX-License-Identifier: GPL-2.0-or-later
"""Results for tmt, by its own schema and its own loader."""

import json
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import tmt.log
import tmt.result
import tmt.utils
from referencing import Registry
from referencing.jsonschema import DRAFT7
from tmt._compat.pathlib import Path as TmtPath

from switchover.report.export.tmt import render_tmt
from switchover.report.rundata import RunData


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
