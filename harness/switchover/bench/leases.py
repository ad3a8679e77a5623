# SPDX-License-Identifier: GPL-2.0-or-later
"""Leases and many pairs: speed-up with simulated hosts, and double uses with holders that are killed; needs no lab."""

import argparse
import contextlib
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from switchover.bench.figures import render_spread
from switchover.record.errors import ExitCode, NotReady
from switchover.runner.leases.flocks import FlockBackend
from switchover.runner.leases.protocol import Lease
from switchover.runner.leases.resources import Choice
from switchover.runner.leases.runner import Outcome, run_jobs
from switchover.runner.leases.scheduling import Job

TARGET = 0.9
"""Of the speed-up that K pairs would have if nothing but cases took time."""
_PAIRS = (1, 4, 16, 64)
_CASES = 20
"""For each pair, on average."""
_SCALE = 0.02
"""A second of a case is slept as so many."""
_SETUPS = 6
_HOLDERS = 4
_UNTIL_KILLED = 100
"""Leases of a process; it is killed while it has the last one."""
_HOSTS = 6
_HOLD_S = 0.002
_SILENT_S = 60.0


def run(arguments: argparse.Namespace, scratch: Path) -> int:
    """``--count``: leases of the second part. 1: two had one host at the same time, or a lease was lost."""
    for pairs in _PAIRS:
        print(measure_speed_up(pairs, scratch / f"pairs-{pairs}", arguments.seed))
    figures = measure_double_uses(arguments.count, scratch / "double", arguments.seed)
    print(figures)
    return ExitCode.AS_EXPECTED if figures.doubles == 0 else ExitCode.NOT_AS_EXPECTED


@dataclass(frozen=True)
class SpeedUp:
    """So many simulated pairs at work on cases that only sleep."""

    pairs: int
    cases: int
    work_s: float
    took_s: float
    setups: int

    @property
    def factor(self) -> float:
        return self.work_s / self.took_s

    def __str__(self) -> str:
        met = "met" if self.factor >= TARGET * self.pairs else "MISSED"
        return (
            f"{self.pairs:3} pairs  {self.cases:5} cases  {self.work_s:6.1f} s of cases in {self.took_s:5.2f} s  "
            f"speed-up {self.factor:5.2f} = {self.factor / self.pairs:.2f} K  (target {TARGET} K: {met})  "
            f"{self.setups} set-ups of {_SETUPS} kinds"
        )


def make_jobs(pairs: int, seed: int) -> list[Job]:
    """Cases of about 25 s, some a few times as long, as those of a lab are; each may run on any pair."""
    chance = random.Random(seed)
    choices = tuple(
        Choice((f"h{number}a", f"h{number}b"), frozenset({f"h{number}a", f"h{number}b"})) for number in range(pairs)
    )
    return [
        Job(f"case-{number}", chance.lognormvariate(3.1, 0.5), f"kernel-{chance.randrange(_SETUPS)}", choices)
        for number in range(_CASES * pairs)
    ]


def measure_speed_up(pairs: int, directory: Path, seed: int) -> SpeedUp:
    """Estimates are what cases take: what is measured is the scheduler, the leases and the threads."""
    jobs = make_jobs(pairs, seed)
    last: dict[Choice, object] = {}
    changes: list[Choice] = []

    def execute(job: Job, lease: Lease) -> str:
        if last.get(lease.choice) != job.setup:
            changes.append(lease.choice)
            last[lease.choice] = job.setup
        time.sleep(job.seconds * _SCALE)
        return job.id

    outcomes: list[Outcome[str]] = []
    start = time.monotonic()
    run_jobs(jobs, FlockBackend(directory), execute, outcomes.append)
    took_s = time.monotonic() - start
    if sorted(outcome.result or "" for outcome in outcomes) != sorted(job.id for job in jobs):
        raise NotReady("A case was lost, or ran twice.")
    return SpeedUp(pairs, len(jobs), sum(job.seconds for job in jobs) * _SCALE, took_s, len(changes))


@dataclass(frozen=True)
class DoubleUses:
    """Leases of overlapping pairs by several processes. ``doubles``: a host that two had at the same time."""

    leases: int
    kills: int
    doubles: int
    took_s: float
    waited_s: list[float]

    def __str__(self) -> str:
        return (
            f"{self.leases} leases of pairs among {_HOSTS} hosts by {_HOLDERS} processes, {self.kills} killed while "
            f"they had one: {self.doubles} double uses, in {self.took_s:.0f} s; waits {render_spread(self.waited_s, 3)}"
        )


def measure_double_uses(count: int, directory: Path, seed: int) -> DoubleUses:
    """Until there were ``count`` leases. Whether two had one host is told by marks that know nothing of the locks."""
    marks = directory / "marks"
    marks.mkdir(parents=True)
    context = multiprocessing.get_context("fork")
    leases = kills = doubles = started = 0
    waits: list[float] = []
    running: dict[Connection, multiprocessing.process.BaseProcess] = {}
    start = time.monotonic()

    def begin() -> None:
        nonlocal started
        started += 1
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_hold, args=(directory, marks, theirs, seed + started), daemon=True)
        process.start()
        theirs.close()
        running[ours] = process

    try:
        for _ in range(_HOLDERS):
            begin()
        while leases < count:
            ready = wait(list(running), timeout=_SILENT_S)
            if not ready:
                raise NotReady(f"No process had a lease for {_SILENT_S:g} s.")
            for connection in ready:
                assert isinstance(connection, Connection)
                try:
                    waited_s, double, last = connection.recv()
                except EOFError as error:
                    raise NotReady("A process that leased pairs ended by itself.") from error
                leases += 1
                doubles += double
                waits.append(waited_s)
                if last:
                    _kill(running.pop(connection))
                    connection.close()
                    kills += 1
                    begin()
    finally:
        for connection, process in running.items():
            _kill(process)
            connection.close()
    return DoubleUses(leases, kills, doubles, time.monotonic() - start, waits)


def _kill(process: multiprocessing.process.BaseProcess) -> None:
    process.kill()
    process.join()


def _hold(directory: Path, marks: Path, parent: Connection, seed: int) -> None:
    """A process that leases pairs until it is killed; of each it tells how long it waited, and whether it was alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who started it kills it
    chance = random.Random(seed)
    backend = FlockBackend(directory / "leases", poll_s=0.002, patience_s=0.5)
    for number in range(1, _UNTIL_KILLED + 1):
        choices = list(choose_pairs(chance))
        with backend.acquire(choices, _SILENT_S) as lease, mark(marks, sorted(lease.choice.resources)) as double:
            time.sleep(chance.random() * 2 * _HOLD_S)
            parent.send((lease.waited_s, double, number == _UNTIL_KILLED))
            if number == _UNTIL_KILLED:
                time.sleep(_SILENT_S)


def choose_pairs(chance: random.Random) -> Iterator[Choice]:
    """One to three pairs of the hosts, which overlap with those of others."""
    for _ in range(chance.randint(1, 3)):
        source, destination = chance.sample([f"host-{number}" for number in range(_HOSTS)], 2)
        yield Choice((source, destination), frozenset({source, destination}))


@contextlib.contextmanager
def mark(directory: Path, hosts: Sequence[str]) -> Iterator[bool]:
    """A file for each host while it is used; whether another process that lives uses one too.

    What a process that was killed left is not a use. The kernel marks a process as exiting (PF_EXITING) before it
    closes its files, so one that still runs when its lock is had by another is told from one that has been killed.
    """
    double = False
    for host in hosts:
        path = directory / host
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            double |= _is_used(path)
        path.write_text(str(os.getpid()))
    try:
        yield double
    finally:
        for host in hosts:
            (directory / host).unlink(missing_ok=True)


def _is_used(path: Path) -> bool:
    """One that has gone meanwhile was removed by a process that lived."""
    try:
        return is_running(path.read_text())
    except FileNotFoundError:
        return True


_PF_EXITING = 0x4
"""include/linux/sched.h; the flags are field 9 of /proc/PID/stat (proc_pid_stat(5))."""


def is_running(pid: str) -> bool:
    """Whether a process is there and has not begun to end; one that has just made its mark and no more is."""
    if not pid:
        return True
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return fields[0] not in "ZX" and not int(fields[6]) & _PF_EXITING
