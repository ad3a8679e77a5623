# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run is going to do: ``plan.json`` of its directory, written before anything is done."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from switchover.record.errors import UsageError
from switchover.record.record import SCHEMA_VERSION, Record, Verdict, VerdictName
from switchover.record.rundir import RunDirectory, read_versioned

_NAME = "plan.json"


@dataclass(frozen=True)
class PlannedScenario:
    """A scenario with cases in the run. ``file``: where it was read from."""

    name: str
    file: str
    title: str
    question: str
    repeats: int
    interleave: bool


@dataclass(frozen=True)
class PlanLine:
    """A case. ``id``: unique in the run; ``case``: in its scenario. ``seconds``: the estimate for one repeat."""

    id: str
    case: str
    scenario: str
    repeats: int
    expectation: Mapping[str, str]
    rule: str
    seconds: float


@dataclass(frozen=True)
class PlanFile:
    """Cases in the order of their scenarios, which need not be the one in which they run."""

    scenarios: tuple[PlannedScenario, ...]
    cases: tuple[PlanLine, ...]


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
            tuple(PlannedScenario(**entry) for entry in fields["scenarios"]),
            tuple(PlanLine(**entry) for entry in fields["cases"]),
        )
    except (KeyError, TypeError) as error:
        raise UsageError(f"{path} is no plan of a run.", why=str(error)) from error


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
