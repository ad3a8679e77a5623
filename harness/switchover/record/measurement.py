# SPDX-License-Identifier: GPL-2.0-or-later
"""A measured number with all that is needed to read it."""

from dataclasses import dataclass, field

from switchover.record.checks import CheckId
from switchover.record.units import Direction, Unit


@dataclass(frozen=True)
class Measurement:
    """A number, with all that is needed to read it."""

    name: str
    """the name of the number"""
    value: float | int | None
    """the number, in `unit`; null if it is missing, and then `note` says why"""
    unit: Unit
    """the unit of `value` and `bound`; `s` stands for seconds"""
    direction: Direction
    """which way is better"""
    definition: str
    """what the number is"""
    source: str
    """where it comes from"""
    bound: float | None = None
    """the largest error of the value, in the same unit; null if no bound is known"""
    note: str = ""
    """why the value is missing, or how to read it"""


@dataclass(frozen=True)
class Check:
    """Something that must hold after a migration. In a record there is one of each ``id`` and ``subject``."""

    id: CheckId
    """the id of the check, which stays the same when the sentence changes"""
    subject: str = field(default="", kw_only=True)
    """which instance of the check it is, if there can be several; empty if there can be only one"""
    name: str
    """what must hold, as a sentence for people"""
    passed: bool
    """whether it held"""
    expected: str
    """as text"""
    observed: str
    """as text"""

    @property
    def label(self) -> str:
        """The id and the subject, such as ``guest.console, source``; a record's :meth:`check` takes both."""
        return f"{self.id}, {self.subject}" if self.subject else str(self.id)


@dataclass(frozen=True)
class NotChecked:
    """A check that was not made: it has neither passed nor failed, and why."""

    id: CheckId
    """the id of the check that was not made, whichever its instance"""
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


@dataclass(frozen=True)
class Findings:
    """What was found by something that is measured besides."""

    checks: tuple[Check, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()


def make_check(of: CheckId, passed: bool, expected: str, observed: str, subject: str = "", *, claim: str = "") -> Check:
    """With the sentence of the table. ``claim``: where it says more."""
    return Check(of, of.say(subject, claim), passed, expected, observed, subject=subject)


def check_equal(of: CheckId, expected: object, observed: object, subject: str = "", *, claim: str = "") -> Check:
    return make_check(of, expected == observed, str(expected), str(observed), subject, claim=claim)
