# SPDX-License-Identifier: GPL-2.0-or-later
"""Events of the kernel's trace, from its text to tuples in the order of time. Pure; memory does not grow with a trace.

The text is what ``trace_pipe`` prints: a task, its CPU, five flags, seconds with six digits, the event. Both what comes
before the time and what comes after it repeat, so each is looked up in a table and understood once: that, not a regular
expression for each line, is what a million events in some seconds takes.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from operator import itemgetter


class Kind(IntEnum):
    """What an event is. Its two numbers are named in brackets."""

    ENTRY = 0
    """irq_handler_entry (irq, 0)"""
    EXIT = 1
    """irq_handler_exit (irq, 0); recorded only where the handler returned IRQ_WAKE_THREAD"""
    WAKING = 2
    """sched_waking (pid, 0), in the context of who wakes"""
    WAKEUP = 3
    """sched_wakeup (pid, target CPU), once the scheduler has placed the task"""
    SWITCH = 4
    """sched_switch (pid that leaves, pid that comes); who leaves sleeps"""
    PREEMPT = 5
    """sched_switch (the same); who leaves could run on"""
    MIGRATE = 6
    """sched_migrate_task (pid, CPU it goes to)"""
    MARK = 7
    """a line that was written to trace_marker; its text is in :attr:`TraceReader.marks` at the first number"""


Event = tuple[int, int, bool, tuple[Kind, int, int]]
"""Time in µs, CPU, whether in hard interrupt context, and the kind with its numbers."""

BEGIN = "switchover: begin"
END = "switchover: end"
"""Marks around a window: a trace without its end was cut off."""

_HOLD_US = 100_000
"""Two CPUs' events may come out of trace_pipe in the wrong order if they are this close: it prints what it finds."""
_TABLE = 50_000
_WHERE = re.compile(rb".{16,}-\d+ +(?:\([ \d-]+\) )?\[(\d+)\] ([^ ]{4,6}) *", re.DOTALL)
_LINE = re.compile(rb"(.{16,}-\d+ +(?:\([ \d-]+\) )?\[\d+\] [^ ]{4,6}) +(\d+\.\d{6}): (\w+: .*)", re.DOTALL)
_LOST = re.compile(rb"CPU:\d+ \[LOST (?:(\d+) )?EVENTS\]")
_HARD = b"hHZ"  # hard interrupt; inside a softirq; with an NMI inside it (kernel/trace/trace_output.c)
_SHAPES: tuple[tuple[bytes, re.Pattern[bytes]], ...] = (
    (b"irq_handler_entry", re.compile(rb"irq=(\d+) ")),
    (b"irq_handler_exit", re.compile(rb"irq=(\d+) ")),
    (b"sched_waking", re.compile(rb"comm=.* pid=(\d+) prio=-?\d+ target_cpu=\d+", re.DOTALL)),
    (b"sched_wakeup", re.compile(rb"comm=.* pid=(\d+) prio=-?\d+ target_cpu=(\d+)", re.DOTALL)),
    (
        b"sched_switch",
        re.compile(rb"prev_comm=.* prev_pid=(\d+) .* prev_state=(\S+) ==> next_comm=.* next_pid=(\d+) ", re.DOTALL),
    ),
    (b"sched_migrate_task", re.compile(rb"comm=.* pid=(\d+) prio=-?\d+ orig_cpu=\d+ dest_cpu=(\d+)", re.DOTALL)),
)
_KINDS = {
    b"irq_handler_entry": Kind.ENTRY,
    b"irq_handler_exit": Kind.EXIT,
    b"sched_waking": Kind.WAKING,
    b"sched_wakeup": Kind.WAKEUP,
    b"sched_switch": Kind.SWITCH,
    b"sched_migrate_task": Kind.MIGRATE,
}
_PATTERNS = dict(_SHAPES)


@dataclass
class Reading:
    """What was read: lines that are events, lines that are none, and events that the kernel says it lost."""

    events: int = 0
    strange: int = 0
    lost: int = 0
    strange_line: str = ""
    """The first line that was not understood."""


class TraceReader:
    """Reads one trace. ``reading`` and ``marks`` grow with it."""

    def __init__(self) -> None:
        self.reading = Reading()
        self.marks: list[str] = []
        self._places: dict[bytes, tuple[int, bool]] = {}
        self._events: dict[bytes, tuple[Kind, int, int]] = {}

    def read(self, chunks: Iterable[bytes]) -> Iterator[list[Event]]:
        """Batches of events, in the order of time within and among them. Chunks may end anywhere."""
        held: list[Event] = []
        rest = b""
        for chunk in chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            held += self._parse_lines(lines)
            held.sort(key=_time)
            if held:
                cut = _find_cut(held, held[-1][0] - _HOLD_US)
                if cut:
                    yield held[:cut]
                    del held[:cut]
        if rest:
            self._note_strange(rest)  # half a line: the trace was cut off
        if held:
            yield held

    def _parse_lines(self, lines: list[bytes]) -> list[Event]:
        places, events = self._places, self._events
        parsed: list[Event] = []
        append = parsed.append
        for line in lines:
            head, _, tail = line.partition(b": ")
            where, _, time = head.rpartition(b" ")
            place = places.get(where)
            event = events.get(tail)
            if place is None or event is None:
                if (found := self._parse_line(line)) is not None:
                    append(found)
                continue
            append((int(time.replace(b".", b"")), place[0], place[1], event))
        self.reading.events += len(parsed)
        return parsed

    def _parse_line(self, line: bytes) -> Event | None:
        """The long way; what it finds out is in the tables for the next line of the kind."""
        if not line:
            return None
        if line.startswith(b"CPU:") and (lost := _LOST.match(line)):
            self.reading.lost += int(lost[1] or 1)
            return None
        whole = _LINE.fullmatch(line)
        place = _parse_place(whole[1]) if whole else None
        event = self._parse_event(whole[3]) if whole else None
        if whole is None or place is None or event is None:
            self._note_strange(line)
            return None
        for table in (self._places, self._events):
            if len(table) >= _TABLE:
                table.clear()
        head, _, tail = line.partition(b": ")
        if tail == whole[3]:
            where, _, time = head.rpartition(b" ")
            if time == whole[2]:
                self._places[where] = place
                if event[0] is not Kind.MARK:
                    self._events[tail] = event
        return int(whole[2].replace(b".", b"")), *place, event

    def _parse_event(self, tail: bytes) -> tuple[Kind, int, int] | None:
        name, _, text = tail.partition(b": ")
        if name in (b"tracing_mark_write", b"print"):
            self.marks.append(text.decode(errors="replace").strip())
            return Kind.MARK, len(self.marks) - 1, 0
        pattern = _PATTERNS.get(name)
        if pattern is None or (match := pattern.match(text)) is None:
            return None
        if name == b"sched_switch":
            kind = Kind.PREEMPT if match[2].startswith(b"R") else Kind.SWITCH
            return kind, int(match[1]), int(match[3])
        return _KINDS[name], int(match[1]), int(match[2]) if pattern.groups > 1 else 0

    def _note_strange(self, line: bytes) -> None:
        self.reading.strange += 1
        self.reading.strange_line = self.reading.strange_line or line[:200].decode(errors="replace")


_time = itemgetter(0)


def _find_cut(events: list[Event], time: int) -> int:
    """How many of the events, which are in order, are not after ``time``."""
    low, high = 0, len(events)
    while low < high:
        middle = (low + high) // 2
        if events[middle][0] <= time:
            low = middle + 1
        else:
            high = middle
    return low


def _parse_place(text: bytes) -> tuple[int, bool] | None:
    match = _WHERE.fullmatch(text)
    return None if match is None else (int(match[1]), match[2][2] in _HARD)
