# SPDX-License-Identifier: GPL-2.0-or-later
"""Run directories for tests, made without a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from switchover.record.planfile import PlanFile, PlanLine, PlannedScenario, write_plan
from switchover.record.record import Record
from switchover.record.rundir import RunDirectory, make_run_directory

COMPLETES: Mapping[str, str] = {"verdict": "completed", "side": "", "reason": "", "because": "nothing is in its way"}


def make_line(case: str, repeats: int = 1, *, scenario: str = "precopy", seconds: float = 25.0) -> PlanLine:
    return PlanLine(case, case, scenario, repeats, COMPLETES, "", seconds)


def make_run(parent: Path, records: Sequence[Record], lines: Sequence[PlanLine] | None = None) -> RunDirectory:
    """``lines``: the plan; None: none was written."""
    directory = make_run_directory("precopy", parent)
    if lines is not None:
        names = dict.fromkeys(line.scenario for line in lines)
        scenarios = tuple(PlannedScenario(name, f"{name}.toml", f"About {name}", "", 1, True) for name in names)
        write_plan(directory, PlanFile(scenarios, tuple(lines)))
    for record in records:
        directory.repeat(record.case, record.repeat).write_record(record)
    return directory
