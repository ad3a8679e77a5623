# SPDX-License-Identifier: GPL-2.0-or-later
"""How a repeat ended, from the types of what happened, whatever their texts say."""

import pytest
from tests.unit.builders import make_result

from switchover.migration.progress import Hang, HangKind
from switchover.record.ending import Ending
from switchover.record.errors import CommandFailed, GuestCrashed, HostLost, NotReady
from switchover.record.record import Death, VerdictName
from switchover.runner.attempt import Attempt
from switchover.runner.ending import find_ending

V = VerdictName
NOTHING = Attempt(None, {}, {})


def died(status: str, signal: int) -> Attempt:
    return Attempt(make_result(status), {}, {}, deaths=(Death("destination", signal),))


def hung(kind: HangKind) -> Attempt:
    return Attempt(make_result("active", hang=Hang(kind, 9.0, "")), {}, {})


@pytest.mark.parametrize(
    ("verdict", "attempt", "error", "starved", "ending"),
    [
        (V.COMPLETED, Attempt(make_result(), {}, {}), None, False, Ending.BY_ITSELF),
        (V.INFRASTRUCTURE_ERROR, NOTHING, KeyboardInterrupt(), False, Ending.INTERRUPTED),
        (V.INFRASTRUCTURE_ERROR, NOTHING, HostLost("x"), False, Ending.HOST_LOST),
        (V.INFRASTRUCTURE_ERROR, Attempt(None, {}, {}, error=HostLost("x")), None, False, Ending.HOST_LOST),
        (V.INFRASTRUCTURE_ERROR, NOTHING, HostLost("x"), True, Ending.HOST_STARVED),
        (V.INFRASTRUCTURE_ERROR, hung(HangKind.NO_PROGRESS), None, True, Ending.HOST_STARVED),
        (V.INFRASTRUCTURE_ERROR, NOTHING, NotReady("hosta does not answer"), False, Ending.BY_ITSELF),
        (V.INFRASTRUCTURE_ERROR, NOTHING, CommandFailed("killed by signal 9"), False, Ending.BY_ITSELF),
        (V.CRASHED, NOTHING, GuestCrashed("x", exit_status=-9), False, Ending.KILLED),
        (V.CRASHED, NOTHING, GuestCrashed("x", exit_status=1), False, Ending.BY_ITSELF),
        (V.CRASHED, NOTHING, GuestCrashed("killed by a signal"), False, Ending.BY_ITSELF),
        (V.CRASHED, died("failed", -11), None, False, Ending.KILLED),
        (V.COMPLETED, died("completed", -9), None, False, Ending.BY_ITSELF),
        (V.HUNG, hung(HangKind.ACK_STARVED), None, False, Ending.ACK_STARVED),
        (V.HUNG, hung(HangKind.NOT_CONVERGING), None, False, Ending.NOT_CONVERGING),
        (V.HUNG, hung(HangKind.NO_PROGRESS), None, False, Ending.NO_PROGRESS),
        (V.HUNG, hung(HangKind.NO_END), None, False, Ending.BY_ITSELF),
    ],
)
def test_an_ending(
    verdict: VerdictName, attempt: Attempt, error: BaseException | None, starved: bool, ending: Ending
) -> None:
    """Types decide: an error that only reads like a lost host or a signal is none. Starvation comes before what it does
    to others.
    """
    assert find_ending(verdict, attempt, error, starved=starved) is ending
