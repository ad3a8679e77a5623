# SPDX-License-Identifier: GPL-2.0-or-later
"""What a machine type is in two QEMUs, what differs between these, and what that decides. Pure.

What a difference decides is not looked up: the migrations of scenarios/compat_poses.py are posed to the oracle once
more with QEMUs that do not have it, and what ends otherwise then depends on it.
"""

import itertools
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial

from switchover.devices.abilities import Ability, MachineType, QemuAbilities
from switchover.devices.machine_types import FAMILY, NEWEST_COMMON, choose_machine, common_machines
from switchover.guests.spec import GuestSpec
from switchover.record.errors import UsageError
from switchover.record.toml import suggest
from switchover.scenarios.case import DEVICE_PROPERTIES, PRE_COPY_PROPERTY
from switchover.scenarios.compat_poses import DEVICE, POSES, NamedQemu, Outcome, Pair, Pose, predict
from switchover.scenarios.oracle.qemus import BY_VERSION_1, TRANSFER, QemuTraits, make_qemu_traits

DEFAULT_MACHINE = GuestSpec.machine
_VFIO_TYPES = ("vfio", "migration")
"""How QOM types begin that a migration with VFIO devices depends on."""
_OF_MIGRATION = re.compile(r"migrat|pre-?copy|dirty|vsc")
"""In names of vfio-pci's properties."""

Key = tuple[str, str]
"""A QOM type and its property."""
Both = tuple[str | None, str | None]
"""Of the first QEMU and of the second; empty: it has nothing of the kind; None: it cannot tell."""
Outcomes = tuple[Outcome, Outcome]
"""From the first QEMU to the second, and the other way round."""


class PartKind(StrEnum):
    """What may differ between two QEMUs."""

    COMPAT = "set by the machine type"
    PROPERTY = "vfio-pci property"
    CAPABILITY = "migration capability"
    PARAMETER = "migration parameter"
    PROTOCOL = "VFIO migration protocol"
    VERSION = "version"


@dataclass(frozen=True)
class Effect:
    """A migration that would end otherwise without something. ``back``: from the second QEMU to the first."""

    pose: str
    back: bool
    now: Outcome
    without: Outcome


@dataclass(frozen=True)
class Part:
    """Something of the two QEMUs, and what it decides."""

    kind: PartKind
    name: str
    values: Both
    effects: tuple[Effect, ...] = ()

    @property
    def differs(self) -> bool:
        """As far as both can tell."""
        return None not in self.values and self.values[0] != self.values[1]


@dataclass(frozen=True)
class Predicted:
    """A migration with its two outcomes."""

    pose: Pose
    outcomes: Outcomes


@dataclass(frozen=True)
class MachineGroup:
    """Common machine types that follow one another, and with which all migrations end alike. ``device``: that of the
    pose :data:`DEVICE`; ``complete``: how many complete, each way.
    """

    names: tuple[str, ...]
    device: Outcomes
    complete: tuple[int, int]


@dataclass(frozen=True)
class Compat:
    """Two QEMUs with a machine type. ``machine``: as it was asked for or computed; ``versioned``: what it stands for in
    each; ``computed``: whether nobody asked for it; ``defaults``: what the harness's default stands for in each.
    """

    qemus: Pair
    machine: str
    versioned: tuple[str, str]
    computed: bool
    common: tuple[str, ...]
    groups: tuple[MachineGroup, ...]
    defaults: tuple[str, str]
    default: Outcomes
    predicted: tuple[Predicted, ...]
    parts: tuple[Part, ...]
    makes: tuple[tuple[str, Both], ...]
    """What each makes of its machine type in a migration, in words."""
    cannot_tell: tuple[str, ...]
    """Names of QEMUs that do not say what their machine types set."""

    def list_compat(self) -> list[Part]:
        return [part for part in self.parts if part.kind is PartKind.COMPAT]


def explain_compat(pair: Pair, machine: str = "", *, everything: bool = False) -> Compat:
    """``machine``: empty: the newest that both have. ``everything``: not limited to VFIO and migration, as far as the
    abilities have more.

    :raises UsageError: a QEMU has no such machine type, or they have none in common
    """
    chosen = _require_machine(pair, machine or NEWEST_COMMON)
    versioned = _name_versions(pair, chosen)
    common = common_machines(*(qemu.abilities for qemu in pair), family=_find_family(versioned[0]))
    predicted = _predict_all(pair, chosen)
    return Compat(
        qemus=pair,
        machine=chosen,
        versioned=versioned,
        computed=not machine,
        common=common,
        groups=tuple(_group(pair, common)),
        defaults=_name_versions(pair, DEFAULT_MACHINE),
        default=find_device(_predict_all(pair, DEFAULT_MACHINE)),
        predicted=predicted,
        parts=tuple(_list_parts(pair, chosen, predicted, everything=everything)),
        makes=tuple(_list_makes(pair, chosen)),
        cannot_tell=tuple(qemu.name for qemu in pair if _find(qemu, chosen).compat is None),
    )


def _require_machine(pair: Pair, machine: str) -> str:
    """:raises UsageError: as :func:`explain_compat`"""
    known = [qemu.abilities for qemu in pair]
    common = common_machines(*known)
    chosen = choose_machine(machine, known)
    if chosen is None:
        raise UsageError(
            f"{pair[0].name} and {pair[1].name} have no machine type {FAMILY}-… in common.",
            why="a guest migrates only between machine types of one versioned name",
            fix="name a machine type of another family that both have, if there is one",
        )
    lacking = [qemu.name for qemu in pair if not qemu.abilities.can(Ability.MACHINE, chosen)]
    if lacking:
        raise UsageError(
            f"{' and '.join(dict.fromkeys(lacking))} {'have' if len(set(lacking)) > 1 else 'has'} no machine type "
            f"{chosen!r}{suggest(chosen, common[:6])}",
            why="QEMU does not start with a machine type that it does not know",
            fix="name one that both have, or none: then it is the newest of these",
        )
    return chosen


def _find(qemu: NamedQemu, machine: str) -> MachineType:
    found = qemu.abilities.find_machine(machine)
    return found or MachineType(machine, None, False, ())


def _name_versions(pair: Pair, machine: str) -> tuple[str, str]:
    return _find(pair[0], machine).name, _find(pair[1], machine).name


def _find_family(versioned: str) -> str:
    return versioned.rpartition("-")[0] or FAMILY


def _predict_both(pose: Pose, machine: str, pair: Pair) -> Outcomes:
    return predict(pose, machine, pair), predict(pose, machine, (pair[1], pair[0]))


def _predict_all(pair: Pair, machine: str) -> tuple[Predicted, ...]:
    return tuple(Predicted(pose, _predict_both(pose, machine, pair)) for pose in POSES)


def _group(pair: Pair, common: Sequence[str]) -> Iterator[MachineGroup]:
    predicted = {name: _predict_all(pair, name) for name in common}

    def decide(name: str) -> list[object]:
        return [outcome.decision for one in predicted[name] for outcome in one.outcomes]

    for _, alike in itertools.groupby(common, key=decide):
        names = tuple(alike)
        yield MachineGroup(names, find_device(predicted[names[0]]), count_complete(predicted[names[0]]))


def find_device(predicted: Sequence[Predicted]) -> Outcomes:
    """Those of the pose :data:`DEVICE`."""
    return next(one.outcomes for one in predicted if one.pose.id == DEVICE)


def count_complete(predicted: Sequence[Predicted]) -> tuple[int, int]:
    """How many migrations complete, each way."""
    there, back = (sum(one.outcomes[number].completes for one in predicted) for number in (0, 1))
    return there, back


def _list_parts(pair: Pair, machine: str, predicted: Sequence[Predicted], *, everything: bool) -> Iterator[Part]:
    """What the machine type sets, in the order of names, then what else differs."""

    def find_effects(change: Callable[[QemuAbilities], QemuAbilities]) -> tuple[Effect, ...]:
        one, other = (replace(qemu, abilities=change(qemu.abilities)) for qemu in pair)
        return tuple(_compare(predicted, machine, (one, other)))

    settings = [_list_settings(qemu.abilities, machine, everything=everything) for qemu in pair]
    for key in sorted({*settings[0], *settings[1]}):
        values = tuple(_read_setting(qemu.abilities, machine, key) for qemu in pair)
        decides = key[0].startswith(_VFIO_TYPES)  # rules look at no others
        effects = find_effects(partial(_without_setting, machine, key)) if decides else ()
        yield Part(PartKind.COMPAT, ".".join(key), (values[0], values[1]), effects)
    here, there = (qemu.abilities for qemu in pair)
    if here.version != there.version:
        versions = (here.version, there.version)
        by_version = [effect for version in versions for effect in find_effects(partial(_with_version, version))]
        once = {(effect.pose, effect.back): effect for effect in reversed(by_version)}
        yield Part(PartKind.VERSION, "version", versions, tuple(sorted(once.values(), key=_order(predicted))))
    protocols = (_name_protocol(here), _name_protocol(there))
    if protocols[0] != protocols[1]:
        yield Part(PartKind.PROTOCOL, "VFIO migration protocol", protocols, find_effects(_with_protocol_2))
    for name, values in _list_only_one(here.vfio_pci, there.vfio_pci):
        if everything or _OF_MIGRATION.search(name):
            # without what the harness gives all devices, other migrations would be compared
            effects = () if name in DEVICE_PROPERTIES else find_effects(partial(_without_property, name))
            yield Part(PartKind.PROPERTY, name, values, effects)
    for kind, known in (
        (PartKind.CAPABILITY, (here.capabilities, there.capabilities)),
        (PartKind.PARAMETER, (here.parameters, there.parameters)),
    ):
        for name, values in _list_only_one(*known):
            yield Part(kind, name, values)


def _compare(predicted: Sequence[Predicted], machine: str, changed: Pair) -> Iterator[Effect]:
    """Migrations that end otherwise with changed QEMUs."""
    for one in predicted:
        others = _predict_both(one.pose, machine, changed)
        for number, (now, without) in enumerate(zip(one.outcomes, others, strict=True)):
            if now.decision != without.decision:
                yield Effect(one.pose.id, bool(number), now, without)


def _order(predicted: Sequence[Predicted]) -> Callable[[Effect], tuple[int, bool]]:
    numbers = {one.pose.id: number for number, one in enumerate(predicted)}
    return lambda effect: (numbers[effect.pose], effect.back)


def _list_only_one(here: Collection[str], there: Collection[str]) -> Iterator[tuple[str, Both]]:
    """Names that only one of two has."""
    for name in sorted({*here} ^ {*there}):
        yield name, ("yes" if name in here else "", "yes" if name in there else "")


def _list_settings(qemu: QemuAbilities, machine: str, *, everything: bool) -> set[Key]:
    """What the machine type sets: QOM types with their properties."""
    found = qemu.find_machine(machine)
    keys = {(kind, name) for kind, name, _ in (found and found.compat) or ()}
    return keys if everything else {key for key in keys if key[0].startswith(_VFIO_TYPES)}


def _read_setting(qemu: QemuAbilities, machine: str, key: Key) -> str | None:
    qom_type, name = key
    found = qemu.find_machine(machine)
    if qom_type == "vfio-pci" and name not in qemu.vfio_pci:
        return ""
    if found is None or found.compat is None:
        return None
    return qemu.compat_value(machine, qom_type, name) or ""


def _name_protocol(qemu: QemuAbilities) -> str:
    """Empty: without vfio-pci there is none."""
    if not qemu.vfio_pci:
        return ""
    return "version 1" if qemu.can(Ability.TRACE, BY_VERSION_1) else "version 2"


def _without_setting(machine: str, key: Key, qemu: QemuAbilities) -> QemuAbilities:
    """As if the machine type left a property as it is."""

    def change(one: MachineType) -> MachineType:
        if machine not in (one.name, one.alias) or one.compat is None:
            return one
        return replace(one, compat=tuple(entry for entry in one.compat if entry[:2] != key))

    return replace(qemu, machines=tuple(map(change, qemu.machines)))


def _with_version(version: str, qemu: QemuAbilities) -> QemuAbilities:
    """As one with which was seen what was seen with another, and what no binary can be asked for."""
    return replace(qemu, version=version)


def _with_protocol_2(qemu: QemuAbilities) -> QemuAbilities:
    """As one that speaks version 2, with the properties that the harness gives devices then."""
    traces = tuple(name for name in qemu.traces if name != BY_VERSION_1)
    return replace(qemu, traces=traces, vfio_pci={**dict.fromkeys(DEVICE_PROPERTIES, ""), **qemu.vfio_pci})


def _without_property(name: str, qemu: QemuAbilities) -> QemuAbilities:
    return replace(qemu, vfio_pci={key: kind for key, kind in qemu.vfio_pci.items() if key != name})


def _list_makes(pair: Pair, machine: str) -> Iterator[tuple[str, Both]]:
    """What the oracle's rules look at in each QEMU with the machine type."""
    traits = [make_qemu_traits(qemu.abilities, machine) for qemu in pair]
    yield "VFIO migration protocol", (_name_protocol(pair[0].abilities), _name_protocol(pair[1].abilities))
    acks = [_name_ack(qemu, seen) for qemu, seen in zip(pair, traits, strict=True)]
    yield "switchover-ack", (acks[0], acks[1])
    yield f"{TRANSFER} by default", (traits[0].transfer, traits[1].transfer)
    told = ["yes" if seen.switchover_start else "no" for seen in traits]
    yield "tells the start of the switchover", (told[0], told[1])
    if any(seen.allow_pre_copy for seen in traits):
        yield f"{PRE_COPY_PROPERTY} by default", (traits[0].allow_pre_copy, traits[1].allow_pre_copy)


def _name_ack(qemu: NamedQemu, traits: QemuTraits) -> str:
    if not qemu.abilities.can(Ability.CAPABILITY, "switchover-ack"):
        return ""
    return "reusable" if traits.reusable_ack else "one-shot"
