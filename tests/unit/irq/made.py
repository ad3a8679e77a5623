# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces that are made, with a known answer: what a kernel would have printed."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from switchover.irq.activations import Class
from switchover.irq.columns import LAYOUTS
from switchover.irq.events import BEGIN, END

IRQS = {24: 101, 25: 102, 26: 103}
"""Interrupts and their threads."""
CPUS = 4
HEADER = """\
# tracer: nop
#
# entries-in-buffer/entries-written: 0/0   #P:4
#
#                                _-----=> irqs-off/BH-disabled
#                               / _----=> need-resched
#                              | / _---=> hardirq/softirq
#                              || / _--=> preempt-depth
#                              ||| / _-=> migrate-disable
#                              |||| /     delay
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
"""
"""As guests of 6.12, with and without PREEMPT_RT, and of 7.3 print it."""
COLUMNS = LAYOUTS["5.15 and newer"]
"""What it says."""


@dataclass(frozen=True)
class Made:
    """One activation: CPUs of handler, decision and run; µs from wake-up to run; what it is by construction."""

    irq: int
    hard: int
    placed: int
    ran: int
    latency: int
    coalesced: int = 0
    """handlers that came while the thread ran"""
    foreign: bool = False
    """the thread was woken once more, not by its handler, before"""

    @property
    def kind(self) -> Class:
        if self.hard == self.ran:
            return Class.LOCAL
        return Class.PLACED_REMOTE if self.placed == self.ran else Class.MOVED


def activations() -> st.SearchStrategy[list[Made]]:
    cpus = st.integers(0, CPUS - 1)
    one = st.builds(
        Made, st.sampled_from(sorted(IRQS)), cpus, cpus, cpus, st.integers(1, 5000), st.integers(0, 2), st.booleans()
    )
    return st.lists(one, max_size=40)


def line(time: int, cpu: int, flags: str, event: str, task: str = "<idle>", pid: int = 0) -> str:
    return f"{task:>16}-{pid:<7} [{cpu:03}] {flags} {time // 1_000_000:5}.{time % 1_000_000:06}: {event}\n"


def comm(irq: int) -> str:
    return f"irq/{irq}-virtio0-"[:15]


def switch(previous: int, state: str, following: int) -> str:
    return (
        f"sched_switch: prev_comm=a prev_pid={previous} prev_prio=120 prev_state={state} ==> "
        f"next_comm=b next_pid={following} next_prio=49"
    )


def wake(irq: int, event: str, cpu: int) -> str:
    return f"{event}: comm={comm(irq)} pid={IRQS[irq]} prio=49 target_cpu={cpu:03}"


def render_one(made: Made, time: int) -> Iterator[tuple[int, str]]:
    """Lines with their times, which begin at ``time``."""
    irq, pid = made.irq, IRQS[made.irq]
    if made.foreign:
        yield time, line(time, made.hard, "d..3.", wake(irq, "sched_waking", made.placed), "tee", 400)
        yield time + 1, line(time + 1, made.placed, "dN.4.", wake(irq, "sched_wakeup", made.placed))
        yield time + 2, line(time + 2, made.placed, "d..2.", switch(0, "R", pid))
        yield time + 3, line(time + 3, made.placed, "d..2.", switch(pid, "S", 0))
        time += 4
    # at one time: with interrupts off nothing comes between them on their CPU
    woken = time
    yield woken, line(woken, made.hard, "d.h1.", f"irq_handler_entry: irq={irq} name=virtio0")
    yield woken, line(woken, made.hard, "d.h1.", f"irq_handler_exit: irq={irq} ret=handled")
    yield woken, line(woken, made.hard, "d.h3.", wake(irq, "sched_waking", made.hard))
    yield woken, line(woken, made.placed, "dNh4.", wake(irq, "sched_wakeup", made.placed))
    if made.placed != made.ran:
        migrated = f"sched_migrate_task: comm={comm(irq)} pid={pid} prio=49 orig_cpu={made.placed} dest_cpu={made.ran}"
        yield woken, line(woken, made.placed, "d..3.", migrated)
    ran = woken + made.latency
    yield ran, line(ran, made.ran, "d..2.", switch(0, "R", pid))
    for number in range(made.coalesced):
        at = ran + 1 + 2 * number
        yield at, line(at, made.hard, "d.h1.", f"irq_handler_entry: irq={irq} name=virtio0")
        yield at + 1, line(at + 1, made.hard, "d.h1.", f"irq_handler_exit: irq={irq} ret=handled")
    slept = ran + 10
    yield slept, line(slept, made.ran, "d..2.", switch(pid, "S", 0))


def render_trace(activations: list[Made], *, marks: bool = True) -> str:
    """Activations of one interrupt one after the other, those of different interrupts in each other's way."""
    free = dict.fromkeys(IRQS, 1_000_000)
    lines: list[tuple[int, str]] = []
    for number, made in enumerate(activations):
        # no two hard handlers on one CPU at a time: they follow each other with interrupts off
        start = max(free[made.irq], 1_000_000 + 60 * number)
        rendered = list(render_one(made, start))
        lines += rendered
        free[made.irq] = rendered[-1][0] + 1
    lines.sort(key=lambda entry: entry[0])
    text = "".join(entry for _, entry in lines)
    if not marks:
        return text
    last = max((time for time, _ in lines), default=1_000_000)
    mark = "tracing_mark_write: "
    return line(999_000, 0, ".....", mark + BEGIN, "sh", 9) + text + line(last + 9, 0, ".....", mark + END, "sh", 9)


def apart(activations: list[Made]) -> list[Made]:
    """The same, each interrupt with a CPU of its own for its handler, so that handlers never interleave on one."""
    cpu = {irq: number for number, irq in enumerate(sorted(IRQS))}
    return [replace(made, hard=cpu[made.irq]) for made in activations]
