# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU, libvirt and VFIO are known to make of a case: rules with their sources (docs/oracle.md). Pure.

A rule is an entry of the module that is about its subject. What it looks at in a case are the traits.
"""

from dataclasses import dataclass

from switchover.scenarios.oracle.blocked import BLOCKED
from switchover.scenarios.oracle.differences import DIFFERENCES
from switchover.scenarios.oracle.doings import DOINGS, DONE_WITHOUT_HARM
from switchover.scenarios.oracle.faults import DEVICE_FAULTS, FOUND_BY_CHECKS, MADE_FAULTS
from switchover.scenarios.oracle.multifd import MULTIFD
from switchover.scenarios.oracle.pre_copy import PRE_COPY
from switchover.scenarios.oracle.refused import REFUSED
from switchover.scenarios.oracle.rule import DEFAULT, Rule, find_scenario_rule
from switchover.scenarios.oracle.switchover_ack import SWITCHOVER_ACK
from switchover.scenarios.oracle.traits import SideTraits, Traits, list_capabilities, make_side_traits, make_traits

__all__ = [
    "DEFAULT",
    "GROUPS",
    "ORACLE",
    "Group",
    "Rule",
    "SideTraits",
    "Traits",
    "choose_rule",
    "find_rule",
    "find_scenario_rule",
    "list_capabilities",
    "make_side_traits",
    "make_traits",
]


@dataclass(frozen=True)
class Group:
    """Rules about one subject."""

    title: str
    rules: tuple[Rule, ...]


GROUPS = (
    Group("Rejected before migrate", REFUSED),
    Group("migrate is rejected", BLOCKED),
    Group("The two sides differ", DIFFERENCES),
    Group("The migration is disturbed", MADE_FAULTS),
    Group("Guest and device do something meanwhile", DOINGS),
    Group("The device fails", DEVICE_FAULTS),
    Group("switchover-ack", SWITCHOVER_ACK),
    Group("State of devices over multifd", MULTIFD),
    Group("The device fails, and the migration completes", FOUND_BY_CHECKS),
    Group("Whether pre-copy is used", PRE_COPY),
    Group("They do something meanwhile, and the migration completes", DONE_WITHOUT_HARM),
)
"""In the order in which a case meets them."""
ORACLE = tuple(rule for group in GROUPS for rule in group.rules)


def choose_rule(traits: Traits) -> Rule:
    """The first rule of the oracle that fits, else :data:`DEFAULT`. What is rejected before ``migrate`` is so of all
    devices, all else depends on those that the guest still has then.
    """
    left = traits.on_the_way()
    told = ((rule, traits if group.title == GROUPS[0].title else left) for group in GROUPS for rule in group.rules)
    return next((rule for rule, seen in told if rule.automatic and rule.condition(seen)), DEFAULT)


def find_rule(name: str) -> Rule | None:
    """A rule of the oracle by its name or one of its aliases."""
    return next((rule for rule in ORACLE if name == rule.name or name in rule.aliases), None)
