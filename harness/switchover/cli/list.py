# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover list``: cases of the catalogue with their tags and needs, and runs."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from switchover.catalogue.case import CatalogueCase
from switchover.catalogue.load import Catalogue, load_catalogue
from switchover.record.errors import ExitCode, SwitchoverError
from switchover.record.paths import runs_directory
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "pattern",
        nargs="?",
        default="",
        metavar="PATTERN",
        help="list these cases: an id, a name of a scenario, a part of an id, or a pattern with *",
    )
    parser.add_argument(
        "--tag",
        action="append",
        default=[],
        metavar="T",
        help="list only cases that have this tag; --tag=-T: only cases that do not have it",
    )
    parser.add_argument(
        "--cases",
        action="append",
        type=Path,
        default=[],
        metavar="PLACE",
        help="also list the cases of this file or directory",
    )
    parser.add_argument(
        "--runs", nargs="?", type=Path, const=Path(), metavar="DIRECTORY", help="list runs instead of cases"
    )
    parser.add_argument("--json", action="store_true", help="print an array of JSON objects, for programs")


def run(arguments: argparse.Namespace) -> int:
    if arguments.runs is not None:
        _list_runs(runs_directory() if arguments.runs == Path() else arguments.runs, as_json=arguments.json)
        return ExitCode.AS_EXPECTED
    catalogue = load_catalogue(arguments.cases)
    cases = catalogue.find(arguments.pattern) if arguments.pattern else list(catalogue.cases)
    cases = Catalogue(tuple(cases), ()).select((), arguments.tag) if arguments.tag else cases
    if arguments.json:
        print(json.dumps([case.describe() for case in cases], indent=1, ensure_ascii=False))
    elif arguments.pattern or arguments.tag:
        print(render_cases(cases))
    else:
        print(render_groups(cases))
    return ExitCode.AS_EXPECTED


def render_cases(cases: Sequence[CatalogueCase]) -> str:
    """A line for each case: id, tags, what it needs besides two hosts."""
    width = max(len(case.id) for case in cases)
    return "\n".join(
        f"{case.id:<{width}}  {','.join(sorted(case.tags))}{_describe_needs(case)}".rstrip() for case in cases
    )


def _describe_needs(case: CatalogueCase) -> str:
    needs = case.needs
    words = ["no hosts"] if not needs.hosts else []
    words += [*needs.programs, *(kind for kind in needs.devices if kind != "refdev-4vec")]
    return f"  needs {', '.join(words)}" if words else ""


def render_groups(cases: Sequence[CatalogueCase]) -> str:
    """A line for each scenario and function, with how many cases it has."""
    lines = []
    for title, python in (("scenarios", False), ("cases in Python", True)):
        mine = [case for case in cases if case.is_python is python]
        lines.append(f"{title}:" if mine else f"no {title}")
        for group in dict.fromkeys(case.group for case in mine):
            here = [case for case in mine if case.group == group]
            lines.append(f"  {group:<44} {len(here):>4}  {here[0].title}")
    tags = sorted({tag for case in cases for tag in case.tags})
    return "\n".join(
        [*lines, f"{len(cases)} cases; tags: {', '.join(tags)}", "switchover list PATTERN shows their ids"]
    )


def _list_runs(directory: Path, *, as_json: bool) -> None:
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
