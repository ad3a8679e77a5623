# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover repro``: a case of a run again, from its record alone."""

import argparse
import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

from switchover.cli.arguments import parse_positive
from switchover.cli.history import add_keeping_argument
from switchover.cli.places import add_place_arguments, parse_pair
from switchover.guests.snapshots import Snapshots
from switchover.hosts.inventory import load_inventory
from switchover.lab.acquire import acquire_lab
from switchover.lab.images import build_images
from switchover.lab.toolchains import find_toolchains
from switchover.record.errors import NotSupported
from switchover.record.invocation import command
from switchover.record.log import say, step
from switchover.record.record import Record, exit_code_of
from switchover.record.rundir import find_run, make_run_directory
from switchover.report.history.keeping import find_history, keeping_numbers
from switchover.report.terminal import render_repeat
from switchover.runner.case_runner import RunContext, run_repeat
from switchover.runner.leased_hosts import LeasedHosts, LeasedLab
from switchover.runner.leased_inventory import lease_inventory_hosts
from switchover.scenarios.case import Case
from switchover.scenarios.preflight import decide
from switchover.scenarios.recorded import parse_case, select_record


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_name", metavar="RUN", help="the run: its path, its name, a part of its name, or last")
    parser.add_argument("case", metavar="CASE", help="the case: its id, or a part of its id")
    parser.add_argument(
        "--repeat", type=parse_positive, metavar="N", help="run the case this many times; default: once"
    )
    parser.add_argument(
        "--until-fail",
        action="store_true",
        help="repeat until the verdict is not the expected one, at most N times with --repeat N",
    )
    parser.add_argument(
        "--lab", metavar="NAME", help="run in this lab; default: the one that is up, or one that is started for it"
    )
    add_place_arguments(parser)
    parser.add_argument("--runs", type=Path, metavar="DIRECTORY", help="the directory that holds the run directories")
    parser.add_argument("--output", type=Path, metavar="DIRECTORY", help="make the new run directory in this directory")
    add_keeping_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    recorded = select_record(arguments.case, find_run(arguments.run_name, arguments.runs).records())
    case = parse_case(recorded)
    say(f"{case.id}: expected {case.expectation.verdict}; repeat {recorded.repeat} of the record: {recorded.verdict}")
    directory = make_run_directory("repro", arguments.output)
    say(f"run directory: {directory.path}")
    most = arguments.repeat or (None if arguments.until_fail else 1)
    records: list[Record] = []
    try:
        kept = keeping_numbers(directory, find_history(arguments.history))
        with _lease(arguments, case) as leased, Snapshots() as snapshots, kept:
            decision = decide(case, ("", ""), leased.ask([(case, ("", ""))]))
            if not decision.runs:
                raise NotSupported(f"{case.id} cannot be run here.", why="; ".join(decision.missing))
            pair, fingerprint = leased.pair(("", "")), leased.fingerprint(case, ("", ""))
            for number in itertools.count(1) if most is None else range(1, most + 1):
                with step(f"{case.id} #{number}"):
                    place = directory.repeat(case.id, number)
                    record = run_repeat(case, number, pair, place, fingerprint, RunContext(snapshots=snapshots))
                records.append(record)
                say(render_repeat(record))
                if arguments.until_fail and record.mismatch:
                    break
    finally:
        print(_summarise(records, recorded))
        print(f"{command()} show {directory.path.name}")
    return exit_code_of(records)


@contextlib.contextmanager
def _lease(arguments: argparse.Namespace, case: Case) -> Iterator[LeasedHosts]:
    inventory = load_inventory(arguments.inventory)
    pair = parse_pair(arguments, inventory)
    if pair:
        with lease_inventory_hosts(inventory, pair, pair) as hosts:
            yield hosts
        return
    build_images(find_toolchains(name for side in case.sides for name in side.guest.programs))
    with acquire_lab(arguments.lab) as lab:
        yield LeasedLab(lab)


def _summarise(records: list[Record], recorded: Record) -> str:
    """How often it came to what was expected, and to what was recorded."""
    wrong = [record for record in records if record.mismatch]
    same = sum(str(record.verdict) == str(recorded.verdict) for record in records)
    lines = [
        f"{recorded.case}: {len(records)} repeats, {len(records) - len(wrong)} as expected, "
        f"{same} with the verdict of the record, {recorded.verdict}"
    ]
    lines += [f"  #{record.repeat}: {record.mismatch}" for record in wrong[:10]]
    return "\n".join(lines)
