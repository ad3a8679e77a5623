# SPDX-License-Identifier: GPL-2.0-or-later
"""The record of one repeat: what ``record.json`` holds (docs/run-directory.md)."""

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from switchover.record.checks import parse_check_id
from switchover.record.errors import ExitCode, UsageError
from switchover.record.measurement import Check, Measurement, NotChecked
from switchover.record.sentences import find_by_sentence

SCHEMA_VERSION = 6
DIFFERS_ALONE = "differs alone"
"""Of a case that was not as expected with a guest that cases share, and is with one of its own."""


class VerdictName(StrEnum):
    """What happened to a case; docs/concepts.md defines each verdict."""

    COMPLETED = "completed"
    CHECKS_FAILED = "checks-failed"
    BLOCKED = "blocked"
    REFUSED = "refused"
    FAILED = "failed"
    HUNG = "hung"
    CANCELLED = "cancelled"
    CRASHED = "crashed"
    NOT_SUPPORTED = "not-supported"
    INFRASTRUCTURE_ERROR = "infrastructure-error"


@dataclass(frozen=True)
class Verdict:
    """What happened to a repeat, and who said why."""

    name: VerdictName
    """what happened: one of the verdicts"""
    side: str = ""
    """the side that said why, `source` or `destination`; empty if it is none in particular, or not known"""
    reason: str = ""
    """why it happened, in the words of that side; may be empty"""


@dataclass(frozen=True)
class Record:
    """Everything that one repeat produced, except the long files beside the record."""

    case: str
    """id of the case"""
    repeat: int
    """the number of the repeat, from 1"""
    started: str
    """when it started: date and time in ISO 8601, with zone"""
    verdict: Verdict
    """what happened"""
    settings: Mapping[str, Any]
    """what was asked for; empty if the case was not run"""
    fingerprint: Mapping[str, Any]
    """what it ran on"""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """how long each step took, in seconds, in the order of the steps; after a failure, the last step is the one that
    failed"""
    measurements: tuple[Measurement, ...] = ()
    """the numbers of a migration that completed; empty if it did not complete"""
    checks: tuple[Check, ...] = ()
    """the checks that were made after the migration, or, if it did not complete, of the guest that stayed; one for each
    `id` and `subject`"""
    downtime: Mapping[str, Any] = field(default_factory=dict)
    """the explained downtime; if there is none, only `reason`, which says why"""
    states: Mapping[str, list[str]] = field(default_factory=dict)
    """the VFIO states in their order, from QEMU's events, by `source` and `destination`; further devices are `source
    ID` …"""
    properties: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """the properties of vfio-pci that QEMU held just before the migration, by device as in `states`"""
    clocks: Mapping[str, Any] = field(default_factory=dict)
    """for each side, how the host's real-time clock relates to the controller's"""
    expectation: Mapping[str, str] = field(default_factory=dict)
    """what was expected to happen"""
    mismatch: str = ""
    """how what happened differs from the expectation; empty if it does not, and the case is right"""
    interventions: tuple[Mapping[str, Any], ...] = ()
    """what was done to the migration on purpose, in its order"""
    not_checked: tuple[NotChecked, ...] = ()
    """checks that were not made because the guest lacks something; they name neither side nor number of the device"""
    alone: Mapping[str, Any] = field(default_factory=dict)
    """`verdict` and `mismatch` of the same repeat with a guest of its own; empty if it had its own guest anyway, or was
    as expected with the guest that cases share"""
    earlier: tuple[Mapping[str, Any], ...] = ()
    """`verdict` and `reason` of earlier executions of this repeat, which ended in infrastructure errors; their files
    are in `earlier-N` beside it"""
    driver: Mapping[str, Any] = field(default_factory=dict)
    """with libvirt, what it was told, what it set in QEMU by itself, and its own statistics; empty with QMP"""
    schema_version: int = SCHEMA_VERSION
    """the version of the run directory"""

    @property
    def differs_alone(self) -> bool:
        """Whether the case is as expected with a guest of its own, but was not with the guest that cases share."""
        return bool(self.mismatch and self.alone and not self.alone["mismatch"])

    def measured(self, name: str) -> float | None:
        """The value of a measurement; None if it is missing."""
        return next((entry.value for entry in self.measurements if entry.name == name), None)

    def check(self, id: str, subject: str = "") -> Check:
        """Find a check that was made. Without ``subject``, the check must be the only one of its id, or have no
        subject.

        :raises UsageError: there is no such check, or there are several, which the error lists
        """
        of_id = [check for check in self.checks if check.id == id]
        if exact := [check for check in of_id if check.subject == subject]:
            return exact[0]
        if not of_id:
            raise UsageError(f"The record has no check {id!r}{self._explain_absence(id)}.")
        if not subject and len(of_id) == 1:
            return of_id[0]
        what = f"no check {id!r} of {subject!r}" if subject else f"several checks {id!r}"
        there = ", ".join(repr(check.subject) for check in of_id)
        raise UsageError(f"The record has {what}; there is: {there}.", fix="name the subject")

    def _explain_absence(self, id: str) -> str:
        lacking = next((entry.lacking for entry in self.not_checked if entry.id == id), "")
        if lacking:
            return f": it was not made, since the guest lacks {lacking}"
        ids = dict.fromkeys(str(check.id) for check in self.checks)
        close = difflib.get_close_matches(id, ids, n=3)
        if close:
            return f"; did you mean {', '.join(map(repr, close))}?"
        return f"; there is: {', '.join(ids)}" if ids else ": no check was made"

    @property
    def failed_checks(self) -> tuple[Check, ...]:
        """The checks that did not pass, in their order."""
        return tuple(check for check in self.checks if not check.passed)


def exit_code_of(records: Iterable[Record], *, strict: bool = False) -> ExitCode:
    """A case that was not as expected comes before an environment that failed.

    ``strict``: nothing but not-supported is an environment that is not ready.
    """
    names = set()
    wrong = set()
    for record in records:
        names.add(record.verdict.name)
        if record.mismatch:
            wrong.add(record.verdict.name)
        if record.differs_alone:
            return ExitCode.NOT_AS_EXPECTED
    if not wrong:
        return ExitCode.NOT_READY if strict and names <= {VerdictName.NOT_SUPPORTED} else ExitCode.AS_EXPECTED
    return ExitCode.NOT_READY if wrong == {VerdictName.INFRASTRUCTURE_ERROR} else ExitCode.NOT_AS_EXPECTED


def render_record(record: Record) -> str:
    return json.dumps(asdict(record), indent=1, ensure_ascii=False)


def parse_record(text: str) -> Record:
    """:raises UsageError: the record is of a newer version of switchover, or no record"""
    try:
        fields = json.loads(text)
        if fields["schema_version"] > SCHEMA_VERSION:
            raise UsageError(
                f"The record has version {fields['schema_version']}; this switchover reads up to {SCHEMA_VERSION}.",
                fix="update switchover",
            )
        fields["verdict"] = Verdict(VerdictName(fields["verdict"].pop("name")), **fields["verdict"])
        fields["measurements"] = tuple(Measurement(**entry) for entry in fields["measurements"])
        older = fields["schema_version"] < _FIRST_WITH_IDS
        fields["checks"] = tuple(Check(**_read_ids(entry, "name", older)) for entry in fields["checks"])
        fields["not_checked"] = tuple(
            NotChecked(**_read_ids(entry, "check", older)) for entry in fields.get("not_checked", ())
        )
        fields["interventions"] = tuple(fields.get("interventions", ()))
        fields["earlier"] = tuple(fields.get("earlier", ()))
        if fields["schema_version"] == 1 and fields["verdict"].name is not VerdictName.COMPLETED:
            fields["mismatch"] = f"expected completed, was {fields['verdict'].name}"
        return Record(**fields)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError("This is not a record of switchover.", why=str(error)) from error


_FIRST_WITH_IDS = 6


def _read_ids(entry: Mapping[str, Any], sentence: str, older: bool) -> dict[str, Any]:
    """A check, or one that was not made, with its id as such. ``older``: it has none, and is found by its sentence."""
    if not older:
        return {**entry, "id": parse_check_id(entry["id"])}
    found, subject = find_by_sentence(entry[sentence])
    return {"id": found, **({"subject": subject} if sentence == "name" else {}), **entry}


def read_record(path: Path) -> Record:
    return parse_record(path.read_text(encoding="utf-8"))
