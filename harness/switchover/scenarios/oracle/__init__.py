# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU, libvirt and VFIO are known to make of a case: rules with their sources (docs/oracle.md). Pure.

A rule is an entry of the module that is about its subject. What it looks at in a case are the traits.
"""

from dataclasses import dataclass

from switchover.scenarios.oracle.blocked import BLOCKED
from switchover.scenarios.oracle.capabilities import BLOCKED_CAPABILITIES, REFUSED_CAPABILITIES, UNLIKE_CAPABILITIES
from switchover.scenarios.oracle.cpus import CPUS, REFUSED_CPUS
from switchover.scenarios.oracle.differences import DEVICE_SECTIONS, OTHER_SECTIONS, STREAM_HEADS
from switchover.scenarios.oracle.faults import DEVICE_FAULTS, FOUND_BY_CHECKS, MADE_FAULTS
from switchover.scenarios.oracle.machines import MACHINE_PARTS, MACHINE_RAM, REFUSED_MACHINES
from switchover.scenarios.oracle.multifd import MULTIFD
from switchover.scenarios.oracle.pre_copy import PRE_COPY
from switchover.scenarios.oracle.refused import REFUSED
from switchover.scenarios.oracle.rule import DEFAULT, Rule, find_scenario_rule
from switchover.scenarios.oracle.stable_abi import STABLE_ABI
from switchover.scenarios.oracle.switchover_ack import SWITCHOVER_ACK
from switchover.scenarios.oracle.traits import (
    Qemus,
    SettingsTraits,
    SideTraits,
    Traits,
    join_traits,
    make_settings_traits,
    make_side_traits,
    make_traits,
)

__all__ = [
    "DEFAULT",
    "GROUPS",
    "ORACLE",
    "Group",
    "Qemus",
    "Rule",
    "SettingsTraits",
    "SideTraits",
    "Traits",
    "choose_rule",
    "find_rule",
    "find_scenario_rule",
    "join_traits",
    "make_settings_traits",
    "make_side_traits",
    "make_traits",
]


@dataclass(frozen=True)
class Group:
    """Rules about one subject."""

    title: str
    rules: tuple[Rule, ...]


GROUPS = (
    Group("A QEMU does not start", (*REFUSED_MACHINES, *REFUSED_CPUS)),
    Group("Rejected before migrate", (*REFUSED, *REFUSED_CAPABILITIES)),
    Group("libvirt compares the two sides", STABLE_ABI),
    Group("migrate is rejected", (*BLOCKED, *BLOCKED_CAPABILITIES)),
    Group("Settings of the two sides do not fit", UNLIKE_CAPABILITIES),
    Group(
        "The two sides differ",
        (*STREAM_HEADS, *MACHINE_RAM, *DEVICE_SECTIONS, *CPUS, *MACHINE_PARTS, *OTHER_SECTIONS),
    ),
    Group("The migration is disturbed", MADE_FAULTS),
    Group("The device fails", DEVICE_FAULTS),
    Group("switchover-ack", SWITCHOVER_ACK),
    Group("State of devices over multifd", MULTIFD),
    Group("The device fails, and the migration completes", FOUND_BY_CHECKS),
    Group("Whether pre-copy is used", PRE_COPY),
)
"""In the order in which a case meets them."""
ORACLE = tuple(rule for group in GROUPS for rule in group.rules)


def choose_rule(traits: Traits) -> Rule:
    """The first rule of the oracle that fits, with its expectation of such a case, else :data:`DEFAULT`."""
    return next((rule.of(traits) for rule in ORACLE if rule.automatic and rule.condition(traits)), DEFAULT)


def find_rule(name: str) -> Rule | None:
    """A rule of the oracle by its name or one of its aliases."""
    return next((rule for rule in ORACLE if name == rule.name or name in rule.aliases), None)
