# SPDX-License-Identifier: GPL-2.0-or-later
"""The Test Anything Protocol, version 14, and the kernel's KTAP, version 1: a test point for each repeat."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from switchover.catalogue.outcome import Outcome, find_outcome
from switchover.record.record import Record
from switchover.report.export.views import (
    Exported,
    clean_line,
    encode_name,
    explain,
    label_number,
    list_files,
    list_numbers,
    name_repeat,
    render_number,
)
from switchover.report.failures import render_failure
from switchover.report.metrics import MetricRow, make_fingerprint
from switchover.report.rundata import RunData

_ENDED_WELL = (Outcome.PASS, Outcome.SKIP)


def render_tap(run: RunData) -> Exported:
    """With numbers, fingerprint and files in the YAML block below each test point."""
    numbers = list_numbers(run)
    lines = ["TAP version 14", f"1..{len(run.records)}"]
    for number, record in enumerate(run.records, start=1):
        outcome = find_outcome(record)
        word = "ok" if outcome in _ENDED_WELL else "not ok"
        name = escape_tap(clean_line(f"{record.case} #{record.repeat}"))
        lines.append(f"{word} {number} - {name}{_skip(record, outcome)}")
        lines += _list_diagnostics(run, record, numbers.get((record.case, record.repeat), []))
    return Exported("\n".join(lines))


def escape_tap(text: str) -> str:
    r"""A description in which ``#`` begins no directive: ``a #1`` -> ``a \#1``."""
    return re.sub(r"[\\#]", lambda found: f"\\{found[0]}", text)


def _skip(record: Record, outcome: Outcome) -> str:
    return f" # SKIP {escape_tap(clean_line(explain(record)))}".rstrip() if outcome is Outcome.SKIP else ""


def _list_diagnostics(run: RunData, record: Record, rows: Sequence[MetricRow]) -> Iterator[str]:
    """A block of YAML, whose values are JSON, which YAML has within it."""
    fields: dict[str, Any] = {
        "case": record.case,
        "repeat": record.repeat,
        "verdict": str(record.verdict),
        "outcome": str(find_outcome(record)),
        "duration_ms": sum(record.seconds.values()) * 1e3,
    }
    if record.mismatch:
        fields |= {"message": explain(record), "explanation": render_failure(run, record)}
    if rows:
        fields["numbers"] = {
            label_number(row): {
                "value": row.value,
                "unit": row.unit,
                "bound": row.bound,
                "direction": row.direction,
                "note": row.note,
            }
            for row in rows
        }
    if words := make_fingerprint(record):
        fields["fingerprint"] = words
    if files := list_files(run, record):
        fields["files"] = files
    yield "  ---"
    yield from (f"  {key}: {render_value(value)}" for key, value in fields.items())
    yield "  ..."


_NO_YAML = re.compile(r"[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""What is no text in YAML, or the end of a line."""


def render_value(value: object) -> str:
    """As JSON, in one line, of which YAML makes the same value. Halves of characters have no place in either."""
    text = re.sub(r"[\ud800-\udfff]", "�", json.dumps(value, ensure_ascii=False))
    return _NO_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def render_ktap(run: RunData) -> Exported:
    """A test for each case, in it one for each repeat. Names have no blank and no ``#``; above is what they mean."""
    numbers = list_numbers(run)
    lines = ["KTAP version 1", f"1..{len(run.cases)}"]
    for place, case in enumerate(run.cases, start=1):
        lines += ["  KTAP version 1", f"  # Subtest: {encode_name(case.id)}", f"  # case: {clean_line(case.id)}"]
        lines.append(f"  1..{len(case.records)}")
        outcomes = [find_outcome(record) for record in case.records]
        for number, (record, outcome) in enumerate(zip(case.records, outcomes, strict=True), start=1):
            lines.append(f"  # verdict: {clean_line(f'{record.verdict} {explain(record)}')}")
            rows = numbers.get((record.case, record.repeat), [])
            lines += [f"  # {label_number(row)}: {clean_line(render_number(row))}" for row in rows]
            word = "ok" if outcome in _ENDED_WELL else "not ok"
            lines.append(f"  {word} {number} {name_repeat(record)}{_skip_ktap(record, outcome)}")
        skipped = " # SKIP" if outcomes and all(outcome is Outcome.SKIP for outcome in outcomes) else ""
        word = "ok" if all(outcome in _ENDED_WELL for outcome in outcomes) else "not ok"
        lines.append(f"{word} {place} {encode_name(case.id)}{skipped}")
    return Exported("\n".join(lines), ("fingerprints, failure texts and files of evidence: KTAP has lines only",))


def _skip_ktap(record: Record, outcome: Outcome) -> str:
    why = clean_line(explain(record)).replace("#", "")
    return f" # SKIP {why}".rstrip() if outcome is Outcome.SKIP else ""
