# SPDX-License-Identifier: GPL-2.0-or-later
"""The record of one repeat: what ``record.json`` holds (docs/run-directory.md)."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from switchover.record.errors import ExitCode, UsageError
from switchover.record.measurement import Check, Measurement, NotChecked

SCHEMA_VERSION = 3


class VerdictName(StrEnum):
    """What happened to a case; definitions in the design."""

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
    """``side``: the one that said why, where that is known. ``reason``: in its words."""

    name: VerdictName
    side: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Record:
    """Everything one repeat produced, but for the long files beside it.

    ``expectation``: what was to happen; ``mismatch``: why what happened is not that, empty if the case is right.
    ``not_checked``: checks that were not made, since the guest lacks something. ``settings``: what was asked for.
    ``interventions``: what was done on purpose, when, and in which status. ``seconds``: where the time went, by step.
    ``downtime``: the explanation, or ``{"reason": …}``. ``states``: VFIO states by side, from QEMU's events.
    ``clocks``: offset and bound by side, in ns.
    """

    case: str
    repeat: int
    started: str
    verdict: Verdict
    settings: Mapping[str, Any]
    fingerprint: Mapping[str, Any]
    seconds: Mapping[str, float] = field(default_factory=dict)
    measurements: tuple[Measurement, ...] = ()
    checks: tuple[Check, ...] = ()
    downtime: Mapping[str, Any] = field(default_factory=dict)
    states: Mapping[str, list[str]] = field(default_factory=dict)
    clocks: Mapping[str, Any] = field(default_factory=dict)
    expectation: Mapping[str, str] = field(default_factory=dict)
    mismatch: str = ""
    interventions: tuple[Mapping[str, Any], ...] = ()
    not_checked: tuple[NotChecked, ...] = ()
    schema_version: int = SCHEMA_VERSION

    def measured(self, name: str) -> float | None:
        """Value of a measurement; None if it is missing."""
        return next((entry.value for entry in self.measurements if entry.name == name), None)


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
        fields["checks"] = tuple(Check(**entry) for entry in fields["checks"])
        fields["not_checked"] = tuple(NotChecked(**entry) for entry in fields.get("not_checked", ()))
        fields["interventions"] = tuple(fields.get("interventions", ()))
        if fields["schema_version"] == 1 and fields["verdict"].name is not VerdictName.COMPLETED:
            fields["mismatch"] = f"expected completed, was {fields['verdict'].name}"
        return Record(**fields)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError("This is not a record of switchover.", why=str(error)) from error


def read_record(path: Path) -> Record:
    return parse_record(path.read_text(encoding="utf-8"))
