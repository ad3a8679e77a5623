# SPDX-License-Identifier: GPL-2.0-or-later
"""The repeats of a run, in the order in which they come."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from switchover.record.errors import UsageError
from switchover.record.planfile import PlanLine
from switchover.record.record import Record
from switchover.record.rundir import RepeatDirectory, RunDirectory, folder_of
from switchover.runner.leased_hosts import HostNames
from switchover.scenarios.case import Case
from switchover.scenarios.expand import list_repeats
from switchover.scenarios.plan import Plan


@dataclass(frozen=True)
class Turn:
    """One repeat in the order of a run. ``case`` has the id that it has in the run.

    ``apart``: for a case that is no case of a scenario, what carries it out elsewhere; it has the hosts meanwhile.
    """

    line: PlanLine
    case: Case
    hosts: HostNames
    number: int
    apart: "Apart | None" = None


class Apart(Protocol):
    """Carries a case out in another process, which finds the hosts by an address (of :class:`LeasedHosts`)."""

    @property
    def needs_hosts(self) -> bool: ...

    def __call__(
        self, number: int, repeat: RepeatDirectory, run: RunDirectory, address: Mapping[str, object]
    ) -> Record: ...


def list_turns(plans: Sequence[Plan]) -> list[Turn]:
    """In the order in which they are run: scenario by scenario, each interleaved as it says.

    :raises UsageError: two cases would have one id
    """
    turns: list[Turn] = []
    for plan in plans:
        scenario = plan.scenario
        cases: list[tuple[PlanLine, Case, HostNames]] = []
        for entry in plan.entries:
            case = entry.planned.case
            line = PlanLine(
                entry.planned.id,
                case.id,
                scenario.name,
                scenario.repeats,
                asdict(case.expectation),
                entry.planned.rule.name,
                entry.seconds,
            )
            cases.append((line, replace(case, id=line.id), entry.planned.hosts))
        for (line, case, hosts), number in list_repeats(cases, scenario.repeats, interleave=scenario.interleave):
            turns.append(Turn(line, case, hosts, number))
    require_distinct({turn.line.id: turn.line for turn in turns}.values(), len(_list_lines(plans)))
    return turns


def _list_lines(plans: Sequence[Plan]) -> list[str]:
    return [entry.planned.case.id for plan in plans for entry in plan.entries]


def require_distinct(lines: Collection[PlanLine], count: int) -> None:
    """:raises UsageError: two cases would have one directory; fewer lines than ``count``: one id"""
    folders: dict[str, str] = {}
    for line in lines:
        other = folders.setdefault(folder_of(line.id), line.id)
        if other != line.id:
            raise UsageError(f"The cases {other!r} and {line.id!r} would have the same directory.")
    if len(lines) < count:
        raise UsageError("Two scenarios with the same file name have a case of the same id.", fix="rename one of them")
