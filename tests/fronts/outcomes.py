# SPDX-License-Identifier: GPL-2.0-or-later
"""What the conformance cases come to, whatever front runs them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from switchover.catalogue.outcome import Outcome
from switchover.record.record import Record, VerdictName
from switchover.record.rundir import RunDirectory

EXPECTED: Mapping[str, tuple[Outcome, VerdictName]] = {
    "passes.way-direct": (Outcome.PASS, VerdictName.COMPLETED),
    "passes.way-bypass": (Outcome.PASS, VerdictName.COMPLETED),
    "fails": (Outcome.FAIL, VerdictName.CHECKS_FAILED),
    "claims": (Outcome.FAIL, VerdictName.CHECKS_FAILED),
    "errs": (Outcome.ERROR, VerdictName.INFRASTRUCTURE_ERROR),
    "skips": (Outcome.SKIP, VerdictName.NOT_SUPPORTED),
    "hangs": (Outcome.FAIL, VerdictName.HUNG),
    "killed": (Outcome.ERROR, VerdictName.INFRASTRUCTURE_ERROR),
    "attaches": (Outcome.PASS, VerdictName.COMPLETED),
    "speaks": (Outcome.FAIL, VerdictName.CHECKS_FAILED),
    "measures": (Outcome.PASS, VerdictName.COMPLETED),
}
"""By id: the outcome, and the verdict of the record."""


def find_runs(state: Path) -> list[RunDirectory]:
    """Those of an environment, the latest last."""
    return [RunDirectory(path.parent) for path in sorted((state / "switchover" / "runs").glob("*/run.json"))]


def read_records(run: RunDirectory) -> dict[str, Record]:
    """By id; each case has one."""
    records = run.records()
    found = {record.case: record for record in records}
    assert len(found) == len(records)
    return found


def read_planned(run: RunDirectory) -> list[str]:
    """Ids, in the order of the plan."""
    return [line["id"] for line in json.loads((run.path / "plan.json").read_text())["cases"]]


def read_junit(path: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    """By name of the test: the element that tells the outcome, empty if there is none, and properties."""
    found = {}
    for test in ElementTree.parse(path).iter("testcase"):
        kinds = [child.tag for child in test if child.tag in ("failure", "error", "skipped")]
        assert len(kinds) < 2
        properties = {entry.attrib["name"]: entry.attrib["value"] for entry in test.iter("property")}
        name = test.attrib["name"].removesuffix(" #1")
        assert name not in found
        found[name] = (kinds[0] if kinds else "", properties)
    return found
