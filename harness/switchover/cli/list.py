# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover list``: scenarios of the catalogue, and runs."""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from switchover.record.errors import ExitCode, SwitchoverError
from switchover.record.paths import runs_directory
from switchover.record.rundir import RunDirectory
from switchover.report.rundata import read_run
from switchover.scenarios.expand import expand
from switchover.scenarios.scenario import catalogue_directory, load_scenario


@dataclass(frozen=True)
class ScenarioLine:
    name: str
    title: str
    cases: int


@dataclass(frozen=True)
class RunLine:
    """``started``: ISO 8601. ``right`` and ``wrong``: repeats, those among the wrong that were not run; ``skipped``:
    cases that are not supported; ``problem``: why the run cannot be read.
    """

    name: str
    title: str
    started: str
    cases: int = 0
    right: int = 0
    wrong: int = 0
    skipped: int = 0
    problem: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=Path, metavar="DIRECTORY", help="where run directories are")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(arguments: argparse.Namespace) -> int:
    scenarios = [_describe(path) for path in sorted(catalogue_directory().glob("*.toml"))]
    directory = arguments.runs or runs_directory()
    runs = [_summarise(path.parent) for path in sorted(directory.glob("*/run.json"))]
    if arguments.json:
        listed = {"scenarios": [asdict(line) for line in scenarios], "runs": [asdict(line) for line in runs]}
        print(json.dumps(listed, indent=1, ensure_ascii=False))
        return ExitCode.AS_EXPECTED
    print(f"scenarios of the catalogue ({catalogue_directory()})")
    for scenario in scenarios:
        print(f"  {scenario.name:<16} {scenario.cases:>4} cases  {scenario.title}")
    print(f"\nruns ({directory})" if runs else f"\nno runs in {directory}")
    for line in runs:
        told = line.problem or f"{line.cases} cases, {line.right} repeats right, {line.wrong} wrong"
        told += f", {line.skipped} cases not supported" if line.skipped and not line.problem else ""
        print(f"  {line.started[:16]:<16}  {line.title:<16} {told}\n    {line.name}")
    return ExitCode.AS_EXPECTED


def _describe(path: Path) -> ScenarioLine:
    scenario = load_scenario(path)
    return ScenarioLine(scenario.name, scenario.title, len(expand(scenario)))


def _summarise(path: Path) -> RunLine:
    try:
        head = json.loads((path / "run.json").read_text(encoding="utf-8"))
        title, started = str(head["title"]), str(head["started"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return RunLine(path.name, "", "", problem=f"run.json cannot be read: {error!r}")
    try:
        found = read_run(RunDirectory(path))
    except (OSError, SwitchoverError) as error:
        return RunLine(path.name, title, started, problem=str(error).splitlines()[0])
    skipped = sum(case.skipped for case in found.cases)
    wrong = sum(bool(record.mismatch) for record in found.records)
    right = len(found.records) - wrong - skipped
    return RunLine(path.name, title, started, len(found.cases), right, wrong, skipped)
