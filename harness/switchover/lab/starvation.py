# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether lab hosts got to run: looked up on the controller, where a lab host is a process, over the time of a repeat.

A lab host that is stopped, or whose threads wait for a CPU most of the time, moves nothing, and neither does what runs
in it: that says nothing about QEMU or a device. One that is idle has not wanted to run, and is not starved: what hangs
there hangs by itself.

What is read: ``/proc/PID/task/TID/schedstat``, time on a CPU and time on a run queue, nanoseconds (Linux,
Documentation/scheduler/sched-stats.rst); ``/proc/PID/task/TID/stat``, the state, ``T`` for stopped by a signal (man
proc_pid_stat); ``steal`` of ``/proc/stat``, time that a hypervisor gave to others, in clock ticks (man proc_stat).
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from switchover.record.log import LOG

INTERVAL_S = 0.5
STOPPED_SHARE = 0.5
"""Of a window: who is stopped for more of it does not get to run."""
WAITED_SHARE = 2 / 3
"""Of the time that a lab host wanted to run: who waits for more of it gets less than a third of what it wants."""
WAITED_LEAST = 0.5
"""Of a window: who waits for less of it was idle most of the time, and would not have come much further."""
_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_NS = 1e9


@dataclass(frozen=True)
class ThreadLook:
    """A thread at one time: what it ran and waited since it began, seconds, and whether it wants to run."""

    ran_s: float
    waited_s: float
    wants: bool


@dataclass(frozen=True)
class Look:
    """A process at one time (``at_s``, CLOCK_MONOTONIC). ``stolen_s`` and ``busy_s``: of all CPUs of the machine, what
    a hypervisor gave to others and what was run, seconds since boot.
    """

    at_s: float
    stopped: bool
    threads: Mapping[int, ThreadLook]
    stolen_s: float
    busy_s: float


@dataclass(frozen=True)
class Span:
    """A process between two looks; seconds, those of all its threads added up."""

    begin_s: float
    end_s: float
    ran_s: float
    waited_s: float
    """on a run queue, and what was stolen while it ran"""
    stopped_s: float


def parse_schedstat(text: str) -> tuple[float, float]:
    """Seconds on a CPU and on a run queue.

    >>> parse_schedstat("1500000000 500000000 42")
    (1.5, 0.5)
    """
    ran, waited = text.split()[:2]
    return int(ran) / _NS, int(waited) / _NS


def parse_state(text: str) -> str:
    """The state of a thread, from its ``stat``. Its name, in brackets, may hold anything.

    >>> parse_state("42 (a) R (b)) T 1 42 42")
    'T'
    """
    return text.rpartition(")")[2].split()[0]


def parse_cpu_times(text: str, ticks: int = 100) -> tuple[float, float]:
    """Of ``/proc/stat``: seconds that were stolen, and that were run, of all CPUs.

    ``user`` and ``nice`` have the guests' time in them; waiting for disks is not running.

    >>> parse_cpu_times("cpu  100 0 50 900 7 3 2 40 0 0\\ncpu0 1 1 1 1 1 1 1 1 1 1")
    (0.4, 1.55)
    """
    user, nice, system, _, _, irq, softirq, steal = map(int, text.splitlines()[0].split()[1:9])
    return steal / ticks, (user + nice + system + irq + softirq) / ticks


def compare_looks(before: Look, after: Look) -> Span:
    """What a process did in between. Pure.

    The kernel adds what a thread waited only once it gets to run: one that wants to run at both looks, and neither ran
    nor was told to have waited, waited all the time; what is added later is cut to the time between two looks. Threads
    that ended in between are left out. What was stolen of the machine hit who ran, each by what it ran.
    """
    seconds = after.at_s - before.at_s
    ran = waited = 0.0
    for thread, now in after.threads.items():
        then = before.threads.get(thread, ThreadLook(0.0, 0.0, wants=False))
        added_run, added_wait = max(0.0, now.ran_s - then.ran_s), max(0.0, now.waited_s - then.waited_s)
        if then.wants and now.wants and not added_run and not added_wait:
            added_wait = seconds
        ran += min(added_run, seconds)
        waited += min(added_wait, seconds)
    busy, stolen = after.busy_s - before.busy_s, after.stolen_s - before.stolen_s
    lost = ran * stolen / busy if busy > 0 and stolen > 0 else 0.0
    stopped = seconds if before.stopped and after.stopped else 0.0
    return Span(before.at_s, after.at_s, ran, waited + lost, stopped)


def take_window(spans: Sequence[Span], begin_s: float, end_s: float) -> Span:
    """What a process did in a window, as far as it was looked at; of a span that is partly in it, that part. Pure."""
    seconds = ran = waited = stopped = 0.0
    for span in spans:
        inside = min(span.end_s, end_s) - max(span.begin_s, begin_s)
        if inside <= 0:
            continue
        part = inside / (span.end_s - span.begin_s)
        seconds += inside
        ran, waited, stopped = ran + span.ran_s * part, waited + span.waited_s * part, stopped + span.stopped_s * part
    return Span(end_s - seconds, end_s, ran, waited, stopped)


def judge_window(name: str, spans: Sequence[Span], begin_s: float, end_s: float) -> str:
    """In words, how a lab host did not get to run in a window; empty: it did, or did not want to, or that is not known,
    since it was not looked at for half of the window. Pure.
    """
    seen = take_window(spans, begin_s, end_s)
    seconds = seen.end_s - seen.begin_s
    if seconds <= 0 or seconds < (end_s - begin_s) / 2:
        return ""
    if seen.stopped_s > seconds * STOPPED_SHARE:
        return f"lab host {name} was stopped for {seen.stopped_s:.1f} of {seconds:.1f} s (its QEMU, by a signal)"
    wanted = seen.ran_s + seen.waited_s
    if seen.waited_s > wanted * WAITED_SHARE and seen.waited_s > seconds * WAITED_LEAST:
        return (
            f"lab host {name} did not get to run: within {seconds:.1f} s its threads ran for {seen.ran_s:.1f} s and "
            f"waited for a CPU for {seen.waited_s:.1f} s"
        )
    return ""


class StarvationMeter:
    """Looks at the processes of lab hosts at an interval, in a thread, from its start until it is closed.

    ``processes``: by name of a lab host, a word that is on the command line of its QEMU and on no other one. Without
    any, or where the kernel does not tell, nothing is known.
    """

    def __init__(self, processes: Mapping[str, str], *, interval_s: float = INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._over = threading.Event()
        self._spans: dict[str, list[Span]] = {}
        pids = find_processes(processes)
        self._last = {name: look for name, pid in pids.items() if (look := read_look(pid)) is not None}
        self._pids = {name: pids[name] for name in self._last}
        self._thread = threading.Thread(target=self._run, daemon=True, name="starvation meter")
        if self._pids:
            self._thread.start()

    def find_starved(self, begin_s: float, end_s: float) -> str:
        """In words, which lab hosts did not get to run between two times (CLOCK_MONOTONIC) and how that was seen;
        empty: all did, as far as is known.
        """
        told = (judge_window(name, list(spans), begin_s, end_s) for name, spans in list(self._spans.items()))
        return "; ".join(words for words in told if words)

    def close(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._interval_s):
            for name, pid in self._pids.items():
                look = read_look(pid)
                if look is not None:
                    self._spans.setdefault(name, []).append(compare_looks(self._last[name], look))
                    self._last[name] = look


def find_processes(words: Mapping[str, str]) -> dict[str, int]:
    """By name, the process that has the word of that name on its command line."""
    names = {word: name for name, word in words.items()}
    found: dict[str, int] = {}
    for process in psutil.process_iter(["cmdline"]) if names else ():
        for word in names.keys() & set(process.info["cmdline"] or []):
            found[names[word]] = process.pid
    return found


def read_look(pid: int) -> Look | None:
    """A process as it is now; None if it is gone, or the kernel does not tell."""
    try:
        stolen, busy = parse_cpu_times((_PROC / "stat").read_text(), _TICKS)
        state = parse_state((_PROC / str(pid) / "stat").read_text())
        threads = dict(_read_threads(pid))
    except (OSError, ValueError, IndexError) as error:
        LOG.debug("process %d: %s", pid, error)
        return None
    return Look(time.monotonic(), state == "T", threads, stolen, busy)


def _read_threads(pid: int) -> Iterator[tuple[int, ThreadLook]]:
    for task in (_PROC / str(pid) / "task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            state = parse_state((task / "stat").read_text())
            ran, waited = parse_schedstat((task / "schedstat").read_text())
            yield int(task.name), ThreadLook(ran, waited, state == "R")
