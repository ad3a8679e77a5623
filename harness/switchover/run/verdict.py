# SPDX-License-Identifier: GPL-2.0-or-later
"""Verdicts: what happened to a repeat, from how it ended. Pure."""

from collections.abc import Sequence

from switchover.migration.session import MigrationResult
from switchover.record.errors import Deadline, GuestCrashed, Refused, SwitchoverError
from switchover.record.measurement import Check
from switchover.record.record import Verdict, VerdictName


def judge_result(result: MigrationResult, checks: Sequence[Check]) -> Verdict:
    """A migration that was started and watched to its end, or to its deadline."""
    match result.status:
        case "completed":
            failed = [check for check in checks if not check.passed]
            if failed:
                first = failed[0]
                reason = f"{first.name}: expected {first.expected}, observed {first.observed}"
                return Verdict(VerdictName.CHECKS_FAILED, reason=reason)
            return Verdict(VerdictName.COMPLETED)
        case None:
            return Verdict(VerdictName.HUNG, "source", describe_hang(result))
        case status if result.destination_error:
            return Verdict(VerdictName.FAILED, "destination", f"{status}: {result.destination_error}")
        case status:
            return Verdict(VerdictName.FAILED, "source", f"{status}: {result.error}")


def judge_error(error: BaseException, phase: str) -> Verdict:
    """A repeat that ended in an error; ``phase`` is the step it happened in."""
    reason = f"{phase}: {error}"
    match error:
        case Refused() if phase == "migrate" and "rejected migrate." in error.what:
            return Verdict(VerdictName.BLOCKED, "source", error.why)
        case Refused():
            return Verdict(VerdictName.REFUSED, reason=reason)
        case GuestCrashed():
            return Verdict(VerdictName.CRASHED, reason=reason)
        case Deadline() if phase == "migrate":
            return Verdict(VerdictName.HUNG, reason=reason)
        case SwitchoverError():
            return Verdict(VerdictName.INFRASTRUCTURE_ERROR, reason=reason)
        case KeyboardInterrupt():
            return Verdict(VerdictName.INFRASTRUCTURE_ERROR, reason=f"{phase}: interrupted")
        case _:
            return Verdict(VerdictName.INFRASTRUCTURE_ERROR, reason=f"{phase}: {type(error).__name__}: {error}")


def describe_hang(result: MigrationResult) -> str:
    """Evidence for a migration without an end: what was pending, and how long it had been tried."""
    if not result.samples:
        return f"no terminal status within {result.wall_seconds:.0f} s, and QEMU told no counters"
    last = result.samples[-1].reply
    remaining, moved = last.get("ram", {}).get("remaining"), last.get("vfio", {}).get("transferred")
    return (
        f"no terminal status within {result.wall_seconds:.0f} s: status {last.get('status')}, "
        f"RAM remaining {remaining} bytes, VFIO transferred {moved} bytes, "
        f"expected downtime {last.get('expected-downtime')} ms"
    )
