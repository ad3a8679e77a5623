# SPDX-License-Identifier: GPL-2.0-or-later
"""How a repeat ended, by the types of what happened. Pure."""

from switchover.migration.progress import HangKind
from switchover.record.ending import Ending
from switchover.record.errors import GuestCrashed, HostLost
from switchover.record.record import VerdictName
from switchover.runner.attempt import Attempt

_OF_HANG = {
    HangKind.ACK_STARVED: Ending.ACK_STARVED,
    HangKind.NOT_CONVERGING: Ending.NOT_CONVERGING,
    HangKind.NO_PROGRESS: Ending.NO_PROGRESS,
    HangKind.NO_END: Ending.BY_ITSELF,
}


def find_ending(verdict: VerdictName, attempt: Attempt, error: BaseException | None, *, starved: bool) -> Ending:
    """``error``: what ended the repeat besides its attempt; None: nothing did. ``starved``: the verdict is what it is
    since lab hosts did not get to run.
    """
    error = error or attempt.error
    killed = any(death.status < 0 for death in attempt.deaths)
    if isinstance(error, GuestCrashed) and error.exit_status is not None:
        killed = error.exit_status < 0
    if isinstance(error, KeyboardInterrupt):
        return Ending.INTERRUPTED
    if starved:
        return Ending.HOST_STARVED
    if isinstance(error, HostLost):
        return Ending.HOST_LOST
    if verdict is VerdictName.CRASHED and killed:
        return Ending.KILLED
    if verdict is VerdictName.HUNG and attempt.result and attempt.result.hang:
        return _OF_HANG[attempt.result.hang.kind]
    return Ending.BY_ITSELF
