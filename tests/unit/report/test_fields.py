# SPDX-License-Identifier: GPL-2.0-or-later
"""The reference of the results' fields: what is documented is what is written."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tests.unit.builders import make_record
from tests.unit.runs import make_line, make_run

from switchover.record.record import Verdict, VerdictName
from switchover.report.fields import SECTIONS, list_fields, render_fields
from switchover.runner.hold_on_failure import Held, HeldSide, _render
from switchover.scenarios.case import Case
from switchover.scenarios.recorded import render_settings

REFERENCE = Path(__file__).parents[3] / "docs" / "record-fields.md"
TABLES = {section.heading: list_fields(section) for section in SECTIONS}


def test_the_reference_is_up_to_date() -> None:
    """docs/record-fields.md is what `switchover schema --record` prints."""
    assert REFERENCE.read_text(encoding="utf-8") == render_fields() + "\n"


@pytest.mark.parametrize("heading", TABLES)
def test_every_field_has_a_meaning(heading: str) -> None:
    """The string below the field in its class."""
    without = [name for name, meaning in TABLES[heading].items() if not meaning.strip()]
    assert not without


def test_every_class_that_is_written_has_a_table() -> None:
    """An object in a record that comes from a class is linked to the table of that class."""
    text = render_fields()
    plain = [line.split("`")[1] for line in text.splitlines() if line.startswith("|") and "| object |" in line]
    assert set(plain) == {
        "seconds",
        "states",
        "properties",
        "nic",
        "topology",
        "by_itself",
        "parameters",
        "capabilities",
        "destination_capabilities",
        "address",
        "held",
        "statistics",
        "versions",
        "alone",
        "hosts",
        "qemu",
    }


def test_files_have_the_fields_of_their_tables(tmp_path: Path) -> None:
    """No more and no fewer, in the files of a run as they are written."""
    run = make_run(tmp_path, [make_record()], [make_line("device.pre_copy=on")])
    plan = _read(run.path / "plan.json")
    record = _read(next(run.path.glob("*/01/record.json")))
    assert _read(run.path / "run.json").keys() == TABLES["run.json"].keys()
    assert plan.keys() == TABLES["plan.json"].keys()
    assert plan["scenarios"][0].keys() == TABLES["scenarios"].keys()
    assert plan["cases"][0].keys() == TABLES["cases"].keys()
    assert record.keys() == TABLES["record.json"].keys()
    assert {entry["name"] for entry in record["measurements"]} <= _names_of_measurements()


def test_settings_have_the_fields_of_their_tables() -> None:
    """As a record keeps them of a case; the guest's devices are beside it."""
    settings = render_settings(Case("a case"))
    assert settings.keys() == TABLES["settings"].keys()
    side = settings["source"]
    assert side.keys() == TABLES["source and destination"].keys()
    assert side["guest"].keys() - TABLES["guest"].keys() == {"devices"}
    assert side["devices"][0].keys() == TABLES["devices"].keys()
    assert side["devices"][0]["knobs"].keys() == TABLES["knobs"].keys()


def test_kept_guests_have_the_fields_of_their_tables(tmp_path: Path) -> None:
    """kept.json names less than the harness knows."""
    side = HeldSide("hosta", {}, 1, "qmp", "console.log", "qemu.log", "10.77.0.101", "kept.key", "ssh-ed25519 …")
    kept = _render(Held("a case", Verdict(VerdictName.HUNG), "was hung", tmp_path, {"source": side}))
    assert kept.keys() == TABLES["kept.json"].keys()
    assert asdict(side).keys() == TABLES["sides"].keys()


def _names_of_measurements() -> set[str]:
    lines = render_fields().partition("| name | unit |")[2].partition("###")[0].splitlines()
    return {line.split("`")[1] for line in lines if line.startswith("| `")}


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))
