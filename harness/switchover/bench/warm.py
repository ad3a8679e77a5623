# SPDX-License-Identifier: GPL-2.0-or-later
"""From nothing but built images to the record of one migration, lab boot included."""

import argparse
import os
import time
from pathlib import Path

from switchover.bench.figures import render_spread
from switchover.bench.repeats import run_once
from switchover.lab.images import build_images
from switchover.lab.lab import start_lab
from switchover.record.log import say
from switchover.record.record import Record, exit_code_of
from switchover.runner.fingerprint import collect_fingerprint
from switchover.runner.host_pair import pair_of_lab
from switchover.runner.standard import PRE_COPY_ON


def run(arguments: argparse.Namespace, scratch: Path) -> int:
    build_images(["labhost"])
    totals: list[float] = []
    boots: list[float] = []
    records: list[Record] = []
    for number in range(1, arguments.count + 1):
        start = time.monotonic()
        with start_lab(f"bench-{os.getpid()}-{number}") as lab:
            boots.append(lab.file.ready_seconds or 0.0)
            pair = pair_of_lab(lab)
            record = run_once(PRE_COPY_ON, number, pair, scratch, collect_fingerprint(lab, pair))
            records.append(record)
            totals.append(time.monotonic() - start)
        say(f"#{number}: {totals[-1]:.1f} s, {record.verdict.name} {record.verdict.reason}")
    print(f"lab boot           {render_spread(boots)}")
    print(f"until the record   {render_spread(totals)}   (lab boot included, images built)")
    return exit_code_of(records)
