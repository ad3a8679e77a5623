# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU and VFIO are known to make of a case: rules with their sources. Pure.

Texts are those of QEMU 10.x, from its source; names of rules are rows of the table that they were read from: A pre-copy
and switchover-ack, B admission, C transfer over multifd, D faults. A case without a rule completes.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from switchover.migration.phases import Phase
from switchover.migration.settings import MigrationSettings
from switchover.record.record import VerdictName
from switchover.run.case import Case, SideSpec
from switchover.run.expectation import COMPLETES, Expectation
from switchover.run.faults import Action, Fault


PRE_COPY = "x-allow-pre-copy"


@dataclass(frozen=True)
class SideTraits:
    """What rules look at in a side. ``properties``: of each device, those that vfio-pci is given."""

    machine: str
    pre_copy: bool
    p2p: bool
    properties: tuple[frozenset[tuple[str, str]], ...]

    def all_of(self, name: str, default: str) -> set[str]:
        """Values of a property over all devices."""
        return {dict(properties).get(name, default) for properties in self.properties}


@dataclass(frozen=True)
class Traits:
    """What rules look at in a case. Capabilities: those that are on, of the source and of the destination."""

    source: SideTraits
    destination: SideTraits
    capabilities: tuple[frozenset[str], frozenset[str]]
    faults: tuple[Fault, ...] = ()

    def sides(self) -> tuple[SideTraits, SideTraits]:
        return self.source, self.destination


def make_side_traits(side: SideSpec) -> SideTraits:
    return SideTraits(
        side.guest.machine,
        any(device.knobs.pre_copy and device.properties.get(PRE_COPY, "on") == "on" for device in side.devices),
        all(device.knobs.p2p for device in side.devices),
        tuple(frozenset(device.properties.items()) for device in side.devices),
    )


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
    """switchover-ack at the source and at the destination."""
    source, destination = traits.capabilities
    return "switchover-ack" in source, "switchover-ack" in destination


def _versioned(machine: str) -> str:
    """``pc-q35-10.0`` of ``pc-q35-10.0,usb=off``; empty for an alias, which may stand for any version."""
    name = machine.partition(",")[0]
    return name if name.startswith("pc-") else ""


def _other_machine(traits: Traits) -> bool:
    source, destination = (_versioned(side.machine) for side in traits.sides())
    return bool(source and destination) and source != destination


def _enabled(side: SideTraits) -> set[str]:
    return side.all_of("enable-migration", "auto")


def _transfer(side: SideTraits) -> set[str]:
    return side.all_of("x-migration-multifd-transfer", "auto")


def _fault(action: Action) -> Callable[[Traits], bool]:
    return lambda traits: any(fault.action is action for fault in traits.faults)


def _cancelled_in_time(traits: Traits) -> bool:
    """QEMU answers no command while it saves devices, and there is nothing to cancel before ``migrate``."""
    late = (Phase.BEFORE, Phase.DEVICE_STOP_COPY)
    return any(fault.action is Action.CANCEL and fault.phase not in late for fault in traits.faults)


def _expect(verdict: VerdictName, side: str, text: str, because: str) -> Expectation:
    """``text``: as QEMU prints it, with ``%s`` for what varies."""
    return Expectation(verdict, side, re.escape(text).replace("%s", ".*"), because)


_QEMU = "QEMU 10.2"

ORACLE = (
    Rule(
        "A16",
        _expect(VerdictName.REFUSED, "", "Property 'vfio-pci.x-allow-pre-copy' not found",
                "no release of QEMU has the property: version 6 of the patch dropped it"),
        lambda traits: any(side.all_of(PRE_COPY, "") != {""} for side in traits.sides()),
        automatic=False,
    ),
    Rule(
        "B4",
        _expect(VerdictName.REFUSED, "",
                "Multiple VFIO devices migration is supported only if all of them support P2P migration",
                f"with enable-migration=on the second device's realize fails ({_QEMU}, hw/vfio/migration.c)"),
        lambda traits: any(
            len(side.properties) > 1 and not side.p2p and _enabled(side) == {"on"} for side in traits.sides()
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
        "B9, with a return path",
        _expect(VerdictName.REFUSED, "", "Background-snapshot is not compatible with return-path",
                "QEMU, migration/options.c: check_caps_background_snapshot"),
        lambda traits: {"background-snapshot", "return-path"} <= traits.capabilities[0],
    ),
    Rule(
        "B1",
        _expect(VerdictName.BLOCKED, "source", "Migration is disabled for VFIO device",
                f"enable-migration=off adds a migration blocker ({_QEMU}, hw/vfio/migration.c)"),
        lambda traits: "off" in _enabled(traits.source),
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
        lambda traits: "postcopy-ram" in traits.capabilities[0],
    ),
    Rule(
        "B9",
        _expect(VerdictName.BLOCKED, "source", "VFIO migration is not supported with background snapshot",
                f"{_QEMU}, hw/vfio/migration.c: vfio_save_prepare"),
        lambda traits: "background-snapshot" in traits.capabilities[0],
    ),
    Rule(
        "A15",
        _expect(VerdictName.FAILED, "destination", "Machine type received is '%s' and local is '%s'",
                "QEMU, migration/savevm.c: configuration_post_load; what the source says of it varies"),
        _other_machine,
    ),
    Rule(
        "D, source killed",
        Expectation(VerdictName.CRASHED, "source", because="its QEMU ends by a signal"),
        _fault(Action.KILL_SOURCE),
    ),
    Rule(
        "D, destination killed",
        Expectation(VerdictName.CRASHED, "destination", because="its QEMU ends by a signal; the guest stays"),
        _fault(Action.KILL_DESTINATION),
    ),
    Rule(
        "D, guest panics",
        Expectation(VerdictName.CRASHED, because="the guest's kernel is made to panic"),
        _fault(Action.PANIC_GUEST),
    ),
    Rule(
        "D, cancelled",
        Expectation(VerdictName.CANCELLED, "source", because="migrate_cancel while RAM or device pre-copy is sent"),
        _cancelled_in_time,
    ),
    Rule(
        "D, link cut",
        Expectation(VerdictName.HUNG, because="no packet gets through, and TCP waits longer than any bound here"),
        _fault(Action.CUT_LINK),
    ),
    Rule(
        "A4",
        _expect(VerdictName.FAILED, "destination", "Received INIT_DATA_SENT but switchover ack is not used",
                f"the destination asks its own device for PRE_COPY, which has none ({_QEMU}, hw/vfio/migration.c)"),
        lambda traits: _acks(traits) == (True, True) and traits.source.pre_copy and not traits.destination.pre_copy,
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
        "A6, without pre-copy",
        Expectation(VerdictName.HUNG, "source", "ack-starved",
                    "the source waits for an ack that nobody gives: active for ever (seen with QEMU 10.0.2; 11.1.3 "
                    "completes)"),
        lambda traits: _acks(traits) == (True, False) and not traits.source.pre_copy,
    ),
    Rule(
        "C1",
        _expect(VerdictName.FAILED, "",
                "Multifd device transfer requested but unsupported in the current config",
                f"x-migration-multifd-transfer=on without the capability multifd ({_QEMU}, hw/vfio/migration-multifd.c)"),
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
)  # fmt: skip
"""In the order in which a case meets them: at realize, at capabilities, at ``migrate``, on the way."""
