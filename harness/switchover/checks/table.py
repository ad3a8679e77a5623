# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of checks of a migration that ended, in the order in which records have them."""

from collections.abc import Iterator

from switchover.checks import (
    device,
    dma,
    faults,
    guest,
    moved_bytes,
    pre_copy,
    properties,
    states,
)
from switchover.checks.evidence import Evidence
from switchover.guests.capabilities import GuestCapabilities
from switchover.record.checks import CheckId
from switchover.record.measurement import Check, NotChecked
from switchover.scenarios.case import Case, MediatedSpec, list_others

CHECKS = (
    *properties.CHECKS,
    *moved_bytes.CHECKS,
    *states.CHECKS,
    *pre_copy.CHECKS,
    *dma.CHECKS,
    *guest.CHECKS,
    *device.CHECKS,
    *faults.CHECKS,
)
"""All but those that a probe, a driver, a case in Python, or a second migration adds."""


def make_checks(evidence: Evidence) -> Iterator[Check]:
    """All checks that can be made from what is known."""
    for rule in CHECKS:
        if evidence.guest in rule.when and not evidence.before.capabilities.lacks(rule.needs):
            yield from rule.make(evidence)


def list_not_checked(case: Case, capabilities: GuestCapabilities) -> list[NotChecked]:
    """Checks that the case would have, and for want of what its guest or one of its devices does not."""
    lacking = [
        NotChecked(check, check.claim, lacking)
        for rule in CHECKS
        if rule.wanted(case) and (lacking := capabilities.lacks(rule.needs))
        for check in rule.ids
    ]
    told = {entry.id for entry in lacking}
    return [*lacking, *(entry for entry in _list_of_others(case) if entry.id not in told)]


def _list_of_others(case: Case) -> list[NotChecked]:
    """What is not checked of devices that are no reference devices, since only those can tell."""
    found: dict[CheckId, NotChecked] = {}
    for _, other in list_others("source", case.source):
        if other.id in case.unplugged or other.is_primary:
            continue
        known = other.known if isinstance(other, MediatedSpec) else None
        kind = f"of type {other.type}" if isinstance(other, MediatedSpec) else "a PCI function"
        name = f"{other.id} is {kind}, no reference device"
        for rule in CHECKS:
            for check, lacks in rule.only_reference.items():
                found.setdefault(check, NotChecked(check, check.claim, reason=f"{name}: {lacks}"))
            for check in rule.only_known if known is None else ():
                what = "nothing is known of what it offers and has to move"
                found.setdefault(check, NotChecked(check, check.claim, reason=f"{name}: {what}"))
    return list(found.values())
