# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover demo``: the first migration, from nothing."""

import argparse
from pathlib import Path

from switchover.cli.arguments import parse_positive
from switchover.cli.history import add_keeping_argument
from switchover.lab.acquire import acquire_lab
from switchover.record.log import say, step
from switchover.record.record import exit_code_of
from switchover.record.rundir import make_run_directory
from switchover.record.units import format_bytes
from switchover.report.history.keeping import find_history, keeping_numbers
from switchover.report.terminal import explain_difference, render_comparison, render_record, render_repeat
from switchover.runner.case_runner import RunContext, run_repeat
from switchover.runner.fingerprint import collect_fingerprint
from switchover.runner.host_pair import pair_of_lab
from switchover.runner.shared_guest import SharedGuest
from switchover.runner.standard import KNOBS, PRE_COPY_OFF, PRE_COPY_ON


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--repeats", type=parse_positive, default=1, metavar="N", help="repeats of each case, interleaved"
    )
    parser.add_argument("--output", type=Path, metavar="DIRECTORY", help="make the run directory in this directory")
    add_keeping_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    cases = (PRE_COPY_OFF, PRE_COPY_ON)
    directory = make_run_directory("demo", arguments.output)
    say(f"run directory: {directory.path}")
    kept = keeping_numbers(directory, find_history(arguments.history))
    with acquire_lab() as lab, SharedGuest(boots=True) as shared, kept:
        pair = pair_of_lab(lab)
        hosts = len(lab.file.hosts)
        fingerprint = collect_fingerprint(lab, pair)
        for number in range(1, arguments.repeats + 1):
            # interleaved, and in turns the other way round, so that drift does not favour one arm
            for case in cases if number % 2 else reversed(cases):
                with step(f"{case.id} #{number}"):
                    repeat = directory.repeat(case.id, number)
                    record = run_repeat(case, number, pair, repeat, fingerprint, RunContext(shared=shared))
                say(render_repeat(record))
    records = directory.records()
    off, on = ([record for record in records if record.case == case.id] for case in cases)
    print(_headline(hosts))
    for first in (off[0], on[0]):
        print(f"\n{render_record(first)}")
    print(f"\n{render_comparison(records)}\n\n{explain_difference(off, on)}\n\nrun directory: {directory.path}")
    return exit_code_of(records)


def _headline(hosts: int) -> str:
    where = "between two lab hosts" if hosts == 2 else "within one lab host"
    return (
        f"\nA guest with a VFIO device that has {format_bytes(KNOBS.initial_bytes + KNOBS.stop_copy_bytes)} of state "
        f"and saves at most {format_bytes(KNOBS.save_bytes_per_sec)}/s, migrated {where}.\n"
        "Times of a lab compare with each other only; they say nothing about hardware."
    )
