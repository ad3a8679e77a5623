# SPDX-License-Identifier: GPL-2.0-or-later
"""Waits end: by their condition, by their deadline with their name, or early by an invariant."""

import itertools
import time

import pytest

from switchover.hosts.waiting import pace, paced, stretch, wait_until
from switchover.record.errors import Deadline, GuestCrashed


def test_the_first_value_is_returned() -> None:
    """Neither None nor False ends a wait; 0 and an empty text do, they are values."""
    values: list[object] = [None, False, 0]
    assert wait_until("x", lambda: values.pop(0), timeout=5, poll=0) == 0
    assert wait_until("x", str, timeout=5) == ""


def test_a_deadline_names_the_wait() -> None:
    """After the timeout, and not long after it, the error names what was waited for."""
    start = time.monotonic()
    with pytest.raises(Deadline, match=r"Waited 0\.2 s for the guest to boot"):
        wait_until("the guest to boot", lambda: None, timeout=0.2)
    assert 0.2 <= time.monotonic() - start < 2


def test_a_condition_is_asked_even_with_no_time() -> None:
    """With a timeout of 0 the condition still has one chance."""
    assert wait_until("x", lambda: True, timeout=0) is True


def test_an_invariant_ends_a_wait_early() -> None:
    """What an invariant raises ends the wait at once, long before the deadline."""
    rounds = itertools.count()

    def require_alive() -> None:
        if next(rounds) == 2:
            raise GuestCrashed("QEMU ended")

    start = time.monotonic()
    with pytest.raises(GuestCrashed, match="QEMU ended"):
        wait_until("x", lambda: None, timeout=60, invariants=[lambda: None, require_alive], poll=0.01)
    assert time.monotonic() - start < 5


def test_an_invariant_comes_before_the_condition() -> None:
    """A value that a dead QEMU left behind does not count."""

    def dead() -> None:
        raise GuestCrashed("QEMU ended")

    with pytest.raises(GuestCrashed):
        wait_until("x", lambda: True, timeout=60, invariants=[dead])


def test_without_a_lab_deadlines_are_as_they_are() -> None:
    """Hosts that nobody measured have the pace 1."""
    assert pace() == 1
    assert stretch(7.5) == 7.5


def test_deadlines_are_longer_on_slow_hosts() -> None:
    """For the time of the block, and of two labs the slower one counts; afterwards all is as before."""
    with paced(2):
        with paced(3), paced(2.5):
            assert stretch(10) == 30
        assert stretch(10) == 20
    assert pace() == 1


def test_an_error_ends_the_pace_too() -> None:
    """Nothing of a lab stays when a run in it fails."""
    with pytest.raises(Deadline), paced(2):
        raise Deadline("x")
    assert pace() == 1


def test_a_wait_is_stretched_unless_its_bound_is_exact() -> None:
    """The error tells how long it really was, and so does its attribute."""
    with paced(3):
        with pytest.raises(Deadline, match=r"Waited 0\.3 s for x") as caught:
            wait_until("x", lambda: None, timeout=0.1)
        assert caught.value.waited_s == pytest.approx(0.3)
        with pytest.raises(Deadline, match=r"Waited 0\.1 s for x"):
            wait_until("x", lambda: None, timeout=0.1, exact=True)


def test_an_error_knows_when_it_was() -> None:
    """On the clock of waits."""
    begin = time.monotonic()
    assert begin <= Deadline("x").at_s <= time.monotonic()
