# SPDX-License-Identifier: GPL-2.0-or-later
"""Two labs side by side, the second one otherwise: the same case in turns, and the ratio of each step.

Twice: by the clock, and by what processor time the lab hosts took, which other load of the machine disturbs less.
"""

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from switchover.bench.figures import render_ratio, render_spread
from switchover.bench.repeats import run_once
from switchover.guests.snapshots import Snapshots
from switchover.guests.spec import Start
from switchover.hosts import processes
from switchover.lab.accelerator import Accelerator
from switchover.lab.images import build_images
from switchover.lab.lab import Lab, start_lab
from switchover.lab.labfile import lab_processes
from switchover.lab.toolchains import find_toolchains
from switchover.record.errors import UsageError
from switchover.record.log import say
from switchover.record.record import Record, exit_code_of
from switchover.report.differences import Difference, find_ratio
from switchover.runner.case_runner import RunContext
from switchover.runner.host_pair import pair_of_lab
from switchover.runner.listener import RunListener
from switchover.runner.standard import PRE_COPY_ON
from switchover.scenarios.case import with_start

ARMS = ("as it is", "otherwise")
SAVING = "saved guest"
"""A step that only the first case with a saved guest has."""
WHOLE = "whole case"


class ProcessorTime(RunListener):
    """What the QEMUs of a lab took of processors, by step of a case; seconds."""

    def __init__(self, lab: Lab) -> None:
        self._processes = lab_processes(lab.file)
        self.seconds: dict[str, float] = {}
        self._step = ""
        self._last = self._read()

    def step(self, step: str) -> None:
        """A step begins, and the one before it ends."""
        now = self._read()
        if self._step:
            self.seconds[self._step] = self.seconds.get(self._step, 0.0) + now - self._last
        self._step, self._last = step, now

    def _read(self) -> float:
        times = [process.cpu_times() for process in self._processes]
        return sum(time.user + time.system for time in times)


def run(arguments: argparse.Namespace, scratch: Path) -> int:
    starts: tuple[Start, ...] = ("cold", "warm") if arguments.start == "both" else (arguments.start,)
    with ExitStack() as stack:
        qemu = find_program(arguments.qemu, scratch) if arguments.qemu else ""
        labs = [
            stack.enter_context(start_lab(f"bench-{os.getpid()}-1")),
            stack.enter_context(
                start_lab(
                    f"bench-{os.getpid()}-2", qemu=qemu, change=lambda accelerator: change(accelerator, arguments)
                )
            ),
        ]
        for host in labs[1].hosts() if arguments.setup else []:
            host.run(["sh", "-euc", arguments.setup], timeout=120)
        for name, lab in zip(ARMS, labs, strict=True):
            print(f"{name:<10} {_describe(lab)}")
        snapshots = stack.enter_context(Snapshots())
        return _compare(arguments.count, starts, labs, scratch, snapshots)


def change(accelerator: Accelerator, arguments: argparse.Namespace) -> Accelerator:
    """What was asked for in place of what a lab has by itself. Pure."""
    asked = {
        "accel": arguments.accel,
        "cpu": arguments.cpu,
        "words": arguments.append,
        "guest_words": arguments.guest_append,
    }
    return replace(accelerator, **{name: value for name, value in asked.items() if value is not None})


def find_program(wanted: str, scratch: Path) -> str:
    """A program's path; a toolchain is unpacked into ``scratch``. :raises UsageError: it is neither"""
    if not find_toolchains([wanted]):
        if not os.access(wanted, os.X_OK):
            raise UsageError(f"{wanted} is neither a program nor a toolchain.", fix="switchover images list")
        return wanted
    disk = build_images([wanted])[wanted].artifact("toolchain.ext4")
    debugfs = processes.require_program("debugfs", needed_to="unpack a toolchain")
    tree = scratch / wanted
    tree.mkdir()
    processes.run([debugfs, "-R", f"rdump / {tree}", str(disk)], timeout=120)
    return str(tree / "bin" / "qemu-system-x86_64")


def _describe(lab: Lab) -> str:
    told = {name: value for name, value in lab.file.accelerator.items() if name != "reason" and value != ""}
    return f"ready in {lab.file.ready_seconds} s; " + ", ".join(f"{name} {value}" for name, value in told.items())


def _compare(count: int, starts: Sequence[Start], labs: Sequence[Lab], scratch: Path, snapshots: Snapshots) -> int:
    """In turns, and who is first in turns too: what disturbs the machine for a while disturbs both."""
    pairs = [pair_of_lab(lab) for lab in labs]
    records: dict[Start, tuple[list[Record], list[Record]]] = {start: ([], []) for start in starts}
    taken: dict[Start, tuple[list[Mapping[str, float]], list[Mapping[str, float]]]] = {s: ([], []) for s in starts}
    for number in range(1, count + 1):
        for start in starts:
            case = with_start(PRE_COPY_ON, start)
            for arm in (0, 1) if number % 2 else (1, 0):
                processors = ProcessorTime(labs[arm])
                context = RunContext(listener=processors, snapshots=snapshots)
                record = run_once(case, number, pairs[arm], scratch, {}, context)
                processors.step("")
                records[start][arm].append(record)
                taken[start][arm].append(processors.seconds)
                seconds = sum_steps(record.seconds)
                say(f"#{number} {start}, {ARMS[arm]}: {seconds:.1f} s, {record.verdict.name} {record.verdict.reason}")
    for start, (first, second) in records.items():
        print(f"\nnext case, {start}")
        for line in render_arms([record.seconds for record in first], [record.seconds for record in second]):
            print(line)
        print(f"\nnext case, {start}: processor time of the lab hosts")
        for line in render_arms(*taken[start]):
            print(line)
    return exit_code_of([record for arms in records.values() for arm in arms for record in arm])


def sum_steps(seconds: Mapping[str, float]) -> float:
    """Of a case, without what only the first one pays for. Pure."""
    return sum(value for step, value in seconds.items() if step != SAVING)


def render_arms(first: Sequence[Mapping[str, float]], second: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """Both arms and their ratio, for the whole case and each step. Pure. The arms: steps' times, by round."""
    steps = dict.fromkeys(step for seconds in (*first, *second) for step in seconds)
    for step in (WHOLE, *steps):
        arms = [[_time_of(step, seconds) for seconds in arm] for arm in (first, second)]
        both = [(one, other) for one, other in zip(*arms, strict=True) if one and other]
        found = find_ratio([one for one, _ in both], [other for _, other in both], paired=True) if both else None
        for name, values in zip(ARMS, arms, strict=True):
            yield f"  {step:<18} {name:<10} {render_spread([value for value in values if value is not None], 2)}"
        yield f"  {'':<18} {'ratio':<10} {conclude(found)}"


def _time_of(step: str, seconds: Mapping[str, float]) -> float | None:
    return sum_steps(seconds) if step == WHOLE else seconds.get(step)


def conclude(found: Difference | None) -> str:
    """The ratio, and whether it tells anything. Pure."""
    if found is None or found.is_told:
        return render_ratio(found)
    return f"can't tell: {render_ratio(found)}"
