# SPDX-License-Identifier: GPL-2.0-or-later
"""All that is known of a migration once it has ended and the guest was asked: what checks look at. Pure."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from switchover.devices.known_types import KnownType
from switchover.devices.reference import Truth
from switchover.guests.questions import GuestAnswers, GuestReply
from switchover.migration.bytes import MigrationBytes
from switchover.migration.phases import Intervened
from switchover.migration.session import MigrationResult
from switchover.migration.traces import (
    DeviceBytes,
    TraceEvent,
    count_device_bytes,
    count_loaded_bytes,
    take_last_migration,
)
from switchover.record.record import Death
from switchover.scenarios.case import Case, DeviceSpec, FunctionSpec, MediatedSpec


class Whereabouts(Enum):
    """Where the guest is after the migration."""

    ARRIVED = auto()
    """On the destination: the migration completed."""
    STAYED = auto()
    """On the source: the migration did not complete."""
    ENDED = auto()
    """Nowhere: its QEMU ended."""


Truths = tuple[tuple[Truth, ...], tuple[Truth, ...]]
"""What the devices of the source and those of the destination know."""


def count_since(before: Sequence[Truth], after: Sequence[Truth]) -> dict[str, int]:
    """How much the counters of some devices grew, summed over the devices."""
    grown: dict[str, int] = {}
    for old, new in zip(before, after, strict=True):
        for name, count in new.counters.items():
            grown[name] = grown.get(name, 0) + count - old.counters.get(name, 0)
    return grown


@dataclass(frozen=True)
class DeviceEvidence:
    """A reference device of one side, by all who know of it: QEMU's events and traces, its counters and history."""

    place: str
    """How checks call it: ``source`` the first of the source, ``source ID`` each further one."""
    spec: DeviceSpec
    before: Truth
    after: Truth
    name: str = ""
    """QEMU's, in traces; empty if nothing was traced."""
    states: Sequence[str] = ()
    """By QEMU's events, of the migration."""
    log: list[TraceEvent] = field(default_factory=list)
    """The whole one of its QEMU."""
    properties: Mapping[str, str] = field(default_factory=dict)
    """Of vfio-pci, those that QEMU held."""

    @functools.cached_property
    def trace(self) -> list[TraceEvent]:
        """Of the last migration."""
        return take_last_migration(self.log)

    @property
    def offers_pre_copy(self) -> bool:
        return self.spec.knobs.pre_copy

    def grown(self, counter: str) -> int:
        """How much a counter of the device grew by the migration."""
        return count_since([self.before], [self.after]).get(counter, 0)


@dataclass(frozen=True)
class OtherEvidence:
    """A device of one side that is no reference device: it counts nothing and keeps no history, so that QEMU's events
    and traces are all that there is of it.
    """

    place: str
    """How checks call it, as a reference device."""
    spec: MediatedSpec | FunctionSpec
    name: str = ""
    """QEMU's, in traces; empty if nothing was traced."""
    states: Sequence[str] = ()
    """By QEMU's events, of the migration."""
    log: list[TraceEvent] = field(default_factory=list)
    """The whole one of its QEMU."""
    properties: Mapping[str, str] = field(default_factory=dict)
    """Of vfio-pci, those that QEMU held."""

    @functools.cached_property
    def trace(self) -> list[TraceEvent]:
        """Of the last migration."""
        return take_last_migration(self.log)

    @property
    def known(self) -> KnownType | None:
        """What the project knows of its type; None: nothing."""
        return self.spec.known if isinstance(self.spec, MediatedSpec) else None

    @property
    def offers_pre_copy(self) -> bool | None:
        """None: nobody knows."""
        return self.known.model.pre_copy if self.known else None

    @property
    def moved(self) -> DeviceBytes | None:
        """What was read of it; None: nothing that was traced."""
        return next((one for one in count_device_bytes(self.trace) if one.device == self.name), None)

    @property
    def loaded(self) -> int:
        """Bytes that were loaded into it."""
        return count_loaded_bytes(self.trace).get(self.name, 0)


@dataclass(frozen=True)
class SideEvidence:
    """One side of the migration."""

    name: str
    runs: str = "no"
    """Whether the guest runs there by QEMU's word: ``yes``, ``no``, or why that is not known."""
    console: str = ""
    devices: tuple[DeviceEvidence, ...] = ()
    """Its reference devices; none if they were not asked again."""
    others: tuple[OtherEvidence, ...] = ()
    """Its devices that are no reference devices, and that took part in the migration."""


@dataclass(frozen=True)
class Asked:
    """What came of asking the guest after the migration."""

    reply: GuestReply | None = None
    """What it said; None: it could not be asked."""
    present: tuple[int, ...] | None = None
    """Numbers, from 0, of the reference devices that it has now, of which it said something; None: it has all."""
    renewed: frozenset[int] = frozenset()
    """Numbers of those whose state begins anew by what the case does."""
    broken: str = ""
    """Why it could not be asked over the connection from before the migration."""
    login: str | None = None
    """Why a new login was not let in; empty: it was; None: there was none."""
    stuck: str = ""
    """Of a guest that stayed: why it does not go on."""
    was_reset: bool = False
    """Of a guest that stayed: whether QEMU had to reset its devices, which then have lost their state."""


@dataclass(frozen=True)
class Evidence:
    """What checks are made from. Gathered in ``runner/examination.py``."""

    case: Case
    guest: Whereabouts
    source: SideEvidence
    destination: SideEvidence
    before: GuestAnswers
    """What the guest said before the migration."""
    asked: Asked = field(default_factory=Asked)
    function_numbers: tuple[str, ...] = ()
    """Vendor and device ids of the PCI functions that the guest was given."""
    result: MigrationResult | None = None
    """Of a migration that was watched to its end."""
    moved: MigrationBytes | None = None
    """Of a migration that completed."""
    late_properties: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By the place of a device, what it had to hold, where QEMU could be asked only after the migration."""
    properties: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By the place of a device, what its QEMU held."""
    interventions: tuple[Intervened, ...] = ()
    deaths: tuple[Death, ...] = ()
    blocked: bool = False
    """Whether the migration was rejected before it began: then nothing could be done to it."""

    @property
    def sides(self) -> tuple[SideEvidence, SideEvidence]:
        return self.source, self.destination
