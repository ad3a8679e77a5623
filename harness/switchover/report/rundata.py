# SPDX-License-Identifier: GPL-2.0-or-later
"""A run, read back from its directory: each planned case with its verdicts, those that are missing included."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from switchover.record.errors import UsageError
from switchover.record.planfile import PlanLine, PlannedScenario, find_plan, make_unrun
from switchover.record.record import Record, VerdictName, make_unreadable
from switchover.record.rundir import RunDirectory, RunHead, UnreadableRecord, folder_of, hop_folder

NO_RECORD = "it has no record: the run goes on, or was killed before"


@dataclass(frozen=True)
class CaseResult:
    """A case of a run. ``records`` by repeat, as many as were planned, but one if the case is not supported.

    ``title``: of its scenario, empty for a run without a plan.
    """

    line: PlanLine
    records: tuple[Record, ...]

    @property
    def id(self) -> str:
        return self.line.id

    @property
    def names(self) -> tuple[str, ...]:
        """Its id, and what else it may be called."""
        return (self.line.id, self.line.case, f"{self.line.case}@{self.line.scenario}")

    def list_hops(self) -> dict[int, tuple[Record, ...]]:
        """Of a chain, by the number of each hop, the records of repeats that came to it, each as of a single migration.

        Empty: it is no chain.
        """
        numbers = sorted({hop.number for record in self.records for hop in record.hops})
        return {
            number: tuple(record.at_hop(number) for record in self.records if len(record.hops) >= number)
            for number in numbers
        }

    @property
    def mismatches(self) -> list[Record]:
        return [record for record in self.records if record.mismatch]

    @property
    def skipped(self) -> bool:
        return any(record.verdict.name is VerdictName.NOT_SUPPORTED for record in self.records)


@dataclass(frozen=True)
class RunData:
    """``scenarios`` is empty for a run that was made without a plan, such as a demo."""

    directory: RunDirectory
    head: RunHead
    scenarios: tuple[PlannedScenario, ...]
    cases: tuple[CaseResult, ...]
    unreadable: tuple[UnreadableRecord, ...] = ()
    """Records that cannot be read; among ``cases`` each is an infrastructure error."""
    history: Path | None = None
    """Where numbers of other runs are, for formats that show them; None: nowhere."""

    @property
    def records(self) -> list[Record]:
        return [record for case in self.cases for record in case.records]

    def repeat_path(self, record: Record) -> Path:
        return self.directory.repeat_path(record.case, record.repeat)

    def evidence_path(self, record: Record) -> Path:
        """Where files of the migration are that a record's verdict is about: of a chain, those of its last hop."""
        path = self.repeat_path(record)
        return path / hop_folder(record.last_hop) if record.last_hop else path

    def select(self, pattern: str) -> list[CaseResult]:
        """Cases with this id, or that fit a pattern: with ``*`` or ``?`` the whole id, else any part of it.

        A case's id in its scenario, with ``@`` and the scenario's name after it or not, does as well.

        :raises UsageError: there is none
        """
        globs = any(character in pattern for character in "*?[")
        found: list[CaseResult] = []
        for fits in (str.__eq__, fnmatchcase if globs else str.__contains__):
            found = found or [case for case in self.cases if any(fits(name, pattern) for name in case.names)]
        if not found:
            some = ", ".join(case.id for case in self.cases[:4])
            raise UsageError(
                f"The run has no case {pattern!r}.", why=f"its cases: {some}{', …'[: 3 * (len(self.cases) > 4)]}"
            )
        return found


def read_run(directory: RunDirectory) -> RunData:
    """A record that cannot be read hides no other.

    :raises UsageError: it is no run directory, its head or plan is damaged, or they are of a newer version
    """
    head = directory.read_head()
    plan = find_plan(directory)
    read = directory.read_all()
    unreadable = tuple(one for one in read if isinstance(one, UnreadableRecord))
    found: dict[str, dict[int, Record]] = {}
    for record in read:
        if isinstance(record, Record):
            found.setdefault(record.case, {})[record.repeat] = record
    lines = list(plan.cases) if plan else []
    known = {line.id: line for line in lines}
    ids = {folder_of(case): case for case in (*found, *known)}
    for one in unreadable:
        case = ids.setdefault(one.folder, one.folder)
        expectation = known[case].expectation if case in known else {}
        found.setdefault(case, {})[one.repeat] = make_unreadable(case, one.repeat, one.why, expectation)
        if plan and case not in known:
            known[case] = _make_line(case, found[case])
            lines.append(known[case])
    if plan is None:
        lines = [_make_line(case, records) for case, records in found.items()]
    cases = tuple(CaseResult(line, tuple(_complete(line, found.get(line.id, {})))) for line in lines)
    return RunData(directory, head, plan.scenarios if plan else (), cases, unreadable)


def _complete(line: PlanLine, records: dict[int, Record]) -> Sequence[Record]:
    if any(record.verdict.name is VerdictName.NOT_SUPPORTED for record in records.values()):
        return list(records.values())
    numbers = sorted({*range(1, line.repeats + 1), *records})
    return [records.get(number) or make_unrun(line, number, NO_RECORD) for number in numbers]


def _make_line(case: str, records: dict[int, Record]) -> PlanLine:
    expectation = next((record.expectation for record in records.values() if record.expectation), {})
    return PlanLine(case, case, "", max(records), expectation, "", 0.0)
