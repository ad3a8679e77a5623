# SPDX-License-Identifier: GPL-2.0-or-later
"""A run of 1,000 cases shown, from a new process; needs no lab."""

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from switchover.bench.figures import render_spread
from switchover.hosts.local import LocalHost
from switchover.record.checks import CheckId
from switchover.record.errors import ExitCode
from switchover.record.measurement import Measurement, make_check
from switchover.record.planfile import PlanFile, PlanLine, PlannedScenario, write_plan
from switchover.record.record import Record, Verdict, VerdictName
from switchover.record.rundir import RunDirectory, make_run_directory
from switchover.record.units import Direction, Unit
from switchover.runner.standard import PRE_COPY_ON

SHOWN_CASES = 1000


def run(arguments: argparse.Namespace, scratch: Path) -> int:
    """As a user waits for it: until the process that shows the run has ended."""
    directory = _make_large_run(scratch)
    argv = [sys.executable, "-P", "-m", "switchover", "show", str(directory.path)]
    seconds: list[float] = []
    for _ in range(arguments.count):
        start = time.monotonic()
        LocalHost().run(argv, timeout=120)
        seconds.append(time.monotonic() - start)
    print(f"show of {SHOWN_CASES} cases  {render_spread(seconds, 2)}")
    return ExitCode.AS_EXPECTED


def _make_large_run(scratch: Path) -> RunDirectory:
    """Cases of one repeat each, with as many measurements, checks and parts as a completed repeat has; every 100th is
    not as expected.
    """
    directory = make_run_directory("bench", scratch)
    settings = {side: asdict(PRE_COPY_ON.source) for side in ("source", "destination")}
    parts = [{"name": f"part {number}", "meaning": "", "seconds": 0.1, "bound_s": 0} for number in range(5)]
    fields: dict[str, Any] = {
        "measurements": tuple(
            Measurement(name, 0.5, Unit.SECONDS, Direction.LOWER, "what it means", "where it is from")
            for name in ("downtime.explained", "downtime.qemu", "downtime.outside", *(f"more.{n}" for n in range(15)))
        ),
        "checks": tuple(make_check(check, True, "as before", "as before") for check in list(CheckId)[:20]),
        "downtime": {"seconds": 0.5, "bound_s": 0, "parts": parts, "saving": []},
    }
    lines = []
    for number in range(SHOWN_CASES):
        name, bad = f"device.pre_copy=on,number={number}", number % 100 == 0
        verdict = Verdict(VerdictName.FAILED, "destination", "failed: x") if bad else Verdict(VerdictName.COMPLETED)
        record = Record(name, 1, "", verdict, settings, {}, mismatch="expected completed" if bad else "", **fields)
        directory.repeat(name, 1).write_record(record)
        lines.append(PlanLine(name, name, "bench", 1, {"verdict": "completed"}, "", 25.0))
    write_plan(directory, PlanFile((PlannedScenario("bench", "bench.toml", "1,000 cases", "", 1, True),), tuple(lines)))
    return directory
