# SPDX-License-Identifier: GPL-2.0-or-later
"""Verdicts: what happened to a repeat, from how it ended. Pure."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from switchover.guests.console import is_stall
from switchover.migration.progress import HangKind
from switchover.migration.session import MigrationResult
from switchover.record.checks import CheckId
from switchover.record.errors import Deadline, GuestCrashed, NotSupported, Refused, SwitchoverError
from switchover.record.measurement import Check
from switchover.record.record import Verdict, VerdictName
from switchover.run.passage import Passage
from switchover.scenarios.faults import Action

Starved = Callable[[float, float], str]
"""In words, which lab hosts did not get to run between two times (CLOCK_MONOTONIC, s), as
:meth:`StarvationMeter.find_starved` does; empty: all did, or nobody knows."""
_BEFORE_ERROR_S = 30.0
"""Where an error does not say how long it was waited for: what most commands may take."""


def knows_nothing(begin_s: float, end_s: float) -> str:
    """Hosts that nobody looked at."""
    return ""


FAILED_BY_CANCEL = "failed once it was to be cancelled"


def judge_passage(passage: Passage, starved: Starved = knows_nothing, began_s: float | None = None) -> Verdict:
    """A passage that was tried, whether it could be started or not. ``began_s``: see :func:`judge_result`."""
    if passage.error is not None:
        verdict = judge_error(passage.error, "migrate", starved)
        return replace(verdict, side=verdict.side or passage.ended)
    if passage.result is None:
        raise AssertionError("a passage has a result or an error")
    return judge_result(passage.result, passage.checks, starved, began_s)


def judge_result(
    result: MigrationResult,
    checks: Sequence[Check],
    starved: Starved = knows_nothing,
    began_s: float | None = None,
) -> Verdict:
    """A migration that was started and watched to its end, or until it was given up.

    What got nowhere on a lab host that itself did not get to run does not hang: that is the environment's doing. So is
    a guest whose kernel finds that its CPUs stood still, and nothing else that is wrong. ``began_s``: when the guest
    did, CLOCK_MONOTONIC; None: nobody knows.
    """
    if result.hang is not None:
        seen = result.hang.seen_s
        if seen is not None and (words := starved(seen - result.hang.seconds, seen)):
            return Verdict(VerdictName.INFRASTRUCTURE_ERROR, reason=f"migrate: {words}; meanwhile {result.hang}")
        return Verdict(VerdictName.HUNG, _SIDE_OF_HANG[result.hang.kind], str(result.hang))
    match result.status:
        case "completed":
            failed = [check for check in checks if not check.passed]
            if failed:
                first = failed[0]
                stalls = all(check.id == CheckId.GUEST_CONSOLE and is_stall(check.observed) for check in failed)
                if stalls and began_s is not None and (words := starved(began_s, time.monotonic())):
                    reason = f"{first.name}: {first.observed}; meanwhile {words}"
                    return Verdict(VerdictName.INFRASTRUCTURE_ERROR, reason=reason)
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


def judge_error(error: BaseException, phase: str, starved: Starved = knows_nothing) -> Verdict:
    """A repeat that ended in an error; ``phase`` is the step it happened in."""
    verdict = _judge_error(error, phase)
    hung = isinstance(error, Deadline) and verdict.name is VerdictName.HUNG
    if isinstance(error, SwitchoverError) and (hung or verdict.name is VerdictName.INFRASTRUCTURE_ERROR):
        waited = error.waited_s if isinstance(error, Deadline) else None
        words = starved(error.at_s - (_BEFORE_ERROR_S if waited is None else waited), error.at_s)
        if words:
            return Verdict(VerdictName.INFRASTRUCTURE_ERROR, reason=f"{verdict.reason}; meanwhile {words}")
    return verdict


def _judge_error(error: BaseException, phase: str) -> Verdict:
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
