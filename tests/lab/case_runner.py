# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs cases for lab tests, each into a run directory of its own."""

from pathlib import Path
from typing import Any

from switchover.record.record import Record
from switchover.record.rundir import make_run_directory
from switchover.run.pair import Pair
from switchover.run.repeat import run_repeat
from switchover.scenarios.case import Case


class CaseRunner:
    """Runs a case once; ``directory`` is where its repeat left its files."""

    def __init__(self, pair: Pair, fingerprint: dict[str, Any], parent: Path) -> None:
        self._pair = pair
        self._fingerprint = fingerprint
        self.run_directory = make_run_directory("test", parent)

    @property
    def directory(self) -> Path:
        return next(self.run_directory.path.glob("*/01"))

    def __call__(self, case: Case) -> Record:
        return run_repeat(case, 1, self._pair, self.run_directory.repeat(case.id, 1), self._fingerprint)
