# SPDX-License-Identifier: GPL-2.0-or-later
"""Joins events to activations of IRQ threads. Pure, streaming: memory depends on interrupts, CPUs and tasks that were
interrupted, not on events.

An activation is a hard handler that returned IRQ_WAKE_THREAD on CPU h, then the wake-up of its thread in hard interrupt
context on h, then the thread that comes to run on CPU r. It is local if r is h. Other wake-ups of the thread (a change
of affinity, a lock that is handed over) are counted apart, and so are handlers whose thread had not yet gone to sleep:
the kernel coalesces those (kernel/irq/handle.c, __irq_wake_thread).

One more wake-up opens an activation. A new mask takes effect when the next interrupt is acknowledged, before its
handler, and that wakes the thread so that it moves (kernel/irq/manage.c, irq_set_thread_affinity; since 6.9). The
handler then finds its thread woken. The thread first comes to run on the old CPU, moves, and does its work on the new
one: that is where such an activation ran.

Where a trace has no ``sched_waking``, the first ``sched_wakeup`` of a thread after a handler that asked for it while
it slept stands for it. Who woke it is then not known, which :attr:`Tally.unseen_wakings` tells. A handler may also run
from the thread of another interrupt, its parent (a chip behind a slow bus), outside hard interrupt context; its wake-up
is the next event of its CPU as well, in the same context.
"""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from switchover.irq.events import BEGIN, END, NOT_HANDLED, WAKES, Event, Kind, Place
from switchover.irq.latency import Latencies


class Class(StrEnum):
    """What became of a hard handler that wanted its thread."""

    LOCAL = "local"
    """the thread ran on the CPU of the hard handler"""
    PLACED_REMOTE = "placed remote"
    """the scheduler chose another CPU when it woke the thread, and there it ran"""
    MOVED = "moved after wake-up"
    """the thread ran on another CPU than the scheduler chose and the handler ran on: pushed, pulled, or following a
    change of affinity"""
    COALESCED = "coalesced"
    """the thread had not yet gone to sleep: no wake-up, nothing to place"""
    WAITING = "waiting"
    """the thread was woken and had not run by the end of the window"""
    UNMATCHED = "unmatched"
    """events do not fit together: something of the activation is not in the trace"""


REMOTE = (Class.PLACED_REMOTE, Class.MOVED)
RAN = (Class.LOCAL, *REMOTE)
"""Activations in which the thread was seen to come to run: locality is a part of these."""


@dataclass(frozen=True)
class Activation:
    """One activation that was joined. Times in µs of the trace's clock."""

    irq: int
    kind: Class
    hard_cpu: int
    thread_cpu: int
    placed_cpu: int | None
    """where the wake-up put it; None if that is not in the trace"""
    woken_us: int
    ran_us: int


@dataclass
class Counts:
    """Of one interrupt under one mask."""

    matrix: Counter[tuple[int, int]] = field(default_factory=Counter)
    """(CPU of the hard handler, CPU of the thread): activations that ran"""
    classes: Counter[Class] = field(default_factory=Counter)
    latency: dict[Class, Latencies] = field(default_factory=lambda: {kind: Latencies() for kind in RAN})
    """from the wake-up to the thread's first instruction, µs"""

    def merge(self, other: "Counts") -> None:
        self.matrix.update(other.matrix)
        self.classes.update(other.classes)
        for kind, latencies in other.latency.items():
            self.latency[kind].merge(latencies)

    @property
    def ran(self) -> int:
        return sum(self.classes[kind] for kind in RAN)

    @property
    def local(self) -> int:
        return self.classes[Class.LOCAL]

    @property
    def all_latencies(self) -> Latencies:
        merged = Latencies()
        for latencies in self.latency.values():
            merged.merge(latencies)
        return merged


@dataclass
class Tally:
    """All that was counted of one interrupt."""

    handlers: Counter[int] = field(default_factory=Counter)
    """hard handlers that were entered, by CPU; with a shared interrupt each of its handlers"""
    nested: int = 0
    """of these, outside hard interrupt context"""
    found: Counter[tuple[str, Class]] = field(default_factory=Counter)
    """activations that ran, by the task that their hard handler interrupted and by what became of them"""
    runs_on: Counter[tuple[int, int]] = field(default_factory=Counter)
    """how often its threads came to run, by pid and CPU"""
    by_mask: dict[str, Counts] = field(default_factory=dict)
    other_wakeups: int = 0
    """of its threads, not by its hard handler"""
    hard_wakeups: int = 0
    """of these, in hard interrupt context"""
    migrations: int = 0
    """of its threads, before or after they ran"""
    follows: int = 0
    """activations that ran elsewhere since their interrupt brought a new mask into effect"""
    moves: int = 0
    """activations that ran on another CPU than the thread had run on last, but for those of ``follows``"""
    longest_wait_us: int = 0
    """of a thread that waited at the end of the window: woken, or driven off its CPU, and not run since"""
    unseen_wakings: int = 0
    """activations whose ``sched_waking`` is not in the trace"""
    unseen_wakeups: int = 0
    """times that a thread came to run after a handler that asked for it, and no wake-up of it is in the trace"""

    @property
    def runs(self) -> Counter[int]:
        """How often its threads came to run, by pid."""
        return self._sum_runs(0)

    @property
    def thread_cpus(self) -> Counter[int]:
        """The same, by CPU."""
        return self._sum_runs(1)

    def _sum_runs(self, which: int) -> Counter[int]:
        found: Counter[int] = Counter()
        for key, count in self.runs_on.items():
            found[key[which]] += count
        return found

    def count_found(self, kinds: Container[Class]) -> dict[str, int]:
        """The tasks that hard handlers interrupted, of activations of these kinds."""
        tasks: dict[str, int] = {}
        for (task, kind), count in self.found.items():
            if kind in kinds:
                tasks[task] = tasks.get(task, 0) + count
        return tasks

    def total(self) -> Counts:
        whole = Counts()
        for counts in self.by_mask.values():
            whole.merge(counts)
        return whole


class _Thread:
    """What is known of a thread at a moment."""

    __slots__ = (
        "asked",
        "came",
        "counts",
        "cpu",
        "early",
        "follows",
        "found",
        "hard_cpu",
        "irq",
        "pid",
        "placed",
        "ran_on",
        "ran_on_before",
        "runnable",
        "runnable_us",
        "tally",
        "woken_us",
    )

    def __init__(self, pid: int, irq: int, tally: Tally) -> None:
        self.pid = pid
        self.irq = irq
        self.tally = tally
        self.counts = Counts()
        self.cpu = -1  # where it runs
        self.ran_on = self.ran_on_before = -1  # where it came to run last, and the time before
        self.runnable = False  # it may run, and does not, and no activation says so
        self.runnable_us = 0  # since when
        self.woken_us = -1  # of the activation that is open; -1: none is
        self.hard_cpu = -1
        self.found = ""  # the task that its hard handler interrupted
        self.placed = -1
        self.asked: tuple[int, Place, bool] | None = (
            None  # a handler's return, without a wake-up; whether it was counted
        )
        self.early: tuple[int, Place] | None = None  # a hard interrupt that woke it without its handler
        self.follows = False  # the open activation began so: where it runs is known when it sleeps
        self.came: tuple[int, int] | None = None  # (µs, CPU) where such an activation came to run last


class Joiner:
    """Takes events in the order of time. ``threads``: the interrupt of each thread, by pid."""

    def __init__(
        self,
        threads: Mapping[int, int],
        masks: Mapping[int, str] | None = None,
        *,
        others: Iterable[int] = (),
        notice: Callable[[Activation], None] | None = None,
    ) -> None:
        """``masks``: the mask of each interrupt at the start. ``others``: interrupts without a thread, of which
        handlers are counted. ``notice`` is called with each activation that ran.
        """
        masks = masks or {}
        self.tallies: dict[int, Tally] = {irq: Tally() for irq in sorted({*threads.values(), *others})}
        self.marks: list[tuple[int, str]] = []
        self.uncertain = 0
        """handlers without a wake-up that may have asked for their thread: whether they are coalesced nobody knows"""
        self.first_us: int | None = None
        self.last_us: int | None = None
        self._notice = notice
        self._threads = {pid: _Thread(pid, irq, self.tallies[irq]) for pid, irq in threads.items()}
        self._exits: dict[int, tuple[int, int, Place, bool]] = {}
        """CPU: interrupt whose handler just returned, when, where, and whether it is known to have asked for its thread
        """
        self._wakings = False  # whether the trace has any
        for irq, tally in self.tallies.items():
            self._set_mask(irq, tally, masks.get(irq, ""))

    def _set_mask(self, irq: int, tally: Tally, mask: str) -> None:
        counts = tally.by_mask.setdefault(mask, Counts())
        for thread in self._threads.values():
            if thread.irq == irq:
                thread.counts = counts

    def consume(self, batch: Iterable[Event], marks: list[str]) -> None:
        """``marks``: the texts that events of kind MARK refer to."""
        threads, exits, tallies = self._threads, self._exits, self.tallies
        time = self.last_us
        for time, place, (kind, first, second) in batch:
            if self.first_us is None:
                self.first_us = time
            cpu = place[0]
            if cpu in exits:
                # with interrupts off nothing comes between: the wake-up is the CPU's next event, or there is none
                irq, returned, where, certain = exits.pop(cpu)
                woken = threads.get(first) if kind is Kind.WAKING else None
                # in the context of the handler, as far as the trace tells: hard interrupt or not, and the task
                if woken is not None and woken.irq == irq and place[1] == where[1] and place[2] == where[2]:
                    self._wakings = True
                    self._wake(woken, time, place)
                    continue
                self._ask(irq, returned, where, certain=certain)
            if kind is Kind.SWITCH or kind is Kind.PREEMPT:
                if first in threads:
                    self._leave(threads[first], time, runnable=kind is Kind.PREEMPT)
                if second in threads:
                    self._come(threads[second], time, cpu)
            elif kind is Kind.ENTRY:
                if first in tallies:
                    tallies[first].handlers[cpu] += 1
                    if place[1] is False:
                        tallies[first].nested += 1
            elif kind is Kind.EXIT:
                if first in tallies and second != NOT_HANDLED and not self._open_early(first, cpu):
                    exits[cpu] = first, time, place, second == WAKES
            elif kind is Kind.WAKEUP:
                if first in threads:
                    self._place(threads[first], second)
            elif kind is Kind.WAKING:
                if first in threads:
                    self._wake_otherwise(threads[first], time, place)
            elif kind is Kind.MIGRATE:
                if first in threads:
                    threads[first].tally.migrations += 1
            elif kind is Kind.MARK:
                self._mark(time, marks[first])
        self.last_us = time

    def _wake(self, thread: _Thread, time: int, place: Place) -> None:
        thread.asked = None
        if thread.cpu >= 0 or thread.runnable:
            thread.counts.classes[Class.COALESCED] += 1
            return
        if thread.woken_us >= 0:
            thread.counts.classes[Class.UNMATCHED] += 1  # it must have run meanwhile, unseen
        thread.woken_us, thread.hard_cpu, thread.found, thread.placed = time, place[0], place[3], -1

    def _place(self, thread: _Thread, target: int) -> None:
        """Where a wake-up put it; of a handler that asked for it, if nothing of its wake-up is in the trace before."""
        if not self._wakings:
            self._settle(thread)
        if thread.asked is not None and thread.cpu < 0 and not thread.runnable and thread.woken_us < 0:
            time, place, counted = thread.asked
            thread.counts.classes[Class.COALESCED] -= counted
            thread.tally.unseen_wakings += 1
            self._wake(thread, time, place)
        if thread.placed < 0:
            thread.placed = target

    def _wake_otherwise(self, thread: _Thread, time: int, place: Place) -> None:
        self._wakings = True
        thread.tally.other_wakeups += 1
        thread.asked = None
        thread.tally.hard_wakeups += place[1] is True
        if thread.cpu < 0 and not thread.runnable:
            thread.early = (time, place) if place[1] is not False else None
            thread.placed = -1
            thread.runnable, thread.runnable_us = True, time

    def _open_early(self, irq: int, cpu: int) -> bool:
        """Whether the handler that just asked for its thread found it woken by the same interrupt, and not yet run."""
        for thread in self._threads.values():
            if thread.irq == irq and thread.early is not None and thread.early[1][0] == cpu:
                thread.woken_us, (thread.hard_cpu, _, _, thread.found) = thread.early
                thread.early, thread.follows, thread.came = None, True, None
                return True
        return False

    def _settle(self, thread: _Thread) -> None:
        """In a trace without ``sched_waking`` nothing follows a handler on its CPU for which there is to wait."""
        for cpu, (irq, time, place, certain) in list(self._exits.items()):
            if irq == thread.irq:
                del self._exits[cpu]
                self._ask(irq, time, place, certain=certain)

    def _ask(self, irq: int, time: int, place: Place, *, certain: bool) -> None:
        """A handler returned, and its thread's wake-up does not follow: it is not asleep, or ``sched_waking`` is not in
        the trace. Without being ``certain`` the handler may not have asked for it.
        """
        counted = False
        self.uncertain += not certain
        for thread in self._threads.values():
            if thread.irq == irq:
                if certain and not counted:
                    thread.counts.classes[Class.COALESCED] += 1
                if thread.cpu < 0 and not thread.runnable and thread.woken_us < 0:
                    thread.asked = time, place, certain and not counted
                counted = True

    def _leave(self, thread: _Thread, time: int, *, runnable: bool) -> None:
        if thread.woken_us >= 0:
            if thread.came is None:
                # it ran all the time: it was woken before it had gone to sleep, and before the window showed it
                thread.counts.classes[Class.COALESCED] += 1
                thread.woken_us = -1
            elif not runnable:
                self._close(thread, *thread.came)
        thread.cpu = -1
        thread.runnable, thread.runnable_us = runnable, time

    def _come(self, thread: _Thread, time: int, cpu: int) -> None:
        if not self._wakings:
            self._settle(thread)
        thread.tally.runs_on[thread.pid, cpu] += 1
        if thread.asked is not None:
            thread.tally.unseen_wakeups += 1
            thread.asked = None
        thread.cpu, thread.runnable, thread.early = cpu, False, None
        thread.ran_on_before, thread.ran_on = thread.ran_on, cpu
        if thread.woken_us < 0:
            return
        if thread.follows:
            thread.came = (time, cpu)
        else:
            self._close(thread, time, cpu)

    def _close(self, thread: _Thread, time: int, cpu: int) -> None:
        """The open activation ran there."""
        counts, placed = thread.counts, thread.placed
        if cpu == thread.hard_cpu:
            kind = Class.LOCAL
        elif placed < 0:
            kind = Class.UNMATCHED
        else:
            kind = Class.PLACED_REMOTE if cpu == placed else Class.MOVED
        counts.classes[kind] += 1
        if kind is not Class.UNMATCHED:
            counts.matrix[thread.hard_cpu, cpu] += 1
            thread.tally.found[thread.found, kind] += 1
            counts.latency[kind].add(time - thread.woken_us)
            thread.tally.follows += thread.follows and kind is not Class.LOCAL
            thread.tally.moves += not thread.follows and thread.ran_on_before not in (-1, cpu)
            if self._notice:
                found = placed if placed >= 0 else None
                self._notice(Activation(thread.irq, kind, thread.hard_cpu, cpu, found, thread.woken_us, time))
        thread.woken_us, thread.follows, thread.came = -1, False, None

    def _mark(self, time: int, text: str) -> None:
        if text in (BEGIN, END):
            self.marks.append((time, text))

    def finish(self) -> None:
        """The trace is over: what is open is counted as such."""
        for irq, time, place, certain in self._exits.values():
            self._ask(irq, time, place, certain=certain)
        self._exits.clear()
        for thread in self._threads.values():
            if thread.came is not None:
                self._close(thread, *thread.came)
            elif thread.woken_us >= 0:
                thread.counts.classes[Class.WAITING] += 1
                self._note_wait(thread, thread.woken_us)
                thread.woken_us = -1
            elif thread.runnable:
                self._note_wait(thread, thread.runnable_us)

    def _note_wait(self, thread: _Thread, since: int) -> None:
        waited = (self.last_us or since) - since
        thread.tally.longest_wait_us = max(thread.tally.longest_wait_us, waited)
