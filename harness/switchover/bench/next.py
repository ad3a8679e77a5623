# SPDX-License-Identifier: GPL-2.0-or-later
"""In a running lab: one more case, with a guest that boots, one that is restored, one that is shared, in turns."""

import argparse
from pathlib import Path

from switchover.bench.figures import render_spread
from switchover.bench.repeats import run_once
from switchover.guests.warm import SavedGuests
from switchover.lab.borrow import borrow_lab
from switchover.record.log import say
from switchover.record.record import Record, exit_code_of
from switchover.record.units import MIB
from switchover.run.pair import Pair, pair_of_lab
from switchover.run.repeat import RunContext
from switchover.run.shared import SharedGuest
from switchover.run.standard import PRE_COPY_OFF, PRE_COPY_ON
from switchover.scenarios.case import Case, with_start

ARMS = ("cold", "warm", "shared")


def run(arguments: argparse.Namespace, scratch: Path) -> int:
    with borrow_lab() as lab:
        return _compare(arguments.count, pair_of_lab(lab), scratch)


def _compare(count: int, pair: Pair, scratch: Path) -> int:
    """A saved guest that is not there yet is made before the first turn: the next case does not pay for it."""
    records: dict[str, list[Record]] = {arm: [] for arm in ARMS}
    with SavedGuests() as saved_guests:
        first = run_once(PRE_COPY_ON, 0, pair, scratch, {}, RunContext(saved_guests=saved_guests))
        say(f"before: {first.verdict.name}, saved guest {first.fingerprint['guest'].get('bytes', 0) / MIB:.0f} MiB")
        for number in range(1, count + 1):
            case = (PRE_COPY_OFF, PRE_COPY_ON)[number % 2]
            for arm in ARMS if number % 2 else reversed(ARMS):
                record = _run_arm(arm, case, number, pair, scratch, saved_guests)
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


def _run_arm(arm: str, case: Case, number: int, pair: Pair, scratch: Path, saved_guests: SavedGuests) -> Record:
    """Of a shared guest the second case, which is the first one that has it from another; the other way, then."""
    context = RunContext(saved_guests=saved_guests)
    if arm != "shared":
        return run_once(with_start(case, "cold" if arm == "cold" else "warm"), number, pair, scratch, {}, context)
    with SharedGuest() as shared:
        context = RunContext(saved_guests=saved_guests, shared=shared)
        run_once(case, number, pair, scratch, {}, context)
        return run_once(case, number, pair, scratch, {}, context)
