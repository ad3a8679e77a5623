# SPDX-License-Identifier: GPL-2.0-or-later
"""Leases, and the waiting for them, with a backend of a few lines."""

from collections.abc import Callable, Sequence

import pytest

from switchover.record.errors import NotReady, UsageError
from switchover.runner.leases import protocol
from switchover.runner.leases.protocol import (
    Abandoned,
    Holder,
    Lease,
    LeaseBackend,
    NothingFree,
    Waiting,
    describe_wait,
    wait_for_lease,
)
from switchover.runner.leases.resources import Choice

PAIRS = [Choice(("a", "b"), frozenset("ab")), Choice(("b", "c"), frozenset("bc"))]


class Counter:
    """A backend that gives the first pair at an attempt of a given number, and keeps what is given back."""

    def __init__(self, free_at: int) -> None:
        self.left = free_at
        self.given_back = 0

    def acquire(
        self,
        choices: Sequence[Choice],
        timeout_s: float,
        waiting: Waiting = protocol.keep_silent,
        unwanted: Callable[[], bool] = protocol.never,
    ) -> Lease:
        return wait_for_lease(choices, lambda: self.attempt(choices), timeout_s, waiting, unwanted, poll_s=0.01)

    def attempt(self, choices: Sequence[Choice]) -> Lease | list[Holder]:
        self.left -= 1
        if self.left > 0:
            return [Holder("b", "somebody", "noon")]
        return Lease(choices[0], self.give_back, find_loss=lambda: "kicked")

    def give_back(self) -> None:
        self.given_back += 1


def test_a_lease_is_given_back_once() -> None:
    """By the end of the block or before it, and never twice; then it is no longer ours."""
    counter = Counter(0)
    backend: LeaseBackend = counter
    with backend.acquire(PAIRS, 1) as lease:
        assert (lease.pair, lease.find_loss()) == (("a", "b"), "kicked")
        assert counter.given_back == 0
        lease.release()
        assert lease.find_loss() == "it was given back"
    assert counter.given_back == 1


def test_a_lease_is_given_back_after_an_error() -> None:
    """Whatever ends the block."""
    counter = Counter(0)
    with pytest.raises(KeyboardInterrupt), counter.acquire(PAIRS, 1):
        raise KeyboardInterrupt
    assert counter.given_back == 1


def test_waiting_is_told_and_measured() -> None:
    """Who has what and since when, once as long as it stays the same; the time it took is the lease's."""
    told: list[str] = []
    lease = Counter(5).acquire(PAIRS, 5, told.append)
    assert told == ["a-b or b-c: b is leased by somebody since noon"]
    assert lease.waited_s >= 0.04
    quick = Counter(0).acquire(PAIRS, 5, told.append)
    assert len(told) == 1, "who need not wait is told nothing"
    assert quick.waited_s < 0.04


def test_ones_own_leases_are_no_news() -> None:
    """Who waits for itself alone is told nothing; as soon as another one has a part of it, all is told."""
    told: list[str] = []
    holders = iter([[Holder("a", "us", news=False)], [Holder("a", "us", news=False), Holder("b", "them")]])
    lease = wait_for_lease(PAIRS, lambda: next(holders, Lease(PAIRS[0], lambda: None)), 5, told.append, poll_s=0.001)
    assert lease.pair == ("a", "b")
    assert told == ["a-b or b-c: a is leased by us; b is leased by them"]


def test_told_seldom() -> None:
    """What is new at most every few seconds, what is not every minute."""
    told: list[str] = []
    teller = protocol.Teller(told.append)
    for second in range(130):
        teller.tell("x" if second < 3 else "y", second)
    assert told == ["x", "y", "y", "y"]


def test_nothing_became_free() -> None:
    """After the time that was given, with who has what; the environment's failure, not the case's."""
    with pytest.raises(NothingFree, match=r"No pair of hosts became free within 0.05 s") as caught:
        Counter(1000).acquire(PAIRS, 0.05)
    assert isinstance(caught.value, NotReady)
    assert caught.value.why == "a-b or b-c: b is leased by somebody since noon"
    assert caught.value.holders == (Holder("b", "somebody", "noon"),)


def test_a_wait_that_is_abandoned() -> None:
    """Who does not want it any more waits no longer, and has nothing."""
    answers = iter([False, False, True])
    counter = Counter(1000)
    with pytest.raises(Abandoned):
        counter.acquire(PAIRS, 60, unwanted=lambda: next(answers))
    assert counter.left == 998


def test_one_attempt_at_least() -> None:
    """Without any time to wait, what is free is had."""
    assert Counter(1).acquire(PAIRS, 0).pair == ("a", "b")


def test_nothing_to_choose_from() -> None:
    """No pair is the caller's mistake, not a wait without end."""
    with pytest.raises(UsageError):
        Counter(0).acquire([], 1)


def test_long_waits_are_told_shortly() -> None:
    """Of many pairs and holders the first few, and how many more."""
    many = [Choice((str(number), "x"), frozenset()) for number in range(40)]
    text = describe_wait(many, [Holder(f"h{number}", "w") for number in range(40)])
    assert "34 more" in text
    assert len(text) < 300
    assert describe_wait(many[:1], []) == "0-x: others were there first"
