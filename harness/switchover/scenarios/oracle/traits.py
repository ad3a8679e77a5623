# SPDX-License-Identifier: GPL-2.0-or-later
"""What rules look at in a case. Sizes, rates and times decide nothing here, so that many cases have the same traits."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from switchover.migration.phases import Action, Phase
from switchover.migration.settings import MigrationSettings
from switchover.scenarios.case import BY_MACHINE, PRE_COPY_PROPERTY, Case, DeviceSpec, FunctionSpec, SideSpec
from switchover.scenarios.faults import Fault

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
    corrupt: str
    type: str
    properties: frozenset[tuple[str, str]]
    """Names and values of those that vfio-pci is given."""
    id: str = ""
    by_machine: str = ""
    """If ``x-allow-pre-copy`` is left to the machine type: what that makes of it, ``on`` or ``off``."""

    def property_of(self, name: str, default: str) -> str:
        return dict(self.properties).get(name, default)

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
    id: str = ""

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
    on_reboot: str = "auto"
    first: str = ""
    """The id of its first device, of whichever kind."""

    def without(self, ids: frozenset[str]) -> "SideTraits":
        """With the devices that are left of it."""
        devices = tuple(device for device in self.devices if device.id not in ids)
        functions = tuple(function for function in self.functions if function.id not in ids)
        return replace(self, devices=devices, functions=functions)

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

    hang_s: float = MigrationSettings.hang_s
    """The time without progress after which the harness says that it hangs, seconds."""

    def sides(self) -> tuple[SideTraits, SideTraits]:
        return self.source, self.destination

    def does(self, action: Action) -> bool:
        """Whether that is done in the case, whenever."""
        return any(fault.action is action for fault in self.faults)

    def on_the_way(self) -> "Traits":
        """The same, with the devices that the guest has when it is told to migrate."""
        unplugged = frozenset(
            fault.device or self.source.first
            for fault in self.faults
            if fault.action is Action.UNPLUG_DEVICE and fault.phase is Phase.BEFORE
        )
        if not unplugged:
            return self
        return replace(self, source=self.source.without(unplugged), destination=self.destination.without(unplugged))


def make_side_traits(side: SideSpec) -> SideTraits:
    devices = tuple(
        DeviceTraits(
            migration=device.knobs.migration,
            stop_copy=device.knobs.stop_copy,
            offers_pre_copy=device.knobs.pre_copy,
            p2p=device.knobs.p2p,
            fail_at=device.knobs.fail_at,
            corrupt=device.knobs.corrupt,
            type=device.type,
            properties=frozenset(device.given_properties().items()),
            id=device.id,
            by_machine=_by_machine(side.guest.machine, device),
        )
        for device in side.references
    )
    functions = tuple(
        FunctionTraits(device.vfio_driver, frozenset(device.given_properties().items()), device.id)
        for device in side.devices
        if isinstance(device, FunctionSpec)
    )
    return SideTraits(
        machine=side.guest.machine,
        memory_mib=side.guest.memory_mib,
        devices=devices,
        functions=functions,
        driver=side.guest.driver,
        on_reboot=side.guest.on_reboot,
        first=next((device.id for device in side.devices), ""),
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


def make_traits(case: Case) -> Traits:
    return Traits(
        make_side_traits(case.source),
        make_side_traits(case.destination),
        list_capabilities(case.settings),
        case.faults,
        case.settings.settle,
        case.settings.hang_s,
    )


def is_by_libvirt(traits: Traits) -> bool:
    return traits.source.driver == "libvirt"


def is_paused(traits: Traits) -> bool:
    """Whether the guest does not run when it is told to migrate."""
    return any(fault.action is Action.PAUSE_GUEST and fault.phase is Phase.BEFORE for fault in traits.faults)


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
