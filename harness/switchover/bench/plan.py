# SPDX-License-Identifier: GPL-2.0-or-later
"""25,000 cases of a scenario planned and shown; needs no lab."""

import argparse
import time
from pathlib import Path

from switchover.bench.figures import render_spread
from switchover.record.errors import ExitCode
from switchover.report.plan import render_plans
from switchover.scenarios.plan import make_plan
from switchover.scenarios.scenario import parse_scenario

_LARGE = """
version = 1
[scenario]
title = "25,000 cases"
[axes]
device.pre_copy = ["on", "off"]
device.p2p = ["on", "off"]
migration.switchover_ack = ["on", "off"]
source.machine = ["pc-q35-9.2", "pc-q35-10.0", "pc-q35-10.1", "pc-q35-10.2", "pc-q35-11.0"]
destination.machine = ["pc-q35-9.2", "pc-q35-10.0", "pc-q35-10.1", "pc-q35-10.2", "pc-q35-11.0"]
memory_mib = [128, 256, 512, 1024, 2048]
source.device.initial_bytes = ["1 MiB", "4 MiB", "16 MiB", "64 MiB", "256 MiB"]
migration.downtime_limit_ms = [100, 300, 1000, 3000, 10000]
"""


def run(arguments: argparse.Namespace, _scratch: Path) -> int:
    """From the text of a scenario to the text of its plan."""
    seconds: list[float] = []
    plan = None
    for _ in range(arguments.count):
        start = time.monotonic()
        plan = make_plan(parse_scenario(_LARGE))
        render_plans([plan])
        seconds.append(time.monotonic() - start)
    print(f"plan of {len(plan.entries) if plan else 0} cases  {render_spread(seconds)}")
    return ExitCode.AS_EXPECTED
