# SPDX-License-Identifier: GPL-2.0-or-later
"""What a scenario file may hold: its tables and their keys. Every key that is accepted has an effect."""

import dataclasses
import re
from typing import Annotated, Any, Literal

import pydantic
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from switchover.devices.reference import TYPE, Knobs
from switchover.guests.spec import GuestSpec
from switchover.hosts.inventory import PciAddress
from switchover.migration.phases import Phase
from switchover.migration.settings import BOUNDS, MigrationSettings
from switchover.record.checks import CheckId, parse_check_id
from switchover.record.record import VerdictName
from switchover.record.toml import suggest
from switchover.scenarios.bounds import PATTERN, parse_bound
from switchover.scenarios.case import Case, FunctionSpec, MediatedSpec, VfioDeviceSpec
from switchover.scenarios.expectation import FAULT_CHECKS, Expectation
from switchover.scenarios.faults import Fault
from switchover.scenarios.limits import find_expectation_problem
from switchover.scenarios.tables import (
    Number,
    OnOff,
    PropertyValue,
    Table,
    Whole,
    find_meanings,
    limited,
    make_table,
)

VERSION = 1
SIDES = ("source", "destination")
DEVICE_ID = "dut"
"""Id of the device of a scenario that has one."""


def _names(of: type, *without: str) -> list[str]:
    return [field.name for field in dataclasses.fields(of) if field.name not in without]


def _check_pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from error
    return text


def _check_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", text):
        raise ValueError("must begin with a letter, then letters, digits, '-' and '_'")
    return text


def _check_vfio_driver(text: str) -> str:
    if not re.fullmatch(r"[\w-]*vfio[\w-]*", text):
        raise ValueError('must be a driver of VFIO, "vfio-pci" or a vendor\'s such as "mlx5_vfio_pci"')
    return text


def _check_check(text: str) -> str:
    """An id of the table, alone or with a subject after a comma."""
    name, _, subject = text.partition(", ")
    known = [str(one) for one in CheckId if one not in (*FAULT_CHECKS, CheckId.UNKNOWN)]
    if name not in known or text.endswith(", "):
        raise ValueError(f"is no check that may fail{suggest(name, known)}")
    if subject and not parse_check_id(name).subjects:
        raise ValueError(f"names a subject, and there is only one {name}")
    return text


def _about(name: str) -> str:
    return find_meanings(FunctionSpec)[name]


def _check_bound(text: object) -> str:
    if not isinstance(text, str):
        raise ValueError(f'write "≤ {text}", in quotes')
    return str(parse_bound(text))


VfioDriver = Annotated[str, AfterValidator(_check_vfio_driver)]
Reason = Annotated[str, Field(min_length=1), AfterValidator(lambda text: text.strip())]
Pattern = Annotated[str, AfterValidator(_check_pattern)]
CheckName = Annotated[str, AfterValidator(_check_check)]
DowntimeBound = Annotated[
    str, BeforeValidator(_check_bound), WithJsonSchema({"type": "string", "pattern": f"^{PATTERN}$"})
]

SETTINGS_BOUNDS = BOUNDS
GUEST_BOUNDS = ("boot_timeout_s",)
PROBES = _names(Case, "id", "source", "destination", "settings", "faults", "expectation", "then")
"""What is left of a case are its probes."""

GUEST_KEYS = _names(GuestSpec, "name", "given_bounds", *GUEST_BOUNDS)

GUEST_ONLY = ("driver", "start", "ssh_user", "ssh_key", "ssh_host_key", "disk_format", "disk_readonly")
"""Keys that no side has of its own: one driver migrates, only the source starts a guest, and it is one guest with one
disk."""

Guest: Any = make_table("Guest", GuestSpec, GUEST_KEYS)

_DEVICE: dict[str, Any] = {
    "type": (
        limited(str, MediatedSpec, "type"),
        Field(
            default=TYPE,
            description="mdev type of the device; with another one than those of the reference device, which begin "
            "with `refdev-`, knobs do not apply, and `properties` has what a [known type](second-device.md) needs",
        ),
    ),
    "properties": (
        dict[str, PropertyValue],
        Field(
            default={},
            description='properties of vfio-pci, as on QEMU\'s command line; the value "" leaves out a property '
            "that the harness would set (`enable-migration` and `migration-events`, both on)",
        ),
    ),
    "allow_pre_copy": (
        Literal["on", "off", "by-machine"],
        Field(
            default=None,
            description="the property `x-allow-pre-copy` of patched QEMUs: its value, or left to the machine type; a "
            "QEMU without the property does not run the case, so use `pre_copy` there",
        ),
    ),
    "pci": (PciAddress, Field(default="", description=_about("pci"))),
    "vf": (limited(Whole, FunctionSpec, "vf"), Field(default=None, description=_about("vf"))),
    "vfs": (limited(Whole, FunctionSpec, "vfs"), Field(default=0, description=_about("vfs"))),
    "vfio_driver": (VfioDriver, Field(default="", description=_about("vfio_driver"))),
    "whole_group": (OnOff, Field(default=False, description=_about("whole_group"))),
    "managed": (OnOff, Field(default=False, description=_about("managed"))),
    "present": (
        OnOff,
        Field(default=True, description="whether the guest has the device at all, on both sides; for axes"),
    ),
}
FUNCTION_KEYS = _names(FunctionSpec, "pci", *_names(VfioDeviceSpec))
"""Keys of devices that are about PCI functions, besides ``pci`` itself."""
Device: Any = make_table("Device", Knobs, _names(Knobs), **_DEVICE)
_FAULT: dict[str, Any] = {
    "phase": Phase,
    "at_s": limited(Number, Fault, "at_s"),
    "seconds": limited(Number, Fault, "seconds"),
}
"""Keys of faults that need not be there, with no value of their own then."""
_ID = (
    Annotated[str, AfterValidator(_check_name)],
    Field(description="what QEMU and the keys `devices.ID.…` call it"),
)
NamedDevice: Any = make_table("NamedDevice", Knobs, _names(Knobs), id=_ID, **_DEVICE)
_SIDE_KEYS = [key for key in GUEST_KEYS if key not in GUEST_ONLY]
_SIDE: dict[str, Any] = {
    "device": (Device, Field(default=None, description="settings of this side's devices that differ from `[device]`")),
    "devices": (
        dict[str, Device],
        Field(default={}, description="for each device id, settings that differ from `[[devices]]`"),
    ),
}
Side: Any = make_table(
    "Side",
    GuestSpec,
    _SIDE_KEYS,
    host=(str, Field(default="", description="the host of this side; if empty, the one that the run was given")),
    **_SIDE,
)
Migration: Any = make_table("Migration", MigrationSettings, _names(MigrationSettings, "given_bounds", *SETTINGS_BOUNDS))
Hop: Any = make_table(
    "Hop",
    GuestSpec,
    _SIDE_KEYS,
    **_SIDE,
    migration=(Migration, Field(default=None, description="settings of this hop that differ from `[migration]`")),
)
FaultTable: Any = make_table(
    "Fault",
    Fault,
    _names(Fault, *_FAULT),
    **{name: (hint, Field(default=None, description=find_meanings(Fault)[name])) for name, hint in _FAULT.items()},
)
Probes: Any = make_table("Probes", Case, PROBES)
_SETTINGS_BOUNDS_TABLE: Any = make_table("SettingsBounds", MigrationSettings, SETTINGS_BOUNDS)
_GUEST_BOUNDS_TABLE: Any = make_table("GuestBounds", GuestSpec, GUEST_BOUNDS)


class Bounds(_SETTINGS_BOUNDS_TABLE, _GUEST_BOUNDS_TABLE):  # type: ignore[misc]
    """How long things may take, in seconds."""


class About(Table):
    """The question, and how often it is asked."""

    title: Annotated[str, Field(min_length=1)]
    """the title of the scenario in lists, in one line"""
    question: str = ""
    """what the scenario is to find out, and why"""
    repeats: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 1
    """how often each case is run"""
    tags: list[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]] = Field(default=[])
    """words by which cases are chosen, such as `quick`: lower case letters, digits, `_`, `.` and `-`"""
    interleave: OnOff = True
    """whether the repeats of all cases alternate, in one order and then in the reverse, so that drift favours no case;
    if off, all repeats of a case follow each other"""


class Compare(Table):
    """An experiment: what the report compares, in words and with an interval."""

    axis: Annotated[str, Field(min_length=1)]
    """the name of the axis whose values are compared; cases that differ in nothing else are compared"""
    baseline: str | int
    """the value of the axis with which the other values are compared"""


class Cover(Table):
    """Cases are chosen of the combinations of many axes, so that they are few and values of axes still meet."""

    strength: Annotated[int, Field(strict=True, ge=2, le=6)] = 2
    """how many axes there are of which each combination of values is in a case, unless `[[exclude]]` leaves it out: 2
    for each pair of values"""
    most: Annotated[int, Field(strict=True, ge=1)] | None = None
    """if that needs more cases than this, the scenario is wrong"""


class Expect(Table):
    """What must happen, with the reason for expecting it; overrides the oracle."""

    verdict: VerdictName | None = None
    """what must happen"""
    oracle: str | None = None
    """instead of a verdict: the [rule](oracle.md) of the oracle whose expectation it is, by its name"""
    side: Literal["source", "destination", ""] = ""
    """the side that must say why"""
    reason: Pattern = ""
    """a regular expression that is searched for in the verdict's reason"""
    pre_copy: Literal["on", "off", ""] = ""
    """of a migration that completes: whether the source's devices must have gone through PRE_COPY"""
    hop: Annotated[int, Field(strict=True, ge=1)] | None = None
    """of a chain: the number of the hop, from 1, that must end so; if it is not set, it may be any hop"""
    checks: tuple[CheckName, ...] = ()
    """with `checks-failed`: ids of the checks that may fail, each alone or as `id, subject`; without it, those that
    `reason` is found in. Any other failed check is not as expected"""
    downtime_ms: DowntimeBound = ""
    """of a migration that completes: the bound of the explained downtime in milliseconds, such as `≤ 300`, with `≤`,
    `<`, `≥` or `>` (or `<=`, `>=`). Without verdict and oracle, all else is as the oracle expects it"""
    outside_downtime_ms: DowntimeBound = ""
    """the same, of the downtime that the outside sees"""
    because: Reason | None = None
    """why this is expected: of a verdict, or of the oracle's rule"""

    @property
    def only_bounds(self) -> bool:
        """Whether it says nothing but bounds, and overrides nothing."""
        return self.verdict is None and self.oracle is None and bool(self.downtime_ms or self.outside_downtime_ms)

    @pydantic.model_validator(mode="after")
    def _one_of_two(self) -> "Expect":
        if self.only_bounds:
            if others := self.model_fields_set - {"downtime_ms", "outside_downtime_ms"}:
                raise ValueError(f"{', '.join(sorted(others))} without verdict and oracle: a bound overrides nothing")
            return self
        if (self.verdict is None) == (self.oracle is None):
            raise ValueError("needs either verdict or oracle")
        if self.because is None:
            raise ValueError("needs because, the reason why this is expected")
        if self.oracle is not None and (self.side or self.reason or self.pre_copy or self.checks):
            raise ValueError("side, reason, pre_copy and checks are those of the oracle's rule")
        if self.checks and self.verdict is not VerdictName.CHECKS_FAILED:
            raise ValueError("checks are those that may fail where checks-failed is expected")
        if self.verdict is VerdictName.CHECKS_FAILED and not self.checks and not self.reason:
            raise ValueError("needs checks, the ids of those that may fail")
        if self.pre_copy and self.verdict is not VerdictName.COMPLETED:
            raise ValueError("pre_copy is told of migrations that complete")
        if self.hop and self.verdict is VerdictName.COMPLETED:
            raise ValueError("hop is told of a chain that does not complete: else all hops do")
        if (self.downtime_ms or self.outside_downtime_ms) and self.verdict not in (None, VerdictName.COMPLETED):
            raise ValueError("downtime_ms and outside_downtime_ms are told of migrations that complete")
        if self.verdict is not None:
            expectation = Expectation(self.verdict, self.side, self.reason, self.because, self.pre_copy)
            if text := find_expectation_problem(expectation):
                raise ValueError(text)
        return self


class ScenarioRule(Table):
    """An expectation for some of the cases; the first rule that fits a case holds."""

    when: dict[str, Any]
    """for each axis, the value or the list of values for which the rule holds"""
    expect: Expect
    """what must happen to these cases"""


class Exclude(Table):
    """Combinations that are not to be run."""

    when: dict[str, Any]
    """for each axis, the value or the list of values"""
    unless: dict[str, Any] = Field(default={})
    """for each axis, the value or the list of values with which such combinations are run all the same; they must have
    all of them"""
    because: Reason
    """why these combinations make no sense"""


class ScenarioFile(Table):
    """A scenario of Switchover: one question."""

    version: Literal[1]
    """the version of this schema, which is 1"""
    scenario: About
    """the question that the scenario asks, and how often its cases are run"""
    guest: Guest = Field(default=None)
    """the guest, on both sides"""
    source: Side = Field(default=None)
    """settings of the source that differ from `[guest]` and `[device]`"""
    destination: Side = Field(default=None)
    """settings of the destination that differ from `[guest]` and `[device]`"""
    device: Device = Field(default=None)
    """the reference device of the guest: its knobs and properties, on both sides"""
    devices: tuple[NamedDevice, ...] | None = None
    """several devices, instead of `[device]`; with `devices = []` the guest has none, and only its memory migrates"""
    migration: Migration = Field(default=None)
    """settings of the migration"""
    hops: tuple[Hop, ...] = ()
    """a chain of migrations of one guest, a table for each in its order: the hosts alternate, and what a hop's table
    does not set is as in the other tables, `[destination]` and `[migration]` among them; an axis may set `hops.made`,
    the number of those, from the first, that are made"""
    faults: tuple[FaultTable, ...] = ()
    """what is done to the migration on purpose"""
    probes: Probes = Field(default=None)
    """what is measured in addition"""
    bounds: Bounds | None = None
    """the longest time that each step may take"""
    axes: dict[str, Any] = Field(default={})
    """what is varied: each axis is a key with its values, or a name with its variants"""
    cover: Cover | None = None
    """a choice of the combinations of the axes; without it each combination is a case"""
    compare: Compare | None = None
    """the axis whose values the report compares"""
    exclude: tuple[Exclude, ...] = ()
    """combinations of axis values that are not run"""
    expect: Expect | None = None
    """what must happen to each case for which there is no rule; if it is not set, the oracle decides"""
    rules: tuple[ScenarioRule, ...] = ()
    """what must happen to some of the cases"""
