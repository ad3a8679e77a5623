# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover bench``: the harness measured by itself; figures, never a verdict on speed.

Each kind is a module of :mod:`switchover.bench` with ``run(arguments, scratch) -> int``, named as the kind with ``_``
for ``-``.
"""

import argparse
import importlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from switchover.cli.arguments import parse_percent, parse_positive
from switchover.guests.spec import DriverName


@dataclass(frozen=True)
class Kind:
    """A kind of measurement. ``count``: default of ``--count``; ``options``: more of them, as argparse takes them."""

    count: int
    summary: str
    options: tuple[tuple[str, dict[str, Any]], ...] = ()


KINDS = {
    "warm": Kind(3, "time from nothing but built images to the record of one migration, lab boot included"),
    "next": Kind(
        5,
        "time one more case in a running lab, its guest booted, restored and shared in turns, and where the time goes",
    ),
    "labs": Kind(
        8,
        "compare two labs that differ: run the same case in turns, and give the ratio of each step",
        (
            ("--cpu", {"metavar": "CPU", "help": "CPU of the second lab's hosts, as QEMU's -cpu takes it"}),
            ("--accel", {"metavar": "ACCEL", "help": "accelerator of its hosts, as QEMU's -accel takes it"}),
            ("--append", {"metavar": "WORDS", "help": "kernel command line of its hosts, in place of the lab's own"}),
            (
                "--guest-append",
                {"metavar": "WORDS", "help": "kernel command line of its guests, in place of their own"},
            ),
            (
                "--qemu",
                {"metavar": "QEMU", "default": "", "help": "QEMU that its hosts run in: a program or a toolchain"},
            ),
            ("--setup", {"metavar": "COMMAND", "help": "shell command that runs on each of its hosts after the boot"}),
            (
                "--start",
                {"choices": ("cold", "warm", "both"), "default": "cold", "help": "how guests start; default: cold"},
            ),
        ),
    ),
    "pairs": Kind(8, "compare two pairs of a lab at the same time with one of them: cases per minute, and their ratio"),
    "fronts": Kind(
        1,
        "run twenty cases by the API, the command line, pytest and avocado; compares their records and what each costs",
        (("--env", {"type": Path, "required": True, "metavar": "DIR", "help": "virtual environment with all four"}),),
    ),
    "boots": Kind(50, "boot guests one after the other"),
    "outside": Kind(
        2, "find how often a guest can be heard from outside, over several heartbeat periods, without a migration"
    ),
    "resume": Kind(
        8,
        "find what a guest does from its start to its first heartbeat outside, after a migration and after stop and "
        "cont in place",
    ),
    "there-and-back": Kind(
        20,
        "migrate a guest there and back, each time with all checks",
        (
            (
                "--driver",
                {"choices": get_args(DriverName), "default": "qmp", "help": "driver that migrates; default: qmp"},
            ),
        ),
    ),
    "busy": Kind(50, "the same with DMA and interrupts going on; shows whether data was lost or wrong"),
    "probes": Kind(10, "compare the downtime with all probes on and with QEMU's counters only, in pairs"),
    "matrix": Kind(1, "run the fault scenarios of the catalogue with one guest; counts the cells run and right"),
    "plan": Kind(5, "plan and show 25,000 cases of a scenario; needs no lab"),
    "show": Kind(5, "show a run of 1,000 cases as text and as a page, from a new process; needs no lab"),
    "history": Kind(5, "make a history of 100,000 numbers and ask for one of them; needs no lab"),
    "gate": Kind(
        200,
        "deal recorded repeats of a case out to two sides; counts false alarms of the gate, and what it misses; needs "
        "no lab",
        (
            ("run_name", {"metavar": "RUN", "help": "a run with many repeats of the case"}),
            ("--case", {"metavar": "CASE", "default": "", "help": "the case; default: that with most repeats"}),
            ("--bound", {"type": parse_percent, "default": 0.05, "metavar": "PERCENT", "help": "default: 5%%"}),
            (
                "--shift",
                {
                    "type": parse_percent,
                    "default": 0.1,
                    "metavar": "PERCENT",
                    "help": "how much worse one side is made; default: 10%%",
                },
            ),
            ("--seed", {"type": int, "default": 1, "help": "seed of the draws; default: 1"}),
        ),
    ),
    "irq-parse": Kind(
        1_000_000,
        "analyse events of a recording of interrupts on one core; gives speed and memory; needs no lab",
        (
            (
                "--file",
                {"type": Path, "required": True, "metavar": "FILE", "help": "a recording of switchover irq record"},
            ),
        ),
    ),
    "leases": Kind(
        10_000,
        "lease many pairs of simulated hosts while holders are killed; counts double uses; needs no lab",
        (("--seed", {"type": int, "default": 1, "help": "seed of the simulation; default: 1"}),),
    ),
    "kills": Kind(
        20,
        "kill the harness at random moments of a repeat, and look for what is left after the next command",
        (("--seed", {"type": int, "help": "seed of the moments; default: a new one each time"}),),
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", required=True)
    for name, kind in KINDS.items():
        of_kind = kinds.add_parser(name, help=kind.summary)
        default = f"how many; default: {kind.count}"
        of_kind.add_argument("--count", type=parse_positive, default=kind.count, metavar="N", help=default)
        for option, settings in kind.options:
            of_kind.add_argument(option, **settings)


def run(arguments: argparse.Namespace) -> int:
    module = importlib.import_module(f"switchover.bench.{arguments.kind.replace('-', '_')}")
    with tempfile.TemporaryDirectory(prefix="switchover-bench-") as scratch:
        return int(module.run(arguments, Path(scratch)))
