# SPDX-License-Identifier: GPL-2.0-or-later
"""Results of a test of tmt whose key ``result`` is ``custom``: its ``results.json``."""

import json
from datetime import UTC, datetime
from typing import Any

from switchover.catalogue.outcome import Outcome, find_outcome
from switchover.record.measurement import Check
from switchover.record.record import Record
from switchover.report.export.views import (
    Exported,
    clean,
    explain,
    label_number,
    list_files,
    list_numbers,
    render_number,
)
from switchover.report.metrics import MetricRow, make_fingerprint
from switchover.report.rundata import RunData

_RESULTS = {
    Outcome.PASS: "pass",
    Outcome.FAIL: "fail",
    Outcome.SKIP: "skip",
    Outcome.ERROR: "error",
    Outcome.INTERRUPTED: "error",
}


def render_tmt(run: RunData) -> Exported:
    """A result for each repeat. Files of evidence are named by their paths below the run directory."""
    numbers = list_numbers(run)
    results = [
        _list_result(run, serial, record, numbers.get((record.case, record.repeat), []))
        for serial, record in enumerate(run.records, start=1)
    ]
    left_out = ("numbers as fields, which are notes; fractions of seconds of a duration",) if results else ()
    return Exported(json.dumps(results, indent=1), left_out)


def _list_result(run: RunData, serial: int, record: Record, rows: list[MetricRow]) -> dict[str, Any]:
    notes = [f"{record.verdict}", *([explain(record)] if explain(record) else [])]
    found: dict[str, Any] = {
        "name": f"/{record.case}/{record.repeat}",
        "serial-number": serial,
        "result": _RESULTS[find_outcome(record)],
        "note": [clean(note) for note in [*notes, *(f"{label_number(row)}: {render_number(row)}" for row in rows)]],
        "duration": _render_duration(sum(record.seconds.values())),
        "log": list_files(run, record),
        "check": [_list_check(check) for check in record.checks],
        "context": {key: [word] for key, word in make_fingerprint(record).items()},
    }
    if started := _render_time(record.started):
        found["start-time"] = started
    return found


def _list_check(check: Check) -> dict[str, Any]:
    observed = [] if check.passed else [clean(f"expected {check.expected}, observed {check.observed}")]
    return {
        "name": check.label,
        "event": "after-test",
        "result": "pass" if check.passed else "fail",
        "note": [clean(check.name), *observed],
    }


def _render_duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest:02}"


def _render_time(text: str) -> str:
    """With a fraction and a zone, which tmt wants; empty: it is no time."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC).isoformat(timespec="microseconds")
    except ValueError:
        return ""
