# SPDX-License-Identifier: GPL-2.0-or-later
"""Verdicts: what happened to a repeat, from how it ended. Pure."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from switchover.guests.console import is_stall
from switchover.hosts.host import UNKNOWN_SIGNAL
from switchover.migration.phases import TERMINAL, Action, Phase
from switchover.migration.progress import HangKind
from switchover.migration.session import MigrationResult
from switchover.record.checks import CheckId
from switchover.record.errors import Deadline, GuestCrashed, NotSupported, Refused, SwitchoverError
from switchover.record.measurement import Check
from switchover.record.record import Death, Race, Verdict, VerdictName
from switchover.runner.attempt import Attempt

Starved = Callable[[float, float], str]
"""In words, which lab hosts did not get to run between two times (CLOCK_MONOTONIC, s), as
:meth:`StarvationMeter.find_starved` does; empty: all did, or nobody knows."""
_BEFORE_ERROR_S = 30.0
"""Where an error does not say how long it was waited for: what most commands may take."""


def knows_nothing(begin_s: float, end_s: float) -> str:
    """Hosts that nobody looked at."""
    return ""


def judge_attempt(attempt: Attempt, starved: Starved = knows_nothing, began_s: float | None = None) -> Verdict:
    """An attempt that was tried, whether it could be started or not. ``began_s``: see :func:`judge_result`."""
    if attempt.error is not None:
        verdict = judge_error(attempt.error, "migrate", starved)
        return _tell_death(replace(verdict, side=verdict.side or attempt.ended), attempt.deaths)
    if attempt.result is None:
        raise AssertionError("an attempt has a result or an error")
    return _tell_death(judge_result(attempt.result, attempt.checks, starved, began_s), attempt.deaths)


def _tell_death(verdict: Verdict, deaths: Sequence[Death]) -> Verdict:
    """A QEMU that died is told before all that it may be the cause of; of two, the one that no fault made."""
    if verdict.name in (VerdictName.COMPLETED, VerdictName.CHECKS_FAILED):
        # a kill of the source that came too late has ended what the guest had left
        deaths = [one for one in deaths if not (one.made and one.side == "source")]
    if not deaths or verdict.name is VerdictName.CRASHED:
        return verdict
    death = min(deaths, key=lambda one: one.made)
    ended = f"was killed by signal {-death.status}" if death.status < 0 else f"ended with exit status {death.status}"
    if death.status == UNKNOWN_SIGNAL:
        ended = "was killed by a signal"
    said = f"; without that: {verdict.name}" + (f" ({verdict.reason})" if verdict.reason else "")
    return Verdict(VerdictName.CRASHED, death.side, f"migrate: the {death.side}'s QEMU {ended}{said}")


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
            return Verdict(VerdictName.COMPLETED, race=find_race(result, checks))
        case "cancelled":
            return Verdict(VerdictName.CANCELLED, "source", result.error, find_race(result, checks))
        case "failed" if race := find_race(result, checks):
            words = "; ".join(word for word in (result.error, result.destination_error) if word)
            return Verdict(VerdictName.FAILED, "source", f"failed: {words}", race)
        case status if result.destination_error and (result.failed_first != "source" or _was_closed(result.error)):
            return Verdict(VerdictName.FAILED, "destination", f"{status}: {result.destination_error}")
        case status:
            return Verdict(VerdictName.FAILED, "source", f"{status}: {result.error}")


def _was_closed(error: str) -> bool:
    """Whether a source only says that the other end has closed the stream. A destination closes it as soon as it fails,
    and has the status failed once its threads have ended, which may be later than the source has it.
    """
    return re.fullmatch(r"Unable to write to socket: (Broken pipe|Connection reset by peer)", error) is not None


def find_race(result: MigrationResult, checks: Sequence[Check]) -> Race:
    """Whether QEMU's own race of a cancel decided what came of it, by what is known of it (docs/concepts.md, Faults).

    - The source fails on its stream, which its cancel has shut down, and never was ``cancelling``: neither side had
      failed before the cancel began, and no device of the destination made a fault.
    - Of a cancel in stop-copy, the guest runs at both ends, and nothing is wrong but what two guests with one address
      make wrong; or it was heard so late that the migration completed, with nothing wrong.
    """
    cancels = [one for one in result.interventions if one.name == Action.CANCEL and one.status not in (None, *TERMINAL)]
    if not cancels:
        return Race.NONE
    failed = {check.id for check in checks if not check.passed}
    if any(one.phase is Phase.DEVICE_STOP_COPY for one in cancels):
        if result.status == "completed":
            return Race.NONE if failed else Race.TOO_LATE
        if CheckId.GUEST_NOT_ON_DESTINATION in failed and failed <= _OF_TWO_GUESTS:
            return Race.RUNS_TWICE
    if result.status != "failed":
        return Race.NONE
    began = cancels[0].began_ns
    was_cancelling = any(said.status == "cancelling" for said in result.statuses.get("source", ()))
    failed_before = any(
        said.status == "failed" and said.arrived_ns < began for told in result.statuses.values() for said in told
    )
    at_destination = any(
        check.id == CheckId.DEVICE_FAULT and check.passed and check.subject.startswith("destination")
        for check in checks
    )
    return Race.NONE if was_cancelling or failed_before or at_destination else Race.FAILED


_OF_TWO_GUESTS = {
    CheckId.GUEST_NOT_ON_DESTINATION,
    CheckId.GUEST_CONNECTION_SURVIVES,
    CheckId.DEVICE_GENERATION,
    CheckId.MIGRATION_AGAIN,
}
"""What is not in order where a guest runs at both ends: either of the two answers at their one address."""

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
        case Refused(command="migrate") if phase == "migrate":
            return Verdict(VerdictName.BLOCKED, "source", error.why)
        case Refused():
            return Verdict(VerdictName.REFUSED, reason=reason)
        case NotSupported():
            return Verdict(VerdictName.NOT_SUPPORTED, reason=reason)
        case GuestCrashed():
            return Verdict(VerdictName.CRASHED, error.side, reason)
        case Deadline() if phase == "migrate":
            return Verdict(VerdictName.HUNG, reason=reason)
        case SwitchoverError():
            return Verdict(VerdictName.INFRASTRUCTURE_ERROR, reason=reason)
        case KeyboardInterrupt():
            return Verdict(VerdictName.INFRASTRUCTURE_ERROR, reason=f"{phase}: interrupted")
        case _:
            return Verdict(VerdictName.INFRASTRUCTURE_ERROR, reason=f"{phase}: {type(error).__name__}: {error}")
