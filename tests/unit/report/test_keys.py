# SPDX-License-Identifier: GPL-2.0-or-later
"""The reference of keys: what is documented is what is accepted."""

import json
from dataclasses import fields
from pathlib import Path

from switchover.devices.reference import Knobs
from switchover.report.keys import make_json_schema, render_reference
from switchover.scenarios.schema import ScenarioFile

REFERENCE = Path(__file__).parents[3] / "docs" / "scenario-keys.md"


def test_the_reference_is_up_to_date() -> None:
    """docs/scenario-keys.md is what `switchover schema --reference` prints."""
    assert REFERENCE.read_text(encoding="utf-8") == render_reference() + "\n"


def test_every_table_and_knob_is_in_the_reference() -> None:
    """No table and no knob is left out."""
    text = render_reference()
    for name in ScenarioFile.model_fields:
        assert f"| `{name}` |" in text
    for field in fields(Knobs):
        assert f"| `{field.name}` |" in text


def test_json_schema() -> None:
    """Words for on and off, defaults as they are written, no unknown keys, and a meaning wherever there is one."""
    schema = make_json_schema()
    json.dumps(schema)
    device = schema["$defs"]["Device"]
    assert device["additionalProperties"] is False
    assert (device["properties"]["pre_copy"]["enum"], device["properties"]["pre_copy"]["default"]) == (
        ["on", "off"],
        "on",
    )
    assert "default" not in device["properties"]["allow_pre_copy"]
    assert schema["$defs"]["Migration"]["properties"]["return_path"]["description"]
    assert schema["properties"]["version"]["description"] == "the version of this schema, which is 1"
    assert schema["required"] == ["version", "scenario"]
