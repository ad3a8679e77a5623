# SPDX-License-Identifier: GPL-2.0-or-later
"""A pre-copy migration as arithmetic: passes over what is dirty, at a bandwidth, while the guest dirties it again."""

from collections.abc import Iterator
from dataclasses import dataclass

from switchover.migration.progress import Pending
from switchover.record.units import MIB

GIB = 1024 * MIB
THRESHOLD_S = 0.3
"""QEMU's default downtime limit."""


@dataclass(frozen=True)
class Pass:
    """``begin``, ``end``: seconds since the start; ``sent``: bytes sent before it."""

    number: int
    begin: float
    end: float
    size: float
    sent: float


@dataclass(frozen=True)
class Simulated:
    """``size``: bytes of the guest; ``working_set``: those that it dirties; rates in bytes per second."""

    size: float = 128 * GIB
    bandwidth: float = 1 * GIB
    dirty: float = 0.5 * GIB
    working_set: float = 128 * GIB

    def passes(self) -> Iterator[Pass]:
        """Until what a pass begins with is below the threshold."""
        at, sent, size, number = 0.0, 0.0, self.size, 1
        while size >= self.bandwidth * THRESHOLD_S:
            seconds = size / self.bandwidth
            yield Pass(number, at, at + seconds, size, sent)
            at, sent, number = at + seconds, sent + size, number + 1
            size = min(self.working_set, self.dirty * seconds)

    def looks(self, bound: float, first: float, window: float = 0.3) -> Iterator[Pending]:
        """What QEMU tells when it is asked every sixth of the bound. ``window``: for so long its log is looked at."""
        at = first
        for one in self.passes():
            while at < one.end:
                exact = at - one.begin < window
                sent = (at - one.begin) * self.bandwidth
                size = one.size if exact else one.size - sent
                yield Pending(
                    at,
                    round(size),
                    round(self.bandwidth * THRESHOLD_S),
                    round(self.bandwidth / 1000),
                    exact,
                    one.number,
                    round(sent),
                )
                at += max(1.0, bound / 6)
