# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU and VFIO are known to make of a case: rules with their sources. Pure.

Texts are those of QEMU 10.x, from its source; names of rules are rows of the table that they were read from: A pre-copy
and switchover-ack, B admission, C transfer over multifd, D faults, L what libvirt sees to itself. A case
without a rule completes.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from switchover.devices.binding import GENERIC
from switchover.devices.reference import Knobs
from switchover.migration.phases import Phase
from switchover.migration.settings import MigrationSettings
from switchover.record.checks import CheckId
from switchover.record.record import VerdictName
from switchover.scenarios.case import BY_MACHINE, PRE_COPY_PROPERTY, Case, DeviceSpec, SideSpec
from switchover.scenarios.expectation import COMPLETES, Expectation
from switchover.scenarios.faults import Action, Fault, fails_while_loading, fails_while_saving

_KNOBS = ("migration", "stop_copy", "pre_copy", "p2p", "fail_at", "corrupt")
_LAST_WITHOUT = (8, 0)
"""The newest machine types with x-allow-pre-copy=false (hw_compat_8_0 of the patch)."""
_SPECIAL = re.compile(r"[\\.^$*+?{}\[\]|()]")


@dataclass(frozen=True)
class DeviceTraits:
    """What rules look at in a device. ``properties``: those that vfio-pci is given.

    ``by_machine``: with ``x-allow-pre-copy`` left to the machine type, what that makes of it.
    """

    knobs: Knobs
    type: str
    properties: frozenset[tuple[str, str]]
    by_machine: str = ""

    def property_of(self, name: str, default: str) -> str:
        return dict(self.properties).get(name, default)

    @property
    def pre_copy(self) -> bool:
        """Whether QEMU sees it offer PRE_COPY."""
        return self.knobs.pre_copy and "off" not in (self.property_of(PRE_COPY_PROPERTY, "on"), self.by_machine)


@dataclass(frozen=True)
class FunctionTraits:
    """What rules look at in a PCI function. ``driver``: on the host, empty: the host's to say."""

    driver: str
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

    def any_knob(self, condition: Callable[[Knobs], bool]) -> bool:
        return any(condition(device.knobs) for device in self.devices)


@dataclass(frozen=True)
class Traits:
    """What rules look at in a case. Capabilities: those that are on, of the source and of the destination."""

    source: SideTraits
    destination: SideTraits
    capabilities: tuple[frozenset[str], frozenset[str]]
    faults: tuple[Fault, ...] = ()
    settles: bool = True
    """whether the switchover is held back until the devices' pre-copy is drained"""

    def sides(self) -> tuple[SideTraits, SideTraits]:
        return self.source, self.destination


def make_side_traits(side: SideSpec) -> SideTraits:
    devices = tuple(
        # sizes and rates decide nothing here; without them fewer traits differ
        DeviceTraits(
            replace(Knobs(), **{name: getattr(device.knobs, name) for name in _KNOBS}),
            device.type,
            frozenset(device.given_properties().items()),
            _by_machine(side.guest.machine, device),
        )
        for device in side.references
    )
    functions = tuple(
        FunctionTraits(device.vfio_driver, frozenset(device.given_properties().items()))
        for device in side.devices
        if device.function is not None
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


def make_traits(case: Case) -> Traits:
    return Traits(
        make_side_traits(case.source),
        make_side_traits(case.destination),
        list_capabilities(case.settings),
        case.faults,
        case.settings.settle,
    )


def _always(_traits: Traits) -> bool:
    return True


@dataclass(frozen=True)
class Rule:
    """An expectation, and the cases it is for: those that meet ``condition`` and have one of the ``axes``' values.

    ``axes``: by the name of an axis, words of its values; others do not matter. ``place``: where it is written down, if
    that is a scenario. ``automatic``: a rule that is not holds only where a scenario names it.
    """

    name: str
    expectation: Expectation
    condition: Callable[[Traits], bool] = _always
    axes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    automatic: bool = True
    place: str = ""

    def fits(self, values: Mapping[str, str]) -> bool:
        """``values``: of the axes, in words."""
        return all(values.get(axis) in words for axis, words in self.axes.items())


DEFAULT = Rule("", COMPLETES)


def find_scenario_rule(rules: Sequence[Rule], values: Mapping[str, str]) -> Rule | None:
    """The first of a scenario's rules that fits."""
    return next((rule for rule in rules if rule.fits(values)), None)


def choose_rule(traits: Traits) -> Rule:
    """The first rule of the oracle that fits, else :data:`DEFAULT`."""
    return next((rule for rule in ORACLE if rule.automatic and rule.condition(traits)), DEFAULT)


def find_rule(name: str) -> Rule | None:
    """A rule of the oracle by its name."""
    return next((rule for rule in ORACLE if rule.name == name), None)


def _acks(traits: Traits) -> tuple[bool, bool]:
    """switchover-ack at the source and at the destination; of a guest that does not run none is waited for.

    libvirt turns it on by itself, on both sides if both have it.
    """
    source, destination = traits.capabilities
    if _paused(traits):
        return False, False
    if _by_libvirt(traits):
        return True, True
    return "switchover-ack" in source, "switchover-ack" in destination


def _by_libvirt(traits: Traits) -> bool:
    return traits.source.driver == "libvirt"


def _versioned(machine: str) -> str:
    """``pc-q35-10.0`` of ``pc-q35-10.0,usb=off``; empty for an alias, which may stand for any version."""
    name = machine.partition(",")[0]
    return name if name.startswith("pc-") else ""


def _other_machine(traits: Traits) -> bool:
    source, destination = (_versioned(side.machine) for side in traits.sides())
    return bool(source and destination) and source != destination


def _enabled(side: SideTraits) -> set[str]:
    return {device.property_of("enable-migration", "auto") for device in side.devices}


def _without_variant(side: SideTraits, enabled: str) -> bool:
    """Whether a PCI function with this ``enable-migration`` has the driver that migrates nothing."""
    return any(
        function.driver == GENERIC and function.property_of("enable-migration", "auto") == enabled
        for function in side.functions
    )


def _lacks(side: SideTraits, enabled: str, condition: Callable[[Knobs], bool]) -> bool:
    """Whether a device with this ``enable-migration`` meets a condition."""
    return any(
        device.property_of("enable-migration", "auto") == enabled and condition(device.knobs) for device in side.devices
    )


def _transfer(side: SideTraits) -> set[str]:
    return side.all_of("x-migration-multifd-transfer", "auto")


def _paused(traits: Traits) -> bool:
    """Whether the guest does not run when it is told to migrate."""
    return any(fault.action is Action.PAUSE_GUEST and fault.phase is Phase.BEFORE for fault in traits.faults)


def _by_machine_is(word: str) -> Callable[[Traits], bool]:
    return lambda traits: any(device.knobs.pre_copy and device.by_machine == word for device in traits.source.devices)


def _fault(action: Action) -> Callable[[Traits], bool]:
    return lambda traits: any(fault.action is action for fault in traits.faults)


def _cancelled_in_time(traits: Traits) -> bool:
    """There is nothing to cancel before ``migrate``."""
    return any(fault.action is Action.CANCEL and fault.phase is not Phase.BEFORE for fault in traits.faults)


def _expect(verdict: VerdictName, side: str, text: str, because: str) -> Expectation:
    """``text``: as QEMU prints it, with ``%s`` for what varies."""
    return Expectation(verdict, side, _SPECIAL.sub(r"\\\g<0>", text).replace("%s", ".*"), because)


_QEMU = "QEMU 10.2"
_LIBVIRT = "libvirt 11.3"
_PATCH = 'the patch "vfio/migration: Add VFIO migration pre-copy support", version 2 of May 2023'

ORACLE = (
    Rule(
        "A16",
        _expect(VerdictName.REFUSED, "", "Property 'vfio-pci.x-allow-pre-copy' not found",
                "no release of QEMU has the property: version 6 of the patch dropped it"),
        lambda traits: any(side.all_of(PRE_COPY_PROPERTY, "") != {""} for side in traits.sides()),
        automatic=False,
    ),
    Rule(
        "B1 (realize)",
        Expectation(VerdictName.REFUSED, "", "(?i)migration is not supported in kernel",
                f"a driver without migration and enable-migration=on: realize fails ({_QEMU}, hw/vfio/migration.c)"),
        lambda traits: any(_lacks(side, "on", lambda knobs: not knobs.migration) for side in traits.sides()),
    ),
    Rule(
        "B1 (realize, vfio-pci)",
        Expectation(VerdictName.REFUSED, "", "(?i)migration is not supported in kernel",
                    f"vfio-pci itself migrates nothing, only vendors' drivers do; realize fails ({_QEMU}, "
                    "hw/vfio/migration.c)"),
        lambda traits: any(_without_variant(side, "on") for side in traits.sides()),
    ),
    Rule(
        "B2",
        Expectation(VerdictName.REFUSED, "", "Migration couldn't be initialized|STOP_COPY is not supported",
                    f"a driver without STOP_COPY and enable-migration=on: realize fails ({_QEMU}, "
                    "hw/vfio/migration.c; the second text is that of 11.1)"),
        lambda traits: any(_lacks(side, "on", lambda knobs: not knobs.stop_copy) for side in traits.sides()),
    ),
    Rule(
        "B4",
        _expect(VerdictName.REFUSED, "",
                "Multiple VFIO devices migration is supported only if all of them support P2P migration",
                f"with enable-migration=on the second device's realize fails ({_QEMU}, hw/vfio/migration.c)"),
        lambda traits: any(
            len(side.devices) > 1 and side.any_knob(lambda knobs: not knobs.p2p) and _enabled(side) == {"on"}
            for side in traits.sides()
        ),
    ),
    Rule(
        "A8",
        _expect(VerdictName.REFUSED, "", "Capability 'switchover-ack' requires capability 'return-path'",
                "the destination's word comes on the return path (QEMU, migration/options.c; seen with 10.0 and 11.1)"),
        lambda traits: any(
            "switchover-ack" in capabilities and "return-path" not in capabilities
            for capabilities in traits.capabilities
        ),
    ),
    Rule(
        "B9 (return path)",
        _expect(VerdictName.REFUSED, "", "Background-snapshot is not compatible with return-path",
                "QEMU, migration/options.c: check_caps_background_snapshot"),
        lambda traits: {"background-snapshot", "return-path"} <= traits.capabilities[0],
    ),
    Rule(
        "L1 (machine)",
        _expect(VerdictName.BLOCKED, "source", "Target domain machine type %s does not match source",
                f"libvirt compares the two domains before it migrates ({_LIBVIRT}, conf/domain_conf.c: "
                "virDomainDefCheckABIStability)"),
        lambda traits: _by_libvirt(traits) and _other_machine(traits),
    ),
    Rule(
        "L1 (memory)",
        _expect(VerdictName.BLOCKED, "source", "Target domain max memory %s does not match source",
                f"as of machine types, and of all else that a guest sees ({_LIBVIRT}, conf/domain_conf.c)"),
        lambda traits: _by_libvirt(traits) and traits.source.memory_mib != traits.destination.memory_mib,
    ),
    Rule(
        "B1",
        _expect(VerdictName.BLOCKED, "source", "Migration is disabled for VFIO device",
                f"enable-migration=off adds a migration blocker ({_QEMU}, hw/vfio/migration.c)"),
        lambda traits: "off" in traits.source.all_of("enable-migration", "auto"),
    ),
    Rule(
        "B1 (kernel)",
        Expectation(VerdictName.BLOCKED, "source", "(?i)migration is not supported in kernel",
                f"a driver without migration, and enable-migration=auto ({_QEMU}, hw/vfio/migration.c)"),
        lambda traits: _lacks(traits.source, "auto", lambda knobs: not knobs.migration),
    ),
    Rule(
        "B1 (vfio-pci)",
        Expectation(VerdictName.BLOCKED, "source", "(?i)migration is not supported in kernel",
                    f"vfio-pci itself migrates nothing, only vendors' drivers do ({_QEMU}, hw/vfio/migration.c)"),
        lambda traits: _without_variant(traits.source, "auto"),
    ),
    Rule(
        "B1 (protocol 1)",
        _expect(VerdictName.BLOCKED, "source", "VFIO device doesn't support migration",
                "a QEMU that knows version 1 of VFIO's migration protocol only, and a device with version 2 (QEMU 7.2, "
                "hw/vfio/migration.c: vfio_migration_probe)"),
        automatic=False,
    ),
    Rule(
        "B1 (destination)",
        _expect(VerdictName.FAILED, "destination", "Unknown savevm section or instance",
                "the destination's QEMU registered no handler for the device's section (QEMU, migration/savevm.c)"),
        automatic=False,
    ),
    Rule(
        "B3",
        _expect(VerdictName.BLOCKED, "source", "VFIO device doesn't support device and IOMMU dirty tracking",
                "the reference device logs no DMA itself and has no IOMMU, so enable-migration=auto adds a blocker"
                f" ({_QEMU}, hw/vfio/migration.c)"),
        lambda traits: "auto" in _enabled(traits.source),
    ),
    Rule(
        "B8",
        _expect(VerdictName.BLOCKED, "source", "VFIO migration is not supported with postcopy migration",
                f"{_QEMU}, hw/vfio/migration.c: vfio_save_prepare"),
        lambda traits: "postcopy-ram" in traits.capabilities[0] and traits.source.has_device,
    ),
    Rule(
        "B9",
        _expect(VerdictName.BLOCKED, "source", "VFIO migration is not supported with background snapshot",
                f"{_QEMU}, hw/vfio/migration.c: vfio_save_prepare"),
        lambda traits: "background-snapshot" in traits.capabilities[0] and traits.source.has_device,
    ),
    Rule(
        "A15",
        _expect(VerdictName.FAILED, "destination", "Machine type received is '%s' and local is '%s'",
                "QEMU, migration/savevm.c: configuration_post_load; what the source says of it varies"),
        _other_machine,
    ),
    Rule(
        "A15 (memory)",
        _expect(VerdictName.FAILED, "destination", "Size mismatch: pc.ram",
                "QEMU, migration/ram.c: parse_ramblock"),
        lambda traits: traits.source.memory_mib != traits.destination.memory_mib,
    ),
    Rule(
        "A15 (virtio queues)",
        _expect(VerdictName.FAILED, "destination", "vring.num %s exceeds allocated max",
                "every queue of a virtio device has 1024 entries at the source (10.0.13, by a fix for releases before "
                "11.1: hw/virtio/virtio.c, virtio_add_queue), and at the destination what the device asks for, 256 in "
                "virtio-net: it refuses more (seen with 11.1.3)"),
        automatic=False,
    ),
    Rule(
        "D kill source",
        Expectation(VerdictName.CRASHED, "source", because="its QEMU ends by a signal"),
        _fault(Action.KILL_SOURCE),
    ),
    Rule(
        "D kill destination",
        Expectation(VerdictName.CRASHED, "destination", because="its QEMU ends by a signal; the guest stays"),
        _fault(Action.KILL_DESTINATION),
    ),
    Rule(
        "D panic guest",
        Expectation(VerdictName.CRASHED, "source", "panic", "the guest's kernel is made to panic"),
        _fault(Action.PANIC_GUEST),
    ),
    Rule(
        "D cancel",
        Expectation(VerdictName.CANCELLED, "source", because="migrate_cancel while the migration goes on"),
        _cancelled_in_time,
    ),
    Rule(
        "D cut link",
        Expectation(VerdictName.HUNG, "destination", "no progress at the destination",
                    "no packet gets through, and TCP waits for longer"),
        _fault(Action.CUT_LINK),
    ),
    Rule(
        "D source device",
        Expectation(VerdictName.FAILED, "source", because="the device fails a state change or a read on purpose"),
        lambda traits: traits.source.any_knob(fails_while_saving),
    ),
    Rule(
        "D destination device",
        Expectation(VerdictName.FAILED, "destination", because="the device fails a state change or a write on purpose"),
        lambda traits: traits.destination.any_knob(fails_while_loading),
    ),
    Rule(
        "D stream corrupt",
        Expectation(VerdictName.FAILED, "destination", because="the device refuses the last write"),
        lambda traits: traits.source.any_knob(lambda knobs: knobs.corrupt == "stream"),
    ),
    Rule(
        "D device type",
        Expectation(VerdictName.FAILED, "destination", because="the device there is of another type"),
        lambda traits: [d.type for d in traits.source.devices] != [d.type for d in traits.destination.devices],
    ),
    Rule(
        "A4",
        _expect(VerdictName.FAILED, "destination", "Received INIT_DATA_SENT but switchover ack is not used",
                f"the destination asks its own device for PRE_COPY, which has none ({_QEMU}, hw/vfio/migration.c)"),
        lambda traits: (
            # without that the limit may let the switchover come before the initial bytes are sent
            traits.settles
            and _acks(traits) == (True, True)
            and traits.source.pre_copy
            and not traits.destination.pre_copy
        ),
    ),
    Rule(
        "A5",
        Expectation(VerdictName.HUNG, "source", "ack-starved",
                    "the destination waits for an INIT_DATA_SENT that a source without PRE_COPY never sends, and the "
                    f"source waits for its ack ({_QEMU}, hw/vfio/migration.c; not so with the new ack of 11.1)"),
        lambda traits: _acks(traits) == (True, True) and not traits.source.pre_copy and traits.destination.pre_copy,
    ),
    Rule(
        "A6",
        _expect(VerdictName.FAILED, "destination", "Received INIT_DATA_SENT but switchover ack is not used",
                f"the source says that the initial bytes were sent, to a destination without switchover-ack ({_QEMU})"),
        lambda traits: _acks(traits) == (True, False) and traits.source.pre_copy,
    ),
    Rule(
        "A6 (no pre-copy)",
        Expectation(VerdictName.HUNG, "source", "ack-starved",
                    "the source waits for an ack that nobody gives: active for ever (seen with QEMU 10.0.2; 11.1.3 "
                    "completes)"),
        lambda traits: _acks(traits) == (True, False) and not traits.source.pre_copy,
    ),
    Rule(
        "C1",
        _expect(VerdictName.FAILED, "",
                "Multifd device transfer requested but unsupported in the current config",
                f"x-migration-multifd-transfer=on without multifd ({_QEMU}, hw/vfio/migration-multifd.c)"),
        lambda traits: any(
            "on" in _transfer(side) and "multifd" not in capabilities
            for side, capabilities in zip(traits.sides(), traits.capabilities, strict=True)
        ),
    ),
    Rule(
        "C2",
        _expect(VerdictName.FAILED, "destination", "got device state packet but not doing multifd transfer",
                f"only the source transfers over multifd ({_QEMU}, hw/vfio/migration-multifd.c)"),
        lambda traits: "on" in _transfer(traits.source) and "off" in _transfer(traits.destination),
    ),
    Rule(
        "C3",
        _expect(VerdictName.FAILED, "destination",
                "got DEV_CONFIG_STATE in main migration channel but doing multifd transfer",
                f"only the destination transfers over multifd ({_QEMU}, hw/vfio/migration.c)"),
        lambda traits: "on" in _transfer(traits.destination) and "off" in _transfer(traits.source),
    ),
    Rule(
        "D state corrupt",
        Expectation(VerdictName.CHECKS_FAILED, because="the guest sees another state than was saved",
                    checks=(CheckId.DEVICE_CHECKSUM, CheckId.DEVICE_CHECKSUM_BY_GUEST)),
        lambda traits: traits.destination.any_knob(lambda knobs: knobs.corrupt == "state"),
    ),
    Rule(
        "A14",
        Expectation(VerdictName.COMPLETED, pre_copy="off",
                    because="the device of a paused guest is in STOP when it is to be saved, and is not put into "
                    f"PRE_COPY; an ack is not waited for while the guest does not run ({_QEMU}, hw/vfio/migration.c: "
                    "vfio_save_setup, migration/migration.c: migration_can_switchover)"),
        _paused,
    ),
    Rule(
        "A16 (8.0 and older)",
        Expectation(VerdictName.COMPLETED, pre_copy="off", because=f"{_PATCH}: machine types of 8.0 and older have "
                    "x-allow-pre-copy=false (hw/core/machine.c: hw_compat_8_0)"),
        _by_machine_is("off"),
    ),
    Rule(
        "A16 (8.1 and newer)",
        Expectation(VerdictName.COMPLETED, pre_copy="on", because=f"{_PATCH}: x-allow-pre-copy is true by default "
                    "(hw/vfio/pci.c), and machine types of 8.1 and newer do not change it"),
        _by_machine_is("on"),
    ),
)  # fmt: skip
"""In the order in which a case meets them: at realize, at capabilities, at ``migrate``, on the way."""
