# SPDX-License-Identifier: GPL-2.0-or-later
"""A measured number with all that is needed to read it."""

from dataclasses import dataclass, field

from switchover.record.checks import CheckId
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
    """Something that must hold after a migration. In a record there is one of each ``id`` and ``subject``."""

    id: CheckId
    """which check it is; stays the same where the sentence changes"""
    subject: str = field(default="", kw_only=True)
    """which instance of it, where there can be several; empty: there can be one only"""
    name: str
    """what must hold, as a sentence for people"""
    passed: bool
    """whether it did"""
    expected: str
    """as text"""
    observed: str
    """as text"""

    @property
    def label(self) -> str:
        """``guest.console, source``: what a record's :meth:`check` takes."""
        return f"{self.id}, {self.subject}" if self.subject else str(self.id)


@dataclass(frozen=True)
class NotChecked:
    """A check that was not made: it has neither passed nor failed, and why."""

    id: CheckId
    """which check was not made, of whichever instance"""
    check: str
    """what was not checked, without the side and the number of the device"""
    lacking: str = ""
    """what the guest lacks for it; empty: it lacks nothing, and `reason` says why"""
    reason: str = field(default="", kw_only=True)
    """the number that it needs and that is missing, or that says nothing; empty: the guest lacks something"""
    needed: bool = field(default=False, kw_only=True)
    """whether the case depends on it: then the case is not right"""

    @property
    def why(self) -> str:
        return self.reason or f"the guest lacks {self.lacking}"


def make_check(of: CheckId, passed: bool, expected: str, observed: str, subject: str = "", *, claim: str = "") -> Check:
    """With the sentence of the table. ``claim``: where it says more."""
    return Check(of, of.say(subject, claim), passed, expected, observed, subject=subject)


def check_equal(of: CheckId, expected: object, observed: object, subject: str = "", *, claim: str = "") -> Check:
    return make_check(of, expected == observed, str(expected), str(observed), subject, claim=claim)
