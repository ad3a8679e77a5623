# SPDX-License-Identifier: GPL-2.0-or-later
"""In a running lab: one more case, with a guest that boots, one that is restored, one that is shared, in turns."""

import argparse
from pathlib import Path

from switchover.bench.figures import render_spread
from switchover.bench.repeats import run_once
from switchover.guests.snapshots import Snapshots
from switchover.lab.acquire import acquire_lab
from switchover.record.log import say
from switchover.record.record import Record, exit_code_of
from switchover.record.units import MIB
from switchover.runner.case_runner import RunContext
from switchover.runner.host_pair import HostPair, pair_of_lab
from switchover.runner.shared_guest import SharedGuest
from switchover.runner.standard import PRE_COPY_OFF, PRE_COPY_ON
from switchover.scenarios.case import Case, with_start

ARMS = ("cold", "warm", "shared")


def run(arguments: argparse.Namespace, scratch: Path) -> int:
    with acquire_lab() as lab:
        return _compare(arguments.count, pair_of_lab(lab), scratch)


def _compare(count: int, pair: HostPair, scratch: Path) -> int:
    """A saved guest that is not there yet is made before the first turn: the next case does not pay for it."""
    records: dict[str, list[Record]] = {arm: [] for arm in ARMS}
    with Snapshots() as snapshots:
        first = run_once(PRE_COPY_ON, 0, pair, scratch, {}, RunContext(snapshots=snapshots))
        say(f"before: {first.verdict.name}, saved guest {first.fingerprint['guest'].get('bytes', 0) / MIB:.0f} MiB")
        for number in range(1, count + 1):
            case = (PRE_COPY_OFF, PRE_COPY_ON)[number % 2]
            for arm in ARMS if number % 2 else reversed(ARMS):
                record = _run_arm(arm, case, number, pair, scratch, snapshots)
                records[arm].append(record)
                seconds = sum(record.seconds.values())
                say(f"#{number} {case.id}, {arm}: {seconds:.1f} s, {record.verdict.name} {record.verdict.reason}")
    for arm, mine in records.items():
        print(f"next case, {arm:<8}{render_spread([sum(record.seconds.values()) for record in mine])}")
        for step in dict.fromkeys(step for record in mine for step in record.seconds):
            print(f"  {step:<18}{render_spread([record.seconds[step] for record in mine if step in record.seconds])}")
        moved = [value for record in mine if (value := record.measured("bytes.ram.precopy")) is not None]
        print(f"  RAM in the stream {min(moved, default=0) / 1e6:.1f} … {max(moved, default=0) / 1e6:.1f} MB")
    return exit_code_of([record for mine in records.values() for record in mine])


def _run_arm(arm: str, case: Case, number: int, pair: HostPair, scratch: Path, snapshots: Snapshots) -> Record:
    """Of a shared guest the second case, which is the first one that has it from another; the other way, then."""
    context = RunContext(snapshots=snapshots)
    if arm != "shared":
        return run_once(with_start(case, "cold" if arm == "cold" else "warm"), number, pair, scratch, {}, context)
    with SharedGuest() as shared:
        context = RunContext(snapshots=snapshots, shared=shared)
        run_once(case, number, pair, scratch, {}, context)
        return run_once(case, number, pair, scratch, {}, context)
