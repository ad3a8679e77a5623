# SPDX-License-Identifier: GPL-2.0-or-later
"""What a page holds of a run: a row for each case, and for each case all that its own view shows. Pure, but for the
evidence that is read.
"""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from switchover.record.record import Record, VerdictName, list_measured
from switchover.record.rundir import folder_of, hop_folder
from switchover.record.units import format_bytes, format_seconds, format_spread
from switchover.report.failures import list_repeats, render_claim, render_failure
from switchover.report.html.evidence import list_files, read_evidence
from switchover.report.html.past import Past, make_past_details
from switchover.report.html.timeline import draw_timeline
from switchover.report.rundata import CaseResult, RunData
from switchover.report.summary import describe_outcome
from switchover.scenarios.ids import parse_id

MOST_POINTS = 150
"""Samples, and intervals in which a side was heard, that are kept of a migration."""
MOST_POINTS_OF_ALL = 200_000
"""Of all migrations of a run together: of many, fewer are kept of each."""
FEWEST_POINTS = 24
MOST_WORDS = 4000
"""Characters of a text by QEMU, or of a failure, that are kept."""

GOOD, BAD, NEITHER = "ok", "bad", "none"


@dataclass(frozen=True)
class CaseRow:
    """A line of the overview. Texts are for people; ``mark`` is one of ok, bad, none (not supported, or not run)."""

    number: int
    id: str
    scenario: str
    mark: str
    outcome: str
    verdict: str
    expected: str
    downtime: str
    downtime_s: float | None
    device: str
    repeats: str


def make_row(number: int, case: CaseResult) -> CaseRow:
    records = case.records
    expectation = case.line.expectation
    side = f" ({expectation['side']})" if expectation.get("side") else ""
    migrations = _list_migrations(records)
    downtimes = list_measured(migrations, "downtime.explained")
    verdicts = dict.fromkeys(str(record.verdict) if record.was_run else "not run" for record in records)
    done = sum(record.verdict.name is VerdictName.COMPLETED for record in records)
    return CaseRow(
        number,
        case.id,
        case.line.scenario,
        _mark(case),
        describe_outcome(case),
        "; ".join(verdicts),
        f"{expectation.get('verdict', 'completed')}{side}",
        format_spread(downtimes, format_seconds) if downtimes else "",
        statistics.median(downtimes) if downtimes else None,
        _render_device(migrations),
        f"{done}/{len(records)}",
    )


def _mark(case: CaseResult) -> str:
    if any(record.was_run for record in case.mismatches):
        return BAD
    return NEITHER if case.skipped or case.mismatches else GOOD


def _list_migrations(records: Sequence[Record]) -> list[Record]:
    """Of chains each hop, else each repeat."""
    return [
        migration for record in records for migration in [record.at_hop(hop.number) for hop in record.hops] or [record]
    ]


def _render_device(records: Sequence[Record]) -> str:
    """Bytes of devices in pre-copy and in stop-copy."""
    words = []
    for name in ("bytes.vfio.precopy", "bytes.vfio.stop_copy"):
        if values := list_measured(records, name):
            words.append(format_bytes(statistics.median(values)))
    return " + ".join(words)


def list_axes(case: CaseResult) -> dict[str, str]:
    """Values of a case by axis; none of a case that is not of a point."""
    return parse_id(case.line.case) if "=" in case.line.case else {}


def make_index(run: RunData, cases: Sequence[CaseResult], rows: Sequence[CaseRow]) -> dict[str, Any]:
    """What scripts of the page know of all cases: also what another case's view takes of one."""
    return {
        "run": run.directory.path.name,
        "scenarios": {one.name: {"title": one.title, "question": one.question} for one in run.scenarios},
        "compared": {one.name: one.compare.axis for one in run.scenarios if one.compare},
        "cases": [
            {
                "id": case.id,
                "scenario": case.line.scenario,
                "axes": list_axes(case),
                "mark": row.mark,
                "verdict": row.verdict,
                "downtime": row.downtime,
                "parts": _find_middle_parts(case),
            }
            for case, row in zip(cases, rows, strict=True)
        ],
        "parts": _list_parts(cases),
        "definitions": {
            one.name: one.definition
            for case in cases
            for record in _list_migrations(case.records)
            for one in record.measurements
        },
    }


def _list_parts(cases: Sequence[CaseResult]) -> list[str]:
    """Names of the parts of all downtimes, in the order of the downtimes with most parts."""
    downtimes = {
        tuple(str(part["name"]) for part in record.downtime.get("parts", ()))
        for case in cases
        for record in _list_migrations(case.records)
    }
    return list(
        dict.fromkeys(name for parts in sorted(downtimes, key=lambda parts: (-len(parts), parts)) for name in parts)
    )


def _find_middle_parts(case: CaseResult) -> list[tuple[str, float]]:
    """Medians over the repeats, in the order of the downtime; none of a chain, whose migrations differ."""
    parts: dict[str, list[float]] = {}
    for record in case.records:
        for part in record.downtime.get("parts", ()):
            parts.setdefault(str(part["name"]), []).append(part["seconds"])
    return [(name, round(statistics.median(seconds), 6)) for name, seconds in parts.items()]


def count_points(migrations: int) -> int:
    """How many points are kept of each of so many migrations."""
    return max(FEWEST_POINTS, min(MOST_POINTS, MOST_POINTS_OF_ALL // max(1, migrations)))


def make_details(run: RunData, case: CaseResult, points: int, past: Past) -> dict[str, Any]:
    """Everything of the case's own view."""
    line = case.line
    return {
        "id": case.id,
        "outcome": describe_outcome(case),
        "claim": render_claim(line.expectation),
        "rule": line.rule,
        "repeat": list(list_repeats(run, case.records[0])) if case.records else [],
        "repeats": [_make_repeat(run, record, points) for record in case.records],
        "past": make_past_details(past, case.id),
    }


def _make_repeat(run: RunData, record: Record, points: int) -> dict[str, Any]:
    path = run.repeat_path(record)
    place = f"{folder_of(record.case)}/{record.repeat:02}"
    return {
        "number": record.repeat,
        "started": record.started,
        "verdict": str(record.verdict) if record.was_run else "not run",
        "reason": record.verdict.reason[:MOST_WORDS],
        "mismatch": record.mismatch[:MOST_WORDS],
        "failure": render_failure(run, record)[:MOST_WORDS] if record.mismatch and record.was_run else "",
        "steps": {name: round(seconds, 3) for name, seconds in record.seconds.items()},
        "checks": [
            [check.label, check.name, check.passed, check.expected[:400], check.observed[:400]]
            for check in record.checks
        ],
        "unmade": [[str(one.id), one.check, one.why[:400]] for one in record.not_checked],
        "migrations": list(_make_migrations(record, path, points)),
        "files": [[place, list_files(path)], *_list_hop_files(record, path, place)],
    }


def _list_hop_files(record: Record, path: Path, place: str) -> Iterator[list[Any]]:
    for hop in record.hops:
        folder = hop_folder(hop.number)
        if names := list_files(path / folder):
            yield [f"{place}/{folder}", names]


def _make_migrations(record: Record, path: Path, points: int) -> Iterator[dict[str, Any]]:
    """Of a chain one for each hop."""
    if not record.hops:
        yield _make_migration("", record, path, points)
    for hop in record.hops:
        yield _make_migration(f"hop {hop.number}", record.at_hop(hop.number), path / hop_folder(hop.number), points)


def _make_migration(name: str, record: Record, path: Path, points: int) -> dict[str, Any]:
    return {
        "name": name,
        "verdict": str(record.verdict),
        "numbers": [[one.name, one.value, str(one.unit), one.bound, one.note[:400]] for one in record.measurements],
        "parts": [[str(part["name"]), part["seconds"]] for part in record.downtime.get("parts", ())],
        "unexplained": str(record.downtime.get("reason", ""))[:400],
        "states": record.states,
        "timeline": draw_timeline(record, read_evidence(path), points) if record.was_run else None,
    }
