# SPDX-License-Identifier: GPL-2.0-or-later
"""A case with all its values fixed. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal

from switchover.devices.binding import FunctionRequest
from switchover.devices.known_types import KnownType, find_known_type
from switchover.devices.reference import TYPE, Knobs
from switchover.guests.places import GuestPlace, put_in_place
from switchover.guests.spec import DriverName, GuestSpec, Start, VfioDevice
from switchover.migration.phases import Action, Phase
from switchover.migration.settings import BOUNDS, MigrationSettings
from switchover.record.record import VerdictName
from switchover.scenarios.expectation import COMPLETES, Expectation
from switchover.scenarios.faults import HOTPLUG, LINK, Fault

DEVICE_PROPERTIES = {"enable-migration": "on", "migration-events": "on"}
"""Without device or IOMMU dirty tracking that QEMU accepts, ``auto`` is a blocker, ``on`` a warning."""
FUNCTION_PROPERTIES = {"migration-events": "on"}
"""Of PCI functions, and of mediated devices that nobody knows: whether one can migrate, QEMU is to find out, as it does
for everybody.
"""

BITMAP_PROPERTY = "x-pre-copy-dirty-page-tracking"
"""Of vfio-pci: whether dirty bitmaps are asked for while the guest runs, or only once it is stopped."""
DMA_LOGGING_PROPERTY = "x-device-dirty-page-tracking"
"""Of vfio-pci: whether a device that says it logs its DMA is asked for dirty pages, or the container is."""
FAILOVER_PROPERTY = "failover_pair_id"
"""Of the primary of a failover pair, the id of its standby."""
PRE_COPY_PROPERTY = "x-allow-pre-copy"
"""Of vfio-pci in patched QEMUs: whether pre-copy may be used with a device that offers it."""
BY_MACHINE: Final = "by-machine"
AllowPreCopy = Literal["", "on", "off", "by-machine"]
IrqLoad = Literal["none", "fair", "fifo-40", "fifo-60"]
IrqPlacement = Literal["spread", "default"]

HEARTBEAT_US = 10_000
"""Twice what the lab under TCG supports, as ``switchover bench outside`` finds."""


@dataclass(frozen=True)
class VfioDeviceSpec:
    """What every device of a guest has, of whichever kind: the guest gets it through vfio-pci."""

    id: str = "dut"
    """the id of the device in QEMU"""
    properties: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    """the properties of vfio-pci, as on QEMU's command line"""
    allow_pre_copy: AllowPreCopy = field(default="", kw_only=True)
    """the property `x-allow-pre-copy`: its value, or `by-machine` if it is left to the machine type of a QEMU that has
    it; empty if the case does not ask for it"""

    def given_properties(self) -> dict[str, str]:
        """The properties that vfio-pci is given."""
        given = {PRE_COPY_PROPERTY: self.allow_pre_copy} if self.allow_pre_copy in ("on", "off") else {}
        return {**self.properties, **given}

    @property
    def is_primary(self) -> bool:
        """Whether it is the primary of a failover pair: QEMU unplugs it for a migration, and plugs in the destination's
        once the guest is there (docs/system/virtio-net-failover.rst of QEMU).
        """
        return bool(self.properties.get(FAILOVER_PROPERTY))

    def named_properties(self) -> list[str]:
        """The properties that QEMU's vfio-pci must have."""
        return sorted({*self.given_properties(), *([PRE_COPY_PROPERTY] if self.allow_pre_copy else [])})

    def at(self, sysfs: str) -> VfioDevice:
        """What QEMU is given, of the device that is at this path in sysfs."""
        return VfioDevice(self.id, sysfs, self.given_properties())


@dataclass(frozen=True)
class DeviceSpec(VfioDeviceSpec):
    """A reference device of a guest, with its mdev type and its knobs, and the properties that vfio-pci gets."""

    type: str = TYPE
    """the mdev type of the device"""
    knobs: Knobs = field(default_factory=Knobs)
    """the knobs of the reference device that the harness sets"""
    properties: Mapping[str, str] = field(default_factory=lambda: dict(DEVICE_PROPERTIES), kw_only=True)

    @property
    def model(self) -> Knobs:
        """How it behaves in a migration."""
        return self.knobs

    if not TYPE_CHECKING:

        def __new__(cls, *fields: object, pci: str = "", **others: object) -> object:
            """With ``pci`` a PCI function, as this class stood for it before :class:`FunctionSpec` did."""
            if not pci:
                return super().__new__(cls)
            return FunctionSpec(*fields, pci=pci, **{"properties": dict(DEVICE_PROPERTIES), **others})


@dataclass(frozen=True)
class MediatedSpec(VfioDeviceSpec):
    """A mediated device of a guest that is no reference device, and the properties that vfio-pci gets."""

    type: str = field(kw_only=True)
    """the mdev type of the device"""
    properties: Mapping[str, str] = field(default_factory=lambda: dict(FUNCTION_PROPERTIES), kw_only=True)

    @property
    def known(self) -> KnownType | None:
        """What the project knows of its type; None: nothing."""
        return find_known_type(self.type)

    @property
    def model(self) -> Knobs | None:
        """How it behaves in a migration; None: nobody knows."""
        return self.known.model if self.known else None


def make_mediated(mdev_type: str, id: str = VfioDeviceSpec.id, **others: object) -> MediatedSpec:
    """A mediated device with the properties that its type needs. ``others``: fields of :class:`MediatedSpec`."""
    return MediatedSpec(id, **{"type": mdev_type, "properties": list_properties(mdev_type), **others})  # type: ignore[arg-type]


def list_properties(mdev_type: str) -> dict[str, str]:
    """What vfio-pci gets for a mediated device that is no reference device, where nobody says otherwise."""
    known = find_known_type(mdev_type)
    return dict(known.properties if known else FUNCTION_PROPERTIES)


@dataclass(frozen=True)
class FunctionSpec(VfioDeviceSpec):
    """A PCI function of a host that a guest gets, and the properties that vfio-pci gets."""

    properties: Mapping[str, str] = field(default_factory=lambda: dict(FUNCTION_PROPERTIES), kw_only=True)
    pci: str = field(kw_only=True)
    """the address of a PCI function of the host, such as `0000:3b:00.2`, which the guest gets instead of a reference
    device; type and knobs do not apply then"""
    vf: int | None = field(default=None, kw_only=True)
    """the number, from 0, of the virtual function of `pci` that the guest gets; virtual functions are made if there are
    none"""
    vfs: int = field(default=0, kw_only=True)
    """how many virtual functions are made for `pci` if it has none; 0 makes as many as are needed"""
    vfio_driver: str = field(default="", kw_only=True)
    """the function's driver on the host; if it is empty, the driver that the host's kernel names for it is used, or
    else `vfio-pci`"""
    whole_group: bool = field(default=False, kw_only=True)
    """whether the other members of the function's IOMMU group are also taken from the host's drivers"""
    managed: bool = field(default=False, kw_only=True)
    """whether libvirt, instead of the harness, binds the function to a driver of VFIO and gives it back (`managed` of
    its domain); only with `driver = "libvirt"`"""

    @property
    def request(self) -> FunctionRequest:
        """What has to be made ready on the host."""
        return FunctionRequest(self.pci, self.vf, self.vfs, self.vfio_driver, self.whole_group, self.managed)

    def at(self, sysfs: str) -> VfioDevice:
        return replace(super().at(sysfs), managed=self.managed)


AnyDevice = DeviceSpec | MediatedSpec | FunctionSpec
"""The kinds of devices. What is done with one is chosen by its class, so that types tell where a kind is missing."""


@dataclass(frozen=True)
class SideSpec:
    """The guest and the devices of one side; the other side may differ."""

    guest: GuestSpec = field(default_factory=GuestSpec)
    """the guest, without its devices"""
    devices: tuple[AnyDevice, ...] = (DeviceSpec(),)
    """the devices of the guest, in the order of their slots"""

    @property
    def references(self) -> tuple[DeviceSpec, ...]:
        """The reference devices, which have knobs, counters, and a driver in the guest that reports them."""
        return tuple(device for device in self.devices if isinstance(device, DeviceSpec))

    @property
    def mediated(self) -> tuple[MediatedSpec, ...]:
        """The mediated devices of others, which have neither knobs nor counters."""
        return tuple(device for device in self.devices if isinstance(device, MediatedSpec))

    @property
    def mdev_types(self) -> tuple[str, ...]:
        """The types of its mediated devices, each once."""
        types = [device.type for device in self.devices if not isinstance(device, FunctionSpec)]
        return tuple(dict.fromkeys(types))

    @property
    def modelled(self) -> tuple[tuple[DeviceSpec | MediatedSpec, Knobs], ...]:
        """The devices of which it is known how they behave in a migration, each with that."""
        mediated = (device for device in self.devices if not isinstance(device, FunctionSpec))
        return tuple((device, device.model) for device in mediated if device.model is not None)

    @property
    def modules(self) -> tuple[str, ...]:
        """Images with the kernel modules of its mediated devices."""
        return tuple(dict.fromkeys(device.known.image for device in self.mediated if device.known))

    @property
    def programs(self) -> tuple[str, ...]:
        """Names of images of its guest and devices: what may have to be brought to its host."""
        return (*self.guest.programs, *self.modules)

    @property
    def functions(self) -> tuple[FunctionRequest, ...]:
        """The PCI functions, as passthrough is asked for them."""
        return tuple(device.request for device in self.devices if isinstance(device, FunctionSpec))


@dataclass(frozen=True)
class Hop:
    """A migration of a guest that came by another one before: from there to the other host."""

    destination: SideSpec = field(default_factory=SideSpec)
    """the guest and the devices of the destination of this hop"""
    settings: MigrationSettings = field(default_factory=MigrationSettings)
    """the settings of this hop"""


@dataclass(frozen=True)
class Case:
    """One point of the axes of a scenario, with all values fixed. ``id`` is derived from the values that distinguish
    it. ``destination`` and ``settings`` are those of the first migration; of a chain, ``then`` has the others.
    """

    id: str
    source: SideSpec = field(default_factory=SideSpec)
    destination: SideSpec = field(default_factory=SideSpec)
    settings: MigrationSettings = field(default_factory=MigrationSettings)
    faults: tuple[Fault, ...] = ()
    expectation: Expectation = COMPLETES
    heartbeat_us: int = HEARTBEAT_US
    """period of the heartbeats that the guest sends to the outside, microseconds; 0: none"""
    outside_needed: bool = False
    """whether the case is about the downtime from outside: without the check of it, it is not right"""
    login_after: bool = False
    """whether to log in to the guest anew after the migration, in addition to the connection from before it, which must
    survive"""
    irq_seconds: float = 0
    """how long, in seconds, to record where IRQ threads of the device run, on the source before the migration and on
    the destination after it; the time in between is recorded, too; 0 records nothing; needs `irq_rates`"""
    irq_load: IrqLoad = "none"
    """with `irq_seconds`, a task in the guest that keeps the CPU of the device's first interrupt busy all the time: of
    the fair class, or SCHED_FIFO with a priority below or above that of IRQ threads (50)"""
    irq_placement: IrqPlacement = "spread"
    """with `irq_seconds`, where the device's interrupts arrive: `spread` gives each a CPU of its own first, as far as
    there are any; `default` leaves them where the guest's kernel has put them, as `isolcpus=` and `irqaffinity=` in the
    guest's `append` have it, and no mask is changed on the destination"""
    irq_forbid_cpus: str = ""
    """with `irq_seconds`, CPUs of the guest, such as `2-3`, on which neither these interrupts nor their threads may be,
    in any of the recordings; empty: they may be on all"""
    then: tuple[Hop, ...] = ()
    """the migrations after the first one, in their order"""

    @property
    def sides(self) -> tuple[SideSpec, ...]:
        """Where the guest begins, then the destination of each migration."""
        return (self.source, self.destination, *(hop.destination for hop in self.then))

    def list_hops(self) -> tuple["Case", ...]:
        """Each migration as a case of its own, with the faults that are made in it; of a single one, the case."""
        if not self.then:
            return (self,)
        settings = (self.settings, *(hop.settings for hop in self.then))
        return tuple(
            replace(
                self,
                source=source,
                destination=destination,
                settings=of_hop,
                faults=tuple(fault for fault in self.faults if fault.hop == number),
                then=(),
            )
            for number, (source, destination, of_hop) in enumerate(
                zip(self.sides[:-1], self.sides[1:], settings, strict=True), start=1
            )
        )

    @property
    def bound_settings(self) -> MigrationSettings:
        """What the migration is given: a time that the case is to run out of is no longer on a slow lab either."""
        if self.expectation.verdict is not VerdictName.HUNG:
            return self.settings
        return replace(self.settings, given_bounds=BOUNDS)

    @property
    def pauses(self) -> bool:
        """Whether the guest is paused, before or while it migrates."""
        return any(fault.action is Action.PAUSE_GUEST for fault in self.faults)

    @property
    def pauses_first(self) -> bool:
        """Whether the guest is paused before it is told to migrate."""
        return any(fault.action is Action.PAUSE_GUEST and fault.phase is Phase.BEFORE for fault in self.faults)

    @property
    def pauses_on_the_way(self) -> bool:
        """Whether the guest is paused while it migrates, having run when that began."""
        return self.pauses and not self.pauses_first

    @property
    def disturbs_link(self) -> bool:
        """Whether the case cuts or slows the link between the hosts."""
        return any(fault.action in LINK for fault in self.faults)

    def does(self, action: Action) -> bool:
        """Whether that is done in the case, whenever."""
        return any(fault.action is action for fault in self.faults)

    @property
    def unplugged(self) -> frozenset[str]:
        """Ids of the devices that the guest is without while it migrates."""
        return frozenset(
            self.find_device(fault)
            for fault in self.faults
            if fault.action is Action.UNPLUG_DEVICE and fault.phase is Phase.BEFORE
        )

    @property
    def renewed(self) -> frozenset[str]:
        """Ids of the devices whose state is lost by what the case does to them, and begins anew."""
        if self.does(Action.REBOOT_GUEST) or self.does(Action.SUSPEND_GUEST):
            return frozenset(device.id for device in self.source.devices)
        reset = (self.find_device(fault) for fault in self.faults if fault.action is Action.RESET_DEVICE)
        return self.unplugged | frozenset(reset)

    def find_device(self, fault: Fault) -> str:
        return find_device(fault, self.source)


def find_device(fault: Fault, source: SideSpec) -> str:
    """The id of the device that a fault is about; empty: there is none."""
    return fault.device or next((device.id for device in source.devices), "")


def name_devices(side: str, spec: SideSpec) -> list[str]:
    """How records and checks call the devices of a side: ``source`` the first, ``source ID`` each further one."""
    return [f"{side} {device.id}" if number else side for number, device in enumerate(spec.devices)]


def name_references(side: str, spec: SideSpec) -> list[str]:
    """The same, of its reference devices only."""
    named = zip(name_devices(side, spec), spec.devices, strict=True)
    return [name for name, device in named if isinstance(device, DeviceSpec)]


def list_others(side: str, spec: SideSpec) -> list[tuple[str, MediatedSpec | FunctionSpec]]:
    """The devices that are no reference devices, each with its name as above."""
    named = zip(name_devices(side, spec), spec.devices, strict=True)
    return [(name, device) for name, device in named if not isinstance(device, DeviceSpec)]


def make_case(id: str, side: SideSpec, **others: object) -> Case:
    """A case whose two sides are alike. ``others``: fields of :class:`Case`."""
    return Case(id, side, side, **others)  # type: ignore[arg-type]


def with_one_device(knobs: Knobs, **others: object) -> SideSpec:
    """A side with one reference device. ``others``: fields of :class:`DeviceSpec`."""
    return SideSpec(devices=(DeviceSpec(knobs=knobs, **others),))  # type: ignore[arg-type]


def with_start(case: Case, start: Start) -> Case:
    """The same case with its guest booted (``cold``) or restored (``warm``)."""
    return _with_guests(case, lambda guest: replace(guest, start=start))


def in_place(case: Case, place: GuestPlace) -> Case:
    """The same case with its guest where no other one is, but for addresses that the case names itself."""
    return _with_guests(case, lambda guest: put_in_place(guest, place))


def with_driver(case: Case, driver: DriverName) -> Case:
    """The same case, its guest started and migrated by another driver."""
    return _with_guests(case, lambda guest: replace(guest, driver=driver))


def _with_guests(case: Case, change: Callable[[GuestSpec], GuestSpec]) -> Case:
    """The same case, with the guest of each side changed."""
    source, destination, *others = (replace(side, guest=change(side.guest)) for side in case.sides)
    then = tuple(replace(hop, destination=side) for hop, side in zip(case.then, others, strict=True))
    return replace(case, source=source, destination=destination, then=then)


def side_in_order(side: SideSpec) -> SideSpec:
    """The same side with devices in which nothing fails, stalls or takes its time."""
    devices = (
        replace(device, knobs=device.knobs.in_order()) if isinstance(device, DeviceSpec) else device
        for device in side.devices
    )
    return replace(side, devices=tuple(devices))


def in_order(case: Case) -> Case:
    """A migration that can complete with the guest of this one's source: nothing done to it on purpose but that a
    device is unplugged before it, which may not be able to migrate, both sides as the source is, and time enough.
    Multifd stays, without which a device may have no way for its state.
    """
    healthy = side_in_order(case.source)
    multifd = all(case.settings.all_capabilities(side).get("multifd", False) for side in ("source", "destination"))
    settings = MigrationSettings(downtime_limit_ms=120_000, capabilities={"multifd": True} if multifd else {})
    if not case.settings.switchover_bandwidth:  # which an older QEMU has not
        settings = replace(settings, switchover_bandwidth=0)
    plugging = tuple(fault for fault in case.faults if fault.action in HOTPLUG and not fault.is_on_the_way)
    return Case(f"{case.id}, in order", healthy, healthy, settings, plugging, heartbeat_us=0)


def with_reboots(side: SideSpec, faults: Sequence[Fault]) -> SideSpec:
    """A side whose QEMU boots the guest again where the case lets it reboot, unless that was said otherwise."""
    if side.guest.on_reboot != "auto" or not any(fault.action is Action.REBOOT_GUEST for fault in faults):
        return side
    return replace(side, guest=replace(side.guest, on_reboot="reset"))
