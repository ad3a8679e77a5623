# SPDX-License-Identifier: GPL-2.0-or-later
"""Evidence to change, and checks made from it."""

from collections.abc import Iterable, Sequence
from typing import Any

from tests.unit.builders import make_answers

from switchover.checks.evidence import Asked, Evidence, SideEvidence, Whereabouts
from switchover.checks.rule import CheckRule
from switchover.checks.table import CHECKS
from switchover.guests.questions import GuestAnswers, GuestReply
from switchover.record.checks import CheckId
from switchover.record.measurement import Check
from switchover.scenarios.case import Case

PLAIN = Case("x")


def make_evidence(
    before: GuestAnswers | None = None,
    after: GuestAnswers | None = None,
    guest: Whereabouts = Whereabouts.ARRIVED,
    case: Case = PLAIN,
    **changes: Any,
) -> Evidence:
    """Of a guest that said ``before`` what it said, and ``after`` it too; sides without devices."""
    asked = Asked(GuestReply(after or make_answers(2)))
    sides = SideEvidence("source"), SideEvidence("destination", "yes")
    values: dict[str, Any] = {"before": before or make_answers(1), "asked": asked} | changes
    return Evidence(case, guest, *sides, **values)


def make_some(evidence: Evidence, *ids: CheckId, rules: Iterable[CheckRule] = CHECKS) -> list[Check]:
    """The checks with these ids, or all, that the rules make which are for such evidence."""
    made = [check for rule in rules if evidence.guest in rule.when for check in rule.make(evidence)]
    return [check for check in made if not ids or check.id in ids]


def failed(checks: Sequence[Check]) -> list[str]:
    return [check.label for check in checks if not check.passed]
