# SPDX-License-Identifier: GPL-2.0-or-later
"""A run of 1,000 cases shown, as text and as a page, from a new process; needs no lab."""

import argparse
import random
import sys
import time
from dataclasses import asdict, replace
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
from switchover.report.history.store import History
from switchover.report.html.past import MOST_RUNS
from switchover.report.metrics import list_metrics
from switchover.report.rundata import read_run
from switchover.runner.standard import PRE_COPY_ON

SHOWN_CASES = 1000


def run(arguments: argparse.Namespace, scratch: Path) -> int:
    """As a user waits for it: until the process that shows the run has ended."""
    directory = make_large_run(scratch)
    history = make_large_history(scratch / "history.sqlite", directory)
    for name in ("text", "html"):
        argv = [sys.executable, "-P", "-m", "switchover", "show", str(directory.path), "--format", name]
        argv += ["--history", str(history)]
        seconds: list[float] = []
        size = 0
        for _ in range(arguments.count):
            start = time.monotonic()
            size = len(LocalHost().run(argv, timeout=120).stdout)
            seconds.append(time.monotonic() - start)
        print(f"show of {SHOWN_CASES} cases  {name}  {render_spread(seconds, 2)}  {size / 1e6:.1f} MB")
    return ExitCode.AS_EXPECTED


def make_large_run(parent: Path) -> RunDirectory:
    """Cases of one repeat each, with as many measurements, checks, parts and lines of evidence as a completed repeat
    has; every 100th is not as expected.
    """
    directory = make_run_directory("bench", parent)
    settings = {side: asdict(PRE_COPY_ON.source) for side in ("source", "destination")}
    lines = []
    chance = random.Random(1)
    for number in range(SHOWN_CASES):
        pre_copy = "on" if number % 2 else "off"
        name, bad = f"device.pre_copy={pre_copy},number={number // 2}", number % 100 == 0
        verdict = Verdict(VerdictName.FAILED, "destination", "failed: x") if bad else Verdict(VerdictName.COMPLETED)
        mismatch = "expected completed" if bad else ""
        record = Record(name, 1, "", verdict, settings, {}, mismatch=mismatch, **_make_fields(chance))
        repeat = directory.repeat(name, 1)
        repeat.write_record(record)
        for file, entries in _make_evidence(chance).items():
            repeat.write_lines(file, entries)
        lines.append(PlanLine(name, name, "bench", 1, {"verdict": "completed"}, "", 25.0))
    write_plan(directory, PlanFile((PlannedScenario("bench", "bench.toml", "1,000 cases", "", 1, True),), tuple(lines)))
    return directory


def make_large_history(path: Path, directory: RunDirectory) -> Path:
    """As many earlier runs of a large run as its page shows, of its most important number, which became a third larger
    on the way in every tenth case.
    """
    own = [row for row in list_metrics(read_run(directory)) if row.metric == "downtime.explained"]
    chance = random.Random(2)
    with History.open(path, make=True) as history:
        for number in range(MOST_RUNS):
            started, before = f"2026-01-01T00:{number:02}:00+00:00", number < MOST_RUNS // 2
            fingerprint = {**own[0].fingerprint, "qemu": "10.0" if before else "11.1"}
            history.add(
                replace(
                    row,
                    run=f"earlier-{number:02}",
                    run_started=started,
                    started=started,
                    value=(row.value or 0) * (0.75 if before and place % 10 == 0 else 1) * chance.gauss(1, 0.02),
                    fingerprint=fingerprint,
                )
                for place, row in enumerate(own)
            )
    return path


_START_NS = 10**12


def _make_fields(chance: random.Random) -> dict[str, Any]:
    """Of a record. The hosts' clocks are the controller's, whose two clocks agree."""
    parts: list[dict[str, Any]] = [
        {"name": f"part {number}", "meaning": "", "seconds": chance.uniform(0.01, 0.1), "bound_s": 0}
        for number in range(5)
    ]
    downtime = sum(part["seconds"] for part in parts)
    names = ("downtime.explained", "downtime.qemu", "downtime.outside", *(f"more.{number}" for number in range(15)))
    return {
        "measurements": tuple(
            Measurement(name, downtime, Unit.SECONDS, Direction.LOWER, "what it means", "where it is from")
            for name in names
        ),
        "checks": tuple(make_check(check, True, "as before", "as before") for check in list(CheckId)[:20]),
        "downtime": {
            "seconds": downtime, "bound_s": 0, "start_ns": _START_NS + 4 * 10**9, "parts": parts, "saving": []
        },
        "clocks": {side: {"offset_ns": 0, "bound_ns": 10**6, "exchanges": 30} for side in ("source", "destination")},
    }  # fmt: skip


def _make_evidence(chance: random.Random) -> dict[str, list[dict[str, Any]]]:
    """Five seconds: 90 events, 40 samples, 500 heartbeats."""

    def event(at_s: float, name: str, **data: object) -> dict[str, Any]:
        stamped = _START_NS + round(at_s * 1e9)
        return {"arrived_ns": stamped + chance.randrange(10**7), "qemu_ns": stamped, "event": name, "data": data}

    def state(at_s: float, word: str) -> dict[str, Any]:
        return event(at_s, "VFIO_MIGRATION", **{"device-state": word, "device-id": "dut"})

    passes = [event(1 + number / 30, "MIGRATION_PASS", **{"pass": number}) for number in range(80)]
    source = [event(at_s, "MIGRATION", status=word) for at_s, word in ((0, "setup"), (0.1, "active"), (4, "device"))]
    source += [*passes, state(0.1, "pre-copy"), event(4, "STOP"), state(4.01, "stop-copy"), state(4.4, "stop")]
    source += [event(4.4, "MIGRATION", status="completed")]
    destination = [event(0.05, "MIGRATION", status="active"), state(0.1, "resuming"), event(4.3, "RESUME")]
    destination += [state(4.3, "running"), event(4.35, "MIGRATION", status="completed")]
    samples: list[dict[str, Any]] = [
        {
            "at_ns": _START_NS + number * 110_000_000 + chance.randrange(10**7),
            "query-migrate": {
                "status": "active",
                "ram": {"transferred": number * (4 << 20), "remaining": (40 - number) * (6 << 20)},
                "vfio": {"transferred": number * (1 << 20) + chance.randrange(1 << 16)},
            },
        }
        for number in range(40)
    ]
    beats: list[dict[str, Any]] = [
        {
            "side": "source" if number < 400 else "destination",
            "at_ns": _START_NS + number * 10_000_000 + 500_000_000 * (number >= 400) + chance.randrange(10**6),
            "sequence": number,
            "guest_ns": number * 10_000_000,
        }
        for number in range(500)
    ]
    return {
        "source.events.jsonl": source,
        "destination.events.jsonl": destination,
        "samples.jsonl": samples,
        "outside.jsonl": [{"period_us": 10_000, "migrate_ns": _START_NS, "sender": "", "missing": ""}, *beats],
    }
