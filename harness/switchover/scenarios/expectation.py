# SPDX-License-Identifier: GPL-2.0-or-later
"""What must happen to a case, and whether what happened is that, for the expected reason. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from switchover.record.checks import CheckId
from switchover.record.measurement import Check, NotChecked
from switchover.record.mismatch import Mismatch, MismatchKind, render_mismatches
from switchover.record.record import Death, Verdict, VerdictName


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
    """of a migration that completes, whether the source's devices must have gone through PRE_COPY; empty: as the
    device offers it and QEMU allows it"""
    checks: tuple[str, ...] = ()
    """with checks-failed, the checks that may fail, each by `id`, whatever its subject, or by `id, subject`; any other
    failed check is not as expected. Empty: those that `reason` is found in"""
    hop: int = 0
    """of a chain of migrations, the number of the hop that must end so, from 1; 0: there is no chain, or whichever
    it is"""
    downtime_ms: str = ""
    """of a migration that completes, the bound of the explained downtime in milliseconds, such as `≤ 300`; empty: there
    is none"""
    outside_downtime_ms: str = ""
    """the same, of the downtime that the outside sees"""

    def with_bounds_of(self, other: "Expectation") -> "Expectation":
        """The same, with the bounds of another one."""
        return replace(self, downtime_ms=other.downtime_ms, outside_downtime_ms=other.outside_downtime_ms)


COMPLETES = Expectation(VerdictName.COMPLETED)
FAULT_CHECKS = (
    CheckId.MIGRATION_FAULTS,
    CheckId.DEVICE_FAULT,
    CheckId.DEVICE_OTHER_VERSION,
    CheckId.DEVICE_REINIT,
)
"""Checks that show that a fault which the case makes has happened. No expectation allows them to fail."""
_BEFORE_FAULTS = (VerdictName.REFUSED, VerdictName.BLOCKED, VerdictName.NOT_SUPPORTED)
"""Verdicts on a migration that was never started: what was to be done to it, or in it, explains nothing."""


def find_mismatches(
    expectation: Expectation,
    verdict: Verdict,
    checks: Sequence[Check],
    faults: Sequence[str] = (),
    deaths: Sequence[Death] = (),
    not_checked: Sequence[NotChecked] = (),
) -> tuple[Mismatch, ...]:
    """All in which a case is not right; empty if it is.

    Checks count with every verdict: after a migration that did not complete they are about the guest that stayed.
    ``faults``: labels of the checks that show that the case's faults have happened. Where one of these did not pass,
    the case says nothing about its fault, and is not right even if all else is as expected. ``not_checked``: a check
    that was not made counts neither way, unless the case depends on it.
    """
    first = _compare_verdict(expectation, verdict, checks)
    return (
        *([first] if first else _compare_checks(expectation, verdict, checks)),
        *_find_unmade(verdict, checks, () if first else faults),
        *_find_deaths(verdict, deaths),
        *([] if first else _find_missing(verdict, not_checked)),
    )


def find_mismatch(
    expectation: Expectation,
    verdict: Verdict,
    checks: Sequence[Check],
    faults: Sequence[str] = (),
    deaths: Sequence[Death] = (),
    not_checked: Sequence[NotChecked] = (),
) -> str:
    """The same for people; empty: the case is right."""
    return render_mismatches(find_mismatches(expectation, verdict, checks, faults, deaths, not_checked))


def _compare_verdict(expectation: Expectation, verdict: Verdict, checks: Sequence[Check]) -> Mismatch | None:
    name = verdict.name
    if name is not expectation.verdict:
        return Mismatch(MismatchKind.VERDICT, str(expectation.verdict), str(name))
    if expectation.side and verdict.side != expectation.side:
        return Mismatch(MismatchKind.SIDE, expectation.side, verdict.side, name)
    if expectation.hop and verdict.hop != expectation.hop:
        return Mismatch(MismatchKind.HOP, str(expectation.hop), str(verdict.hop), name)
    reasons = [verdict.reason]
    if name is VerdictName.CHECKS_FAILED:
        reasons += [check.label for check in checks if not check.passed]
    if expectation.reason and not any(re.search(expectation.reason, reason) for reason in reasons):
        return Mismatch(MismatchKind.REASON, expectation.reason, verdict.reason, name)
    return None


def _compare_checks(expectation: Expectation, verdict: Verdict, checks: Sequence[Check]) -> Iterator[Mismatch]:
    wrong = [
        check
        for check in checks
        if not check.passed and check.id not in FAULT_CHECKS and not _may_fail(expectation, check)
    ]
    if wrong:
        labels, sentences = tuple(check.label for check in wrong), tuple(check.name for check in wrong)
        yield Mismatch(MismatchKind.CHECKS, verdict=str(verdict.name), members=labels, sentences=sentences)


def _may_fail(expectation: Expectation, check: Check) -> bool:
    if expectation.verdict is not VerdictName.CHECKS_FAILED:
        return False
    if expectation.checks:
        return str(check.id) in expectation.checks or check.label in expectation.checks
    told = (check.label, f"{check.name}: expected {check.expected}, observed {check.observed}")
    return bool(expectation.reason) and any(re.search(expectation.reason, text) for text in told)


def _find_unmade(verdict: Verdict, checks: Sequence[Check], faults: Sequence[str]) -> Iterator[Mismatch]:
    shown = {check.label for check in checks if check.passed}
    unmade = [check.label for check in checks if check.id in FAULT_CHECKS and not check.passed]
    if verdict.name not in _BEFORE_FAULTS:
        unmade += [label for label in faults if label not in shown]
    if unmade:
        yield Mismatch(MismatchKind.FAULT, members=tuple(dict.fromkeys(unmade)))


def _find_deaths(verdict: Verdict, deaths: Sequence[Death]) -> Iterator[Mismatch]:
    """One that a fault made, or else that of the side which the verdict crashed names, is what the verdict is about."""
    unexpected = [death for death in deaths if not death.made]
    if verdict.name is VerdictName.CRASHED and len(unexpected) == len(deaths):
        unexpected = [death for death in unexpected if death.side != verdict.side]
    if unexpected:
        yield Mismatch(MismatchKind.DEATH, members=tuple(dict.fromkeys(death.side for death in unexpected)))


def _find_missing(verdict: Verdict, not_checked: Sequence[NotChecked]) -> Iterator[Mismatch]:
    if missing := [entry for entry in not_checked if entry.needed]:
        labels, sentences = zip(*((str(entry.id), f"{entry.check}: {entry.why}") for entry in missing), strict=True)
        yield Mismatch(MismatchKind.NOT_MADE, verdict=str(verdict.name), members=labels, sentences=sentences)
