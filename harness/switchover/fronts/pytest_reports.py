# SPDX-License-Identifier: GPL-2.0-or-later
"""Records as pytest's reports: outcome, text, properties. All survives pytest-xdist, which sends reports as JSON."""

from collections.abc import Iterator, Sequence

import pytest
from _pytest._code.code import ReprEntryNative, ReprExceptionInfo, ReprFileLocation, ReprTraceback

from switchover.catalogue.outcome import NATIVE, Outcome
from switchover.record.planfile import PlanLine
from switchover.record.record import Record
from switchover.record.rundir import RepeatDirectory, RunDirectory
from switchover.report.failures import render_failure
from switchover.report.rundata import CaseResult, RunData

Place = tuple[str, int]
"""File and line, from 1."""


def shape_report(
    report: pytest.TestReport,
    outcome: Outcome,
    records: Sequence[Record],
    directory: RunDirectory,
    place: Place,
    again: str,
) -> None:
    """Make a report say what came of a case. An error is one of ``setup``: so it is counted, told and written as an
    error, and not as a failure, by everybody who reads reports. ``again``: the command that runs it again.
    """
    native = NATIVE[outcome].pytest
    reason = "; ".join(dict.fromkeys(summarise(record) for record in records if summarise(record)))
    if native == "passed":
        report.outcome = "passed"
    elif native == "skipped":
        report.outcome = "skipped"
        report.longrepr = (*place, f"Skipped: {reason}")
    else:
        report.outcome = "failed"
        wrong = [record for record in records if record.mismatch]
        text = "\n\n".join(render_wrong(directory, record, again) for record in wrong)
        report.longrepr = make_text(text, reason, place)
    if native == "error":
        report.when = "setup"


def summarise(record: Record) -> str:
    """In a line: why it is not right, or not run."""
    text = record.mismatch or (record.verdict.reason if outcome_is_skip(record) else "")
    return text.splitlines()[0] if text else ""


def outcome_is_skip(record: Record) -> bool:
    return record.verdict.name == "not-supported"


def render_wrong(directory: RunDirectory, record: Record, again: str) -> str:
    """As ``switchover show`` has it, and how pytest runs it again."""
    line = PlanLine(record.case, record.case, "", 1, record.expectation, "", 0.0)
    run = RunData(directory, directory.read_head(), (), (CaseResult(line, (record,)),))
    return f"{render_failure(run, record)}\n  {'pytest':<9} {again}"


def make_text(text: str, message: str, place: Place) -> ReprExceptionInfo:
    """A text instead of a traceback. ``message``: for summaries, a line."""
    lines = [f"{line}\n" for line in text.splitlines()]
    trace = ReprTraceback([ReprEntryNative(lines)], None, "native")
    return ReprExceptionInfo(reprtraceback=trace, reprcrash=ReprFileLocation(place[0], place[1], message))


def list_properties(records: Sequence[Record], directory: RunDirectory) -> Iterator[tuple[str, object]]:
    """For JUnit: where the record is, the verdict, and each measurement under its name and unit. A number that is
    missing says so. Of several repeats, those after the first have their number at the end.
    """
    for record in records:
        end = f" #{record.repeat}" if record.repeat > 1 else ""
        yield f"record{end}", str(RepeatDirectory(directory.repeat_path(record.case, record.repeat)).record_path)
        yield f"verdict{end}", str(record.verdict.name)
        for entry in record.measurements:
            value = entry.value if entry.value is not None else f"missing: {entry.note}"
            yield f"{entry.name} [{entry.unit}]{end}", value
