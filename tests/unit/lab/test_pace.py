# SPDX-License-Identifier: GPL-2.0-or-later
"""How slow lab hosts are: measured once, never below 1, and said only where it is clear."""

import itertools
import time
from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.hosts.host import Host
from switchover.lab import pace
from switchover.lab.pace import CLEARLY, MOST, REFERENCE_S, describe_pace, judge_pace, measure_pace


class SlowHost:
    """Takes as long as it is told, round after round."""

    def __init__(self, *seconds: float) -> None:
        self.seconds = itertools.cycle(seconds)

    def run(self, argv: Sequence[str], *, timeout: float) -> None:
        time.sleep(next(self.seconds))


def measure(*hosts: SlowHost) -> float:
    return measure_pace(cast("list[Host]", list(hosts)))


def test_the_slower_host_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration is as slow as the slower of its hosts, which do the work at the same time."""
    monkeypatch.setattr(pace, "REFERENCE_S", 0.1)
    assert measure(SlowHost(0.01), SlowHost(0.3)) == pytest.approx(3, abs=0.4)


def test_the_quickest_round_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What else the machine does for a moment makes no lab slow."""
    monkeypatch.setattr(pace, "REFERENCE_S", 0.1)
    assert measure(SlowHost(0.5, 0.05, 0.5)) == 1


def test_a_host_that_fails_is_an_error() -> None:
    """Nobody's pace is guessed."""

    class Broken:
        def run(self, *_: Any, **__: Any) -> None:
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        measure(cast(SlowHost, Broken()))


@given(st.floats(0, 1e6))
def test_the_pace_is_bounded(seconds: float) -> None:
    """At least 1, at most the cap, nothing between 1 and what is clear, and never far from what was measured."""
    factor = judge_pace(seconds)
    assert factor == 1 or CLEARLY <= factor <= MOST
    if factor == 1:
        assert seconds / REFERENCE_S < CLEARLY
    elif factor < MOST:
        assert factor == pytest.approx(seconds / REFERENCE_S, abs=0.051)


@given(st.floats(0, 100), st.floats(0, 100))
def test_who_takes_longer_is_not_quicker(one: float, other: float) -> None:
    """The pace never falls with the time."""
    assert judge_pace(min(one, other)) <= judge_pace(max(one, other))


def test_what_is_said() -> None:
    """Nothing of a lab that is as quick as deadlines have it."""
    assert describe_pace(1.0) == ""
    assert describe_pace(2.4) == (
        "lab hosts are 2.4 times as slow as the machine that deadlines were made on: deadlines are that much longer"
    )
