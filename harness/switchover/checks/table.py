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
from switchover.record.measurement import Check, NotChecked
from switchover.scenarios.case import Case

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
    """Checks that the case would have, and for want of what its guest does not."""
    return [
        NotChecked(check, check.claim, lacking)
        for rule in CHECKS
        if rule.wanted(case) and (lacking := capabilities.lacks(rule.needs))
        for check in rule.ids
    ]
