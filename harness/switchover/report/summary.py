# SPDX-License-Identifier: GPL-2.0-or-later
"""A whole run for people and for programs: the answers in few lines, then what was not as expected."""

import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from switchover.record.record import DIFFERS_ALONE, Race, Record, VerdictName, list_measured
from switchover.record.units import format_bytes, format_count, format_median, format_seconds, format_spread
from switchover.report.causes import find_causes
from switchover.report.comparison import compare_planned, render_comparisons
from switchover.report.failures import collect_evidence, render_failure
from switchover.report.moments import read_moment
from switchover.report.rundata import CaseResult, RunData
from switchover.report.terminal import count_not_checked, render_record

SCHEMA_VERSION = 1


def render_run(run: RunData) -> str:
    """Per scenario its cases with their answers; what is compared; the failures in full; how many of each; the run
    directory.
    """
    lines: list[str] = []
    titles = {scenario.name: scenario.title for scenario in run.scenarios}
    for name in dict.fromkeys(case.line.scenario for case in run.cases):
        lines.append(f"{name}: {titles[name]}" if name in titles else run.head.title)
        for case in run.cases:
            if case.line.scenario == name:
                lines += [f"  {line}" for line in render_case(case)]
        lines.append("")
    if comparisons := compare_planned(run):
        lines += [render_comparisons(comparisons), ""]
    for record in run.records:
        if record.mismatch and record.was_run:
            lines += [render_failure(run, record), ""]
    lines += [render_counts(run), f"run directory: {run.directory.path}"]
    return "\n".join(lines)


def render_counts(run: RunData) -> str:
    """``4 cases: 2 as expected, 1 not as expected, 1 not supported``."""
    counts = count_outcomes(run)
    raced = sum(record.verdict.race is not Race.NONE for record in run.records)
    races = f"; {format_count(raced, 'repeat')} decided by QEMU's own race of a cancel" if raced else ""
    listed = ", ".join(f"{count} {word}" for word, count in counts.items())
    return f"{format_count(len(run.cases), 'case')}: {listed}{races}"


def count_outcomes(run: RunData) -> dict[str, int]:
    """How many cases came to what."""
    counts: dict[str, int] = {}
    for case in run.cases:
        word = describe_outcome(case)
        counts[word] = counts.get(word, 0) + 1
    return counts


def describe_outcome(case: CaseResult) -> str:
    """Whether a case was as expected, in words that counts have too."""
    if case.skipped:
        return "not supported"
    wrong = case.mismatches
    if not wrong:
        return "as expected"
    if not any(record.was_run for record in wrong):
        return "not run" if len(wrong) == len(case.records) else "not run to the end"
    if any(record.differs_alone for record in wrong):
        return DIFFERS_ALONE
    if all(record.verdict.name is VerdictName.INFRASTRUCTURE_ERROR for record in wrong):
        return "with an infrastructure error"
    return "not as expected"


def render_case(case: CaseResult) -> list[str]:
    """The verdict; of completed repeats downtime, its parts in percent, what the outside saw, and bytes."""
    lines = [f"{case.id}  {render_verdicts(case)}"]
    if chain := case.list_hops():
        for number, records in chain.items():
            lines += [f"  hop {number}  {line.strip()}" for line in _render_numbers(records)]
    else:
        lines += _render_numbers(case.records)
    if unmade := next((record for record in case.records if record.not_checked), None):
        lacking = "; ".join(dict.fromkeys(entry.lacking for entry in unmade.not_checked if entry.lacking))
        reasons = dict.fromkeys(entry.reason for entry in unmade.not_checked if entry.reason)
        words = "; ".join([*([f"it lacks {lacking}"] if lacking else []), *reasons])
        lines.append(f"  guest    {count_not_checked(unmade)}; {words}")
    return lines


def _render_numbers(records: Sequence[Record]) -> Iterator[str]:
    """Downtime and bytes of migrations of one kind; nothing where none has them."""
    good = [record for record in records if record.measured("downtime.explained") is not None]
    if good:
        yield f"  downtime {_spread(good, 'downtime.explained')}: {_render_parts(good)}{_render_others(good)}"
    if any(record.measured("bytes.vfio.stop_copy") is not None for record in records):
        yield f"  bytes    {_render_bytes(records)}"


def render_verdicts(case: CaseResult) -> str:
    """The verdicts with their counts; a reason where it is not that the case completed, in one line."""
    groups: dict[str, list[Record]] = {}
    for record in case.records:
        groups.setdefault(str(record.verdict) if record.was_run else "not run", []).append(record)
    texts = []
    for name, records in groups.items():
        first = records[0]
        count = f" {len(records)} of {len(case.records)}" if len(case.records) > 1 else ""
        wrong = [record for record in records if record.mismatch]
        judged = ""
        reason = f": {first.verdict.first_line}" if first.verdict.reason.strip() else ""
        if not first.was_run:
            reason = reason.replace("not run: ", "", 1)  # it is said already
        elif wrong:
            judged = ", NOT AS EXPECTED" + (f" in {len(wrong)}" if len(wrong) < len(records) else "")
        elif first.verdict.name not in (VerdictName.COMPLETED, VerdictName.NOT_SUPPORTED):
            judged = ", as expected"
        texts.append(f"{name}{count}{judged}{reason}")
    return "; ".join(texts)


def _render_parts(records: Sequence[Record]) -> str:
    """Shares of the median parts, the largest first; those below one percent are left out."""
    parts: dict[str, list[float]] = {}
    for record in records:
        for part in record.downtime.get("parts", ()):
            parts.setdefault(part["name"], []).append(part["seconds"])
    middles = {name: statistics.median(seconds) for name, seconds in parts.items()}
    whole = sum(middles.values())
    shares = sorted(((value / whole, name) for name, value in middles.items() if whole), reverse=True)
    return ", ".join(f"{name} {share:.0%}" for share, name in shares if share >= 0.005) or "not explained"


def _render_others(records: Sequence[Record]) -> str:
    named = (("QEMU says", "downtime.qemu"), ("outside", "downtime.outside"))
    return "".join(f"; {word} {_spread(records, name)}" for word, name in named if list_measured(records, name))


def _render_bytes(records: Sequence[Record]) -> str:
    def shown(name: str) -> str:
        values = list_measured(records, name)
        return format_median(values, format_bytes) if values else "?"

    return (
        f"device {shown('bytes.vfio.precopy')} in pre-copy, {shown('bytes.vfio.stop_copy')} in stop-copy; "
        f"RAM {shown('bytes.ram.precopy')} in pre-copy, {shown('bytes.ram.downtime')} in the downtime; "
        f"wire {shown('bytes.wire')}"
    )


def _spread(records: Sequence[Record], name: str) -> str:
    return format_spread(list_measured(records, name), format_seconds)


def render_text(run: RunData, cases: Sequence[CaseResult] | None = None) -> str:
    """Cases that are asked for in full; None: the whole run in few lines."""
    return render_run(run) if cases is None else render_cases_in_full(run, cases)


def render_cases_in_full(run: RunData, cases: Sequence[CaseResult]) -> str:
    """Each repeat explained, then its failure text."""
    return "\n\n".join(text for case in cases for record in case.records for text in _render_repeat(run, record))


def _render_repeat(run: RunData, record: Record) -> Iterator[str]:
    if record.was_run:
        yield f"#{record.repeat} {render_record(record)}"
    if record.mismatch:
        yield render_failure(run, record)


def list_run(run: RunData, cases: Sequence[CaseResult]) -> dict[str, Any]:
    """What ``show --json`` prints."""
    return {
        "schema_version": SCHEMA_VERSION,
        "run": str(run.directory.path),
        **asdict(run.head),
        "scenarios": [asdict(scenario) for scenario in run.scenarios],
        "cases": [
            {
                **asdict(case.line),
                "outcome": describe_outcome(case),
                "repeats": [_list_repeat(run, record) for record in case.records],
            }
            for case in cases
        ],
        "comparisons": [asdict(comparison) for comparison in compare_planned(run)],
    }


def _list_repeat(run: RunData, record: Record) -> dict[str, Any]:
    found: dict[str, Any] = {"directory": str(run.repeat_path(record)), "record": asdict(record)}
    if record.mismatch:
        moment = read_moment(run.evidence_path(record), came=record.last_hop > 1)
        found["moment"] = asdict(moment) if moment else None
        found["causes"] = [asdict(cause) for cause in find_causes(collect_evidence(run, record))]
    return found


def render_json(run: RunData, cases: Sequence[CaseResult] | None = None) -> str:
    return json.dumps(list_run(run, run.cases if cases is None else cases), indent=1, ensure_ascii=False)
