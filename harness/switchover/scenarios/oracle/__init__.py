# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU, libvirt and VFIO are known to make of a case: rules with their sources (docs/oracle.md). Pure.

A rule is an entry of the module that is about its subject. What it looks at in a case are the traits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from switchover.record.record import VerdictName
from switchover.scenarios.case import Case
from switchover.scenarios.expectation import Expectation
from switchover.scenarios.oracle.blocked import BLOCKED, BLOCKERS
from switchover.scenarios.oracle.capabilities import REFUSED_CAPABILITIES, UNLIKE_CAPABILITIES
from switchover.scenarios.oracle.convergence import CONVERGENCE
from switchover.scenarios.oracle.cpus import CPUS, REFUSED_CPUS
from switchover.scenarios.oracle.differences import (
    DEVICE_CONFIGURATION,
    DEVICE_SECTIONS,
    OTHER_SECTIONS,
    STREAM_HEADS,
)
from switchover.scenarios.oracle.doings import DOINGS, DONE_WITHOUT_HARM
from switchover.scenarios.oracle.faults import DEVICE_FAULTS, FOUND_BY_CHECKS, MADE_FAULTS
from switchover.scenarios.oracle.hardware import HARDWARE_BLOCKED, HARDWARE_DIFFERENCES, HARDWARE_REFUSED
from switchover.scenarios.oracle.machines import MACHINE_PARTS, MACHINE_RAM, REFUSED_MACHINES
from switchover.scenarios.oracle.multifd import MULTIFD, MULTIFD_SETUP
from switchover.scenarios.oracle.pre_copy import PRE_COPY
from switchover.scenarios.oracle.reach import Reach
from switchover.scenarios.oracle.refused import REFUSED
from switchover.scenarios.oracle.rule import DEFAULT, Rule, find_scenario_rule
from switchover.scenarios.oracle.stable_abi import STABLE_ABI
from switchover.scenarios.oracle.stream_versions import READ_VERSIONS, REFUSED_VERSIONS
from switchover.scenarios.oracle.switchover_ack import SWITCHOVER_ACK
from switchover.scenarios.oracle.traits import (
    Qemus,
    SettingsTraits,
    SideTraits,
    Traits,
    join_traits,
    make_settings_traits,
    make_side_traits,
    make_streams,
    make_traits,
    with_forecast,
)
from switchover.scenarios.oracle.transports import (
    TLS_REFUSED,
    TRANSPORTS_BLOCKED,
    TRANSPORTS_FAILED,
    TRANSPORTS_REFUSED,
)

__all__ = [
    "DEFAULT",
    "GROUPS",
    "ORACLE",
    "Group",
    "Qemus",
    "Reach",
    "Rule",
    "SettingsTraits",
    "SideTraits",
    "Traits",
    "choose_chain_rule",
    "choose_rule",
    "find_rule",
    "find_scenario_rule",
    "join_traits",
    "make_settings_traits",
    "make_side_traits",
    "make_streams",
    "make_traits",
    "with_forecast",
]


@dataclass(frozen=True)
class Group:
    """Rules about one subject."""

    title: str
    rules: tuple[Rule, ...]
    of_all_devices: bool = False
    """Whether they are about all devices that a guest begins with, also those that it has no more when it migrates."""


GROUPS = (
    Group("A QEMU does not start", (*REFUSED_MACHINES, *REFUSED_CPUS), of_all_devices=True),
    Group("Rejected before migrate: hardware of the guest", HARDWARE_REFUSED, of_all_devices=True),
    Group("Rejected before migrate", (*REFUSED, *REFUSED_CAPABILITIES), of_all_devices=True),
    Group("TLS: credentials are rejected", TLS_REFUSED),
    Group("The stream has no such way", TRANSPORTS_REFUSED),
    Group("migrate is rejected: a device blocks it", (*HARDWARE_BLOCKED, *BLOCKERS)),
    Group("libvirt compares the two sides", STABLE_ABI),
    Group("migrate is rejected", (*BLOCKED, *TRANSPORTS_BLOCKED)),
    Group("The way of the stream ends", TRANSPORTS_FAILED),
    Group("Settings of the two sides do not fit", UNLIKE_CAPABILITIES),
    Group(
        "The two sides differ",
        (*STREAM_HEADS, *MACHINE_RAM, *DEVICE_SECTIONS, *CPUS, *MACHINE_PARTS),
    ),
    Group("The two sides differ: hardware of the guest", HARDWARE_DIFFERENCES),
    Group("The migration is disturbed", MADE_FAULTS),
    Group("Guest and device do something meanwhile", DOINGS),
    Group("The device fails", DEVICE_FAULTS),
    Group("The device's stream has another version", REFUSED_VERSIONS),
    Group("State of devices over multifd cannot be", MULTIFD_SETUP),
    Group("switchover-ack", SWITCHOVER_ACK),
    Group("State of devices over multifd", MULTIFD),
    Group("The migration has no end", CONVERGENCE),
    Group("The two sides differ in what comes in the downtime", OTHER_SECTIONS),
    Group("The two sides show a device otherwise", DEVICE_CONFIGURATION),
    Group("The device fails, and the migration completes", FOUND_BY_CHECKS),
    Group("The device's stream has another version, and is taken", READ_VERSIONS),
    Group("Whether pre-copy is used", PRE_COPY),
    Group("They do something meanwhile, and the migration completes", DONE_WITHOUT_HARM, of_all_devices=True),
)
"""In the order in which a case meets them."""
ORACLE = tuple(rule for group in GROUPS for rule in group.rules)


def choose_rule(traits: Traits) -> Rule:
    """The first rule of the oracle that fits, with its expectation of such a case, else :data:`DEFAULT`. What is
    rejected before ``migrate`` is so of all devices, all else depends on those that the guest still has then.
    """
    left = traits.on_the_way()
    told = ((rule, traits if group.of_all_devices else left) for group in GROUPS for rule in group.rules)
    return next((rule.of(seen) for rule, seen in told if rule.automatic and rule.condition(seen)), DEFAULT)


def choose_chain_rule(case: Case, qemus: Sequence[Qemus | None] = ()) -> Rule:
    """Of a chain: the rule of the first hop that is not to complete, with its number; else that of the first hop. Of a
    single migration: its rule.

    ``qemus``: those of each hop, as in :func:`make_traits`.
    """
    hops = case.list_hops()
    known = qemus or (None,) * len(hops)
    traits = [make_traits(hop, of_hop) for hop, of_hop in zip(hops, known, strict=True)]
    rules = [choose_rule(replace(of_hop, began=traits[0].source)) for of_hop in traits]
    if not case.then:
        return rules[0]
    for number, rule in enumerate(rules, start=1):
        if rule.expectation.verdict is not VerdictName.COMPLETED:
            return replace(rule, expectation=replace(rule.expectation, hop=number))
    return DEFAULT if len({rule.name for rule in rules}) > 1 else rules[0]


def find_named_rule(expectation: Expectation, traits: Traits) -> Rule | None:
    """Of the rules that hold only where a scenario names them, the one that an expectation is from, if it fits."""
    wanted = (expectation.verdict, expectation.side, expectation.reason)
    for rule in ORACLE:
        own = rule.expectation
        if not rule.automatic and (own.verdict, own.side, own.reason) == wanted and rule.condition(traits):
            return rule
    return None


def find_rule(name: str) -> Rule | None:
    """A rule of the oracle by its name or one of its aliases."""
    return next((rule for rule in ORACLE if name == rule.name or name in rule.aliases), None)
