# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover plan``: what would happen; touches nothing and asks no host."""

import argparse
import json
from pathlib import Path

from switchover.record.errors import ExitCode, UsageError
from switchover.report.plan import list_plans, render_plans
from switchover.scenarios.plan import Plan, make_plan
from switchover.scenarios.scenario import list_scenarios, load_scenario


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "scenarios", nargs="+", type=Path, metavar="FILE|DIRECTORY|NAME",
        help="scenario files, directories of them, or names in the catalogue",
    )  # fmt: skip
    parser.add_argument(
        "--only", default="", metavar="PATTERN", help="cases whose id has this in it, or fits its * and ?"
    )
    parser.add_argument(
        "--commands", action="store_true", help="QEMU's full command lines of each case, or libvirt's XML"
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def run(arguments: argparse.Namespace) -> int:
    plans = make_plans(arguments.scenarios, arguments.only)
    if arguments.json:
        print(json.dumps(list_plans(plans, commands=arguments.commands), indent=1, ensure_ascii=False))
    else:
        print(render_plans(plans, commands=arguments.commands))
    return ExitCode.AS_EXPECTED


def make_plans(places: list[Path], only: str) -> list[Plan]:
    """Plans of all scenarios that have selected cases. :raises UsageError: one is wrong, or nothing is selected"""
    problems: list[str] = []
    plans: list[Plan] = []
    for path in dict.fromkeys(path for place in places for path in list_scenarios(place)):
        try:
            plans.append(make_plan(load_scenario(path), only))
        except UsageError as error:
            problems.append(str(error))
    if problems:
        raise UsageError("\n".join(problems))
    chosen = [plan for plan in plans if plan.entries]
    if not chosen:
        raise UsageError(f"No case fits --only {only!r}.", why=f"there are {sum(plan.of for plan in plans)} cases")
    return chosen
