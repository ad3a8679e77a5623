# SPDX-License-Identifier: GPL-2.0-or-later
"""Of each case the newest run that came to a verdict, over all run directories: what several nights make together."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from switchover.record.ending import Ending
from switchover.record.errors import SwitchoverError
from switchover.record.planfile import PlanFile, find_plan
from switchover.record.record import Record, VerdictName
from switchover.record.rundir import RunDirectory
from switchover.report.rundata import CaseResult, RunData, read_run


@dataclass(frozen=True)
class Latest:
    """A case in the run that ran it last."""

    run: RunData
    case: CaseResult

    @property
    def started(self) -> str:
        """When its first repeat was, ISO 8601 with zone."""
        return self.case.records[0].started


def has_verdict(record: Record) -> bool:
    """Whether a repeat says something of its case: it was run to its end, and its environment did not fail."""
    return (
        record.was_run
        and record.ending is not Ending.INTERRUPTED
        and record.verdict.name is not VerdictName.INFRASTRUCTURE_ERROR
    )


def find_latest(directories: Sequence[RunDirectory], ids: Collection[str]) -> dict[str, Latest]:
    """By id of the case, in no order. ``directories``: the oldest first. Runs that cannot be read are left out."""
    missing, found = set(ids), dict[str, Latest]()
    for directory in reversed(directories):
        if not missing:
            break
        if not missing & set(_list_ids(_find_plan(directory))):
            continue
        try:
            run = read_run(directory)
        except (OSError, SwitchoverError):
            continue
        for case in run.cases:
            if case.id in missing and case.records and all(has_verdict(record) for record in case.records):
                found[case.id] = Latest(run, case)
                missing.remove(case.id)
    return found


def list_cases_of(directories: Iterable[RunDirectory], scenarios: Collection[str]) -> list[str]:
    """Ids of cases that runs had of these scenarios, by name, each once."""
    plans = [_find_plan(directory) for directory in directories]
    lines = [line for plan in plans if plan for line in plan.cases if line.scenario in scenarios]
    return list(dict.fromkeys(line.id for line in lines))


def _list_ids(plan: PlanFile | None) -> Iterable[str]:
    return [line.id for line in plan.cases] if plan else []


def _find_plan(directory: RunDirectory) -> PlanFile | None:
    try:
        return find_plan(directory)
    except (OSError, SwitchoverError):
        return None
