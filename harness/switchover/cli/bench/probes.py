# SPDX-License-Identifier: GPL-2.0-or-later
"""The downtime with all probes on against QEMU's counters only, in pairs."""

import argparse
from pathlib import Path

from switchover.cli.bench.repeats import run_once
from switchover.lab.borrow import borrow_lab
from switchover.record.log import say
from switchover.record.record import Record, exit_code_of
from switchover.record.units import format_seconds
from switchover.run.overhead import alternate, compare_medians
from switchover.run.pair import pair_of_lab
from switchover.run.standard import PRE_COPY_ON


def run(arguments: argparse.Namespace, scratch: Path) -> int:
    """QEMU's own downtime in both arms, since it is the one number that both have."""
    values: dict[bool, list[float]] = {True: [], False: []}
    records: list[Record] = []
    with borrow_lab() as lab:
        pair = pair_of_lab(lab)
        for number, case in enumerate(alternate(PRE_COPY_ON, arguments.count), start=1):
            record = run_once(case, number, pair, scratch, {})
            records.append(record)
            seconds = record.measured("downtime.qemu")
            say(f"#{number} {case.id}: {record.verdict.name} {record.verdict.reason}, {format_seconds(seconds or 0)}")
            if seconds is not None and not record.mismatch:
                values[case.source.guest.traced].append(seconds)
    found = compare_medians(values[True], values[False])
    print(f"all probes on      {format_seconds(found.on)}   (traces, heartbeats every {PRE_COPY_ON.heartbeat_us} us)")
    print(f"QEMU's counters    {format_seconds(found.off)}")
    print(f"ratio              {found.ratio:.3f}   95 % [{found.low:.3f} … {found.high:.3f}]  n={found.pairs} pairs")
    return exit_code_of(records)
