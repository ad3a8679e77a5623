# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover run``: the cases of scenarios, one after the other, into a run directory."""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

from switchover.catalogue.conduct import make_plan_line
from switchover.catalogue.worker import ConductApart
from switchover.cli.arguments import parse_positive
from switchover.cli.history import add_keeping_argument
from switchover.cli.pairs import Pairs, parse_pairs, run_on_pairs
from switchover.cli.places import add_place_arguments, parse_pair
from switchover.cli.selection import Selection, add_selection, choose_cases, choose_planned
from switchover.hosts.inventory import load_inventory
from switchover.lab.acquire import acquire_lab
from switchover.lab.images import build_images
from switchover.lab.lab import LAB_HOSTS
from switchover.lab.toolchains import find_toolchains
from switchover.record.errors import UsageError, find_exit_code
from switchover.record.invocation import command
from switchover.record.log import say
from switchover.record.planfile import PlannedScenario
from switchover.record.record import exit_code_of
from switchover.record.rundir import RunDirectory, find_run, make_run_directory
from switchover.record.toml import suggest
from switchover.report.events import EventLines
from switchover.report.failures import list_attach
from switchover.report.formats import FORMATS, write_reports
from switchover.report.history.keeping import find_history, keep_numbers
from switchover.report.html.page import PAGE_FILE
from switchover.report.live import LiveProgress, PlainProgress, find_group
from switchover.report.rundata import RunData, read_run
from switchover.runner.hold_on_failure import Held, HoldOnFailure
from switchover.runner.leased_hosts import LeasedHosts, LeasedLab
from switchover.runner.leased_inventory import lease_inventory_hosts
from switchover.runner.leases.shards import parse_shard, select_shard
from switchover.runner.listener import RunListener
from switchover.runner.plan_runner import execute, list_left, start_execution
from switchover.runner.turns import Turn, list_turns
from switchover.scenarios.case import Case


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_selection(parser)
    parser.add_argument(
        "--repeat", type=parse_positive, metavar="N", help="run each case this many times, whatever its scenario says"
    )
    parser.add_argument(
        "--keep-on-fail",
        action="store_true",
        help="stop at the first case that is not as expected, and keep its guests until you press Enter "
        "(needs a terminal)",
    )
    parser.add_argument(
        "--share-guest",
        action="store_true",
        help="let cases continue with the guest of the case before them where possible; a case that is not as expected "
        "is run again with a guest of its own",
    )
    add_place_arguments(parser)
    parser.add_argument(
        "--pair",
        action="append",
        default=[],
        metavar="SOURCE,DESTINATION",
        help="run on this pair of hosts, of the inventory or of a lab; given several times, the pairs run cases at the "
        "same time, each under a lease",
    )
    parser.add_argument(
        "--shard", metavar="I/N", help="run part I of N parts of the cases, to share them among machines"
    )
    parser.add_argument(
        "--resume", metavar="RUN", help="continue a run that ended early: run the repeats that have no verdict"
    )
    parser.add_argument(
        "--retry-infra",
        type=parse_positive,
        default=0,
        metavar="N",
        help="run a repeat that ended in an infrastructure error again, up to N times; each execution is kept",
    )
    parser.add_argument("--keep-lab", action="store_true", help="leave the lab running if it had to be started")
    parser.add_argument("--output", type=Path, metavar="DIRECTORY", help="make the run directory in this directory")
    parser.add_argument(
        "--json", action="store_true", help="print a line of JSON for each event as it happens, and no report"
    )
    add_keeping_argument(parser)
    parser.add_argument("--strict", action="store_true", help="end with exit code 3 if every case was not supported")


def run(arguments: argparse.Namespace) -> int:
    earlier = _find_earlier(arguments)
    selection = choose_planned(earlier) if earlier else choose_cases(arguments)
    if arguments.shard:
        selection = selection.keep(select_shard(selection.ids, *parse_shard(arguments.shard)))
        if not selection.ids:
            raise UsageError(f"No case is in part {arguments.shard}.", why="there are few cases: a part may be empty")
    if arguments.repeat:
        selection = selection.repeated(arguments.repeat)
    plans = selection.plans
    if arguments.keep_on_fail and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            "--keep-on-fail needs a terminal.",
            why="guests end with the process that started them, and here nobody could tell it when to end",
            fix="run it in a terminal, such as a tmux session on this machine",
        )
    if arguments.pair and (arguments.keep_on_fail or arguments.share_guest or arguments.hosts):
        raise UsageError("--pair does not go with --hosts, --keep-on-fail or --share-guest.")
    place = parse_pairs(arguments, selection) if arguments.pair else _choose_place(selection, arguments)
    directory = earlier or make_run_directory(_make_title(selection), arguments.output)
    with directory.hold():
        python, groups = _list_python(selection)
        if earlier is None:
            turns = start_execution(plans, directory, python, groups)
        else:
            turns = list_left([*list_turns(plans), *python], directory)
        say(f"run directory: {directory.path}")
        events = EventLines(directory, sys.stdout) if arguments.json else None
        with _open_listener(events, lines=bool(arguments.pair)) as (listener, pause):
            try:
                _carry_out(turns, directory, selection, arguments, place, listener, pause)
            except BaseException as error:
                pause()
                found = _conclude(directory, find_history(arguments.history), show=events is None)
                if events:
                    events.conclude(found, find_exit_code(error))
                raise
        found = _conclude(directory, find_history(arguments.history), show=events is None)
        code = exit_code_of(found.records, strict=arguments.strict)
        if events:
            events.conclude(found, code)
        return code


def _carry_out(
    turns: Sequence[Turn],
    directory: RunDirectory,
    selection: Selection,
    arguments: argparse.Namespace,
    place: "Pairs | Place",
    listener: RunListener,
    pause: Callable[[], None],
) -> None:
    if isinstance(place, Pairs):
        run_on_pairs(place, turns, directory, selection, arguments, listener)
        return
    lease, unsupported = place
    keeper = HoldOnFailure(_make_hold(directory, pause)) if arguments.keep_on_fail else None
    execute(
        turns,
        directory,
        lease,
        listener,
        unsupported=unsupported,
        keeper=keeper,
        share_guest=arguments.share_guest,
        retries=arguments.retry_infra,
    )


def _find_earlier(arguments: argparse.Namespace) -> RunDirectory | None:
    """The run that is to go on. :raises UsageError: there is none, or cases are named besides"""
    if not arguments.resume:
        return None
    if arguments.cases or arguments.tag or arguments.only or arguments.repeat or arguments.shard:
        raise UsageError("--resume continues with the cases of its run.", fix="leave out what chooses cases or repeats")
    return find_run(arguments.resume, arguments.output)


def _conclude(directory: RunDirectory, history: Path | None, *, show: bool) -> RunData:
    """The answers, from the run directory; ``show``: they are printed, however the run ended."""
    found = replace(read_run(directory), history=history)
    if trouble := keep_numbers(found, history):
        say(trouble)
    write_reports(found, directory)
    if show:
        print(f"\n{FORMATS['text'].render(found)}\nreport: {directory.path / PAGE_FILE}", flush=True)
    return found


def _make_title(selection: Selection) -> str:
    return selection.names[0] if len(selection.names) == 1 else "run"


def _list_python(selection: Selection) -> tuple[list[Turn], list[PlannedScenario]]:
    """Turns of cases in Python, and for each function what ``plan.json`` says of it."""
    turns: list[Turn] = []
    groups: dict[str, PlannedScenario] = {}
    for case in selection.python:
        line = make_plan_line(case)
        groups[case.group] = PlannedScenario(case.group, str(case.source), case.title, "", line.repeats, False)
        apart = ConductApart(case)
        turns += [Turn(line, Case(case.id), ("", ""), number, apart) for number in range(1, line.repeats + 1)]
    return turns, list(groups.values())


Lease = Callable[[], AbstractContextManager[LeasedHosts]]
Place = tuple[Lease, Callable[[Turn], str]]


def _choose_place(selection: Selection, arguments: argparse.Namespace) -> Place:
    """Where the run takes place, in a lab or on hosts of the inventory, and why a case cannot be run there.

    On the latter with ``--hosts``, or if every case names such hosts for both sides.

    :raises UsageError: a host is named that there is not
    """
    inventory = load_inventory(arguments.inventory)
    pair = parse_pair(arguments, inventory)
    cases = [entry.planned.hosts for plan in selection.plans for entry in plan.entries]
    cases += [("", "") for case in selection.python if case.needs.hosts]
    named = {name for hosts in cases for name in hosts if name}
    for name in sorted(named - set(inventory.host) - set(LAB_HOSTS)):
        known = [*LAB_HOSTS, *inventory.host]
        raise UsageError(f"There is no host {name!r}{suggest(name, known)}.", fix="switchover hosts")
    if pair or (cases and all(name in inventory.host for hosts in cases for name in hosts)):
        here = named & set(inventory.host)
        return (
            lambda: lease_inventory_hosts(
                inventory, {*here, *(pair or ())}, pair or ("", ""), file=arguments.inventory
            ),
            partial(_judge, here=here, why="a lab host: this run is on hosts of the inventory"),
        )
    why = "a host of the inventory: this run is in the lab (give --hosts, or run cases on their own that name two)"
    return _make_lab_lease(selection, arguments.keep_lab), partial(_judge, here=set(LAB_HOSTS), why=why)


def _judge(turn: Turn, here: set[str], why: str) -> str:
    elsewhere = [name for name in turn.hosts if name and name not in here]
    return f"a guest and devices on {elsewhere[0]}, {why}" if elsewhere else ""


def _make_lab_lease(selection: Selection, keep_lab: bool) -> Lease:
    """Toolchains that cases name are built before the lab starts: it would slow them down, and they it. The lab has the
    hosts that cases name, and two at least.
    """
    toolchains = find_toolchains(selection.programs)
    named = {name for plan in selection.plans for entry in plan.entries for name in entry.planned.hosts}
    hosts = max(2, *(number for number, name in enumerate(LAB_HOSTS, start=1) if name in named), 0)

    @contextlib.contextmanager
    def lease() -> Iterator[LeasedHosts]:
        build_images(toolchains)
        with acquire_lab(stays=keep_lab, hosts=hosts) as lab:
            yield LeasedLab(lab)

    return lease


@contextlib.contextmanager
def _open_listener(
    events: EventLines | None, *, lines: bool = False
) -> Iterator[tuple[RunListener, Callable[[], None]]]:
    """Progress, and what ends it before its time. ``events``: they are told, and nothing is shown."""
    if events:
        yield events, lambda: None
        return
    group = None if lines else find_group(os.environ)
    if not lines and group is None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with LiveProgress() as live:
            yield live, live.pause
    else:
        plain = PlainProgress(group)
        try:
            yield plain, plain.close
        finally:
            plain.close()


def _make_hold(directory: RunDirectory, pause: Callable[[], None]) -> Callable[[Held], None]:
    def hold(kept: Held) -> None:
        pause()
        sides = ", ".join(f"{name} on {side.host}" for name, side in kept.sides.items())
        lines = [
            f"\n{kept.case}: {kept.mismatch}",
            *(kept.verdict.reason.splitlines()[:8]),
            f"kept: {sides}; what is there is in {kept.path / 'kept.json'}",
            "look, in another terminal:",
            *(f"  {line}" for line in list_attach(directory.word, kept.case)),
            "Enter or Ctrl-C here ends the guests and the run.",
            f"Should this process be gone: {command()} clean undoes what it left.",
        ]
        print("\n".join(lines), file=sys.stderr, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            sys.stdin.readline()

    return hold
