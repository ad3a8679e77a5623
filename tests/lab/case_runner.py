# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs cases for lab tests, each into a run directory of its own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from switchover.record.record import Record
from switchover.record.rundir import make_run_directory
from switchover.run.pair import Pair
from switchover.run.repeat import Observer, run_repeat
from switchover.scenarios.case import Case


class CaseRunner:
    """Runs a case once, with the guest that tests share where it can; ``directory`` is where its repeat left its files.

    ``observer`` has what is shared.
    """

    def __init__(self, pair: Pair, fingerprint: dict[str, Any], parent: Path, observer: Observer) -> None:
        self._pair = pair
        self._fingerprint = fingerprint
        self._observer = observer
        self._last: Path | None = None
        self.run_directory = make_run_directory("test", parent)

    @property
    def directory(self) -> Path:
        """Of the last case."""
        assert self._last is not None
        return self._last

    def __call__(self, case: Case) -> Record:
        return self._run(case, self._observer)

    def alone(self, case: Case, **changes: Any) -> Record:
        """With a guest of its own. ``changes``: other fields of :class:`Observer`."""
        return self._run(case, replace(self._observer.alone(), **changes))

    def _run(self, case: Case, observer: Observer) -> Record:
        number = len(list(self.run_directory.path.glob("*/*/record.json"))) + 1
        directory = self.run_directory.repeat(case.id, number)
        self._last = directory.path
        return run_repeat(case, number, self._pair, directory, self._fingerprint, observer)
