# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a process got to run: read of real ones, judged purely."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.hosts.waiting import wait_until
from switchover.lab import starvation
from switchover.lab.starvation import (
    Look,
    Span,
    StarvationMeter,
    ThreadLook,
    compare_looks,
    find_processes,
    judge_window,
    parse_cpu_times,
    parse_schedstat,
    parse_state,
    read_look,
    take_window,
)

IDLE = ThreadLook(5.0, 1.0, wants=False)


def look(at_s: float, *threads: ThreadLook, stopped: bool = False, stolen: float = 0, busy: float = 0) -> Look:
    return Look(at_s, stopped, dict(enumerate(threads)), stolen, busy)


def spans(*, ran: float = 0.0, waited: float = 0.0, stopped: float = 0.0, count: int = 20) -> list[Span]:
    """Of half a second each, in which the process did so much of each second."""
    return [Span(n / 2, (n + 1) / 2, ran / 2, waited / 2, stopped / 2) for n in range(count)]


def test_what_the_kernel_says() -> None:
    """Lines of Linux 6.12; a thread's name may hold brackets, spaces and what looks like a state."""
    assert parse_schedstat("100849 3711718 2\n") == (0.000100849, 0.003711718)
    assert parse_state("7 (CPU 0/TCG) S 1 7 7 0 -1") == "S"
    assert parse_state("7 (x) T (y) t 1 7 7 0 -1") == "t"
    assert parse_cpu_times("cpu  61977 0 11279 96567 929 0 273 77 0 0\ncpu0 1", 100) == (0.77, 735.29)


@pytest.mark.parametrize("parse", [parse_schedstat, parse_state, parse_cpu_times])
def test_what_it_does_not_say(parse: Callable[[str], object]) -> None:
    """A text without it is an error here, and means that nothing is known: never a number."""
    for text in ("", "\n"):
        with pytest.raises((ValueError, IndexError)):
            parse(text)


def test_ran_and_waited_are_those_of_all_threads() -> None:
    """Threads add up; one that began in between counts from its beginning, one that ended not at all."""
    before = Look(10, False, {1: ThreadLook(3, 1, wants=True), 2: ThreadLook(7, 7, wants=True)}, 0, 0)
    after = Look(11, False, {1: ThreadLook(3.5, 1.25, wants=True), 3: ThreadLook(0.125, 0.5, wants=False)}, 0, 0)
    assert compare_looks(before, after) == Span(10, 11, 0.625, 0.75, 0)


def test_a_thread_that_has_not_run_at_all_waited() -> None:
    """The kernel tells of a wait when it is over: until then a thread that wants to run and does not is seen by that.
    What is told later is not counted twice. One that sleeps waits for nothing.
    """
    waits, sleeps = ThreadLook(5, 1, wants=True), ThreadLook(5, 1, wants=False)
    assert compare_looks(look(0, waits), look(2, waits)).waited_s == 2
    assert compare_looks(look(0, sleeps), look(2, sleeps)).waited_s == 0
    assert compare_looks(look(0, sleeps), look(2, waits)).waited_s == 0
    told = ThreadLook(5.1, 5, wants=True)
    assert compare_looks(look(2, waits), look(4, told)).waited_s == 2


def test_what_is_stolen_of_the_machine_hits_who_runs() -> None:
    """A process that did half of what the machine did lost half of what a hypervisor took from it."""
    after = look(1, ThreadLook(5.5, 1, wants=True), stolen=3, busy=1)
    assert compare_looks(look(0, IDLE), after) == Span(0, 1, 0.5, 1.5, 0)
    assert compare_looks(look(0, IDLE), look(1, IDLE, stolen=3, busy=1)).waited_s == 0


def test_stopped_at_both_ends() -> None:
    """Who was stopped at one look only may have run."""
    held = look(1, IDLE, stopped=True)
    assert compare_looks(look(0, IDLE, stopped=True), held).stopped_s == 1
    assert compare_looks(look(0, IDLE), held).stopped_s == 0


SECONDS = st.floats(0, 1e4)
THREADS = st.dictionaries(st.integers(0, 4), st.builds(ThreadLook, SECONDS, SECONDS, st.booleans()), max_size=4)


@given(THREADS, THREADS, st.floats(0.01, 100))
def test_no_thread_runs_or_waits_for_longer_than_there_was(
    before: dict[int, ThreadLook], after: dict[int, ThreadLook], seconds: float
) -> None:
    """Whatever the kernel says: never less than nothing, never more than the time of all threads."""
    span = compare_looks(Look(0, False, before, 0, 0), Look(seconds, False, after, 0, 0))
    assert 0 <= span.ran_s <= seconds * len(after) + 1e-6
    assert 0 <= span.waited_s <= seconds * len(after) + 1e-6


@given(st.floats(0, 1), st.floats(0, 3), st.floats(0, 10), st.floats(0, 10))
def test_a_window_is_the_sum_of_its_parts(ran: float, waited: float, one: float, other: float) -> None:
    """Cut anywhere, both parts together are the whole."""
    begin, end = sorted((one, other))
    made = spans(ran=ran, waited=waited)
    parts = [take_window(made, 0, begin), take_window(made, begin, end), take_window(made, end, 10)]
    assert sum(part.ran_s for part in parts) == pytest.approx(10 * ran)
    assert sum(part.waited_s for part in parts) == pytest.approx(10 * waited)


def test_an_idle_lab_host_is_not_starved() -> None:
    """Who hardly wants to run is not kept from anything, even if it waits for most of the little that it wants."""
    assert judge_window("hosta", spans(), 0, 10) == ""
    assert judge_window("hosta", spans(ran=0.05, waited=0.45), 0, 10) == ""


def test_a_busy_lab_host_that_gets_its_time_is_not_starved() -> None:
    """Alone on the machine, or with another one beside it that wants as much."""
    assert judge_window("hosta", spans(ran=1.0), 0, 10) == ""
    assert judge_window("hosta", spans(ran=0.5, waited=0.5), 0, 10) == ""


def test_a_lab_host_that_waits_most_of_the_time_is_starved() -> None:
    """It is told how much it ran, how much it waited, and over how long."""
    words = judge_window("hostb", spans(ran=0.1, waited=0.9), 0, 10)
    assert words == (
        "lab host hostb did not get to run: within 10.0 s its threads ran for 1.0 s and waited for a CPU for 9.0 s"
    )


def test_a_lab_host_that_was_stopped_is_starved() -> None:
    """For more than half of the window, not for a moment of it."""
    assert judge_window("hostb", spans(stopped=1), 0, 10) == (
        "lab host hostb was stopped for 10.0 of 10.0 s (its QEMU, by a signal)"
    )
    assert "4.0 of 6.0 s" in judge_window("b", [*spans(count=4), *spans(stopped=1)[4:12]], 0, 6)
    assert judge_window("hostb", spans(stopped=0.4), 0, 10) == ""


def test_only_the_window_counts() -> None:
    """What happened before is no excuse."""
    made = [*spans(stopped=1)[:10], *spans(ran=0.5)[10:]]
    assert judge_window("hosta", made, 0, 5) != ""
    assert judge_window("hosta", made, 5, 10) == ""


def test_what_nobody_looked_at_is_not_judged() -> None:
    """Without looks, or with looks at less than half of the window, nothing is known."""
    assert judge_window("hosta", [], 0, 10) == ""
    assert judge_window("hosta", spans(stopped=1, count=8), 0, 10) == ""
    assert judge_window("hosta", spans(stopped=1, count=8), 3, 3) == ""


@given(st.floats(0, 2), st.floats(0, 2))
def test_starved_is_who_waits_for_most_of_what_it_wants(ran: float, waited: float) -> None:
    """Two thirds of it, and half of the time."""
    starved = bool(judge_window("hosta", spans(ran=ran, waited=waited), 0, 10))
    if waited > 2.001 * ran and waited > 0.501:
        assert starved
    if waited < 1.999 * ran or waited < 0.499:
        assert not starved


@contextlib.contextmanager
def start_process(script: str) -> Iterator[tuple[str, int]]:
    """A Python script with a word on its command line that no other process has."""
    word = f"starvation-{uuid.uuid4().hex}"
    process = subprocess.Popen([sys.executable, "-c", script, word])
    try:
        wait_until("the process", lambda: find_processes({"x": word}), timeout=30)
        yield word, process.pid
    finally:
        process.kill()
        process.wait()


SPINS = "while True: pass"
SLEEPS = "import time; time.sleep(600)"


def starve_for(word: str, seconds: float) -> str:
    """What a meter finds of a process within some time."""
    meter = StarvationMeter({"hosta": word}, interval_s=0.05)
    begin = time.monotonic()
    wait_until("the window to pass", lambda: time.monotonic() >= begin + seconds, timeout=seconds + 30)
    meter.close()
    return meter.find_starved(begin, begin + seconds)


def test_a_process_that_is_stopped() -> None:
    """A real one, found by its word; it is not starved any more once it goes on."""
    with start_process(SLEEPS) as (word, pid):
        os.kill(pid, signal.SIGSTOP)
        assert starve_for(word, 1).startswith("lab host hosta was stopped for ")
        os.kill(pid, signal.SIGCONT)
        assert starve_for(word, 1) == ""


def test_a_process_that_has_no_cpu_for_itself() -> None:
    """Four that want one and the same CPU: each waits for three quarters of its time."""
    cpu = min(os.sched_getaffinity(0))
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(start_process(SPINS)) for _ in range(4)]
        for _, pid in started:
            os.sched_setaffinity(pid, {cpu})
        assert starve_for(started[0][0], 2).startswith("lab host hosta did not get to run: within ")


def test_a_process_that_ended_is_not_known() -> None:
    """Neither one that is gone when the meter starts, nor one that ends meanwhile, is an error."""
    with start_process(SLEEPS) as (word, pid):
        assert read_look(pid) is not None
        meter = StarvationMeter({"hosta": word}, interval_s=0.05)
    assert read_look(pid) is None
    now = time.monotonic()
    assert meter.find_starved(now - 1, now) == ""
    meter.close()
    other = StarvationMeter({"hosta": word})
    assert other.find_starved(now - 1, now) == ""
    other.close()


def test_a_kernel_that_does_not_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without schedstat there is no evidence, and no error."""
    with start_process(SLEEPS) as (word, pid):
        real = Path(f"/proc/{pid}")
        task = tmp_path / str(pid) / "task" / str(pid)
        task.mkdir(parents=True)
        (tmp_path / "stat").write_text(Path("/proc/stat").read_text())
        for place in (tmp_path / str(pid), task):
            (place / "stat").write_text((real / "stat").read_text())
        monkeypatch.setattr(starvation, "_PROC", tmp_path)
        found = read_look(pid)
        assert found is not None
        assert found.threads == {}
        assert starve_for(word, 0.3) == ""
