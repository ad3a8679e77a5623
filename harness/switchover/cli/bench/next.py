# SPDX-License-Identifier: GPL-2.0-or-later
"""In a running lab: one more case, and where its time goes."""

import argparse
from pathlib import Path

from switchover.cli.bench.figures import render_spread
from switchover.cli.bench.repeats import run_once
from switchover.guests.spec import Start, with_lab_words
from switchover.guests.warm import SavedGuests
from switchover.hosts.loop import LoopThread
from switchover.lab.borrow import borrow_lab
from switchover.record.log import say
from switchover.record.record import Record, exit_code_of
from switchover.record.units import MIB
from switchover.run.pair import Pair, pair_of_lab
from switchover.run.standard import PRE_COPY_OFF, PRE_COPY_ON
from switchover.scenarios.case import with_start


def run(arguments: argparse.Namespace, scratch: Path) -> int:
    with borrow_lab() as lab:
        return _compare(arguments.count, pair_of_lab(lab), scratch, warm=arguments.warm)


def _compare(count: int, pair: Pair, scratch: Path, *, warm: bool) -> int:
    """``warm``: booting and saving the guest is done once and timed apart, since the next case does not pay for it."""
    starts: tuple[Start, ...] = ("cold", "warm") if warm else ("cold",)
    records: dict[Start, list[Record]] = {start: [] for start in starts}
    with SavedGuests() as saved_guests:
        if warm:
            with LoopThread() as loop:
                spec = PRE_COPY_ON.source
                guest = with_lab_words(spec.guest, pair.source.guest_words)
                saved = saved_guests.require(guest, len(spec.devices), pair.source.host, pair.keys, loop)
            say(f"guest booted and saved in {saved.seconds:.1f} s, {saved.bytes / MIB:.0f} MiB")
        for number in range(1, count + 1):
            for start in starts if number % 2 else reversed(starts):
                case = with_start((PRE_COPY_OFF, PRE_COPY_ON)[number // len(starts) % 2], start)
                record = run_once(case, number, pair, scratch, {}, saved_guests)
                records[start].append(record)
                seconds = sum(record.seconds.values())
                say(f"#{number} {case.id}, {start}: {seconds:.1f} s, {record.verdict.name} {record.verdict.reason}")
    for start, mine in records.items():
        print(f"next case, {start:<8}{render_spread([sum(record.seconds.values()) for record in mine])}")
        for step in dict.fromkeys(step for record in mine for step in record.seconds):
            print(f"  {step:<18}{render_spread([record.seconds[step] for record in mine if step in record.seconds])}")
    return exit_code_of([record for mine in records.values() for record in mine])
