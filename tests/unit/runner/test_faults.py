# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults are shown to have happened, and deaths of QEMUs are found."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.builders import make_truth

from switchover.devices.reference import Knobs
from switchover.migration.phases import Action, Intervened, Phase
from switchover.record.measurement import Check
from switchover.record.record import Death
from switchover.runner.faults import check_device_faults, check_faults, find_deaths, list_faults
from switchover.runner.side import Side
from switchover.scenarios.case import Case, DeviceSpec, SideSpec, in_order, with_one_device
from switchover.scenarios.faults import Fault

PANIC = "[ 23.6] Kernel panic - not syncing: sysrq triggered crash\n"


def make_side(
    status: int | None = None, *, killed: bool = False, begun: bool = True, console: str = "", spec: Any = None
) -> Side:
    guest = SimpleNamespace(
        exit_status=lambda: status, killed=killed, has_begun=begun, console=SimpleNamespace(text=lambda: console)
    )
    return cast(Side, SimpleNamespace(guest=guest, spec=spec))


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
    (check,) = check_faults(case, done, deaths(*sides, done), sides[0])
    assert (check.label, check.passed) == (f"migration.faults, {action} in active", shown)


@pytest.mark.parametrize(("console", "shown"), [(PANIC, True), ("BUG: x\nKernel panic - not syncing: y\n", False)])
def test_a_panic_is_shown_by_the_kernels_words(console: str, shown: bool) -> None:
    """A kernel that panics for another reason did not do what it was told."""
    case = Case("x", faults=(Fault(Action.PANIC_GUEST, Phase.ACTIVE),))
    (check,) = check_faults(case, [make(Action.PANIC_GUEST)], (), make_side(console=console))
    assert check.passed is shown


def test_each_fault_of_a_case_is_shown() -> None:
    """Each that was not made is told, once; one of two that are alike is not enough."""
    cut, cancel = Fault(Action.CUT_LINK, Phase.ACTIVE), Fault(Action.CANCEL, Phase.SETUP)
    case = Case("x", faults=(cancel, cut, cut))

    def passed(made: list[Intervened]) -> dict[str, bool]:
        checks: list[Check] = list(check_faults(case, made, (), LIVES))
        assert set(list_faults(case)) == {check.label for check in checks}
        return {check.subject: check.passed for check in checks}

    assert passed([]) == {"cancel in setup": False, "cut link in active": False}
    assert passed([make(Action.CUT_LINK)]) == {"cancel in setup": False, "cut link in active": False}
    assert passed([make(Action.CUT_LINK)] * 2) == {"cancel in setup": False, "cut link in active": True}


@pytest.mark.parametrize(
    ("side", "knobs", "asks"),
    [
        ("source", Knobs(fail_at="STOP_COPY"), True),
        ("source", Knobs(fail_at="read:4096"), True),
        ("source", Knobs(fail_at="write:4096"), False),
        ("source", Knobs(corrupt="stream"), True),
        ("source", Knobs(corrupt="state"), False),
        ("source", Knobs(), False),
        ("destination", Knobs(fail_at="load"), True),
        ("destination", Knobs(fail_at="STOP_COPY"), False),
        ("destination", Knobs(corrupt="state"), True),
        ("destination", Knobs(corrupt="stream"), False),
    ],
)
@pytest.mark.parametrize("count", [0, 1])
def test_a_devices_fault_is_shown_by_its_own_count(side: str, knobs: Knobs, asks: bool, count: int) -> None:
    """Of the faults that it made since before the migration; of a knob that is the other side's nothing is claimed."""
    spec = with_one_device(knobs)
    case = Case("x", source=spec) if side == "source" else Case("x", destination=spec)
    before = ((make_truth(faults=3),), (make_truth(faults=3),))
    after = tuple((make_truth(faults=3 + count * (name == side)),) for name in ("source", "destination"))
    checks = check_device_faults(case, before, cast(Any, after))
    assert [(check.label, check.passed) for check in checks] == [(f"device.fault, {side}", count > 0)] * asks
    assert list_faults(case) == (f"device.fault, {side}",) * asks


def test_a_second_migration_asks_for_no_fault() -> None:
    """The devices were put in order before it: that they then make none is as it is to be."""
    failing = with_one_device(Knobs(fail_at="STOP_COPY"))
    truths = ((make_truth(faults=1),), (make_truth(),))
    assert check_device_faults(in_order(Case("x", source=failing)), truths, truths) == []


def test_each_device_makes_its_own_fault() -> None:
    """Of two devices each that is to fail has to."""
    devices = (DeviceSpec(id="a"), DeviceSpec(id="b", knobs=Knobs(fail_at="STOP")))
    assert list_faults(Case("x", source=SideSpec(devices=devices))) == ("device.fault, source b",)
