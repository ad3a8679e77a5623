# SPDX-License-Identifier: GPL-2.0-or-later
"""``junit.xml`` of a run, for CI: a test case for each repeat, a suite for each scenario."""

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from switchover.record.record import Record, VerdictName
from switchover.report.failures import render_failure
from switchover.report.rundata import CaseResult, RunData
from switchover.report.terminal import render_record

_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, such as colours of a console."""


def render_junit(run: RunData, cases: Sequence[CaseResult] | None = None) -> str:
    """Not as expected is a failure, an infrastructure error an error, not-supported is skipped.

    ``cases``: those of the run that are asked for; None: all.
    """
    told = run.cases if cases is None else cases
    root = ElementTree.Element("testsuites", name=_clean(run.head.title))
    for name in dict.fromkeys(case.line.scenario for case in told):
        of_scenario = [case for case in told if case.line.scenario == name]
        root.append(_make_suite(run, name or run.head.title, of_scenario))
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _make_suite(run: RunData, name: str, cases: list[CaseResult]) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", name=_clean(name), timestamp=_clean(run.head.started))
    counts = {"failure": 0, "error": 0, "skipped": 0}
    seconds = 0.0
    for case in cases:
        for record in case.records:
            time = sum(record.seconds.values())
            seconds += time
            test = ElementTree.SubElement(
                suite,
                "testcase",
                classname=_clean(name),
                name=_clean(f"{case.id} #{record.repeat}"),
                time=f"{time:.3f}",
            )
            if kind := _kind_of(record):
                counts[kind] += 1
                found = ElementTree.SubElement(test, kind, message=_clean(_render_message(record)))
                if record.mismatch:
                    found.text = _clean(render_failure(run, record))
            else:
                ElementTree.SubElement(test, "system-out").text = _clean(render_record(record))
    tests = sum(len(case.records) for case in cases)
    for attribute, value in (
        ("tests", tests),
        ("failures", counts["failure"]),
        ("errors", counts["error"]),
        ("skipped", counts["skipped"]),
        ("time", f"{seconds:.3f}"),
    ):
        suite.set(attribute, str(value))
    return suite


def _render_message(record: Record) -> str:
    """Why it is not right, with the ids of the checks that failed: a sentence may be another one tomorrow."""
    failed = "; ".join(check.label for check in record.failed_checks)
    message = record.mismatch or record.verdict.reason
    return f"{message} [{failed}]" if record.mismatch and failed else message


def _kind_of(record: Record) -> str:
    if record.verdict.name is VerdictName.NOT_SUPPORTED:
        return "skipped"
    if not record.mismatch:
        return ""
    return "error" if record.verdict.name is VerdictName.INFRASTRUCTURE_ERROR else "failure"


def _clean(text: str) -> str:
    return _NO_XML.sub("�", text)
