# SPDX-License-Identifier: GPL-2.0-or-later
"""Offset between a host's real-time clock and the controller's, with the bound of its error.

A two-way exchange: the controller notes its clock, asks the host for its own, and notes its clock again. The host's
answer lies between the two, so the offset is known up to half the round trip; the exchange with the shortest round
trip is the best one (min filter, as in NTP).
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from switchover.hosts.host import SILENT_SHELL, Host
from switchover.record.errors import HostLost

# bash answers from its own variable, without starting a process per question
_ANSWER = ("bash", "-c", "while read -r _; do echo $EPOCHREALTIME; done")
EXCHANGES = 15
_ANSWER_S = 20
_LONGEST_LINE = 4096
"""Bytes that are read of an answer: a host that says something else may never end its line."""


@dataclass(frozen=True)
class Exchange:
    """One question and answer; all in nanoseconds since the epoch."""

    sent_ns: int
    answered_ns: int
    received_ns: int


@dataclass(frozen=True)
class ClockOffset:
    """How a host's real-time clock relates to the controller's."""

    offset_ns: int
    """how far the host's clock is ahead of the controller's, in nanoseconds"""
    bound_ns: int
    """the largest error of the offset in either direction, in nanoseconds"""
    exchanges: int
    """the number of questions and answers from which the offset was estimated"""


def estimate_offset(exchanges: Sequence[Exchange]) -> ClockOffset:
    """The offset of the exchange with the shortest round trip.

    The host's microsecond resolution adds one microsecond to the bound.

    >>> estimate_offset([Exchange(0, 1500, 2000), Exchange(0, 9000, 10000)])
    ClockOffset(offset_ns=500, bound_ns=2000, exchanges=2)
    """
    best = min(exchanges, key=lambda exchange: exchange.received_ns - exchange.sent_ns)
    half = (best.received_ns - best.sent_ns + 1) // 2
    return ClockOffset(best.answered_ns - (best.sent_ns + half), half + 1000, len(exchanges))


def combine_offsets(before: ClockOffset, after: ClockOffset) -> ClockOffset:
    """One offset for the time between two measurements: the middle, with a bound that covers both and any drift."""
    low = min(before.offset_ns - before.bound_ns, after.offset_ns - after.bound_ns)
    high = max(before.offset_ns + before.bound_ns, after.offset_ns + after.bound_ns)
    middle = (low + high) // 2
    return ClockOffset(middle, high - middle, before.exchanges + after.exchanges)


def _parse_epochrealtime(answer: bytes) -> int:
    """Nanoseconds from bash's ``SECONDS.MICROSECONDS`` (a comma in some locales).

    :raises ValueError: it is something else
    """
    found = re.fullmatch(rb"([0-9]+)[.,]([0-9]{6})\s*", answer)
    if found is None:
        raise ValueError(f"it said {answer!r} where its clock belongs")
    return int(found[1] + found[2]) * 1000


def measure_offset(host: Host) -> ClockOffset:
    """Ask a host for its clock ``EXCHANGES`` times.

    :raises HostLost: the host stopped answering, or answers with something else than its clock
    """
    exchanges = []
    try:
        with host.open_stream(_ANSWER) as stream:
            stream.settimeout(_ANSWER_S)
            with stream.makefile("rwb", buffering=0) as lines:
                for _ in range(EXCHANGES):
                    sent = time.time_ns()
                    lines.write(b"\n")
                    answer = lines.readline(_LONGEST_LINE)
                    received = time.time_ns()
                    if not answer.strip():
                        raise HostLost(f"{host.name} does not tell its clock (it needs bash).")
                    exchanges.append(Exchange(sent, _parse_epochrealtime(answer), received))
    except ValueError as error:
        raise HostLost(f"{host.name} does not tell its clock.", why=str(error), fix=SILENT_SHELL) from error
    except OSError as error:
        why = str(error) or type(error).__name__
        raise HostLost(f"{host.name} stopped answering while it was asked for its clock.", why=why) from error
    return estimate_offset(exchanges)
