# SPDX-License-Identifier: GPL-2.0-or-later
"""What rules look at in a case. Sizes, rates and times decide nothing here, so that many cases have the same traits."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from switchover.devices.abilities import QemuAbilities
from switchover.devices.known_qemus import find_known_qemu
from switchover.guests.spec import GuestSpec
from switchover.migration.phases import Action, Phase
from switchover.migration.settings import MigrationSettings
from switchover.scenarios.case import BY_MACHINE, PRE_COPY_PROPERTY, Case, DeviceSpec, FunctionSpec, SideSpec
from switchover.scenarios.faults import Fault
from switchover.scenarios.oracle.qemus import QemuTraits, make_qemu_traits

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
    fail_errno: int
    corrupt: str
    type: str
    properties: frozenset[tuple[str, str]]
    """Names and values of those that vfio-pci is given."""
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

    def property_of(self, name: str, default: str) -> str:
        return dict(self.properties).get(name, default)


@dataclass(frozen=True)
class GuestTraits:
    """What rules look at in a guest, besides its devices of VFIO."""

    machine: str
    """With its options, as QEMU gets it."""
    accel: str
    """The accelerator, without its options."""
    cpu: str
    """The model, with its features, as QEMU gets it."""
    vcpus: int
    memory_mib: int
    has_disk: bool
    has_nic: bool
    mac: str
    driver: str = "qmp"

    @property
    def machine_type(self) -> str:
        """Without its options, perhaps an alias."""
        return self.machine.partition(",")[0]

    @property
    def machine_options(self) -> dict[str, str]:
        pairs = (word.partition("=") for word in self.machine.split(",")[1:])
        return {name: value for name, _, value in pairs}

    @property
    def cpu_model(self) -> str:
        return self.cpu.partition(",")[0]


@dataclass(frozen=True)
class SideTraits:
    """What rules look at in a side."""

    guest: GuestTraits
    devices: tuple[DeviceTraits, ...]
    """Reference devices, which the case itself describes."""
    functions: tuple[FunctionTraits, ...] = ()
    qemu: QemuTraits | None = None
    """None: nobody knows what its QEMU is."""

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
    parameters: frozenset[tuple[str, str]] = frozenset()
    """Migration parameters without a key of their own, by QEMU's names."""

    def parameter(self, name: str, default: str = "") -> str:
        return dict(self.parameters).get(name, default)

    def sides(self) -> tuple[SideTraits, SideTraits]:
        return self.source, self.destination


def make_side_traits(side: SideSpec, qemu: QemuAbilities | None = None) -> SideTraits:
    """``qemu``: what its QEMU said of itself; None: nobody knows."""
    asked = make_qemu_traits(qemu, side.guest.machine.partition(",")[0]) if qemu else None
    devices = tuple(
        DeviceTraits(
            migration=device.knobs.migration,
            stop_copy=device.knobs.stop_copy,
            offers_pre_copy=device.knobs.pre_copy,
            p2p=device.knobs.p2p,
            fail_at=device.knobs.fail_at,
            fail_errno=device.knobs.fail_errno,
            corrupt=device.knobs.corrupt,
            type=device.type,
            properties=frozenset(device.given_properties().items()),
            by_machine=_by_machine(side.guest.machine, device, asked),
        )
        for device in side.references
    )
    functions = tuple(
        FunctionTraits(device.vfio_driver, frozenset(device.given_properties().items()))
        for device in side.devices
        if isinstance(device, FunctionSpec)
    )
    return SideTraits(
        guest=make_guest_traits(side.guest),
        devices=devices,
        functions=functions,
        qemu=asked,
    )


def make_guest_traits(guest: GuestSpec) -> GuestTraits:
    return GuestTraits(
        machine=guest.machine,
        accel=guest.accel.partition(",")[0],
        cpu=guest.cpu,
        vcpus=guest.vcpus,
        memory_mib=guest.memory_mib,
        has_disk=bool(guest.disk),
        has_nic=bool(guest.bridge),
        mac=guest.mac.lower(),
        driver=guest.driver,
    )


def _by_machine(machine: str, device: DeviceSpec, qemu: QemuTraits | None) -> str:
    """What the patch, or the QEMU itself, says of a machine type, if it is to decide."""
    if device.allow_pre_copy != BY_MACHINE:
        return ""
    if qemu is not None and qemu.allow_pre_copy:
        return qemu.allow_pre_copy
    version = re.match(r"pc-(?:q35|i440fx)-(\d+)\.(\d+)", machine)
    return "off" if version and (int(version[1]), int(version[2])) <= _LAST_WITHOUT else "on"


def list_capabilities(settings: MigrationSettings) -> tuple[frozenset[str], frozenset[str]]:
    """Capabilities that are on, of the source and of the destination."""
    source, destination = (
        frozenset(name for name, state in settings.all_capabilities(side).items() if state)
        for side in ("source", "destination")
    )
    return source, destination


@dataclass(frozen=True)
class SettingsTraits:
    """What rules look at in the settings of a migration."""

    capabilities: tuple[frozenset[str], frozenset[str]]
    parameters: frozenset[tuple[str, str]]
    settles: bool


def make_settings_traits(settings: MigrationSettings) -> SettingsTraits:
    parameters = frozenset((name, str(value)) for name, value in settings.parameters.items())
    return SettingsTraits(list_capabilities(settings), parameters, settings.settle)


def join_traits(
    source: SideTraits, destination: SideTraits, settings: SettingsTraits, faults: tuple[Fault, ...]
) -> Traits:
    return Traits(source, destination, settings.capabilities, faults, settings.settles, parameters=settings.parameters)


Qemus = tuple[QemuAbilities | None, QemuAbilities | None]
"""Those of source and destination; None: nobody knows what it is."""


def find_known_qemus(case: Case) -> Qemus:
    """What is known of a case's QEMUs where no host was asked: those that the project has a name for."""
    return find_known_qemu(case.source.guest.qemu), find_known_qemu(case.destination.guest.qemu)


def make_traits(case: Case, qemus: Qemus | None = None) -> Traits:
    """``qemus``: default: what is known of them without asking."""
    source, destination = find_known_qemus(case) if qemus is None else qemus
    return join_traits(
        make_side_traits(case.source, source),
        make_side_traits(case.destination, destination),
        make_settings_traits(case.settings),
        case.faults,
    )


def is_by_libvirt(traits: Traits) -> bool:
    return traits.source.guest.driver == "libvirt"


def is_paused(traits: Traits) -> bool:
    """Whether the guest does not run when it is told to migrate."""
    return any(fault.action is Action.PAUSE_GUEST and fault.phase is Phase.BEFORE for fault in traits.faults)


def has_other_machine(traits: Traits) -> bool:
    """Whether the two sides have machine types that differ, as far as is known what an alias stands for."""
    # libvirt of the source makes a version of an alias, on both sides
    asked = traits.source.qemu if is_by_libvirt(traits) else None
    source, destination = (_versioned(side, asked or side.qemu) for side in traits.sides())
    if source and destination:
        return source != destination
    families = [_FAMILIES.get(word.rpartition("-")[0] or word) for word in _types(traits)]
    return None not in families and len(set(families)) > 1


def has_other_memory(traits: Traits) -> bool:
    return traits.source.guest.memory_mib != traits.destination.guest.memory_mib


_FAMILIES = {"q35": "q35", "pc-q35": "q35", "pc": "i440fx", "pc-i440fx": "i440fx"}
"""By an alias, or by a machine type without its version."""


def _types(traits: Traits) -> Iterator[str]:
    return (side.guest.machine_type for side in traits.sides())


def _versioned(side: SideTraits, qemu: QemuTraits | None) -> str:
    """``pc-q35-10.0`` of ``pc-q35-10.0,usb=off``, and of an alias, if the QEMU that knows it is; else empty: it may
    stand for any version.
    """
    name = side.guest.machine_type
    if name.startswith("pc-"):
        return name
    return dict(qemu.aliases).get(name, "") if qemu else ""
