# SPDX-License-Identifier: GPL-2.0-or-later
"""Offsets of clocks: the true one is always within the bound."""

import socket
import threading
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.hosts import clock
from switchover.hosts.clock import (
    EXCHANGES,
    ClockOffset,
    Exchange,
    combine_offsets,
    estimate_offset,
    measure_offset,
)
from switchover.hosts.host import Host
from switchover.hosts.local import LocalHost
from switchover.record.errors import HostLost

DELAYS = st.integers(0, 10**11)
TRUE = st.integers(-(10**15), 10**15)
START = 1_795_301_509 * 10**9


def exchange_with(true_offset: int, sent: int, there: int, back: int) -> Exchange:
    """The host answers with its clock cut to microseconds, as bash does."""
    answered = (sent + there + true_offset) // 1000 * 1000
    return Exchange(sent, answered, sent + there + back)


@given(TRUE, st.lists(st.tuples(DELAYS, DELAYS, DELAYS), min_size=1, max_size=20))
def test_the_true_offset_is_within_the_bound(true_offset: int, delays: list[tuple[int, int, int]]) -> None:
    """For any delays there and back, however lopsided, the estimate is off by no more than its bound."""
    exchanges = [exchange_with(true_offset, START + start, there, back) for start, there, back in delays]
    estimated = estimate_offset(exchanges)
    assert abs(estimated.offset_ns - true_offset) <= estimated.bound_ns
    assert estimated.exchanges == len(delays)


@given(TRUE, st.lists(st.tuples(DELAYS, DELAYS), min_size=1, max_size=20))
def test_the_shortest_round_trip_decides(true_offset: int, delays: list[tuple[int, int]]) -> None:
    """More exchanges never make the bound larger than the best of them gives: half its round trip and a microsecond."""
    estimated = estimate_offset([exchange_with(true_offset, START, there, back) for there, back in delays])
    shortest = min(there + back for there, back in delays)
    assert shortest / 2 + 1000 <= estimated.bound_ns <= shortest / 2 + 1001


@given(TRUE, TRUE, st.integers(0, 10**9), st.integers(0, 10**9), st.floats(0, 1))
def test_combined_offset_covers_both_and_the_drift(
    before: int, after: int, first_bound: int, second_bound: int, at: float
) -> None:
    """Whatever the offset was between two measurements, if it moved from one to the other it is within the bound."""
    combined = combine_offsets(ClockOffset(before, first_bound, 15), ClockOffset(after, second_bound, 15))
    between = before + round((after - before) * at)
    for true in (before - first_bound, before + first_bound, between, after - second_bound, after + second_bound):
        assert abs(combined.offset_ns - true) <= combined.bound_ns
    assert combined.exchanges == 30


def test_this_machine_has_no_offset_to_itself() -> None:
    """Measured against the same clock, 0 is within the bound, and the bound is that of a local pipe."""
    measured = measure_offset(LocalHost())
    assert abs(measured.offset_ns) <= measured.bound_ns < 50_000_000
    assert measured.exchanges == EXCHANGES


def lose(theirs: socket.socket, how: str) -> None:
    """The host's end of an exchange."""
    if how == "reset":
        theirs.recv(1)  # then what was sent is unread when it closes: a reset, not an end
        theirs.close()
    elif how == "gone before":
        theirs.close()
    elif how == "banner":
        theirs.sendall(b"Welcome to hosta\n")
    elif how == "no line":
        theirs.sendall(b"1" * 100_000)
    elif how == "half":
        theirs.sendall(b"1795301509.12")
        theirs.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("how", ["reset", "gone before", "banner", "no line", "half", "silent"])
def test_a_host_that_is_lost_in_the_exchange(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that breaks, silence, and words that are no clock are a lost host, whatever socket or parser say."""
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(clock, "_ANSWER_S", 0.2)
    thread = threading.Thread(target=lose, args=(theirs, how), daemon=True)
    thread.start()
    if how == "gone before":
        thread.join(5)
    host = cast(Host, SimpleNamespace(name="hosta", open_stream=lambda argv: ours))
    with theirs, pytest.raises(HostLost, match="hosta"):
        measure_offset(host)


def test_a_machine_without_bash_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """On this machine, too, a clock that cannot be asked is no bug."""
    monkeypatch.setattr(clock, "_ANSWER", ("no-such-program-of-ours",))
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(HostLost, match="local"):
        measure_offset(LocalHost())


@given(st.binary(max_size=30))
def test_only_a_clock_is_read_as_one(answer: bytes) -> None:
    """Any bytes are nanoseconds since the epoch in bash's form, or an error of the one declared type."""
    try:
        read = clock._parse_epochrealtime(answer)
    except ValueError:
        return
    assert read >= 0
    assert answer.strip().translate(None, b".,").isdigit()


def test_a_host_that_does_not_answer_is_lost() -> None:
    """A host without bash closes the stream: that is no clock at offset 0."""
    ours, theirs = socket.socketpair()
    theirs.shutdown(socket.SHUT_WR)
    host = cast(Host, SimpleNamespace(name="hosta", open_stream=lambda argv: ours))
    with pytest.raises(HostLost, match="hosta does not tell its clock"):
        measure_offset(host)
    theirs.close()
