# SPDX-License-Identifier: GPL-2.0-or-later
"""KCIDB's reports, version 5.3: a test for each repeat, and one for each of its numbers."""

import json
from collections.abc import Iterator
from typing import Any

from switchover.catalogue.outcome import Outcome, find_outcome
from switchover.record.record import Record
from switchover.record.units import Unit
from switchover.report.export.views import (
    Exported,
    clean,
    describe_left_out,
    encode_name,
    explain,
    has_value,
    label_number,
    list_numbers,
    name_number,
)
from switchover.report.failures import render_failure
from switchover.report.metrics import MetricRow, make_fingerprint
from switchover.report.rundata import RunData

ORIGIN = "switchover"
"""The CI system that submits; who submits to KCIDB has a name of its own."""
_MOST = 16384
"""Characters of an excerpt."""
_STATUS = {
    Outcome.PASS: "PASS",
    Outcome.FAIL: "FAIL",
    Outcome.SKIP: "SKIP",
    Outcome.ERROR: "MISS",
    Outcome.INTERRUPTED: "MISS",
}
_PREFIXES = {Unit.SECONDS: "metric", Unit.BYTES: "binary", Unit.BYTES_PER_SECOND: "binary"}


def render_kcidb(run: RunData) -> Exported:
    """Checkout and build say only what the tests belong to: QEMU and kernels are in each test's environment."""
    name = run.directory.path.name
    numbers = list_numbers(run)
    checkout = {"id": f"{ORIGIN}:{clean(name)}", "origin": ORIGIN, "comment": clean(run.head.title)}
    build = {
        "id": f"{ORIGIN}:{clean(name)}",
        "origin": ORIGIN,
        "checkout_id": checkout["id"],
        "comment": "packages and images; each test's environment names them",
    }
    tests = [
        test
        for record in run.records
        for test in _list_tests(run, build["id"], record, numbers.get((record.case, record.repeat), []))
    ]
    rows = [row for of_repeat in numbers.values() for row in of_repeat]
    left_out = [
        *describe_left_out((row for row in rows if not has_value(row)), "that are missing, but for a word in misc"),
        "files of evidence: KCIDB takes URLs only",
    ]
    report = {"version": {"major": 5, "minor": 3}, "checkouts": [checkout], "builds": [build], "tests": tests}
    return Exported(json.dumps(report, indent=1), tuple(left_out))


def _list_tests(run: RunData, build: str, record: Record, rows: list[MetricRow]) -> Iterator[dict[str, Any]]:
    identity = f"{build}/{encode_name(record.case)}/{record.repeat}"
    common: dict[str, Any] = {"build_id": build, "origin": ORIGIN}
    if record.started:
        common["start_time"] = record.started
    if words := make_fingerprint(record):
        common["environment"] = {"misc": words}
    misc: dict[str, Any] = {"case": record.case, "repeat": record.repeat, "verdict": str(record.verdict)}
    missing = {label_number(row): row.note for row in rows if not has_value(row)}
    test = {
        **common,
        "id": identity,
        "path": f"{ORIGIN}.{encode_name(record.case)}",
        "comment": clean(f"{record.case} #{record.repeat}: {record.verdict}"),
        "status": _STATUS[find_outcome(record)],
        "duration": sum(record.seconds.values()),
        "misc": {**misc, "reason": explain(record), **({"missing": missing} if missing else {})},
    }
    if record.mismatch:
        test["log_excerpt"] = clean(render_failure(run, record))[:_MOST]
    yield test
    for row in rows:
        if has_value(row):
            yield {
                **common,
                "id": f"{identity}/{row.hop}/{encode_name(row.metric)}",
                "path": f"{ORIGIN}.{name_number(row)}",
                "status": "DONE",
                "number": _list_number(row),
                "misc": {
                    **misc,
                    "hop": row.hop,
                    "metric": row.metric,
                    "direction": row.direction,
                    "bound": row.bound,
                    "definition": row.definition,
                    "note": row.note,
                },
            }


def _list_number(row: MetricRow) -> dict[str, Any]:
    prefix = _PREFIXES.get(Unit(row.unit))
    return {"value": row.value, "unit": row.unit, **({"prefix": prefix} if prefix else {})}
