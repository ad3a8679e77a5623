# SPDX-License-Identifier: GPL-2.0-or-later
"""What a gate found, for people and for programs."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from switchover.record.units import format_count, format_value
from switchover.report.differences import CONFIDENCE
from switchover.report.gate.rules import Finding, Word

SCHEMA_VERSION = 1


def render_gate(findings: Sequence[Finding], bound: float, against: str) -> str:
    """A line for each number, by case, and how many there are of each word. ``against``: the baseline, in words."""
    return "\n".join(_render(findings, bound, against))


def _render(findings: Sequence[Finding], bound: float, against: str) -> Iterator[str]:
    numbers = format_count(len(findings), "number")
    confidence = f"{format_share(CONFIDENCE)} confidence over all {numbers}"
    yield f"worse by more than {format_share(bound)} than {against}? {confidence}"
    rows = [
        (one.metric, describe_medians(one), describe_change(one), f"{one.word}: {one.why}{describe_counts(one)}")
        for one in findings
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    notes: dict[str, dict[str, None]] = {}
    for one in findings:
        notes.setdefault(one.case, {}).update(dict.fromkeys(one.notes))
    last = ""
    for one, row in zip(findings, rows, strict=True):
        if one.case != last:
            yield f"  {one.case}"
            yield from (f"    {note}" for note in notes[one.case])
        last = one.case
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False))
        yield f"    {'  '.join(cells)}  {row[3]}"
    counts = [f"{sum(one.word is word for one in findings)} {word}" for word in Word]
    yield f"{numbers}: {', '.join(counts)}"


def describe_medians(finding: Finding) -> str:
    """Of the baseline and of what is judged; empty: there is none."""
    if finding.median is None or finding.baseline_median is None:
        return ""
    return f"{format_value(finding.baseline_median, finding.unit)} → {format_value(finding.median, finding.unit)}"


def describe_change(finding: Finding) -> str:
    """With its interval; empty: there is none."""
    if finding.change is None:
        return ""
    middle = format_share(finding.change, sign="+")
    if finding.low is None or finding.high is None:
        return middle
    return f"{middle} [{format_share(finding.low, sign='+')} … {format_share(finding.high, sign='+')}]"


def format_share(share: float, *, sign: str = "") -> str:
    """In per cent."""
    return f"{share * 100:{sign}.1f} %" if math.isfinite(share) and sign else f"{share * 100:{sign}g} %"


def describe_counts(finding: Finding) -> str:
    """How many values were compared, in brackets, with a blank before them; empty: none."""
    if not finding.repeats:
        return ""
    if finding.paired:
        return f" ({format_count(finding.repeats, 'round')})"
    runs = f" of {finding.baseline_runs} runs" if finding.baseline_runs > 1 else ""
    return f" ({format_count(finding.repeats, 'repeat')} against {finding.baseline_repeats}{runs})"


def list_gate(findings: Sequence[Finding], bound: float, against: str) -> dict[str, Any]:
    """What ``compare --fail-if-worse --json`` prints. A change of what was 0 has no number, but a word."""
    return {
        "schema_version": SCHEMA_VERSION,
        "against": against,
        "bound": bound,
        "confidence": CONFIDENCE,
        "counts": {str(word): sum(one.word is word for one in findings) for word in Word},
        "findings": [{key: _finite(value) for key, value in asdict(one).items()} for one in findings],
    }


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
