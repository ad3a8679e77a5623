# SPDX-License-Identifier: GPL-2.0-or-later
"""The fault scenarios of the catalogue, cases sharing guests: cells run and right."""

import argparse
from dataclasses import replace
from pathlib import Path

from switchover.bench.figures import render_spread
from switchover.guests.snapshots import Snapshots
from switchover.lab.acquire import acquire_lab
from switchover.record.errors import ExitCode
from switchover.record.log import say
from switchover.record.rundir import make_run_directory
from switchover.runner.case_runner import RunContext, run_repeat
from switchover.runner.host_pair import pair_of_lab
from switchover.runner.shared_guest import SharedGuest
from switchover.scenarios.building import load_cases

MATRIX = ("faults", "device-faults", "hangs")
"""Scenarios that are about what goes wrong; none is about heartbeats."""


def run(arguments: argparse.Namespace, scratch: Path) -> int:
    directory = make_run_directory("matrix", scratch)
    records = []
    with acquire_lab() as lab, Snapshots() as snapshots, SharedGuest() as shared:
        context = RunContext(snapshots=snapshots, shared=shared)
        for number in range(1, arguments.count + 1):
            for entry in (entry for name in MATRIX for entry in load_cases(name)):
                case = replace(entry.case, id=entry.id, heartbeat_us=0)
                record = run_repeat(case, number, pair_of_lab(lab), directory.repeat(case.id, number), {}, context)
                records.append(record)
                right = f"NOT AS EXPECTED: {record.mismatch}" if record.mismatch else "right"
                seconds = sum(record.seconds.values())
                say(f"{case.id}: {record.verdict.name} {record.verdict.side}, {right} ({seconds:.1f} s)")
    wrong = [record for record in records if record.mismatch]
    times = render_spread([sum(record.seconds.values()) for record in records])
    print(f"{len(records)} cells run, {len(records) - len(wrong)} right; {times}")
    return ExitCode.NOT_AS_EXPECTED if wrong else ExitCode.AS_EXPECTED
