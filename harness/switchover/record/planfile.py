# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run is going to do: ``plan.json`` of its directory, written before anything is done."""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from switchover.record.ending import Ending
from switchover.record.errors import UsageError
from switchover.record.record import SCHEMA_VERSION, Record, Verdict, VerdictName
from switchover.record.rundir import RunDirectory, read_versioned
from switchover.record.shape import require_shape

_NAME = "plan.json"


@dataclass(frozen=True)
class PlannedComparison:
    """Cases that are to be compared: those that differ in one axis only."""

    axis: str
    """name of the axis whose values are the arms"""
    baseline: str
    """the value with which the others are compared, as it is spelled in ids of cases"""


@dataclass(frozen=True)
class PlannedScenario:
    """A scenario with cases in the run."""

    name: str
    """the name of the scenario's file, without `.toml`"""
    file: str
    """the file from which it was read"""
    title: str
    """the title of the scenario in lists, in one line"""
    question: str
    """what the scenario is to find out, and why"""
    repeats: int
    """how often each case is run"""
    interleave: bool
    """whether the repeats of all cases alternate; if not, all repeats of a case follow each other"""
    compare: PlannedComparison | None = None
    """which cases the report compares; null if none"""


@dataclass(frozen=True)
class PlanLine:
    """A case of the run."""

    id: str
    """the id of the case, unique in the run; it is `case` of the records"""
    case: str
    """id of the case in its scenario"""
    scenario: str
    """the name of the case's scenario"""
    repeats: int
    """how often it is to be run"""
    expectation: Mapping[str, Any]
    """what is to happen"""
    rule: str
    """name of the rule that the expectation is from: of [the oracle](oracle.md), in older runs one of its other names
    there, or of the scenario, such as `rules[0]`; empty: none"""
    seconds: float
    """the estimated time of one repeat, in seconds"""


@dataclass(frozen=True)
class PlanFile:
    """Cases in the order of their scenarios, which need not be the one in which they run."""

    scenarios: tuple[PlannedScenario, ...]
    """the scenarios that have cases in the run"""
    cases: tuple[PlanLine, ...]
    """all cases of the run, whether their hosts can run them or not"""


def write_plan(directory: RunDirectory, plan: PlanFile) -> None:
    fields = {"schema_version": SCHEMA_VERSION, **asdict(plan)}
    directory.write_text(_NAME, json.dumps(fields, indent=1, ensure_ascii=False))


def find_plan(directory: RunDirectory) -> PlanFile | None:
    """None: the run was made without one. :raises UsageError: it cannot be read, or is of a newer version"""
    path = directory.path / _NAME
    if not path.exists():
        return None
    fields = read_versioned(path)
    del fields["schema_version"]
    try:
        require_shape(fields, PlanFile, "")
        return PlanFile(
            tuple(_read_scenario(entry) for entry in fields["scenarios"]),
            tuple(PlanLine(**entry) for entry in fields["cases"]),
        )
    except ValueError as error:
        raise UsageError(f"{path} is no plan of a run.", why=str(error)) from error


def _read_scenario(fields: Mapping[str, Any]) -> PlannedScenario:
    compare = fields.get("compare")
    return PlannedScenario(**{**fields, "compare": PlannedComparison(**compare) if compare else None})


def leave_out(directory: RunDirectory, cases: Collection[str]) -> None:
    """Take cases out of a run's plan that it is not to run after all."""
    plan = find_plan(directory)
    if plan is not None and cases:
        write_plan(directory, replace(plan, cases=tuple(line for line in plan.cases if line.id not in cases)))


def list_missing(directory: RunDirectory, line: PlanLine) -> list[int]:
    """Repeats of a planned case that have no record and should: of one that is not supported the first tells all."""
    missing = [number for number in range(1, line.repeats + 1) if not directory.has_record(line.id, number)]
    return [] if missing and is_left_out(directory, line.id) else missing


def is_left_out(directory: RunDirectory, case: str) -> bool:
    """Whether the first repeat of a case says that it is not supported."""
    first = directory.find_record(case, 1)
    return first is not None and first.verdict.name is VerdictName.NOT_SUPPORTED


def make_unrun(line: PlanLine, number: int, reason: str, started: str = "", *, called_off: bool = False) -> Record:
    """A repeat that was not run, since the run ended before it. ``called_off``: since somebody interrupted it."""
    verdict = Verdict(VerdictName.INFRASTRUCTURE_ERROR, reason=f"not run: {reason}")
    return replace(
        _without_run(line, number, verdict, verdict.reason, started),
        ending=Ending.CALLED_OFF if called_off else Ending.NOT_RUN,
    )


def make_skipped(line: PlanLine, verdict: Verdict, started: str = "") -> Record:
    """A case that the preflight leaves out; one record, however many repeats were planned."""
    return _without_run(line, 1, verdict, "", started)


def _without_run(line: PlanLine, number: int, verdict: Verdict, mismatch: str, started: str) -> Record:
    return Record(
        case=line.id,
        repeat=number,
        started=started,
        verdict=verdict,
        settings={},
        fingerprint={},
        downtime={"reason": "there was no migration"},
        expectation=line.expectation,
        mismatch=mismatch,
    )
