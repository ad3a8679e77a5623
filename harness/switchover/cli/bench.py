# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover bench``: the harness measured by itself; figures, never a verdict on speed."""

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from switchover.guests.spec import Start
from switchover.guests.warm import SavedGuests
from switchover.hosts.local import LocalHost
from switchover.hosts.loop import LoopThread
from switchover.lab.borrow import borrow_lab
from switchover.lab.images import build_images
from switchover.lab.lab import Lab, start_lab
from switchover.migration.outside import Control, find_smallest_period, is_supported
from switchover.record.errors import ExitCode
from switchover.record.log import say
from switchover.record.measurement import Check, Measurement
from switchover.record.planfile import PlanFile, PlanLine, PlannedScenario, write_plan
from switchover.record.record import Record, Verdict, VerdictName, exit_code_of
from switchover.record.rundir import RunDirectory, make_run_directory
from switchover.record.units import MIB, Direction, Unit, format_seconds
from switchover.report.differences import Difference, count_needed, find_ratio
from switchover.report.plan import render_plans
from switchover.run.endurance import Turn, boot_repeatedly, migrate_there_and_back
from switchover.run.fingerprint import collect_fingerprint
from switchover.run.kills import Kill, kill_repeatedly
from switchover.run.outside import measure_control
from switchover.run.overhead import alternate
from switchover.run.pair import Pair, pair_of_lab
from switchover.run.repeat import Observer, run_repeat
from switchover.run.series import load_matrix, run_series
from switchover.run.side import start_side
from switchover.run.standard import BUSY, PRE_COPY_OFF, PRE_COPY_ON
from switchover.scenarios.case import Case, with_start
from switchover.scenarios.plan import make_plan
from switchover.scenarios.scenario import parse_scenario

HEARTBEAT_PERIODS_US = (50_000, 20_000, 10_000, 5_000, 2_000, 1_000)
BENCH_S = 4.0
"""For each period, in each round."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", required=True)
    for name, default, summary in (
        ("warm", 3, "images built: from nothing to the record of one migration, lab boot included"),
        ("next", 5, "in a running lab: one more case, and where its time goes"),
        ("boots", 50, "guest boots in a row"),
        ("outside", 2, "how often a guest can be heard: rounds over heartbeat periods, without a migration"),
        ("there-and-back", 20, "migrations there and back in a row, each with all checks"),
        ("busy", 50, "the same with DMA and interrupts going on: data lost or wrong"),
        ("probes", 10, "the downtime with all probes on against QEMU's counters only, in pairs"),
        ("matrix", 1, "the fault scenarios of the catalogue with one guest: cells run and right"),
        ("plan", 5, "25,000 cases of a scenario planned and shown; needs no lab"),
        ("show", 5, "a run of 1,000 cases shown, from a new process; needs no lab"),
        ("kills", 20, "the harness killed at random moments of a repeat: what is left after the next command"),
    ):
        kind = kinds.add_parser(name, help=summary)
        kind.add_argument("--count", type=int, default=default, metavar="N", help=f"default: {default}")
        if name == "next":
            kind.add_argument(
                "--warm", action="store_true", help="each case with a cold guest and a warm one, in turns"
            )
        if name == "kills":
            kind.add_argument("--seed", type=int, help="of the moments; default: another one each time")


def run(arguments: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="switchover-bench-") as scratch:
        match arguments.kind:
            case "warm":
                return _warm(arguments.count, Path(scratch))
            case "next":
                with borrow_lab() as lab:
                    return _next(arguments.count, pair_of_lab(lab), Path(scratch), warm=arguments.warm)
            case "busy":
                with borrow_lab() as lab:
                    return _series("busy migration", migrate_there_and_back(BUSY, pair_of_lab(lab), arguments.count))
            case "probes":
                with borrow_lab() as lab:
                    return _probes(arguments.count, pair_of_lab(lab), Path(scratch))
            case "matrix":
                with borrow_lab() as lab:
                    return _matrix(arguments.count, pair_of_lab(lab))
            case "plan":
                return _plan(arguments.count)
            case "show":
                return _show(arguments.count, Path(scratch))
            case "boots":
                with borrow_lab() as lab:
                    return _series("guest boot", boot_repeatedly(PRE_COPY_ON, pair_of_lab(lab), arguments.count))
            case "kills":
                with start_lab(f"kills-{os.getpid()}") as lab:
                    return _kills(lab, arguments.count, arguments.seed, Path(scratch))
            case "outside":
                with borrow_lab() as lab:
                    return _outside(arguments.count, pair_of_lab(lab))
            case _:
                with borrow_lab() as lab:
                    turns = migrate_there_and_back(PRE_COPY_ON, pair_of_lab(lab), arguments.count)
                    return _series("migration", turns)


def _matrix(count: int, pair: Pair) -> int:
    outcomes = []
    for outcome in run_series(load_matrix() * count, pair):
        outcomes.append(outcome)
        right = f"NOT AS EXPECTED: {outcome.mismatch}" if outcome.mismatch else "right"
        say(f"{outcome.case.id}: {outcome.verdict.name} {outcome.verdict.side}, {right} ({outcome.seconds:.1f} s)")
    wrong = [outcome for outcome in outcomes if outcome.mismatch]
    print(
        f"{len(outcomes)} cells run, {len(outcomes) - len(wrong)} right; {_spread([one.seconds for one in outcomes])}"
    )
    return ExitCode.NOT_AS_EXPECTED if wrong else ExitCode.AS_EXPECTED


def _probes(count: int, pair: Pair, scratch: Path) -> int:
    """QEMU's own downtime in both arms, since it is the one number that both have."""
    values: dict[bool, dict[int, float]] = {True: {}, False: {}}
    records: list[Record] = []
    for number, case in enumerate(alternate(PRE_COPY_ON, count)):
        record = _run_once(case, number + 1, pair, scratch, {})
        records.append(record)
        seconds = record.measured("downtime.qemu")
        say(f"#{number + 1} {case.id}: {record.verdict.name} {record.verdict.reason}, {format_seconds(seconds or 0)}")
        if seconds and not record.mismatch:
            values[case.source.guest.traced][number // 2] = seconds
    on, off = values[True], values[False]
    whole = sorted(on.keys() & off.keys())
    found = find_ratio([off[number] for number in whole], [on[number] for number in whole], paired=True)
    print(f"all probes on      {_spread(list(on.values()), 3)}   (heartbeats every {PRE_COPY_ON.heartbeat_us} us)")
    print(f"QEMU's counters    {_spread(list(off.values()), 3)}")
    print(f"ratio              {_render_ratio(found)}, {len(whole)} of {count} pairs")
    return exit_code_of(records)


def _render_ratio(found: Difference | None) -> str:
    if found is None:
        return "missing"
    if found.low is None or found.high is None or found.p is None:
        return f"{found.shift:.3f}, and no interval: {count_needed()} pairs are needed"
    return f"{found.shift:.3f}   95 % [{found.low:.3f} … {found.high:.3f}]  p = {found.p:.2g}"


def _plan(count: int) -> int:
    """From the text of a scenario to the text of its plan."""
    seconds: list[float] = []
    plan = None
    for _ in range(count):
        start = time.monotonic()
        plan = make_plan(parse_scenario(_LARGE))
        render_plans([plan])
        seconds.append(time.monotonic() - start)
    print(f"plan of {len(plan.entries) if plan else 0} cases  {_spread(seconds)}")
    return ExitCode.AS_EXPECTED


def _show(count: int, scratch: Path) -> int:
    """As a user waits for it: until the process that shows the run has ended."""
    directory = _make_large_run(scratch)
    argv = [sys.executable, "-P", "-m", "switchover", "show", str(directory.path)]
    seconds: list[float] = []
    for _ in range(count):
        start = time.monotonic()
        LocalHost().run(argv, timeout=120)
        seconds.append(time.monotonic() - start)
    print(f"show of {SHOWN_CASES} cases  {_spread(seconds, 2)}")
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
        "checks": tuple(Check(f"check {number}", True, "as before", "as before") for number in range(20)),
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


SHOWN_CASES = 1000
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


def _warm(count: int, scratch: Path) -> int:
    build_images(["labhost"])
    totals: list[float] = []
    boots: list[float] = []
    records: list[Record] = []
    for number in range(1, count + 1):
        start = time.monotonic()
        with start_lab(f"bench-{os.getpid()}-{number}") as lab:
            boots.append(lab.file.ready_seconds or 0.0)
            pair = pair_of_lab(lab)
            record = _run_once(PRE_COPY_ON, number, pair, scratch, collect_fingerprint(lab, pair))
            records.append(record)
            totals.append(time.monotonic() - start)
        say(f"#{number}: {totals[-1]:.1f} s, {record.verdict.name} {record.verdict.reason}")
    print(f"lab boot           {_spread(boots)}")
    print(f"until the record   {_spread(totals)}   (lab boot included, images built)")
    return exit_code_of(records)


def _next(count: int, pair: Pair, scratch: Path, *, warm: bool) -> int:
    """``warm``: booting and saving the guest is done once and timed apart, since the next case does not pay for it."""
    starts: tuple[Start, ...] = ("cold", "warm") if warm else ("cold",)
    records: dict[Start, list[Record]] = {start: [] for start in starts}
    with SavedGuests() as saved_guests:
        if warm:
            with LoopThread() as loop:
                spec = PRE_COPY_ON.source
                saved = saved_guests.require(spec.guest, len(spec.devices), pair.source.host, pair.keys, loop)
            say(f"guest booted and saved in {saved.seconds:.1f} s, {saved.bytes / MIB:.0f} MiB")
        for number in range(1, count + 1):
            for start in starts if number % 2 else reversed(starts):
                case = with_start((PRE_COPY_OFF, PRE_COPY_ON)[number // len(starts) % 2], start)
                record = _run_once(case, number, pair, scratch, {}, saved_guests)
                records[start].append(record)
                seconds = sum(record.seconds.values())
                say(f"#{number} {case.id}, {start}: {seconds:.1f} s, {record.verdict.name} {record.verdict.reason}")
    for start, mine in records.items():
        print(f"next case, {start:<8}{_spread([sum(record.seconds.values()) for record in mine])}")
        for step in dict.fromkeys(step for record in mine for step in record.seconds):
            print(f"  {step:<18}{_spread([record.seconds[step] for record in mine if step in record.seconds])}")
    return exit_code_of([record for mine in records.values() for record in mine])


def _run_once(
    case: Case,
    number: int,
    pair: Pair,
    scratch: Path,
    fingerprint: dict[str, object],
    saved_guests: SavedGuests | None = None,
) -> Record:
    directory = make_run_directory("bench", scratch)
    observer = Observer(saved_guests=saved_guests)
    return run_repeat(case, number, pair, directory.repeat(case.id, number), fingerprint, observer)


def _outside(rounds: int, pair: Pair) -> int:
    """One guest; the periods in turns, so that what disturbs the machine for a while disturbs them all."""
    controls: list[Control] = []
    with LoopThread() as loop, start_side(
        PRE_COPY_ON.source, pair.source.host, "source", pair.keys, loop, incoming=False
    ) as side:  # fmt: skip
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
        print(f"{control.period_s * 1e3:4g} ms  {control.arrivals:10} {control.lost:5}"
              + "".join(f"{value * 1e3:7.1f} ms" for value in times)
              + f"   {'yes' if is_supported(control) else 'no'}")  # fmt: skip
    smallest = find_smallest_period(controls)
    print(f"smallest supported period: {f'{smallest.period_s * 1e3:g} ms' if smallest else 'none'}")
    return ExitCode.AS_EXPECTED if controls else ExitCode.NOT_READY


def _series(what: str, turns: Iterable[Turn]) -> int:
    done: list[Turn] = []
    for turn in turns:
        done.append(turn)
        say(f"{what} {turn.number}: {turn.seconds:.1f} s {turn.failure}".rstrip())
    failures = [turn for turn in done if turn.failure]
    print(f"{len(done)} × {what}: {len(failures)} failures; {_spread([turn.seconds for turn in done])}")
    for turn in failures:
        print(f"  #{turn.number}: {turn.failure}")
    return ExitCode.NOT_AS_EXPECTED if failures else ExitCode.AS_EXPECTED


def _kills(lab: Lab, count: int, seed: int | None, scratch: Path) -> int:
    seed = random.randrange(1 << 32) if seed is None else seed
    say(f"seed {seed}")
    kills: list[Kill] = []
    for kill in kill_repeatedly(lab, count, seed, scratch):
        kills.append(kill)
        say(f"#{kill.number}: {kill}")
    dirty = [kill for kill in kills if kill.leftovers]
    undone = sum(kill.undone for kill in kills)
    print(f"{len(kills)} × kill (seed {seed}): {undone} changes undone, {len(dirty)} kills left something")
    print(f"the undoing        {_spread([kill.clean_s for kill in kills if kill.undone])}")
    for step in sorted({kill.step for kill in kills}):
        print(f"  {sum(kill.step == step for kill in kills):3} × {step}")
    for kill in dirty:
        print(f"  #{kill.number} {kill}")
    return ExitCode.NOT_AS_EXPECTED if dirty else ExitCode.AS_EXPECTED


def _spread(values: list[float], digits: int = 1) -> str:
    if not values:
        return "none"
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"median {middle:5.{digits}f} s  [{low:.{digits}f} … {high:.{digits}f}]  n={len(values)}"
