# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover list --runs``: a line for each run."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from switchover.record.errors import SwitchoverError
from switchover.record.rundir import RunDirectory, list_runs
from switchover.record.units import format_count
from switchover.report.rundata import read_run


@dataclass(frozen=True)
class RunLine:
    """``started``: ISO 8601. ``right`` and ``wrong``: repeats, those among the wrong that were not run; ``skipped``:
    cases that are not supported; ``unreadable``: records; ``problem``: why the run cannot be read.
    """

    name: str
    title: str
    started: str
    cases: int = 0
    right: int = 0
    wrong: int = 0
    skipped: int = 0
    unreadable: int = 0
    problem: str = ""


def print_runs(directory: Path, *, as_json: bool) -> None:
    runs = [_summarise(run) for run in list_runs(directory)]
    if as_json:
        print(json.dumps([asdict(line) for line in runs], indent=1, ensure_ascii=False))
        return
    print(f"runs ({directory})" if runs else f"no runs in {directory}")
    for line in runs:
        told = line.problem or f"{line.cases} cases, {line.right} repeats right, {line.wrong} wrong"
        told += f", {line.skipped} cases not supported" if line.skipped and not line.problem else ""
        told += f", {format_count(line.unreadable, 'record')} not readable" if line.unreadable else ""
        print(f"  {line.started[:16]:<16}  {line.title:<16} {told}\n    {line.name}")


def _summarise(run: RunDirectory) -> RunLine:
    title = started = ""
    try:
        head = run.read_head()
        title, started = head.title, head.started
        found = read_run(run)
    except (OSError, SwitchoverError) as error:
        return RunLine(run.path.name, title, started, problem=str(error).splitlines()[0])
    skipped = sum(case.skipped for case in found.cases)
    wrong = sum(bool(record.mismatch) for record in found.records)
    right = len(found.records) - wrong - skipped
    return RunLine(run.path.name, title, started, len(found.cases), right, wrong, skipped, len(found.unreadable))
