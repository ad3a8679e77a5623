# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover plan``: what would happen; touches nothing, and asks hosts only with ``--probe``."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from switchover.cli.hosts import open_sources
from switchover.cli.selection import add_selection, choose_cases
from switchover.lab.acquire import DEFAULT
from switchover.lab.lab import LAB_HOSTS
from switchover.lab.labfile import is_running
from switchover.record.errors import ExitCode
from switchover.record.log import say
from switchover.record.paths import labs_directory
from switchover.report.plan import list_plans, render_plans
from switchover.scenarios.plan import Plan, decide_again
from switchover.scenarios.preflight import HostFacts, Known, make_facts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_selection(parser)
    parser.add_argument(
        "--commands", action="store_true", help="also show QEMU's command lines of each case, or libvirt's XML"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument(
        "--probe", action="store_true", help="ask the hosts of the cases, and the lab that is up, what they can do"
    )
    parser.add_argument(
        "--lab", metavar="NAME", help="the lab that --probe asks; default: the one named default, if it is up"
    )
    parser.add_argument("--inventory", type=Path, metavar="FILE", help="the inventory of the hosts that --probe asks")


def run(arguments: argparse.Namespace) -> int:
    selection = choose_cases(arguments)
    plans = selection.plans
    if arguments.probe:
        known = _ask(plans, arguments.inventory, arguments.lab)
        plans = [decide_again(plan, known) for plan in plans]
    if arguments.json:
        print(json.dumps(list_plans(plans, commands=arguments.commands), indent=1, ensure_ascii=False))
    else:
        print(render_plans(plans, commands=arguments.commands) if plans else "", end="\n" if plans else "")
        for case in selection.python:
            print(f"{case.id}: {case.title}\n  in Python, {case.place}; about {case.seconds:g} s")
    return ExitCode.AS_EXPECTED


def _ask(plans: Sequence[Plan], inventory: Path | None, lab: str | None) -> Known:
    """Ask the hosts that cases name, and those of the lab for cases that name none; tell who was asked."""
    if lab is None and is_running(labs_directory() / DEFAULT):
        lab = DEFAULT
    cases = [entry.planned for plan in plans for entry in plan.entries]
    wanted = {name for planned in cases for name in planned.hosts}
    qemus = sorted({side.guest.qemu for planned in cases for side in planned.case.sides})
    with open_sources(inventory, lab) as sources:
        there = sources.lab.file.hosts if sources.lab else LAB_HOSTS
        pair = there[:2]
        wanted = wanted - {""} | set(pair if "" in wanted else ())
        names = [name for name in sources.names() if name in wanted]
        surveys = sources.survey(names, qemus) if names else []
    unasked = {name: HostFacts(name, asked=False) for name in there if name not in names}
    facts = unasked | {
        survey.name: make_facts(survey, link=survey.name not in there or len(there) > 1) for survey in surveys
    }
    for survey in surveys:
        told = "; ".join(f"{part}: {why}" for part, why in survey.problems.items())
        say(f"{survey.name} ({survey.origin}): " + (told or f"asked, with {', '.join(survey.qemus)}"))
    if wanted & unasked.keys():
        say("no lab is up: lab hosts were not asked (switchover lab up)")
    say("not looked at: memory, disks and kernels that scenarios name, guests")
    return Known((facts[pair[0]], facts[pair[-1]]), facts)
