# SPDX-License-Identifier: GPL-2.0-or-later
"""Verdicts: what happened to a repeat, from how it ended. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from switchover.migration.progress import HangKind
from switchover.migration.session import MigrationResult
from switchover.record.errors import Deadline, GuestCrashed, NotSupported, Refused, SwitchoverError
from switchover.record.measurement import Check
from switchover.record.record import Verdict, VerdictName
from switchover.run.passage import Passage
from switchover.scenarios.faults import Action

FAILED_BY_CANCEL = "failed once it was to be cancelled"


def judge_passage(passage: Passage) -> Verdict:
    """A passage that was tried, whether it could be started or not."""
    if passage.error is not None:
        verdict = judge_error(passage.error, "migrate")
        return replace(verdict, side=verdict.side or passage.ended)
    if passage.result is None:
        raise AssertionError("a passage has a result or an error")
    return judge_result(passage.result, passage.checks)


def judge_result(result: MigrationResult, checks: Sequence[Check]) -> Verdict:
    """A migration that was started and watched to its end, or until it was given up."""
    if result.hang is not None:
        return Verdict(VerdictName.HUNG, _SIDE_OF_HANG[result.hang.kind], str(result.hang))
    match result.status:
        case "completed":
            failed = [check for check in checks if not check.passed]
            if failed:
                first = failed[0]
                reason = f"{first.name}: expected {first.expected}, observed {first.observed}"
                return Verdict(VerdictName.CHECKS_FAILED, reason=reason)
            return Verdict(VerdictName.COMPLETED)
        case "cancelled":
            return Verdict(VerdictName.CANCELLED, "source", result.error)
        case status if result.destination_exit is not None and result.destination_exit < 0:
            reason = f"{status}: the destination's QEMU was killed by a signal; the source says: {result.error}"
            return Verdict(VerdictName.CRASHED, "destination", reason)
        case "failed" if any(made.name == Action.CANCEL for made in result.interventions):
            # the source closes the stream before it says that it is cancelled (docs/concepts.md, Faults)
            words = "; ".join(word for word in (result.error, result.destination_error) if word)
            return Verdict(VerdictName.FAILED, "source", f"{FAILED_BY_CANCEL}: {words}")
        case status if result.destination_error and result.failed_first != "source":
            return Verdict(VerdictName.FAILED, "destination", f"{status}: {result.destination_error}")
        case status:
            return Verdict(VerdictName.FAILED, "source", f"{status}: {result.error}")


_SIDE_OF_HANG = {
    HangKind.ACK_STARVED: "source",
    HangKind.NOT_CONVERGING: "source",
    HangKind.NO_PROGRESS: "destination",
    HangKind.NO_END: "",
}


def judge_error(error: BaseException, phase: str) -> Verdict:
    """A repeat that ended in an error; ``phase`` is the step it happened in."""
    reason = f"{phase}: {error}"
    match error:
        case Refused() if phase == "migrate" and "rejected migrate." in error.what:
            return Verdict(VerdictName.BLOCKED, "source", error.why)
        case Refused():
            return Verdict(VerdictName.REFUSED, reason=reason)
        case NotSupported():
            return Verdict(VerdictName.NOT_SUPPORTED, reason=reason)
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
