# SPDX-License-Identifier: GPL-2.0-or-later
"""Downtime limits of a migration: those that it is given on its way, and which was in force at its switchover. All but
the clock is pure.
"""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from switchover.migration.phases import Said
from switchover.migration.settings import HOLD_LIMIT_MS, MigrationSettings

_SWITCHES_OVER = ("pre-switchover", "device", "completed")
"""Statuses of a source that has decided to switch over."""
_COUNTED_BY_S = 0.2
"""QEMU computes its threshold every 100 ms (BUFFER_DELAY, migration/migration.c)."""


@dataclass(frozen=True)
class DowntimeLimit:
    """A downtime limit that a migration was given."""

    limit_ms: int
    """QEMU's `downtime-limit`, in milliseconds"""
    told_ns: int
    """when QEMU, or libvirt, was told, by the controller's monotonic clock"""
    taken_ns: int | None = None
    """when it answered that; null if it never did. QEMU reckons with it from the next 100 ms on"""


class Limits:
    """The limits of a migration, in their order: one after the other, ``downtime_step_s`` apart, from the moment on in
    which nothing holds the switchover back.
    """

    def __init__(self, settings: MigrationSettings) -> None:
        now = time.monotonic_ns()
        first = HOLD_LIMIT_MS if settings.settle else settings.downtime_limit_ms
        self._settings = settings
        self._told = [DowntimeLimit(first, now, now)]
        self._steps = list(settings.downtime_steps_ms)
        self._due_s: float | None = None

    @property
    def to_come(self) -> bool:
        """Whether there are more."""
        return bool(self._steps)

    @property
    def told(self) -> tuple[DowntimeLimit, ...]:
        return tuple(self._told)

    def begin(self) -> None:
        """The switchover is allowed from now on, and the migration goes on."""
        if self._due_s is None:
            self._due_s = time.monotonic() + self._settings.downtime_step_s

    def find_due(self) -> int | None:
        """The next limit, in milliseconds, if it is due."""
        if self._due_s is None or not self._steps or time.monotonic() < self._due_s:
            return None
        self._due_s += self._settings.downtime_step_s
        return self._steps.pop(0)

    def give(self, limit_ms: int, tell: Callable[[int], "Future[Any]"]) -> None:
        """``tell``: what tells it to QEMU; nobody waits for the answer, whose time is kept."""
        number = len(self._told)
        self._told.append(DowntimeLimit(limit_ms, time.monotonic_ns()))

        def note(answer: "Future[Any]") -> None:
            if not answer.cancelled() and answer.exception() is None:
                self._told[number] = replace(self._told[number], taken_ns=time.monotonic_ns())

        tell(limit_ms).add_done_callback(note)


@dataclass(frozen=True)
class InForce:
    """The limit with which QEMU decided to switch over. ``since_s``: how long it had been acknowledged by then;
    infinite: there was none before it.
    """

    limit_ms: int
    since_s: float

    @property
    def is_fresh(self) -> bool:
        """Whether QEMU may have decided with the one before it."""
        return self.since_s < _COUNTED_BY_S


def find_in_force(limits: Sequence[DowntimeLimit], statuses: Sequence[Said]) -> InForce | None:
    """The limit at the switchover, by the statuses of the source; None if there was none."""
    decided = next((said.arrived_ns for said in statuses if said.status in _SWITCHES_OVER), None)
    if decided is None:
        return None
    taken = [limit for limit in limits if limit.taken_ns is not None and limit.taken_ns <= decided]
    if not taken:
        return None
    last = taken[-1]
    return InForce(last.limit_ms, (decided - (last.taken_ns or 0)) / 1e9 if len(taken) > 1 else math.inf)
