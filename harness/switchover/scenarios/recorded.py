# SPDX-License-Identifier: GPL-2.0-or-later
"""The case that a record is of, from the record alone. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any

import pydantic

from switchover.devices.known_types import is_reference
from switchover.devices.reference import TYPE
from switchover.migration.settings import MigrationSettings
from switchover.record.errors import UsageError
from switchover.record.record import Record
from switchover.scenarios.case import (
    AnyDevice,
    Case,
    DeviceSpec,
    FunctionSpec,
    Hop,
    IrqLoad,
    IrqPlacement,
    MediatedSpec,
    SideSpec,
)
from switchover.scenarios.faults import Fault

_CASE = pydantic.TypeAdapter(Case)
DEVICE_KINDS: tuple[type[AnyDevice], ...] = (DeviceSpec, MediatedSpec, FunctionSpec)
DEVICE_FIELDS = tuple(
    dict.fromkeys(
        field.name for kind in DEVICE_KINDS for field in sorted(fields(kind), key=lambda one: bool(one.kw_only))
    )
)
"""What a record keeps of a device, of whichever kind: one with a ``pci`` is a PCI function, else its type tells. What
its kind does not have is as it is by default."""


def _tell_kind(given: object) -> str:
    """Of a device as a record has it."""
    if isinstance(given, Mapping) and given.get("pci"):
        return "function"
    mdev_type = given.get("type", TYPE) if isinstance(given, Mapping) else TYPE
    return "reference" if is_reference(str(mdev_type)) else "mediated"


_OTHERS = {**asdict(DeviceSpec()), **asdict(FunctionSpec(pci=""))}
_DEVICES: pydantic.TypeAdapter[list[AnyDevice]] = pydantic.TypeAdapter(
    list[
        Annotated[
            Annotated[DeviceSpec, pydantic.Tag("reference")]
            | Annotated[MediatedSpec, pydantic.Tag("mediated")]
            | Annotated[FunctionSpec, pydantic.Tag("function")],
            pydantic.Discriminator(_tell_kind),
        ]
    ]
)


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
    then: list[Hop]
    """of a chain, the migrations after the first one, which `destination` and `migration` are about"""
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
    irq_placement: IrqPlacement
    """whether each interrupt was given a CPU of its own first, or left where the guest's kernel had put it"""
    irq_forbid_cpus: str
    """CPUs of the guest on which neither these interrupts nor their threads were to be; empty: none"""


def render_settings(case: Case) -> dict[str, Any]:
    settings = asdict(
        Settings(
            case.source,
            case.destination,
            case.settings,
            list(case.faults),
            list(case.then),
            **{name: getattr(case, name) for name in _PROBES},
        )
    )
    for side in (settings["source"], settings["destination"], *(hop["destination"] for hop in settings["then"])):
        side["guest"]["devices"] = ()  # as it always was in records: the devices are beside the guest
        side["devices"] = tuple(
            {name: {**_OTHERS, **device}[name] for name in DEVICE_FIELDS} for device in side["devices"]
        )
    return settings


def _parse_side(side: Any) -> Any:
    """With its devices as what they are; what is no side is left to be rejected."""
    if not isinstance(side, Mapping) or "devices" not in side:
        return side
    return {**side, "devices": _DEVICES.validate_python(side["devices"])}


_NO_PROBES = ("source", "destination", "migration", "faults", "then")
_PROBES = [one.name for one in fields(Settings) if one.name not in _NO_PROBES]
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
    given = {
        "id": record.case,
        "settings": settings["migration"],
        "faults": settings.get("faults", ()),
        **({"expectation": record.expectation} if record.expectation else {}),
        **{name: settings[name] for name in _PROBES if name in settings},
    }
    try:
        sides = {name: _parse_side(settings[name]) for name in ("source", "destination")}
        then = [{**hop, "destination": _parse_side(hop["destination"])} for hop in settings.get("then", ())]
        return _CASE.validate_python({**given, **sides, "then": then})
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
