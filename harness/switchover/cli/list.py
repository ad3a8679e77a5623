# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover list``: cases of the catalogue with their tags and needs, and runs."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from switchover.catalogue.case import ListedCase
from switchover.catalogue.index import list_cases
from switchover.catalogue.selecting import find, select
from switchover.record.errors import ExitCode
from switchover.record.paths import runs_directory


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
        from switchover.cli.runlist import print_runs  # takes long to import

        print_runs(runs_directory() if arguments.runs == Path() else arguments.runs, as_json=arguments.json)
        return ExitCode.AS_EXPECTED
    cases = list_cases(arguments.cases)
    cases = find(cases, arguments.pattern) if arguments.pattern else cases
    cases = select(cases, (), arguments.tag) if arguments.tag else cases
    if arguments.json:
        print(json.dumps([case.describe() for case in cases], indent=1, ensure_ascii=False))
    elif arguments.pattern or arguments.tag:
        print(render_cases(cases))
    else:
        print(render_groups(cases))
    return ExitCode.AS_EXPECTED


def render_cases(cases: Sequence[ListedCase]) -> str:
    """A line for each case: id, tags, what it needs besides two hosts."""
    width = max(len(case.id) for case in cases)
    return "\n".join(
        f"{case.id:<{width}}  {','.join(sorted(case.tags))}{_describe_needs(case)}".rstrip() for case in cases
    )


def _describe_needs(case: ListedCase) -> str:
    needs = case.needs
    words = ["no hosts"] if not needs.hosts else []
    words += [*needs.programs, *(kind for kind in needs.devices if kind != "refdev-4vec")]
    return f"  needs {', '.join(words)}" if words else ""


def render_groups(cases: Sequence[ListedCase]) -> str:
    """A line for each scenario and function, with how many cases it has."""
    lines = []
    for title, python in (("scenarios", False), ("cases in Python", True)):
        mine = [case for case in cases if case.is_python is python]
        lines.append(f"{title}:" if mine else f"no {title}")
        for group in dict.fromkeys(case.group for case in mine):
            here = [case for case in mine if case.group == group]
            cover = f" (all {here[0].cover} of values of {len(here[0].parameters)} axes)" if here[0].cover else ""
            lines.append(f"  {group:<44} {len(here):>4}  {here[0].title}{cover}")
    tags = sorted({tag for case in cases for tag in case.tags})
    return "\n".join(
        [*lines, f"{len(cases)} cases; tags: {', '.join(tags)}", "switchover list PATTERN shows their ids"]
    )
