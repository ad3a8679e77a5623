# SPDX-License-Identifier: GPL-2.0-or-later
"""``junit.xml`` of a run, for CI: a test case for each repeat, a suite for each scenario."""

from collections.abc import Iterator, Mapping, Sequence
from xml.etree import ElementTree

from switchover.catalogue.outcome import NATIVE, find_outcome
from switchover.record.record import Record
from switchover.report.export.views import (
    clean,
    has_value,
    label_number,
    list_files,
    list_numbers,
    render_number,
)
from switchover.report.failures import render_failure
from switchover.report.metrics import MetricRow, make_fingerprint
from switchover.report.rundata import CaseResult, RunData
from switchover.report.terminal import render_record

_Numbers = Mapping[tuple[str, int], Sequence[MetricRow]]


def render_junit(run: RunData, cases: Sequence[CaseResult] | None = None) -> str:
    """Not as expected is a failure, an infrastructure error an error, not-supported is skipped.

    Numbers are properties and lines of ``system-out``, since each is what some readers refuse. ``cases``: those of the
    run that are asked for; None: all.
    """
    told = run.cases if cases is None else cases
    numbers = list_numbers(run)
    root = ElementTree.Element("testsuites", name=clean(run.head.title))
    for name in dict.fromkeys(case.line.scenario for case in told):
        of_scenario = [case for case in told if case.line.scenario == name]
        root.append(_make_suite(run, name or run.head.title, of_scenario, numbers))
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _make_suite(run: RunData, name: str, cases: list[CaseResult], numbers: _Numbers) -> ElementTree.Element:
    records = [record for case in cases for record in case.records]
    kinds = [_kind_of(record) for record in records]
    suite = ElementTree.Element(
        "testsuite",
        name=clean(name),
        timestamp=clean(run.head.started),
        hostname=clean(", ".join(_list_hosts(records))),
        tests=str(len(records)),
        failures=str(kinds.count("failure")),
        errors=str(kinds.count("error")),
        skipped=str(kinds.count("skipped")),
        time=f"{sum(_seconds(record) for record in records):.3f}",
    )
    for record in records:
        suite.append(_make_test(run, name, record, numbers.get((record.case, record.repeat), ())))
    return suite


def _make_test(run: RunData, suite: str, record: Record, rows: Sequence[MetricRow]) -> ElementTree.Element:
    test = ElementTree.Element(
        "testcase",
        classname=clean(suite),
        name=clean(f"{record.case} #{record.repeat}"),
        time=f"{_seconds(record):.3f}",
    )
    properties = ElementTree.Element("properties")
    for key, value in _list_properties(run, record, rows):
        ElementTree.SubElement(properties, "property", name=clean(key), value=clean(value))
    test.append(properties)
    if kind := _kind_of(record):
        found = ElementTree.SubElement(test, kind, message=clean(_render_message(record)))
        if record.mismatch:
            found.text = clean(render_failure(run, record))
    lines = [*([render_record(record)] if record.was_run else []), *map(_render_row, rows)]
    ElementTree.SubElement(test, "system-out").text = clean("\n".join(lines))
    return test


def _list_properties(run: RunData, record: Record, rows: Sequence[MetricRow]) -> Iterator[tuple[str, str]]:
    """Verdict, numbers with their units, what they were measured on, and files, by their paths beside ``junit.xml``."""
    yield "verdict", str(record.verdict)
    for row in rows:
        if has_value(row):
            yield label_number(row), str(row.value)
            yield f"{label_number(row)}.unit", row.unit
            if row.bound is not None:
                yield f"{label_number(row)}.bound", str(row.bound)
    yield from ((f"fingerprint.{key}", word) for key, word in make_fingerprint(record).items())
    yield from (("attachment", file) for file in list_files(run, record))


def _render_row(row: MetricRow) -> str:
    return f"{label_number(row)}={render_number(row)}"


def _list_hosts(records: Sequence[Record]) -> list[str]:
    """Names of the hosts of all repeats, each once."""
    sides = (record.fingerprint.get(side, {}) for record in records for side in ("source", "destination"))
    return list(dict.fromkeys(side["host"] for side in sides if "host" in side))


def _seconds(record: Record) -> float:
    return sum(record.seconds.values())


def _render_message(record: Record) -> str:
    """Why it is not right, with the ids of the checks that failed: a sentence may be another one tomorrow."""
    failed = "; ".join(check.label for check in record.failed_checks)
    message = record.mismatch or record.verdict.reason
    return f"{message} [{failed}]" if record.mismatch and failed else message


def _kind_of(record: Record) -> str:
    return NATIVE[find_outcome(record)].junit
