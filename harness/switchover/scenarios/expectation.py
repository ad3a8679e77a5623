# SPDX-License-Identifier: GPL-2.0-or-later
"""What must happen to a case, and whether what happened is that, for the expected reason. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from switchover.record.measurement import Check
from switchover.record.record import Verdict, VerdictName


@dataclass(frozen=True)
class Expectation:
    """What must happen to a case."""

    verdict: VerdictName
    """what must happen"""
    side: str = ""
    """the side that must say why; empty if it does not matter"""
    reason: str = ""
    """a regular expression that is searched for in the verdict's reason, and, if the verdict is checks-failed, in the
    ids of the checks that failed; empty if the reason does not matter"""
    because: str = ""
    """why this is expected, with the source of that knowledge"""
    pre_copy: Literal["on", "off", ""] = ""
    """whether the source's devices must have gone through PRE_COPY, if the migration completes; empty if they must do
    so exactly when the device offers it and QEMU allows it"""


COMPLETES = Expectation(VerdictName.COMPLETED)


def find_mismatch(expectation: Expectation, verdict: Verdict, checks: Sequence[Check]) -> str:
    """Why a case is not right; empty if it is.

    Checks count with every verdict: after a migration that did not complete they are about the guest that stayed.
    With ``checks-failed`` expected they are what the verdict is about, and one of them may be its reason.
    """
    if verdict.name is not expectation.verdict:
        return f"expected {expectation.verdict}, was {verdict.name}"
    if expectation.side and verdict.side != expectation.side:
        was = f"the {verdict.side}" if verdict.side else "no side in particular"
        return f"expected {verdict.name} by the {expectation.side}, was by {was}"
    failed = [check for check in checks if not check.passed]
    reasons = [verdict.reason]
    if verdict.name is VerdictName.CHECKS_FAILED:
        reasons += [check.label for check in failed]
    if expectation.reason and not any(re.search(expectation.reason, reason) for reason in reasons):
        return f"expected a reason with {expectation.reason!r}, was: {verdict.reason or 'none'}"
    if failed and verdict.name is not VerdictName.CHECKS_FAILED:
        return f"{verdict.name} as expected, but checks failed: {'; '.join(check.name for check in failed)}"
    return ""
