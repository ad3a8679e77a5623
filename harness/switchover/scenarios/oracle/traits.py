# SPDX-License-Identifier: GPL-2.0-or-later
"""What rules look at in a case.

Of sizes, rates and times only what follows from them is here (scenarios/forecast.py), so that many cases have the same
traits.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from switchover.devices.reference import Knobs
from switchover.migration.phases import Action, Phase
from switchover.migration.settings import MigrationSettings
from switchover.scenarios.case import BY_MACHINE, PRE_COPY_PROPERTY, Case, DeviceSpec, FunctionSpec, SideSpec
from switchover.scenarios.faults import Fault
from switchover.scenarios.forecast import Ending, Forecast, Stream, Terms, forecast, make_stream, make_terms
from switchover.scenarios.oracle.reach import Reach, Way, find_reach

_LAST_WITHOUT = (8, 0)
"""The newest machine types with x-allow-pre-copy=false (hw_compat_8_0 of the patch)."""


@dataclass(frozen=True)
class DeviceTraits:
    """What rules look at in a reference device: knobs that say what it offers and how it fails, and its properties."""

    migration: bool
    stop_copy: bool
    offers_pre_copy: bool
    p2p: bool
    fail_at: str
    """The point of failure without its byte, ``none`` where the migration is not known to come to it."""
    corrupt: str
    """``none`` where the migration is not known to come to that."""
    type: str
    properties: frozenset[tuple[str, str]]
    """Names and values of those that vfio-pci is given."""
    by_machine: str = ""
    """If ``x-allow-pre-copy`` is left to the machine type: what that makes of it, ``on`` or ``off``."""
    stream_version: int = Knobs.stream_version
    other_version: str = Knobs.other_version
    reach: Reach = Reach.UNASKED
    """Whether the migration comes to the fault that the device is to make."""

    def property_of(self, name: str, default: str) -> str:
        return dict(self.properties).get(name, default)

    @property
    def fails(self) -> bool:
        """Whether there is a knob for a fault."""
        return self.fail_at != "none" or self.corrupt != "none"

    @property
    def pre_copy(self) -> bool:
        """Whether QEMU uses the device's PRE_COPY."""
        return self.offers_pre_copy and "off" not in (self.property_of(PRE_COPY_PROPERTY, "on"), self.by_machine)


@dataclass(frozen=True)
class FunctionTraits:
    """What rules look at in a PCI function."""

    driver: str
    """Its driver on the host; empty: the case leaves that to the host."""
    properties: frozenset[tuple[str, str]]

    def property_of(self, name: str, default: str) -> str:
        return dict(self.properties).get(name, default)


@dataclass(frozen=True)
class SideTraits:
    """What rules look at in a side."""

    machine: str
    memory_mib: int
    devices: tuple[DeviceTraits, ...]
    """Reference devices, which the case itself describes."""
    functions: tuple[FunctionTraits, ...] = ()
    driver: str = "qmp"

    @property
    def pre_copy(self) -> bool:
        return any(device.pre_copy for device in self.devices)

    @property
    def has_device(self) -> bool:
        return bool(self.devices or self.functions)

    def all_of(self, name: str, default: str) -> set[str]:
        """Values of a property over all devices."""
        functions = {function.property_of(name, default) for function in self.functions}
        return functions | {device.property_of(name, default) for device in self.devices}

    def any_device(self, condition: Callable[[DeviceTraits], bool]) -> bool:
        """Whether one of the reference devices meets a condition."""
        return any(condition(device) for device in self.devices)


@dataclass(frozen=True)
class Traits:
    """What rules look at in a case."""

    source: SideTraits
    destination: SideTraits
    capabilities: tuple[frozenset[str], frozenset[str]]
    """Names of those that are on at the source, and at the destination."""
    faults: tuple[Fault, ...] = ()
    settles: bool = True
    """Whether the switchover is held back until the devices' pre-copy is drained."""
    ending: Ending = Ending.OPEN
    """Whether the migration can come to its end."""

    @property
    def switches_over(self) -> bool:
        """Whether it may come to its switchover, as far as sizes and limits say."""
        return self.ending is not Ending.NOT_CONVERGING

    def sides(self) -> tuple[SideTraits, SideTraits]:
        return self.source, self.destination


def make_side_traits(side: SideSpec) -> SideTraits:
    devices = tuple(
        DeviceTraits(
            migration=device.knobs.migration,
            stop_copy=device.knobs.stop_copy,
            offers_pre_copy=device.knobs.pre_copy,
            p2p=device.knobs.p2p,
            fail_at=device.knobs.fail_at,
            corrupt=device.knobs.corrupt,
            stream_version=device.knobs.stream_version,
            other_version=device.knobs.other_version,
            type=device.type,
            properties=frozenset(device.given_properties().items()),
            by_machine=_by_machine(side.guest.machine, device),
        )
        for device in side.references
    )
    functions = tuple(
        FunctionTraits(device.vfio_driver, frozenset(device.given_properties().items()))
        for device in side.devices
        if isinstance(device, FunctionSpec)
    )
    return SideTraits(
        machine=side.guest.machine,
        memory_mib=side.guest.memory_mib,
        devices=devices,
        functions=functions,
        driver=side.guest.driver,
    )


def _by_machine(machine: str, device: DeviceSpec) -> str:
    """What the patch says of a machine type, if it is to decide."""
    if device.allow_pre_copy != BY_MACHINE:
        return ""
    version = re.match(r"pc-(?:q35|i440fx)-(\d+)\.(\d+)", machine)
    return "off" if version and (int(version[1]), int(version[2])) <= _LAST_WITHOUT else "on"


def list_capabilities(settings: MigrationSettings) -> tuple[frozenset[str], frozenset[str]]:
    """Capabilities that are on, of the source and of the destination."""
    source, destination = (
        frozenset(name for name, state in settings.all_capabilities(side).items() if state)
        for side in ("source", "destination")
    )
    return source, destination


def make_streams(
    source: SideSpec, destination: SideSpec, of_source: SideTraits, faults: Sequence[Fault]
) -> tuple[Stream, ...]:
    """The state of each reference device of the source, on its way."""
    there = {device.id: device.knobs for device in destination.references}
    runs = not _pauses_first(faults)
    silent = not (source.guest.traced or destination.guest.traced)
    return tuple(
        make_stream(device.knobs, there.get(device.id), pre_copy=of_device.pre_copy and runs, silent=silent)
        for device, of_device in zip(source.references, of_source.devices, strict=True)
    )


def join_traits(
    traits: Traits,
    source: SideSpec,
    destination: SideSpec,
    streams: Sequence[Stream],
    terms: Terms,
    outlook: Forecast,
) -> Traits:
    """Traits of a case, from those of its parts: with its ending, and without faults that it does not come to."""
    if outlook.ending is not Ending.OPEN:
        traits = replace(traits, ending=outlook.ending)
    if not any(device.fails for side in traits.sides() for device in side.devices):
        return traits
    by_device = {device.id: stream for device, stream in zip(source.references, streams, strict=True)}
    paused = is_paused(traits)

    def join(name: str, spec: SideSpec, side: SideTraits) -> SideTraits:
        devices = []
        for device, of_device in zip(spec.references, side.devices, strict=True):
            joined = of_device
            if of_device.fails and device.id in by_device:
                way = Way(name, by_device[device.id], device.knobs.p2p, paused, outlook.ending, terms.timeout_s)
                point, corrupt, reach = find_reach(device.knobs, way)
                joined = replace(of_device, fail_at=point, corrupt=corrupt, reach=reach)
            devices.append(joined)
        return replace(side, devices=tuple(devices))

    return replace(
        traits,
        source=join("source", source, traits.source),
        destination=join("destination", destination, traits.destination),
    )


def make_traits(case: Case) -> Traits:
    of_source = make_side_traits(case.source)
    streams = make_streams(case.source, case.destination, of_source, case.faults)
    terms = make_terms(case.settings, case.faults)
    traits = Traits(
        of_source,
        make_side_traits(case.destination),
        list_capabilities(case.settings),
        case.faults,
        case.settings.settle,
    )
    return join_traits(traits, case.source, case.destination, streams, terms, forecast(streams, terms))


def is_by_libvirt(traits: Traits) -> bool:
    return traits.source.driver == "libvirt"


def is_paused(traits: Traits) -> bool:
    """Whether the guest does not run when it is told to migrate."""
    return _pauses_first(traits.faults)


def _pauses_first(faults: Sequence[Fault]) -> bool:
    return any(fault.action is Action.PAUSE_GUEST and fault.phase is Phase.BEFORE for fault in faults)


def has_other_machine(traits: Traits) -> bool:
    """Whether the two sides have versioned machine types that differ."""
    source, destination = (_versioned(side.machine) for side in traits.sides())
    return bool(source and destination) and source != destination


def has_other_memory(traits: Traits) -> bool:
    return traits.source.memory_mib != traits.destination.memory_mib


def _versioned(machine: str) -> str:
    """``pc-q35-10.0`` of ``pc-q35-10.0,usb=off``; empty for an alias, which may stand for any version."""
    name = machine.partition(",")[0]
    return name if name.startswith("pc-") else ""
