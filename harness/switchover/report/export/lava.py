# SPDX-License-Identifier: GPL-2.0-or-later
"""LAVA's signals: lines that a LAVA job has to print, one for each repeat and one for each number."""

from collections.abc import Iterator

from switchover.catalogue.outcome import Outcome, find_outcome
from switchover.report.export.views import (
    Exported,
    clean_line,
    describe_left_out,
    has_value,
    list_numbers,
    name_number,
    name_repeat,
)
from switchover.report.metrics import MetricRow
from switchover.report.rundata import RunData

_RESULTS = {
    Outcome.PASS: "pass",
    Outcome.FAIL: "fail",
    Outcome.SKIP: "skip",
    Outcome.ERROR: "unknown",
    Outcome.INTERRUPTED: "unknown",
}


def render_lava(run: RunData) -> Exported:
    """Before the signals of a repeat is a line with its case: names have no blanks."""
    numbers = list_numbers(run)
    lines: list[str] = []
    for record in run.records:
        name = name_repeat(record)
        lines.append(f"# {name} is {clean_line(record.case)} #{record.repeat}: {record.verdict}".replace("<", "‹"))
        lines.append(f"<LAVA_SIGNAL_TESTCASE TEST_CASE_ID={name} RESULT={_RESULTS[find_outcome(record)]}>")
        lines += _list_measurements(numbers.get((record.case, record.repeat), []))
    rows = [row for of_repeat in numbers.values() for row in of_repeat]
    left_out = [
        *describe_left_out((row for row in rows if not has_value(row)), "that are missing"),
        "reasons, bounds, directions, fingerprints and files of evidence: a signal has a result and a number",
    ]
    return Exported("\n".join(lines), tuple(left_out))


def _list_measurements(rows: list[MetricRow]) -> Iterator[str]:
    for row in rows:
        if has_value(row):
            name = f"{name_number(row)}._repeat{row.repeat}"
            value = f"{row.value:.10f}".rstrip("0").rstrip(".")
            yield (
                f"<LAVA_SIGNAL_TESTCASE TEST_CASE_ID={name} RESULT=pass "
                f"MEASUREMENT={value} UNITS={'_'.join(row.unit.split())}>"
            )
