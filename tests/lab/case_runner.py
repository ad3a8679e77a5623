# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs cases for lab tests, by the public names only."""

from pathlib import Path

from switchover import Case, Record, Testbed


class CaseRunner:
    """``run_case(case)`` runs a case once, with the guest that tests share where it can. One that is not as expected
    with it is run again alone by the testbed: so a case of a test has the expectation that the test has.
    """

    def __init__(self, testbed: Testbed) -> None:
        self._testbed = testbed
        self._last: Record | None = None

    @property
    def directory(self) -> Path:
        """Where the last case left its files."""
        assert self._last is not None
        return self._testbed.directory_of(self._last)

    def __call__(self, case: Case) -> Record:
        self._last = self._testbed.run(case)
        return self._last

    def alone(self, case: Case) -> Record:
        """With a guest of its own."""
        self._last = self._testbed.run(case, alone=True)
        return self._last
