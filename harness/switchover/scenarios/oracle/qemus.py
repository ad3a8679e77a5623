# SPDX-License-Identifier: GPL-2.0-or-later
"""What rules look at in a QEMU: what that binary said of itself, never what follows from its version. Pure.

A version stands here only to tell binaries apart where something was seen with them that none can be asked for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from switchover.devices.abilities import Ability, QemuAbilities

TRANSFER = "x-migration-multifd-transfer"
"""Of vfio-pci: whether the state of a device goes over multifd's channels."""
BY_VERSION_1 = "vfio_save_buffer"
"""A trace event of saving by version 1 of VFIO's protocol; with version 2 it is ``vfio_save_block``."""
_LEGACY_ACK = ("migration", "switchover-ack-legacy")
_SWITCHOVER_START = ("migration", "send-switchover-start")


@dataclass(frozen=True)
class QemuTraits:
    """A QEMU that was asked, with what it makes of the machine type of its guest."""

    version: str
    aliases: tuple[tuple[str, str], ...]
    """Of machine types, each with the versioned name that it stands for."""
    properties: frozenset[str]
    """Of its vfio-pci."""
    speaks_version_2: bool
    """Whether it knows version 2 of VFIO's migration protocol."""
    reusable_ack: bool
    """Whether switchover-ack is the one of 11.1, for which a destination may ask several times, or not at all."""
    switchover_start: bool
    """Whether it tells when the switchover starts, which state of devices over multifd needs."""
    transfer: str
    """The default of :data:`TRANSFER`; empty: its vfio-pci has no such property."""
    allow_pre_copy: str = ""
    """What the machine type makes of ``x-allow-pre-copy``, ``on`` or ``off``; empty: there is no such property."""


def make_qemu_traits(abilities: QemuAbilities, machine: str, given: Mapping[str, str] | None = None) -> QemuTraits:
    """``machine``: a machine type or an alias of one; ``given``: properties that ``-global`` sets."""

    def compat(qom_type: str, name: str) -> str | None:
        return abilities.compat_value(machine, qom_type, name)

    has_transfer = abilities.can(Ability.PROPERTY, TRANSFER)
    knows_legacy_ack = any(
        _LEGACY_ACK in [(kind, key) for kind, key, _ in one.compat or ()] for one in abilities.machines
    )
    legacy_ack = (given or {}).get(".".join(_LEGACY_ACK)) or compat(*_LEGACY_ACK) or "off"
    can_pre_copy = abilities.can(Ability.PROPERTY, "x-allow-pre-copy")
    return QemuTraits(
        version=abilities.version,
        aliases=tuple((one.alias, one.name) for one in abilities.machines if one.alias),
        properties=frozenset(abilities.vfio_pci),
        speaks_version_2=not abilities.can(Ability.TRACE, BY_VERSION_1),
        reusable_ack=knows_legacy_ack and _on_off(legacy_ack) == "off",
        switchover_start=has_transfer and compat(*_SWITCHOVER_START) is None,
        transfer=(compat("vfio-pci", TRANSFER) or "auto") if has_transfer else "",
        allow_pre_copy=_on_off(compat("vfio-pci", "x-allow-pre-copy") or "on") if can_pre_copy else "",
    )


def _on_off(word: str) -> str:
    return "off" if word in ("off", "false", "no") else "on"


def is_one_of(*versions: str) -> Callable[["QemuTraits | None"], bool]:
    """Whether a QEMU is one of those that were seen to do something."""
    return lambda qemu: qemu is not None and qemu.version in versions
