# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover doctor``: what works here, what does not, what that blocks, and the command that mends it."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from switchover.cli.hosts import Sources, open_sources
from switchover.cli.main import VERBS
from switchover.devices.checks import host_checks
from switchover.hosts.checks import Check, CheckResult, Outcome, find_blocking, run_checks
from switchover.irq.checks import irq_checks
from switchover.lab.checks import EVERYTHING, controller_checks
from switchover.record.errors import ExitCode, UsageError
from switchover.record.invocation import as_called

_HOST = "host"
_IRQ = "irq"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--for",
        dest="targets",
        action="append",
        nargs="+",
        metavar=("TARGET", "NAME"),
        help=f"check only what this needs: {', '.join(EVERYTHING)}, host NAME, or irq NAME (to record there); "
        f"may be given several times (default: {', '.join(EVERYTHING)})",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument(
        "--inventory", type=Path, metavar="FILE", help="the inventory; default: ~/.config/switchover/inventory.toml"
    )
    parser.add_argument("--lab", metavar="NAME", help="a lab that is up: --for host NAME may name its hosts, too")


def run(arguments: argparse.Namespace) -> int:
    targets = parse_targets(arguments.targets or [[target] for target in EVERYTHING])
    with open_sources(arguments.inventory, arguments.lab) as sources:
        results = run_checks(_find_checks(sources, targets))
    blocking = find_blocking(results, targets)
    if arguments.json:
        text = json.dumps([asdict(result) for result in results], indent=1)
    else:
        text = render_results(results, targets, blocking)
    print(as_called(text, VERBS))
    return ExitCode.NOT_READY if blocking else ExitCode.AS_EXPECTED


def parse_targets(words: Sequence[Sequence[str]]) -> list[str]:
    """``demo``, ``lab``, ``test``, ``host NAME``, ``irq NAME``. :raises UsageError: something else"""
    targets = []
    for group in words:
        match list(group):
            case [target] if target in EVERYTHING:
                targets.append(target)
            case [("host" | "irq") as kind, name]:
                targets.append(f"{kind} {name}")
            case _:
                raise UsageError(
                    f"The doctor has no checks for {' '.join(group)}.",
                    fix=f"one of: {', '.join(EVERYTHING)}, host NAME, irq NAME",
                )
    return targets


def _names(targets: Sequence[str], kind: str) -> list[str]:
    return [target.removeprefix(f"{kind} ") for target in targets if target.startswith(f"{kind} ")]


def _find_checks(sources: Sources, targets: Sequence[str]) -> list[Check]:
    checks = []
    if any(target in EVERYTHING for target in targets):
        wanted = set(targets)
        # what blocks nothing is shown with everything else
        checks += [check for check in controller_checks() if not check.blocks or wanted & set(check.blocks)]
    if hosts := _names(targets, _HOST):
        for survey in sources.survey(hosts):
            entry = sources.inventory.host.get(survey.name)
            checks += host_checks(survey, entry.device if entry else [])
    for name in _names(targets, _IRQ):
        with sources.open(name) as host:
            checks += irq_checks(host, f"{_IRQ} {name}")
    return checks


_MARKS = {Outcome.FAILED: "FAILED", Outcome.UNVERIFIABLE: "not verified", Outcome.PASSED: "ok"}
"""In the order in which they are shown."""


def render_results(results: Sequence[CheckResult], targets: Sequence[str], blocking: Sequence[CheckResult]) -> str:
    """A line for each check, failures first; with a failure what it blocks and what mends it; a summary."""
    width = max((len(result.name) for result in results), default=0)
    lines = []
    for result in sorted(results, key=lambda result: list(_MARKS).index(result.outcome)):
        lines.append(f"{_MARKS[result.outcome]:<12}  {result.name:<{width}}  {result.seen}")
        if result.outcome is Outcome.FAILED:
            lines.append(f"{'':<12}  {'':<{width}}  blocks: {', '.join(result.blocks) or 'nothing'}")
        if result.fix and result.outcome is not Outcome.PASSED:
            lines.append(f"{'':<12}  {'':<{width}}  fix: {result.fix}")
    counts = [sum(result.outcome is outcome for result in results) for outcome in Outcome]
    lines.append(f"{counts[0]} passed, {counts[1]} failed, {counts[2]} could not be verified here")
    for target in targets:
        stopped = [result.name for result in blocking if target in result.blocks]
        lines.append(f"{target}: {'ready' if not stopped else 'blocked by ' + '; '.join(stopped)}")
    return "\n".join(lines)
