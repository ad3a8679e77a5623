# SPDX-License-Identifier: GPL-2.0-or-later
"""The downtime with all probes on against QEMU's counters only, in pairs."""

import argparse
from pathlib import Path

from switchover.bench.figures import render_ratio, render_spread
from switchover.bench.overhead import alternate
from switchover.bench.repeats import run_once
from switchover.lab.acquire import acquire_lab
from switchover.record.log import say
from switchover.record.record import Record, exit_code_of
from switchover.record.units import format_seconds
from switchover.report.differences import find_ratio
from switchover.runner.host_pair import pair_of_lab
from switchover.runner.standard import PRE_COPY_ON


def run(arguments: argparse.Namespace, scratch: Path) -> int:
    """QEMU's own downtime in both arms, since it is the one number that both have."""
    values: dict[bool, dict[int, float]] = {True: {}, False: {}}
    records: list[Record] = []
    with acquire_lab() as lab:
        pair = pair_of_lab(lab)
        for number, case in enumerate(alternate(PRE_COPY_ON, arguments.count)):
            record = run_once(case, number + 1, pair, scratch, {})
            records.append(record)
            seconds = record.measured("downtime.qemu")
            what = f"{record.verdict.name} {record.verdict.reason}, {format_seconds(seconds or 0)}"
            say(f"#{number + 1} {case.id}: {what}")
            if seconds and not record.mismatch:
                values[case.source.guest.traced][number // 2] = seconds
    on, off = values[True], values[False]
    whole = sorted(on.keys() & off.keys())
    found = find_ratio([off[number] for number in whole], [on[number] for number in whole], paired=True)
    print(
        f"all probes on      {render_spread(list(on.values()), 3)}   (heartbeats every {PRE_COPY_ON.heartbeat_us} us)"
    )
    print(f"QEMU's counters    {render_spread(list(off.values()), 3)}")
    print(f"ratio              {render_ratio(found)}, {len(whole)} of {arguments.count} pairs")
    return exit_code_of(records)
