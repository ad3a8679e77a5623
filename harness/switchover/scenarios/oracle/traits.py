# SPDX-License-Identifier: GPL-2.0-or-later
"""What rules look at in a case.

Of sizes, rates and times only what follows from them is here (scenarios/forecast.py), so that many cases have the same
traits.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from switchover.devices.abilities import QemuAbilities
from switchover.devices.known_qemus import find_known_qemu
from switchover.devices.reference import Knobs
from switchover.guests.spec import GuestSpec
from switchover.migration.phases import Action, Phase
from switchover.migration.settings import MigrationSettings
from switchover.scenarios.case import (
    BY_MACHINE,
    DMA_LOGGING_PROPERTY,
    FAILOVER_PROPERTY,
    PRE_COPY_PROPERTY,
    AnyDevice,
    Case,
    MediatedSpec,
    SideSpec,
)
from switchover.scenarios.faults import Fault
from switchover.scenarios.forecast import Ending, Forecast, Stream, Terms, forecast, make_stream, make_terms
from switchover.scenarios.oracle.hardware_traits import HardwareTraits, make_hardware_traits
from switchover.scenarios.oracle.qemus import QemuTraits, make_qemu_traits
from switchover.scenarios.oracle.reach import Reach, Way, find_reach

_LAST_WITHOUT = (8, 0)
"""The newest machine types with x-allow-pre-copy=false (hw_compat_8_0 of the patch)."""


@dataclass(frozen=True)
class DeviceTraits:
    """What rules look at in a reference device, or a mediated one of a known type: knobs, its own or of its model, that
    say what it offers and how it fails, and its properties.
    """

    migration: bool
    stop_copy: bool
    offers_pre_copy: bool
    p2p: bool
    fail_at: str
    """The point of failure without its byte, ``none`` where the migration is not known to come to it."""
    fail_errno: int
    corrupt: str
    """``none`` where the migration is not known to come to that."""
    type: str
    properties: frozenset[tuple[str, str]]
    """Names and values of those that vfio-pci is given."""
    id: str = ""
    by_machine: str = ""
    """If ``x-allow-pre-copy`` is left to the machine type: what that makes of it, ``on`` or ``off``."""
    stream_version: int = Knobs.stream_version
    other_version: str = Knobs.other_version
    reach: Reach = Reach.UNASKED
    """Whether the migration comes to the fault that the device is to make."""
    says_it_logs_dma: bool = False
    """Whether the device says that it logs what it writes by DMA."""

    def property_of(self, name: str, default: str) -> str:
        return dict(self.properties).get(name, default)

    @property
    def fails(self) -> bool:
        """Whether there is a knob for a fault."""
        return self.fail_at != "none" or self.corrupt != "none"

    @property
    def logs_dma(self) -> bool:
        """Whether QEMU lets the device itself track dirty pages."""
        return self.says_it_logs_dma and self.property_of(DMA_LOGGING_PROPERTY, "on") != "off"

    @property
    def pre_copy(self) -> bool:
        """Whether QEMU uses the device's PRE_COPY."""
        return self.offers_pre_copy and "off" not in (self.property_of(PRE_COPY_PROPERTY, "on"), self.by_machine)


@dataclass(frozen=True)
class FunctionTraits:
    """What rules look at in a PCI function, and in a mediated device of a type that nobody knows."""

    driver: str
    """Its driver on the host; empty: the case leaves that to the host, or does not know it."""
    properties: frozenset[tuple[str, str]]
    id: str = ""

    def property_of(self, name: str, default: str) -> str:
        return dict(self.properties).get(name, default)

    @property
    def is_primary(self) -> bool:
        """Of a failover pair."""
        return bool(self.property_of(FAILOVER_PROPERTY, ""))


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
    on_reboot: str
    mac: str
    driver: str = "qmp"
    arguments: tuple[str, ...] = ()
    """Further words of QEMU's command line."""

    @property
    def machine_type(self) -> str:
        """Without its options, perhaps an alias."""
        return self.machine.partition(",")[0]

    @property
    def machine_options(self) -> dict[str, str]:
        pairs = (word.partition("=") for word in self.machine.split(",")[1:])
        return {name: value for name, _, value in pairs}

    @property
    def is_only_migratable(self) -> bool:
        """Whether its QEMU takes nothing that cannot migrate."""
        return bool({"-only-migratable", "--only-migratable"} & set(self.arguments))

    @property
    def globals(self) -> dict[str, str]:
        """Properties that ``-global`` sets, by ``DRIVER.PROPERTY``."""
        words = itertools.pairwise(self.arguments)
        pairs = (value.partition("=") for word, value in words if word.lstrip("-") == "global")
        return {name: value for name, _, value in pairs}

    @property
    def cpu_model(self) -> str:
        return self.cpu.partition(",")[0]


@dataclass(frozen=True)
class SideTraits:
    """What rules look at in a side."""

    guest: GuestTraits
    devices: tuple[DeviceTraits, ...]
    """Those of which is known how they behave in a migration: reference devices, and mediated ones of known types."""
    functions: tuple[FunctionTraits, ...] = ()
    hardware: HardwareTraits = field(default_factory=HardwareTraits)
    first: str = ""
    """The id of its first device, of whichever kind."""
    qemu: QemuTraits | None = None
    """None: nobody knows what its QEMU is."""

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
        """Whether one of the devices whose behaviour is known meets a condition."""
        return any(condition(device) for device in self.devices)


@dataclass(frozen=True)
class StreamTraits:
    """What rules look at in the way of the stream. ``certificates``: of the source and the destination; with no TLS
    there are none.
    """

    transport: str = "tcp"
    certificates: tuple[str, str] | None = None
    hostname: str = ""
    verify_peer: bool = True
    sanity_check: bool = True


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
    stream: StreamTraits = StreamTraits()
    ending: Ending = Ending.OPEN
    """Whether the migration can come to its end."""
    hang_s: float = MigrationSettings.hang_s
    """The time without progress after which the harness says that it hangs, seconds."""
    began: SideTraits | None = None
    """Of a later hop of a chain, the side that the guest was started on; None: it is the source."""

    def parameter(self, name: str, default: str = "") -> str:
        return dict(self.parameters).get(name, default)

    @property
    def switches_over(self) -> bool:
        """Whether it may come to its switchover, as far as sizes and limits say."""
        return self.ending is not Ending.NOT_CONVERGING

    def sides(self) -> tuple[SideTraits, SideTraits]:
        return self.source, self.destination

    def does(self, action: Action) -> bool:
        """Whether that is done in the case, whenever."""
        return any(fault.action is action for fault in self.faults)

    def on_the_way(self) -> "Traits":
        """The same, with the devices that the guest has when it migrates: without those that were unplugged before, and
        the primaries of failover pairs, which QEMU unplugs.
        """
        unplugged = frozenset(
            fault.device or self.source.first
            for fault in self.faults
            if fault.action is Action.UNPLUG_DEVICE and fault.phase is Phase.BEFORE
        )
        unplugged |= {function.id for function in self.source.functions if function.is_primary}
        if not unplugged:
            return self
        return replace(self, source=self.source.without(unplugged), destination=self.destination.without(unplugged))


def make_side_traits(side: SideSpec, qemu: QemuAbilities | None = None) -> SideTraits:
    """``qemu``: what its QEMU said of itself; None: nobody knows."""
    guest = make_guest_traits(side.guest)
    asked = make_qemu_traits(qemu, guest.machine_type, guest.globals) if qemu else None
    devices = tuple(
        DeviceTraits(
            migration=knobs.migration,
            stop_copy=knobs.stop_copy,
            offers_pre_copy=knobs.pre_copy,
            p2p=knobs.p2p,
            fail_at=knobs.fail_at,
            fail_errno=knobs.fail_errno,
            corrupt=knobs.corrupt,
            stream_version=knobs.stream_version,
            other_version=knobs.other_version,
            type=device.type,
            properties=frozenset(device.given_properties().items()),
            id=device.id,
            by_machine=_by_machine(side.guest.machine, device, asked),
            says_it_logs_dma=knobs.dirty_tracking or _says_it_logs_dma(device),
        )
        for device, knobs in side.modelled
    )
    modelled = {device.id for device, _ in side.modelled}
    functions = tuple(
        FunctionTraits(getattr(device, "vfio_driver", ""), frozenset(device.given_properties().items()), device.id)
        for device in side.devices
        if device.id not in modelled
    )
    return SideTraits(
        guest=guest,
        devices=devices,
        functions=functions,
        hardware=make_hardware_traits(side.guest),
        first=next((device.id for device in side.devices), ""),
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
        on_reboot=guest.on_reboot,
        mac=guest.mac.lower(),
        driver=guest.driver,
        arguments=guest.qemu_arguments,
    )


def _says_it_logs_dma(device: AnyDevice) -> bool:
    return isinstance(device, MediatedSpec) and device.known is not None and device.known.logs_dma


def _by_machine(machine: str, device: AnyDevice, qemu: QemuTraits | None) -> str:
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
    hang_s: float
    stream: StreamTraits


def make_settings_traits(settings: MigrationSettings) -> SettingsTraits:
    parameters = frozenset((name, str(value)) for name, value in settings.parameters.items())
    return SettingsTraits(
        list_capabilities(settings), parameters, settings.settle, settings.hang_s, make_stream_traits(settings)
    )


def make_stream_traits(settings: MigrationSettings) -> StreamTraits:
    return StreamTraits(
        settings.transport,
        (settings.tls_source, settings.tls_destination) if settings.tls else None,
        settings.tls_hostname,
        settings.tls_verify_peer,
        settings.tls_sanity_check,
    )


def join_traits(
    source: SideTraits, destination: SideTraits, settings: SettingsTraits, faults: tuple[Fault, ...]
) -> Traits:
    return Traits(
        source,
        destination,
        settings.capabilities,
        faults,
        settings.settles,
        parameters=settings.parameters,
        stream=settings.stream,
        hang_s=settings.hang_s,
    )


def make_streams(
    source: SideSpec, destination: SideSpec, of_source: SideTraits, faults: Sequence[Fault]
) -> tuple[Stream, ...]:
    """The state of each device of the source of which it is known how it behaves, on its way."""
    there = {device.id: knobs for device, knobs in destination.modelled}
    runs = not _pauses_first(faults)
    silent = not (source.guest.traced or destination.guest.traced)
    return tuple(
        make_stream(knobs, there.get(device.id), pre_copy=of_device.pre_copy and runs, silent=silent)
        for (device, knobs), of_device in zip(source.modelled, of_source.devices, strict=True)
    )


def with_forecast(
    traits: Traits,
    source: SideSpec,
    destination: SideSpec,
    streams: Sequence[Stream],
    terms: Terms,
    outlook: Forecast,
) -> Traits:
    """The traits of a case with its ending, and without faults that it does not come to."""
    if outlook.ending is not Ending.OPEN:
        traits = replace(traits, ending=outlook.ending)
    if not any(device.fails for side in traits.sides() for device in side.devices):
        return traits
    by_device = {device.id: stream for (device, _), stream in zip(source.modelled, streams, strict=True)}
    paused = is_paused(traits)

    def join(name: str, spec: SideSpec, side: SideTraits) -> SideTraits:
        devices = []
        for (device, knobs), of_device in zip(spec.modelled, side.devices, strict=True):
            joined = of_device
            if of_device.fails and device.id in by_device:
                way = Way(name, by_device[device.id], knobs.p2p, paused, outlook.ending, terms.timeout_s)
                point, corrupt, reach = find_reach(knobs, way)
                joined = replace(of_device, fail_at=point, corrupt=corrupt, reach=reach)
            devices.append(joined)
        return replace(side, devices=tuple(devices))

    return replace(
        traits,
        source=join("source", source, traits.source),
        destination=join("destination", destination, traits.destination),
    )


Qemus = tuple[QemuAbilities | None, QemuAbilities | None]
"""Those of source and destination; None: nobody knows what it is."""


def find_known_qemus(case: Case) -> Qemus:
    """What is known of a case's QEMUs where no host was asked: those that the project has a name for."""
    return find_known_qemu(case.source.guest.qemu), find_known_qemu(case.destination.guest.qemu)


def make_traits(case: Case, qemus: Qemus | None = None) -> Traits:
    """``qemus``: default: what is known of them without asking."""
    qemu_here, qemu_there = find_known_qemus(case) if qemus is None else qemus
    of_source = make_side_traits(case.source, qemu_here)
    of_destination = make_side_traits(case.destination, qemu_there)
    streams = make_streams(case.source, case.destination, of_source, case.faults)
    terms = make_terms(case.settings, case.faults)
    traits = join_traits(of_source, of_destination, make_settings_traits(case.settings), case.faults)
    return with_forecast(traits, case.source, case.destination, streams, terms, forecast(streams, terms))


def is_by_libvirt(traits: Traits) -> bool:
    return traits.source.guest.driver == "libvirt"


def list_started(traits: Traits) -> tuple[SideTraits, ...]:
    """Sides of which a QEMU is started before the sides are compared: libvirt compares both before it starts one at the
    destination.
    """
    return traits.sides()[:1] if is_by_libvirt(traits) else traits.sides()


def is_paused(traits: Traits) -> bool:
    """Whether the guest does not run when it is told to migrate."""
    return _pauses_first(traits.faults)


def _pauses_first(faults: Sequence[Fault]) -> bool:
    return any(fault.action is Action.PAUSE_GUEST and fault.phase is Phase.BEFORE for fault in faults)


def has_other_machine(traits: Traits) -> bool:
    """Whether the two sides have machine types that differ, as far as is known what an alias stands for."""
    # libvirt of the source makes a version of an alias, on both sides
    asked = traits.source.qemu if is_by_libvirt(traits) else None
    source, destination = (_versioned(side, asked or side.qemu) for side in traits.sides())
    if source and destination:
        return source != destination
    families = [_FAMILIES.get(word.rpartition("-")[0] or word) for word in _types(traits)]
    return None not in families and len(set(families)) > 1


def has_other_standard_devices(traits: Traits) -> bool:
    """Whether only one of the sides has the NIC or the disk that the harness makes."""
    return len({(side.guest.has_nic, side.guest.has_disk) for side in traits.sides()}) > 1


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
