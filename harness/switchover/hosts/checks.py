# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks of the doctor: every one runs, and each failure says what it blocks and the command that mends it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from switchover.record.errors import SwitchoverError


class Outcome(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    UNVERIFIABLE = "unverifiable"
    """It could not be found out here, which is no failure."""


@dataclass(frozen=True)
class Finding:
    """What a check found: what was seen, and the command that mends it (empty where there is none)."""

    outcome: Outcome
    seen: str
    fix: str = ""


def passed(seen: str) -> Finding:
    return Finding(Outcome.PASSED, seen)


def failed(seen: str, fix: str) -> Finding:
    return Finding(Outcome.FAILED, seen, fix)


def unverifiable(seen: str, fix: str = "") -> Finding:
    return Finding(Outcome.UNVERIFIABLE, seen, fix)


@dataclass(frozen=True)
class Check:
    """A question with a name. ``blocks``: what does not work when it fails (``demo``, ``lab``, ``test``,
    ``host NAME``); nothing: worth knowing only.
    """

    name: str
    blocks: tuple[str, ...]
    find: Callable[[], Finding]


@dataclass(frozen=True)
class CheckResult:
    """A check that was made."""

    name: str
    outcome: Outcome
    seen: str
    blocks: tuple[str, ...]
    fix: str


def run_checks(checks: Iterable[Check]) -> list[CheckResult]:
    """All of them, in order. One that raises has failed, and the others run."""
    return [_run(check) for check in checks]


def _run(check: Check) -> CheckResult:
    try:
        finding = check.find()
    except SwitchoverError as error:
        finding = failed(f"{error.what} {error.why}".strip(), error.fix)
    except Exception as error:
        finding = failed(
            f"the check itself failed: {type(error).__name__}: {error}", "report it: this is a bug of switchover"
        )
    return CheckResult(check.name, finding.outcome, finding.seen, check.blocks, finding.fix)


def find_blocking(results: Iterable[CheckResult], targets: Iterable[str]) -> list[CheckResult]:
    """Failed checks that block one of ``targets``."""
    wanted = set(targets)
    return [result for result in results if result.outcome is Outcome.FAILED and wanted & set(result.blocks)]
