# SPDX-License-Identifier: GPL-2.0-or-later
"""Two pairs of one lab at the same time against one of them alone: cases per minute, and their ratio.

Rounds in turns, and which arm is first in turns too. Both arms have a lab of four hosts, so that what those cost that
have nothing to do is in both.
"""

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from switchover.bench.figures import render_ratio, render_spread
from switchover.bench.repeats import run_once
from switchover.guests.places import PLACES
from switchover.guests.snapshots import Snapshots
from switchover.lab.lab import start_lab
from switchover.record.log import say
from switchover.record.record import Record, exit_code_of
from switchover.report.differences import find_ratio
from switchover.runner.case_runner import RunContext
from switchover.runner.host_pair import HostPair, pairs_of_lab
from switchover.runner.standard import PRE_COPY_OFF, PRE_COPY_ON

ARMS = ("one pair", "two pairs")
CASES = (PRE_COPY_OFF, PRE_COPY_ON)
"""Of each pair in each round."""


def run(arguments: argparse.Namespace, scratch: Path) -> int:
    with start_lab(f"bench-{os.getpid()}", hosts=4) as lab, Snapshots() as snapshots:
        return _compare(arguments.count, pairs_of_lab(lab), scratch, snapshots)


def _compare(count: int, pairs: Sequence[HostPair], scratch: Path, snapshots: Snapshots) -> int:
    """Before the first round a case on each pair: saved guests and programs are there then."""
    records: list[Record] = []
    seconds: dict[str, list[float]] = {arm: [] for arm in ARMS}
    rates: dict[str, list[float]] = {arm: [] for arm in ARMS}

    def run_cases(number: int, which: int) -> list[Record]:
        return [
            run_once(case, number, pairs[which], scratch, {}, RunContext(snapshots=snapshots), PLACES[which])
            for case in CASES
        ]

    for which in range(len(pairs)):
        records += run_cases(0, which)
    for number in range(1, count + 1):
        for arm in ARMS if number % 2 else reversed(ARMS):
            used = range(1 if arm == ARMS[0] else len(pairs))
            start = time.monotonic()
            with ThreadPoolExecutor(len(used), "pair") as threads:
                found = [record for mine in threads.map(run_cases, [number] * len(used), used) for record in mine]
            took = time.monotonic() - start
            records += found
            seconds[arm] += [sum(record.seconds.values()) for record in found]
            rates[arm].append(60 * len(found) / took)
            wrong = sum(bool(record.mismatch) for record in found)
            say(f"#{number} {arm}: {len(found)} cases in {took:.1f} s, {wrong} not as expected")
    for arm in ARMS:
        print(f"{arm:<10} a case {render_spread(seconds[arm])}; cases per minute {render_rates(rates[arm])}")
    ratio = find_ratio(rates[ARMS[0]], rates[ARMS[1]], paired=True)
    print(f"{'ratio':<10} {render_ratio(ratio)}")
    return exit_code_of(records)


def render_rates(rates: Sequence[float]) -> str:
    """Median and extremes. Pure.

    >>> render_rates([4.0, 6.0, 5.0])
    'median 5.0 [4.0 … 6.0]'
    """
    return f"median {statistics.median(rates):.1f} [{min(rates):.1f} … {max(rates):.1f}]"
