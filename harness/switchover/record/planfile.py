# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run is going to do: ``plan.json`` of its directory, written before anything is done."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from switchover.record.errors import UsageError
from switchover.record.record import SCHEMA_VERSION, Record, Verdict, VerdictName
from switchover.record.rundir import RunDirectory, read_versioned

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
    """how often the case is run"""
    expectation: Mapping[str, str]
    """what must happen to the case"""
    rule: str
    """the rule of the oracle that the expectation comes from; empty if it comes from none"""
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
    try:
        return PlanFile(
            tuple(_read_scenario(entry) for entry in fields["scenarios"]),
            tuple(PlanLine(**entry) for entry in fields["cases"]),
        )
    except (KeyError, TypeError) as error:
        raise UsageError(f"{path} is not the plan of a run.", why=str(error)) from error


def _read_scenario(fields: Mapping[str, Any]) -> PlannedScenario:
    compare = fields.get("compare")
    return PlannedScenario(**{**fields, "compare": PlannedComparison(**compare) if compare else None})


NOT_RUN = "not run"
"""How the reason of a repeat that was planned and not run begins."""


def make_unrun(line: PlanLine, number: int, reason: str, started: str = "") -> Record:
    """A repeat that was not run, since the run ended before it."""
    verdict = Verdict(VerdictName.INFRASTRUCTURE_ERROR, reason=f"{NOT_RUN}: {reason}")
    return _without_run(line, number, verdict, verdict.reason, started)


def make_skipped(line: PlanLine, verdict: Verdict, started: str = "") -> Record:
    """A case that the gate leaves out; one record, however many repeats were planned."""
    return _without_run(line, 1, verdict, "", started)


def _without_run(line: PlanLine, number: int, verdict: Verdict, mismatch: str, started: str) -> Record:
    return Record(
        case=line.id, repeat=number, started=started, verdict=verdict, settings={}, fingerprint={},
        downtime={"reason": "there was no migration"}, expectation=line.expectation, mismatch=mismatch,
    )  # fmt: skip
