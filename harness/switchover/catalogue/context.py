# SPDX-License-Identifier: GPL-2.0-or-later
"""What a case in Python is given: hosts, and where it leaves what it found out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from switchover.record.checks import CheckId
from switchover.record.errors import NotSupported, UsageError
from switchover.record.log import say
from switchover.record.measurement import Check, Measurement
from switchover.record.record import Record
from switchover.record.rundir import RepeatDirectory
from switchover.record.units import Direction, Unit
from switchover.runner.testbed import Testbed


class CaseFailed(Exception):
    """What a case claims does not hold: the product is wrong, not the environment, and not the case."""


class Context:
    """What a case in Python is given; one is made for each execution.

    A case passes by returning. It fails with :meth:`fail`, with an ``assert``, with a check that did not pass, or where
    a record of its migrations is not as expected and it said :meth:`require`. With any other error it ends as an
    infrastructure error, unless the error is one of the product (``Refused``, ``GuestCrashed``).
    """

    def __init__(self, place: RepeatDirectory, parameters: Mapping[str, Any], testbed: Testbed | None) -> None:
        self._place = place
        self._testbed = testbed
        self.parameters = dict(parameters)
        self.measurements: list[Measurement] = []
        self.checks: list[Check] = []
        self.records: list[Record] = []

    @property
    def directory(self) -> Path:
        """The directory of this execution; files that are put there stay with the record."""
        return self._place.path

    @property
    def testbed(self) -> Testbed:
        """The hosts. :raises UsageError: the case says that it needs none"""
        if self._testbed is None:
            raise UsageError("The case uses hosts, but says that it needs none.", fix="@case(needs=Needs(hosts=2))")
        return self._testbed

    def measure(
        self,
        name: str,
        value: float | int | None,
        unit: Unit,
        *,
        direction: Direction = Direction.LOWER,
        definition: str,
        source: str = "the case",
        bound: float | None = None,
        note: str = "",
    ) -> None:
        """Put a number into the record. ``value`` is None if the number is missing, and then ``note`` says why."""
        self.measurements.append(Measurement(name, value, unit, direction, definition, source, bound, note))

    def check(self, name: str, expected: object, observed: object, *, claim: str = "") -> bool:
        """Put into the record whether two values are equal; the case goes on, and fails at its end if they are not.

        ``name`` is a word that is unique in the case, and the subject of the check ``case.claim``; ``claim`` is the
        sentence.
        """
        passed = expected == observed
        self._add(name, passed, str(expected), str(observed), claim)
        return passed

    def check_bound(self, name: str, value: float | None, most: float, *, claim: str = "") -> bool:
        """Put into the record whether a number is at most ``most``. A missing number has not passed."""
        passed = value is not None and value <= most
        self._add(name, passed, f"at most {most:g}", "missing" if value is None else f"{value:g}", claim)
        return passed

    def _add(self, name: str, passed: bool, expected: str, observed: str, claim: str) -> None:
        if any(check.subject == name for check in self.checks):
            raise UsageError(f"The case has two checks {name!r}.", fix="give each a word of its own")
        self.checks.append(Check(CheckId.CASE_CLAIM, claim or name, passed, expected, observed, subject=name))

    def require(self, record: Record) -> Record:
        """Require that a record is as expected; otherwise the case ends here. :raises CaseFailed: the record is not as
        expected
        """
        self.records.append(record)
        if record.mismatch:
            raise CaseFailed(f"{record.case} #{record.repeat}: {record.mismatch}")
        if record.verdict.name == "not-supported":
            raise NotSupported(f"{record.case} cannot be run here.", why=record.verdict.reason)
        return record

    def attach(self, name: str, data: bytes | str) -> Path:
        """Put a file beside the record. :raises UsageError: the name is a path"""
        if "/" in name or name in ("", ".", ".."):
            raise UsageError(f"An attachment is named {name!r}.", fix="a name of a file, without directories")
        path = self.directory / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    def say(self, text: str) -> None:
        """Print a line for those who watch the run."""
        say(text)

    def fail(self, reason: str) -> NoReturn:
        """:raises CaseFailed: always"""
        raise CaseFailed(reason)

    def skip(self, reason: str) -> NoReturn:
        """End the case as *not-supported*, since something that it needs is missing. :raises NotSupported: always"""
        raise NotSupported(reason)
