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
from typing import Any

from switchover.cli.arguments import parse_positive


@dataclass(frozen=True)
class Kind:
    """A kind of measurement. ``count``: default of ``--count``; ``options``: more of them, as argparse takes them."""

    count: int
    summary: str
    options: tuple[tuple[str, dict[str, Any]], ...] = ()


KINDS = {
    "warm": Kind(3, "images built: from nothing to the record of one migration, lab boot included"),
    "next": Kind(
        5, "in a running lab: one more case, its guest booted, restored and shared in turns, and where its time goes"
    ),
    "labs": Kind(
        8, "two labs side by side, the second one otherwise: the same case in turns, and the ratio of each step",
        (
            ("--cpu", {"metavar": "CPU", "help": "of the second lab's hosts, as QEMU's -cpu takes it"}),
            ("--accel", {"metavar": "ACCEL", "help": "likewise -accel"}),
            ("--append", {"metavar": "WORDS", "help": "for its hosts' kernel, in place of the lab's own words"}),
            ("--guest-append", {"metavar": "WORDS", "help": "for its guests' kernel, likewise"}),
            ("--qemu", {"metavar": "QEMU", "default": "", "help": "its hosts run in: a program, or a toolchain"}),
            ("--setup", {"metavar": "COMMAND", "help": "run by a shell on each of its hosts, after the boot"}),
            ("--start", {"choices": ("cold", "warm", "both"), "default": "cold", "help": "guests; default: cold"}),
        ),
    ),
    "pairs": Kind(8, "two pairs of a lab at the same time against one of them: cases per minute, and the ratio"),
    "fronts": Kind(
        1, "twenty cases by the API, the command line, pytest and avocado: whether they say the same, and the cost",
        (("--env", {"type": Path, "required": True, "metavar": "DIR", "help": "virtual environment with all four"}),),
    ),
    "boots": Kind(50, "guest boots in a row"),
    "outside": Kind(2, "how often a guest can be heard: rounds over heartbeat periods, without a migration"),
    "there-and-back": Kind(
        20, "migrations there and back in a row, each with all checks",
        (("--driver", {"choices": ("qmp", "libvirt"), "default": "qmp", "help": "who migrates; default: qmp"}),),
    ),
    "busy": Kind(50, "the same with DMA and interrupts going on: data lost or wrong"),
    "probes": Kind(10, "the downtime with all probes on against QEMU's counters only, in pairs"),
    "matrix": Kind(1, "the fault scenarios of the catalogue with one guest: cells run and right"),
    "plan": Kind(5, "25,000 cases of a scenario planned and shown; needs no lab"),
    "show": Kind(5, "a run of 1,000 cases shown, from a new process; needs no lab"),
    "irq-parse": Kind(
        1_000_000, "events of a recording of interrupts analysed on one core, and memory; needs no lab",
        (("--file", {"type": Path, "required": True, "metavar": "FILE", "help": "of switchover irq record"}),),
    ),
    "leases": Kind(
        10_000, "many pairs of simulated hosts at work, and leases whose holders are killed: double uses; needs no lab",
        (("--seed", {"type": int, "default": 1, "help": "of what is simulated; default: 1"}),),
    ),
    "kills": Kind(
        20, "the harness killed at random moments of a repeat: what is left after the next command",
        (("--seed", {"type": int, "help": "of the moments; default: another one each time"}),),
    ),
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", required=True)
    for name, kind in KINDS.items():
        of_kind = kinds.add_parser(name, help=kind.summary)
        default = f"default: {kind.count}"
        of_kind.add_argument("--count", type=parse_positive, default=kind.count, metavar="N", help=default)
        for option, settings in kind.options:
            of_kind.add_argument(option, **settings)


def run(arguments: argparse.Namespace) -> int:
    module = importlib.import_module(f"switchover.bench.{arguments.kind.replace('-', '_')}")
    with tempfile.TemporaryDirectory(prefix="switchover-bench-") as scratch:
        return int(module.run(arguments, Path(scratch)))
