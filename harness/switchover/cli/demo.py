# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover demo``: the first migration, from nothing."""

import argparse
import platform
from dataclasses import replace
from pathlib import Path

from switchover import __version__
from switchover.devices.reference import Knobs
from switchover.hosts.facts import read_facts
from switchover.hosts.local import LocalHost
from switchover.lab.borrow import borrow_lab
from switchover.lab.lab import Lab
from switchover.record.errors import ExitCode
from switchover.record.log import say, step
from switchover.record.record import VerdictName
from switchover.record.rundir import make_run_directory
from switchover.record.units import MIB, format_bytes
from switchover.report.terminal import explain_difference, render_comparison, render_record, render_repeat
from switchover.run.case import Case, Pair, pair_of_lab
from switchover.run.repeat import run_repeat

KNOBS = Knobs(initial_bytes=64 * MIB, stop_copy_bytes=1 * MIB, save_bytes_per_sec=64 * MIB)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=_positive, default=1, metavar="N", help="repeats of each case, interleaved")
    parser.add_argument("--output", type=Path, metavar="DIRECTORY", help="where run directories go")


def run(arguments: argparse.Namespace) -> int:
    cases = [
        Case(id=f"device.pre_copy={'on' if pre_copy else 'off'}", knobs=replace(KNOBS, pre_copy=pre_copy))
        for pre_copy in (False, True)
    ]
    directory = make_run_directory("demo", "switchover demo", arguments.output)
    say(f"run directory: {directory.path}")
    with borrow_lab() as lab:
        pair = pair_of_lab(lab)
        fingerprint = collect_fingerprint(lab, pair)
        for number in range(1, arguments.repeats + 1):
            # interleaved, and in turns the other way round, so that drift does not favour one arm
            for case in cases if number % 2 else reversed(cases):
                with step(f"{case.id} #{number}"):
                    record = run_repeat(case, number, pair, directory.repeat(case.id, number), fingerprint)
                say(render_repeat(record))
    records = directory.records()
    off, on = (next(record for record in records if record.case == case.id) for case in cases)
    print(_headline())
    for record in (off, on):
        print(f"\n{render_record(record)}")
    print(f"\n{render_comparison(records)}\n\n{explain_difference(off, on)}\n\nrun directory: {directory.path}")
    completed = all(record.verdict.name is VerdictName.COMPLETED for record in records)
    return ExitCode.AS_EXPECTED if completed else ExitCode.NOT_AS_EXPECTED


def _headline() -> str:
    return (
        f"\nA guest with a VFIO device that has {format_bytes(KNOBS.initial_bytes + KNOBS.stop_copy_bytes)} of state "
        f"and saves {format_bytes(KNOBS.save_bytes_per_sec)}/s, migrated between two lab hosts.\n"
        "Times of a lab compare with each other only; they say nothing about hardware."
    )


def collect_fingerprint(lab: Lab, pair: Pair) -> dict[str, object]:
    """What a run was made on: harness, controller, images, accelerator, and each host's kernel and QEMU."""
    return {
        "switchover": __version__,
        "python": platform.python_version(),
        "controller": read_facts(LocalHost(), "qemu-system-x86_64"),
        "lab": {"images": lab.file.images, "accelerator": lab.file.accelerator},
        "source": read_facts(pair.source.host, "qemu-system-x86_64"),
        "destination": read_facts(pair.destination.host, "qemu-system-x86_64"),
    }


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value
