# SPDX-License-Identifier: GPL-2.0-or-later
"""How often a guest can be heard: rounds over heartbeat periods, without a migration."""

import argparse
from pathlib import Path

from switchover.hosts.loop import LoopThread
from switchover.lab.acquire import acquire_lab
from switchover.migration.outside import Control, find_smallest_period, is_supported
from switchover.probes.outside import measure_control
from switchover.record.errors import ExitCode
from switchover.record.log import say
from switchover.runner.host_pair import HostPair, pair_of_lab
from switchover.runner.side import start_side
from switchover.runner.standard import PRE_COPY_ON

HEARTBEAT_PERIODS_US = (50_000, 20_000, 10_000, 5_000, 2_000, 1_000)
BENCH_S = 4.0
"""For each period, in each round."""


def run(arguments: argparse.Namespace, _scratch: Path) -> int:
    with acquire_lab() as lab:
        return _listen(arguments.count, pair_of_lab(lab))


def _listen(rounds: int, pair: HostPair) -> int:
    """One guest; the periods in turns, so that what disturbs the machine for a while disturbs them all."""
    controls: list[Control] = []
    with (
        LoopThread() as loop,
        start_side(
            PRE_COPY_ON.source,
            pair.source.host,
            "source",
            pair.keys,
            loop,
            incoming=False,
            words=pair.source.guest_words,
        ) as side,
    ):
        side.guest.wait_until_reachable()
        assert pair.source.outlet is not None
        for _ in range(rounds):
            for period_us in HEARTBEAT_PERIODS_US:
                control, words = measure_control(pair.source.outlet, side.guest, pair.keys, period_us, BENCH_S)
                say(f"period {period_us / 1e3:g} ms: {words or 'the sender says nothing'}")
                if control is not None:
                    controls.append(control)
    print("period    arrivals  lost   median      99 %   longest   supported")
    for control in sorted(controls, key=lambda control: -control.period_s):
        times = (control.median_s, control.p99_s, control.longest_s)
        print(
            f"{control.period_s * 1e3:4g} ms  {control.arrivals:10} {control.lost:5}"
            + "".join(f"{value * 1e3:7.1f} ms" for value in times)
            + f"   {'yes' if is_supported(control) else 'no'}"
        )
    smallest = find_smallest_period(controls)
    print(f"smallest supported period: {f'{smallest.period_s * 1e3:g} ms' if smallest else 'none'}")
    return ExitCode.AS_EXPECTED if controls else ExitCode.NOT_READY
