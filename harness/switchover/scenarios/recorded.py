# SPDX-License-Identifier: GPL-2.0-or-later
"""The case that a record is of, from the record alone. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import pydantic

from switchover.migration.settings import MigrationSettings
from switchover.record.errors import UsageError
from switchover.record.record import Record
from switchover.scenarios.case import Case, IrqLoad, SideSpec
from switchover.scenarios.faults import Fault

_CASE = pydantic.TypeAdapter(Case)


@dataclass(frozen=True)
class Settings:
    """What a record keeps of a case as its ``settings``; id and expectation are fields of their own."""

    source: SideSpec
    """the guest and the devices of the source"""
    destination: SideSpec
    """the guest and the devices of the destination"""
    migration: MigrationSettings
    """the settings that QEMU was given, and the bounds of the harness"""
    faults: list[Fault]
    """what was to be done to the migration on purpose; what was done is in `interventions`"""
    heartbeat_us: int
    """period of the guest's heartbeats to the outside, microseconds; 0: none"""
    outside_needed: bool
    """whether the case is about the downtime from outside, and not right without the check of it"""
    login_after: bool
    """whether the guest was logged in to anew after the migration"""
    irq_seconds: float
    """how long IRQ threads were recorded on each side, in seconds; 0 if they were not"""
    irq_load: IrqLoad
    """the load of the guest during these recordings"""


def render_settings(case: Case) -> dict[str, Any]:
    return asdict(
        Settings(
            case.source,
            case.destination,
            case.settings,
            list(case.faults),
            **{name: getattr(case, name) for name in _PROBES},
        )
    )


_PROBES = [one.name for one in fields(Settings) if one.name not in ("source", "destination", "migration", "faults")]
"""Keys that are called alike in a case."""


def parse_case(record: Record) -> Case:
    """The inverse of :func:`render_settings`. What an older record does not name is as it is by default.

    :raises UsageError: the record does not say all: of a case that was not run, or made by an older switchover
    """
    settings: Mapping[str, Any] = record.settings
    named = f"repeat {record.repeat} of {record.case}"
    if not {"source", "destination", "migration"} <= settings.keys():
        why = "it was not run" if not settings else "its record is of an older version of switchover"
        raise UsageError(f"The record does not say how to repeat {named}.", why=why)
    values = {
        "id": record.case,
        "source": settings["source"],
        "destination": settings["destination"],
        "settings": settings["migration"],
        "faults": settings.get("faults", ()),
        **({"expectation": record.expectation} if record.expectation else {}),
        **{name: settings[name] for name in _PROBES if name in settings},
    }
    try:
        return _CASE.validate_python(values)
    except pydantic.ValidationError as error:
        why = "; ".join(
            f"{'.'.join(str(key) for key in problem['loc'])}: {problem['msg']}" for problem in error.errors()
        )
        raise UsageError(f"The record of {named} cannot be read as a case.", why=why) from error


def select_case(word: str, cases: Iterable[str]) -> str:
    """The case with this id, or the only one that has it as a part. :raises UsageError: there is none, or several"""
    known = list(dict.fromkeys(cases))
    if word in known:
        return word
    found = [case for case in known if word in case]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{word!r} matches {len(found)} cases.", why=", ".join(found[:4]), fix="give more of the id")
    raise UsageError(f"The run has no case {word!r}.", why=f"its cases: {', '.join(known[:4]) or 'none'}")


def select_record(word: str, records: Sequence[Record]) -> Record:
    """Of the case that ``word`` names, the first repeat that was run and not as expected, else the first one.

    :raises UsageError: as :func:`select_case`
    """
    case = select_case(word, (record.case for record in records))
    repeats = [record for record in records if record.case == case]
    run = [record for record in repeats if record.settings] or repeats
    return next((record for record in run if record.mismatch), run[0])
