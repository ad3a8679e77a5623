# SPDX-License-Identifier: GPL-2.0-or-later
"""A measured number with all that is needed to read it."""

from dataclasses import dataclass

from switchover.record.units import Direction, Unit


@dataclass(frozen=True)
class Measurement:
    """A number, with all that is needed to read it."""

    name: str
    """which number it is"""
    value: float | int | None
    """the number, in `unit`; null: it was not had, and `note` says why"""
    unit: Unit
    """of `value` and `bound`; `s` are seconds"""
    direction: Direction
    """which way is better"""
    definition: str
    """what the number is"""
    source: str
    """where it comes from"""
    bound: float | None = None
    """its error is at most this, in the same unit; null: no bound is known"""
    note: str = ""
    """why it is missing, or how to read it"""


@dataclass(frozen=True)
class Check:
    """Something that must hold after a migration."""

    name: str
    """what must hold"""
    passed: bool
    """whether it did"""
    expected: str
    """as text"""
    observed: str
    """as text"""


@dataclass(frozen=True)
class NotChecked:
    """A check that was not made, and what the guest lacks for it."""

    check: str
    """what was not checked, without the side and the number of the device"""
    lacking: str
    """what the guest lacks for it"""


def check_equal(name: str, expected: object, observed: object) -> Check:
    return Check(name, expected == observed, str(expected), str(observed))
