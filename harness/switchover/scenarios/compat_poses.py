# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrations that are posed to the oracle between two QEMUs, and what it predicts. Pure.

Each is a case as a scenario would make it, with what both QEMUs know: nothing is said here of what comes of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from switchover.devices.abilities import Ability, QemuAbilities
from switchover.devices.reference import Knobs
from switchover.guests.spec import GuestSpec
from switchover.migration.settings import MigrationSettings
from switchover.record.record import Verdict, VerdictName
from switchover.scenarios.case import BY_MACHINE, DEVICE_PROPERTIES, PRE_COPY_PROPERTY, Case, DeviceSpec, Hop, SideSpec
from switchover.scenarios.oracle import choose_chain_rule, choose_rule, make_traits
from switchover.scenarios.oracle.qemus import TRANSFER
from switchover.scenarios.preflight import list_needs

BANDWIDTH = "avail-switchover-bandwidth"
_IOMMU = "intel-iommu,intremap=on,caching-mode=on"


@dataclass(frozen=True)
class NamedQemu:
    """A QEMU by the name that it was asked for with."""

    name: str
    abilities: QemuAbilities


Pair = tuple[NamedQemu, NamedQemu]
"""Of the source and of the destination."""


@dataclass(frozen=True)
class Pose:
    """A migration between two QEMUs. ``pre_copy``: whether the device of the source and that of the destination have
    it; None: there is no device. ``capabilities``: more than a migration has anyway; ``destination``: those that the
    destination has otherwise.
    """

    id: str
    title: str
    pre_copy: tuple[bool, bool] | None = (True, True)
    capabilities: Mapping[str, bool] = field(default_factory=dict)
    destination: Mapping[str, bool] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    viommu: bool = False
    back: bool = False
    """Whether the guest goes back to where it was started."""


DEVICE = "device"
"""The pose that the short answer is about."""
POSES = (
    Pose("no-device", "no VFIO device", pre_copy=None),
    Pose(DEVICE, "a VFIO device with pre-copy"),
    Pose("there-and-back", "the same, there and back again", back=True),
    Pose("ack", "switchover-ack", capabilities={"switchover-ack": True}),
    Pose(
        "ack-device-at-destination",
        "switchover-ack, pre-copy in the destination's device only",
        pre_copy=(False, True),
        capabilities={"switchover-ack": True},
    ),
    Pose(
        "ack-source-only",
        "switchover-ack at the source only, no pre-copy",
        pre_copy=(False, False),
        capabilities={"switchover-ack": True},
        destination={"switchover-ack": False},
    ),
    Pose("multifd", "multifd, the device's state as by default", capabilities={"multifd": True}),
    Pose(
        "multifd-transfer",
        f"multifd, {TRANSFER}=on",
        capabilities={"multifd": True},
        properties={TRANSFER: "on"},
    ),
    Pose(
        "multifd-postcopy",
        "multifd and postcopy, no VFIO device",
        pre_copy=None,
        capabilities={"multifd": True, "postcopy-ram": True},
    ),
    Pose("viommu", "a VFIO device behind an intel-iommu", viommu=True),
)


@dataclass(frozen=True)
class Outcome:
    """What is predicted. ``rule``: of the oracle, empty: none is about it. ``missing``: what a QEMU lacks, in words,
    of what the migration needs: then it cannot be tried.
    """

    verdict: Verdict
    rule: str = ""
    because: str = ""
    pre_copy: str = ""
    """``on`` or ``off`` where the rule says that of the source's device."""
    missing: tuple[str, ...] = ()

    @property
    def completes(self) -> bool:
        return self.verdict.name is VerdictName.COMPLETED

    @property
    def decision(self) -> tuple[Verdict, str, str]:
        """What is compared: not the words."""
        return self.verdict, self.rule, self.pre_copy


def predict(pose: Pose, machine: str, pair: Pair) -> Outcome:
    """What becomes of it from the first QEMU to the second, both with ``machine``."""
    case = pose_case(pose, machine, pair)
    if missing := _list_missing(case, pair):
        return Outcome(Verdict(VerdictName.NOT_SUPPORTED), missing=missing)
    here, there = (qemu.abilities for qemu in pair)
    if case.then:
        rule = choose_chain_rule(case, ((here, there), (there, here)))
    else:
        rule = choose_rule(make_traits(case, (here, there)))
    expected = rule.expectation
    verdict = Verdict(expected.verdict, expected.side, hop=expected.hop)
    return Outcome(verdict, rule.name, expected.because, expected.pre_copy)


def pose_case(pose: Pose, machine: str, pair: Pair) -> Case:
    """The case, for which properties and parameters of the harness are left out that a QEMU does not know."""
    offers = pose.pre_copy or (False, False)
    source, destination = (
        _make_side(pose, machine, qemu, pre_copy) for qemu, pre_copy in zip(pair, offers, strict=True)
    )
    settings = MigrationSettings(capabilities=dict(pose.capabilities), destination_capabilities=dict(pose.destination))
    if not all(qemu.abilities.can(Ability.PARAMETER, BANDWIDTH) for qemu in pair):
        settings = replace(settings, switchover_bandwidth=0)
    then = (Hop(source, settings),) if pose.back else ()
    return Case(pose.id, source, destination, settings, then=then)


def _make_side(pose: Pose, machine: str, qemu: NamedQemu, pre_copy: bool) -> SideSpec:
    known = qemu.abilities.vfio_pci
    options, iommu = (",kernel-irqchip=split", _IOMMU) if pose.viommu else ("", "")
    guest = GuestSpec(qemu=qemu.name, machine=f"{machine}{options}", iommu=iommu)
    if pose.pre_copy is None:
        return SideSpec(guest, ())
    usual = {name: value for name, value in DEVICE_PROPERTIES.items() if name in known}
    device = DeviceSpec(knobs=Knobs(pre_copy=pre_copy), properties={**usual, **pose.properties})
    if PRE_COPY_PROPERTY in known:  # a patched QEMU asks its machine type whatever a case says
        device = replace(device, allow_pre_copy=BY_MACHINE)
    return SideSpec(guest, (device,))


def _list_missing(case: Case, pair: Pair) -> tuple[str, ...]:
    """What QEMUs lack; with which accelerator a guest runs is not the question here."""
    missing = []
    for side, qemu in zip(("source", "destination"), pair, strict=True):
        needs = [need for need in list_needs(case, side) if need[0] is not Ability.ACCELERATOR]
        missing += [f"{qemu.name} has no {lack}" for lack in qemu.abilities.missing(needs)]
    return tuple(missing)
