# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMUs that died are found, and which of them a fault of the case made."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from switchover.checks.faults import check_faults
from switchover.migration.phases import Action, Intervened, Phase
from switchover.record.record import Death
from switchover.runner.deaths import find_deaths
from switchover.runner.side import Side
from switchover.scenarios.case import Case
from switchover.scenarios.faults import Fault


def make_side(status: int | None = None, *, killed: bool = False, begun: bool = True) -> Side:
    guest = SimpleNamespace(exit_status=lambda: status, killed=killed, has_begun=begun)
    return cast(Side, SimpleNamespace(guest=guest))


def make(action: Action) -> Intervened:
    return Intervened(action, Phase.ACTIVE, "active", 1, 2)


def deaths(
    source: Side, destination: Side, made: Sequence[Intervened] = (), *, completed: bool = False, hung: bool = False
) -> tuple[Death, ...]:
    return find_deaths(source, destination, made, completed=completed, hung=hung)


LIVES = make_side()


def test_qemus_that_live_or_end_as_usual() -> None:
    """A destination ends with a migration that fails, libvirt ends the source of one that completed or never starts
    the destination.
    """
    assert deaths(LIVES, LIVES) == ()
    assert deaths(LIVES, make_side(1)) == ()
    assert deaths(LIVES, make_side(0)) == ()
    assert deaths(make_side(0), LIVES, completed=True) == ()
    assert deaths(LIVES, make_side(-9, begun=False)) == ()


@pytest.mark.parametrize(
    ("source", "destination", "completed", "found"),
    [
        (make_side(-11), LIVES, True, Death("source", -11)),
        (make_side(0), LIVES, False, Death("source", 0)),
        (make_side(1), LIVES, True, Death("source", 1)),
        (LIVES, make_side(-6), False, Death("destination", -6)),
        (LIVES, make_side(1), True, Death("destination", 1)),
    ],
)
def test_a_qemu_that_dies(source: Side, destination: Side, completed: bool, found: Death) -> None:
    """By a signal, or where it has a guest that it should run."""
    assert deaths(source, destination, completed=completed) == (found,)


def test_what_the_harness_ends_did_not_die() -> None:
    """A destination that it kills to end a hang did not; one that had died before did, and so did one that a fault
    killed.
    """
    assert deaths(LIVES, make_side(-9, killed=True), hung=True) == ()
    assert deaths(LIVES, make_side(-6), hung=True) == (Death("destination", -6),)
    kill = make(Action.KILL_DESTINATION)
    assert deaths(LIVES, make_side(-9, killed=True), [kill], hung=True) == (Death("destination", -9, made=True),)


@pytest.mark.parametrize("action", [Action.KILL_SOURCE, Action.KILL_DESTINATION])
@pytest.mark.parametrize(
    ("status", "killed", "made", "shown"),
    [
        (-9, True, True, True),
        (-1, True, True, True),
        (-11, False, False, False),
        (-11, True, True, False),
        (-9, False, False, False),
        (None, True, True, False),
    ],
)
def test_a_kill_is_shown_by_the_exit_that_it_causes(
    action: Action, status: int | None, killed: bool, made: bool, shown: bool
) -> None:
    """Not by any death of that QEMU: it must have been killed while it lived, and have ended by that."""
    case = Case("x", faults=(Fault(action, Phase.ACTIVE),))
    side, done = make_side(status, killed=killed), [make(action)] * made
    sides = (side, LIVES) if action is Action.KILL_SOURCE else (LIVES, side)
    (check,) = check_faults(case, done, deaths(*sides, done), "")
    assert (check.label, check.passed) == (f"migration.faults, {action} in active", shown)
