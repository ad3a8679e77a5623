# SPDX-License-Identifier: GPL-2.0-or-later
"""A measured number with all that is needed to read it."""

from dataclasses import dataclass

from switchover.record.units import Direction, Unit


@dataclass(frozen=True)
class Measurement:
    """``value`` None: it was not had, and ``note`` says why. ``bound``: its error is at most this, in the same unit."""

    name: str
    value: float | int | None
    unit: Unit
    direction: Direction
    definition: str
    source: str
    bound: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Check:
    """Something that must hold after a migration: what, whether it did, and both values as text."""

    name: str
    passed: bool
    expected: str
    observed: str


@dataclass(frozen=True)
class NotChecked:
    """A check that was not made, and what the guest lacks for it."""

    check: str
    lacking: str


def check_equal(name: str, expected: object, observed: object) -> Check:
    return Check(name, expected == observed, str(expected), str(observed))
