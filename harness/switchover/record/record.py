# SPDX-License-Identifier: GPL-2.0-or-later
"""The record of one repeat: what ``record.json`` holds (docs/run-directory.md)."""

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypedDict

from switchover.record.checks import parse_check_id
from switchover.record.ending import Ending
from switchover.record.errors import ExitCode, UsageError
from switchover.record.measurement import Check, Measurement, NotChecked
from switchover.record.mismatch import Mismatch, find_in_sentence, parse_mismatch
from switchover.record.sentences import find_by_sentence, find_ending_by_reason
from switchover.record.shape import parse_json, require_shape

SCHEMA_VERSION = 9
DIFFERS_ALONE = "differs alone"
"""Of a case that was not as expected with a guest that cases share, and is with one of its own."""


class VerdictName(StrEnum):
    """What happened to a case; definitions in docs/concepts.md."""

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


class Race(StrEnum):
    """How QEMU's own race of a cancel was decided (docs/concepts.md, Faults). Nobody can set who wins."""

    NONE = ""
    FAILED = "failed by its cancel"
    """The source failed on the stream that its own cancel had shut down, before it was said to be cancelling."""
    RUNS_TWICE = "runs at both ends"
    """The cancel was heard after the whole stream was sent, and the destination runs the guest too."""
    TOO_LATE = "cancel heard too late"
    """The migration completed before the cancel was heard."""


@dataclass(frozen=True)
class Verdict:
    """What happened to a repeat, and who said why."""

    name: VerdictName
    """what happened: one of the verdicts"""
    side: str = ""
    """the side that said why, `source` or `destination`; empty if it is none in particular, or not known"""
    reason: str = ""
    """why, in the words of that side; may be empty"""
    race: Race = Race.NONE
    """the way in which [QEMU's own race of a cancel](concepts.md#faults) decided it; empty: it did not"""
    hop: int = 0
    """of a chain of migrations, the number of the hop that ended so, from 1; 0: there is no chain, or all of it
    completed"""

    def __str__(self) -> str:
        """``failed (destination) in hop 2``: without the reason."""
        side, hop = f" ({self.side})" if self.side else "", f" in hop {self.hop}" if self.hop else ""
        return f"{self.name}{side}{hop}"

    @property
    def first_line(self) -> str:
        """Of the reason; empty if it has none."""
        return next(iter(self.reason.splitlines()), "")


@dataclass(frozen=True)
class Death:
    """A QEMU that ended where no migration ends it."""

    side: str
    """whose QEMU it was, `source` or `destination`"""
    status: int
    """exit status; negative: ended by this signal, or, over SSH and with libvirt, -1: by a signal that is not known"""
    made: bool = False
    """whether it is the death of a fault that the case made"""


@dataclass(frozen=True)
class HopRecord:
    """One migration of a chain: what a record of a single one has of its own."""

    number: int
    """the number of the hop, from 1"""
    verdict: Verdict
    """what happened in it"""
    hosts: Mapping[str, str]
    """the names of its hosts, by `source` and `destination`"""
    qemu: Mapping[str, Any] = field(default_factory=dict)
    """the answers of its QEMUs to `query-version`, by side; without one that could not be asked"""
    measurements: tuple[Measurement, ...] = ()
    """its numbers; empty if it did not complete"""
    checks: tuple[Check, ...] = ()
    """the checks that were made after it"""
    downtime: Mapping[str, Any] = field(default_factory=dict)
    """its explained downtime"""
    states: Mapping[str, list[str]] = field(default_factory=dict)
    """the VFIO states in it, as `states` of a record"""
    properties: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """the properties of vfio-pci, as `properties` of a record"""
    clocks: Mapping[str, Any] = field(default_factory=dict)
    """by side, how the host's real-time clock relates to the controller's"""
    interventions: tuple[Mapping[str, Any], ...] = ()
    """what was done to it on purpose"""
    not_checked: tuple[NotChecked, ...] = ()
    """checks that were not made after it"""
    driver: Mapping[str, Any] = field(default_factory=dict)
    """with libvirt: as `driver` of a record"""


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
    """by side, how the host's real-time clock relates to the controller's"""
    expectation: Mapping[str, Any] = field(default_factory=dict)
    """what was to happen"""
    mismatch: str = ""
    """why what happened is not that, for people; empty: the case is right"""
    mismatches: tuple[Mismatch, ...] = ()
    """the same as values; an empty list too where a case in Python, or the run, says why in its own words"""
    deaths: tuple[Death, ...] = ()
    """QEMUs that ended where no migration ends them; one that the harness ended since it hung is not among them"""
    interventions: tuple[Mapping[str, Any], ...] = ()
    """what was done to the migration on purpose, in its order"""
    limits: tuple[Mapping[str, Any], ...] = ()
    """the downtime limits that the migration was given, in their order; which of them was in force at the switchover is
    the measurement `downtime.limit`"""
    not_checked: tuple[NotChecked, ...] = ()
    """checks that were not made, since the guest lacks something, or since a number is missing or says nothing; without
    the side and the number of the device"""
    alone: Mapping[str, Any] = field(default_factory=dict)
    """`verdict` and `mismatch` of the same repeat with a guest of its own; empty if it had its own guest anyway, or was
    as expected with the guest that cases share"""
    earlier: tuple[Mapping[str, Any], ...] = ()
    """`verdict` and `reason` of earlier executions of this repeat, which ended in infrastructure errors; their files
    are in `earlier-N` beside it"""
    driver: Mapping[str, Any] = field(default_factory=dict)
    """with libvirt: what it was told, what it set in QEMU by itself, and its own statistics; empty: QMP only"""
    ending: Ending = Ending.BY_ITSELF
    """how it came to its verdict, where that is known as an id; empty: by itself, and the verdict tells all"""
    hops: tuple[HopRecord, ...] = ()
    """of a chain of migrations, each that was tried, in order; empty if there is no chain. The chain itself has no
    `measurements`, `states`, `properties` and `clocks`, and its `checks` are those of all hops"""
    schema_version: int = SCHEMA_VERSION
    """the version of the run directory"""

    def at_hop(self, number: int) -> "Record":
        """A hop as the record of a single migration. :raises UsageError: it was not tried"""
        hop = next((hop for hop in self.hops if hop.number == number), None)
        if hop is None:
            raise UsageError(f"The record of {self.case} has no hop {number}.", why=f"it has {len(self.hops)}")
        fields = ("verdict", "measurements", "checks", "downtime", "states", "properties", "clocks", "interventions")
        own = {name: getattr(hop, name) for name in (*fields, "not_checked", "driver")}
        return replace(self, case=f"{self.case}, hop {number}", hops=(), deaths=(), mismatch="", mismatches=(), **own)

    @property
    def last_hop(self) -> int:
        """Of a chain, the number of the hop that came last, whether it was tried to its end or not; 0: it is none."""
        return self.verdict.hop or (self.hops[-1].number if self.hops else 0)

    @property
    def was_run(self) -> bool:
        """Whether it was begun; not where the run ended before it."""
        return self.ending not in (Ending.NOT_RUN, Ending.CALLED_OFF)

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
        why = next((entry.why for entry in self.not_checked if entry.id == id), "")
        if why:
            return f": it was not made: {why}"
        ids = dict.fromkeys(str(check.id) for check in self.checks)
        close = difflib.get_close_matches(id, ids, n=3)
        if close:
            return f"; did you mean {', '.join(map(repr, close))}?"
        return f"; there is: {', '.join(ids)}" if ids else ": no check was made"

    @property
    def failed_checks(self) -> tuple[Check, ...]:
        """The checks that did not pass, in their order."""
        return tuple(check for check in self.checks if not check.passed)


def list_measured(records: Iterable[Record], name: str) -> list[float]:
    """Values of a measurement; records where it is missing are left out."""
    return [value for record in records if (value := record.measured(name)) is not None]


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
    """:raises UsageError: the record is of a newer version of switchover, or no record; whatever the text is"""
    try:
        fields = parse_json(text)
        require_shape(fields, _Versioned, "the record")
        if fields["schema_version"] > SCHEMA_VERSION:
            raise UsageError(
                f"The record has version {fields['schema_version']}; this switchover reads up to {SCHEMA_VERSION}.",
                fix="update switchover",
            )
        older = fields["schema_version"] < _FIRST_WITH_IDS
        for name, sentence in (("checks", "name"), ("not_checked", "check")):
            require_shape(fields.get(name, []), list[dict[str, Any]], name)
            fields[name] = [_add_id(entry, sentence, older) for entry in fields.get(name, ())]
        require_shape(fields, Record, "")
        _require_parts(fields)
        fields |= _parse_values(fields)
        fields["hops"] = tuple(_parse_hop(entry) for entry in fields.get("hops", ()))
        fields["limits"] = tuple(fields.get("limits", ()))
        fields["earlier"] = tuple(fields.get("earlier", ()))
        fields["ending"] = (
            Ending(fields.get("ending", ""))
            if fields["schema_version"] >= _FIRST_WITH_ENDING
            else find_ending_by_reason(fields["verdict"].name, fields["verdict"].reason)
        )
        if fields["schema_version"] == 1 and fields["verdict"].name is not VerdictName.COMPLETED:
            fields["mismatch"] = f"expected completed, was {fields['verdict'].name}"
        if fields["schema_version"] < _FIRST_WITH_MISMATCHES:
            fields["mismatches"] = find_in_sentence(fields.get("mismatch", ""))
        else:
            fields["mismatches"] = tuple(parse_mismatch(entry) for entry in fields.get("mismatches", ()))
        fields["deaths"] = tuple(Death(**entry) for entry in fields.get("deaths", ()))
        return Record(**fields)
    except ValueError as error:
        raise UsageError("This is not a record of switchover.", why=str(error)) from error


def _parse_values(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What a record and a hop of one have alike. ``fields``: of the right shape, checks with their ids."""
    verdict = {**fields["verdict"], "race": Race(fields["verdict"].get("race", ""))}
    return {
        "verdict": Verdict(VerdictName(verdict.pop("name")), **verdict),
        "measurements": tuple(Measurement(**entry) for entry in fields.get("measurements", ())),
        "checks": tuple(Check(**entry) for entry in fields["checks"]),
        "not_checked": tuple(NotChecked(**entry) for entry in fields["not_checked"]),
        "interventions": tuple(fields.get("interventions", ())),
    }


def _parse_hop(entry: Mapping[str, Any]) -> HopRecord:
    """:raises ValueError: it is none"""
    fields = dict(entry)
    for name, sentence in (("checks", "name"), ("not_checked", "check")):
        fields[name] = [_add_id(one, sentence, older=False) for one in fields.get(name, ())]
    downtime = fields.get("downtime", {})
    require_shape(downtime, _Explained if "parts" in downtime else _Unexplained, "downtime")
    require_shape(fields.get("interventions", []), list[_Intervention], "interventions")
    return HopRecord(**{**fields, **_parse_values(fields)})


class _Versioned(TypedDict):
    schema_version: int
    checks: list[dict[str, Any]]


class _Part(TypedDict):
    name: str
    seconds: float


class _Section(TypedDict):
    kind: str
    name: str
    seconds: float


class _Explained(TypedDict):
    """What readers rely on in a downtime with parts."""

    seconds: float
    bound_s: float
    parts: list[_Part]
    saving: list[_Section]


class _Unexplained(TypedDict, total=False):
    reason: str


class _Intervention(TypedDict):
    name: str
    phase: str | None
    status: str | None
    began_ns: int
    ended_ns: int


class _Limit(TypedDict):
    limit_ms: int
    told_ns: int


class _Alone(TypedDict):
    verdict: dict[str, Any]
    mismatch: str


class _GuestFacts(TypedDict, total=False):
    start: str
    sha256: str
    reason: str
    migration: int


class _Lab(TypedDict, total=False):
    images: dict[str, str]
    accelerator: dict[str, Any]
    pace: float


class _Fingerprint(TypedDict, total=False):
    """What readers rely on in a fingerprint, which tells more."""

    guest: _GuestFacts
    lab: _Lab
    qemu: dict[str, Any]
    source: dict[str, Any]
    destination: dict[str, Any]
    functions: dict[str, dict[str, Any]]


class _Side(TypedDict, total=False):
    guest: dict[str, Any]


class _SettingsFacts(TypedDict, total=False):
    source: _Side
    destination: _Side


def _require_parts(fields: Mapping[str, Any]) -> None:
    """That the parts whose members :class:`Record` does not declare have those that readers rely on.

    :raises ValueError: one has not
    """
    if fields["repeat"] < 1:
        raise ValueError(f"repeat is {fields['repeat']}")
    downtime = fields.get("downtime", {})
    require_shape(downtime, _Explained if "parts" in downtime else _Unexplained, "downtime")
    require_shape(fields.get("interventions", []), list[_Intervention], "interventions")
    require_shape(fields.get("limits", []), list[_Limit], "limits")
    require_shape(fields["fingerprint"], _Fingerprint, "fingerprint")
    require_shape(fields["settings"], _SettingsFacts, "settings")
    if alone := fields.get("alone"):
        require_shape(alone, _Alone, "alone")


_FIRST_WITH_IDS = 6
_FIRST_WITH_ENDING = 7
_FIRST_WITH_MISMATCHES = 7


def _add_id(entry: dict[str, Any], sentence: str, older: bool) -> dict[str, Any]:
    """A check, or one that was not made, with its id as such. ``older``: it has none, and is found by its sentence."""
    if not older:
        require_shape(entry, _Identified, sentence)
        return {**entry, "id": parse_check_id(entry["id"])}
    require_shape(entry.get(sentence), str, sentence)
    found, subject = find_by_sentence(entry[sentence])
    return {"id": found, **({"subject": subject} if sentence == "name" else {}), **entry}


class _Identified(TypedDict):
    id: str


def read_record(path: Path) -> Record:
    """:raises UsageError: it cannot be read, is of a newer version of switchover, or is no record; names the file"""
    try:
        return parse_record(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read.", why=str(error)) from error
    except UsageError as error:
        raise UsageError(f"{path}: {error.what}", why=error.why, fix=error.fix) from error


UNREADABLE = "its record cannot be read"
"""How the reason of a repeat begins whose record is damaged, or of a newer version."""


def make_unreadable(case: str, number: int, why: str, expectation: Mapping[str, str] | None = None) -> Record:
    """What stands for a record that cannot be read: an infrastructure error, so that no reader counts it as right."""
    verdict = Verdict(VerdictName.INFRASTRUCTURE_ERROR, reason=f"{UNREADABLE}: {why}")
    return Record(
        case=case,
        repeat=number,
        started="",
        verdict=verdict,
        settings={},
        fingerprint={},
        downtime={"reason": UNREADABLE},
        expectation=expectation or {},
        mismatch=verdict.reason,
    )
