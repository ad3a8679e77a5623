# SPDX-License-Identifier: GPL-2.0-or-later
"""Events of the kernel's trace, from its text to tuples in the order of time. Pure; memory does not grow with a trace.

The text is what ``trace_pipe`` prints: a task, its CPU, latency columns, seconds with six digits, the event. ``trace``
has a header above it, and ``trace-cmd report`` prints nearly the same (:data:`_LINE`, :data:`_SHAPES`). Both what comes
before the time and what comes after it repeat, so each is looked up in a table and understood once: that, not a regular
expression for each line, is what a million events in some seconds takes.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from operator import itemgetter

from switchover.irq.columns import Columns, require_columns


class Kind(IntEnum):
    """What an event is. Its two numbers are named in brackets."""

    ENTRY = 0
    """irq_handler_entry (irq, 0)"""
    EXIT = 1
    """irq_handler_exit (irq, what it returned: :data:`WAKES` and so on)"""
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


Place = tuple[int, bool | None, int, str]
"""CPU; whether in hard interrupt context, None if the trace does not tell; pid and name of the task that ran there."""
Event = tuple[int, Place, tuple[Kind, int, int]]
"""Time in µs, where, and the kind with its numbers."""

BEGIN = "switchover: begin"
END = "switchover: end"
"""Marks around a window: a trace without its end was cut off."""

HOLD_US = 100_000
"""Two CPUs' events may come out of trace_pipe in the wrong order if they are this close: it prints what it finds."""
WAKES, HANDLED, NOT_HANDLED = 2, 1, 0
"""What a hard handler returned, as far as the text tells: to have its thread woken (IRQ_WAKE_THREAD), something, or
nothing.
"""
_TABLE = 50_000
_PART, _POINT = 7, ord(".")  # a time ends with a point and six digits
_SHARED = rb" +(?P<seconds>\d+)\.(?P<part>\d{6}|\d{9}): +(?P<event>.*)"
# a task's name in 16 columns, its pid, that of its thread group if recorded, CPU, latency columns if there are any
_LINE = re.compile(
    rb"(?P<task>.{16,})-(?P<pid>\d+) +(?:\([ \d-]+\) )?\[(?P<cpu>\d+)\](?: (?P<flags>[^ ]+))?" + _SHARED, re.DOTALL
)
# trace-cmd report -l
_SHORT_LINE = re.compile(
    rb" *(?P<task>[^ ].{0,15}?)-(?P<pid>\d+) +(?P<cpu>\d+)(?P<flags>[^ \d][^ ]*)" + _SHARED, re.DOTALL
)
_LOST = re.compile(rb"CPU:\d+ \[(?:LOST )?(?:(\d+) )?EVENTS(?: DROPPED)?\]")
_NO_EVENT = re.compile(rb"#| => |cpus=\d+$|version = \d+$|CPU \d+ is empty$")
"""Of a trace that others made: its header, stacks, and what trace-cmd says of a file."""
_PID = rb"(?:comm=.* pid=(\d+) prio=-?\d+|.*:(\d+) \[-?\d+\])(?: success=\d)?"
_SHAPES: tuple[tuple[bytes, Kind, re.Pattern[bytes]], ...] = (
    (b"irq_handler_entry", Kind.ENTRY, re.compile(rb"irq=(\d+) ")),
    (b"irq_handler_exit", Kind.EXIT, re.compile(rb"irq=(\d+) ret=(\w+)")),
    (b"sched_waking", Kind.WAKING, re.compile(_PID + rb" (?:target_cpu=|CPU:)\d+", re.DOTALL)),
    (b"sched_wakeup", Kind.WAKEUP, re.compile(_PID + rb" (?:target_cpu=|CPU:)(\d+)", re.DOTALL)),
    (
        b"sched_switch",
        Kind.SWITCH,
        re.compile(
            rb"(?:prev_comm=.* prev_pid=(\d+) .* prev_state=(\S+) (?:==> )?next_comm=.* next_pid=(\d+) "
            rb"|.*:(\d+) \[-?\d+\] (\S+) ==> .*:(\d+) \[)",
            re.DOTALL,
        ),
    ),
    (
        b"sched_migrate_task",
        Kind.MIGRATE,
        re.compile(rb"comm=.* pid=(\d+) prio=-?\d+ orig_cpu=\d+ dest_cpu=(\d+)", re.DOTALL),
    ),
)
"""Events as the kernel prints them, as trace-cmd does raw (``-R``), and as its plugin does (libtraceevent,
plugin_sched_switch.c): ``swapper/1:0 [120] R ==> irq/4-ttyS0:155 [49]``."""
_PATTERNS = {name: (kind, pattern) for name, kind, pattern in _SHAPES}
_RETURNS = {b"handled": HANDLED, b"unhandled": NOT_HANDLED, b"0": NOT_HANDLED, b"1": HANDLED, b"2": WAKES, b"3": WAKES}


@dataclass
class Reading:
    """What was read: lines that are events, lines that are none, and events that the kernel says it lost."""

    events: int = 0
    strange: int = 0
    lost: int = 0
    strange_line: str = ""
    """The first line that was not understood."""
    half_line: str = ""
    """with which the trace ends: it was cut off"""
    kinds: set[Kind] = field(default_factory=set)
    """what there was at least once"""
    disordered: int = 0
    """events that came after others that were later by more than :data:`HOLD_US`"""
    latest_us: int = 0
    """the most that one came too late"""


class TraceReader:
    """Reads one trace. ``reading`` and ``marks`` grow with it."""

    def __init__(self, columns: Columns | None = None, *, foreign: bool = False, name: str = "the trace") -> None:
        """``columns``: its latency columns, None if nobody knows. ``foreign``: not recorded by us, so that it may have
        a header and events that are none of ours; returns of its handlers are not all :data:`WAKES`.
        """
        self.reading = Reading()
        self.marks: list[str] = []
        self._columns = columns
        self._foreign = foreign
        self._name = name
        self._places: dict[bytes, Place] = {}
        self._events: dict[bytes, tuple[Kind, int, int]] = {}

    def read(self, chunks: Iterable[bytes]) -> Iterator[list[Event]]:
        """Batches of events, in the order of time within and among them. Chunks may end anywhere.

        :raises UsageError: what columns there are decides something, and nobody knows
        """
        held: list[Event] = []
        rest = b""
        passed = 0
        for chunk in chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            held += self._parse_lines(lines)
            held.sort(key=_time)
            if held:
                self._note_order(held, passed)
                cut = _find_cut(held, held[-1][0] - HOLD_US)
                if cut:
                    passed = max(passed, held[cut - 1][0])
                    yield held[:cut]
                    del held[:cut]
        if rest:
            held += self._parse_last(rest)
            held.sort(key=_time)
        if held:
            self._note_order(held, passed)
            yield held

    def _note_order(self, held: list[Event], passed: int) -> None:
        """``passed``: the time up to which events were given away."""
        if held[0][0] < passed:
            self.reading.disordered += _find_cut(held, passed - 1)
            self.reading.latest_us = max(self.reading.latest_us, passed - held[0][0])

    def _parse_lines(self, lines: list[bytes]) -> list[Event]:
        places, events = self._places, self._events
        parsed: list[Event] = []
        append = parsed.append
        for line in lines:
            head, _, tail = line.partition(b": ")
            where, _, time = head.rpartition(b" ")
            place = places.get(where)
            event = events.get(tail)
            if place is not None and event is not None and len(time) > _PART and time[-_PART] == _POINT:
                digits = time.replace(b".", b"", 1)
                if digits.isdigit():
                    append((int(digits), place, event))
                    continue
            if (found := self._parse_line(line)) is not None:
                append(found)
        self.reading.events += len(parsed)
        return parsed

    def _parse_last(self, line: bytes) -> list[Event]:
        """A line without its end: whole, if somebody copied it so, or cut off."""
        before = self.reading.strange, self.reading.strange_line
        found = self._parse_lines([line]) if self._foreign else []
        if not found:
            self.reading.strange, self.reading.strange_line = before
            self.reading.half_line = line[:200].decode(errors="replace")
        return found

    def _parse_line(self, line: bytes) -> Event | None:
        """The long way; what it finds out is in the tables for the next line of the kind."""
        if not line:
            return None
        if line.startswith(b"CPU:") and (lost := _LOST.match(line)):
            self.reading.lost += int(lost[1] or 1)
            return None
        if self._foreign:
            line = line.rstrip()
            if not line or _NO_EVENT.match(line):
                return None
        found = _LINE.fullmatch(line) or (_SHORT_LINE.fullmatch(line) if self._foreign else None)
        place = self._parse_place(found) if found else None
        if found is None or place is None:
            self._note_strange(line)
            return None
        name, _, text = found["event"].partition(b":")
        event = self._parse_event(name, text.lstrip(b" "))
        if event is None:
            if not self._foreign or name in _PATTERNS:
                self._note_strange(line)
            return None
        if event[0] is Kind.WAKING and self._columns is None and found["flags"]:
            raise require_columns(self._name, found["flags"].decode(errors="replace"))
        self.reading.kinds.add(event[0])
        for table in (self._places, self._events):
            if len(table) >= _TABLE:
                table.clear()
        head, _, tail = line.partition(b": ")
        where, _, time = head.rpartition(b" ")
        if (tail, time) == (found["event"], found["seconds"] + b"." + found["part"]):
            self._places[where] = place
            if event[0] is not Kind.MARK:
                self._events[tail] = event
        return int(found["seconds"] + found["part"][:6]), place, event

    def _parse_place(self, found: re.Match[bytes]) -> Place | None:
        """None if its latency columns are others than they should be."""
        hard = None
        if found["flags"] is not None and self._columns is not None:
            flags = found["flags"].decode(errors="replace")
            if not self._columns.fits(flags):
                return None
            hard = self._columns.is_hard(flags)
        return int(found["cpu"]), hard, int(found["pid"]), found["task"].strip().decode(errors="replace")

    def _parse_event(self, name: bytes, text: bytes) -> tuple[Kind, int, int] | None:
        if name in (b"tracing_mark_write", b"print"):
            self.marks.append(text.decode(errors="replace").strip())
            return Kind.MARK, len(self.marks) - 1, 0
        if name not in _PATTERNS:
            return None
        kind, pattern = _PATTERNS[name]
        if (match := pattern.match(text)) is None:
            return None
        if kind is Kind.SWITCH:
            leaves, state, comes = (found for found in match.groups() if found is not None)
            return Kind.PREEMPT if _is_runnable(state) else Kind.SWITCH, int(leaves), int(comes)
        if kind is Kind.EXIT:
            if match[2] not in _RETURNS:
                return None
            return kind, int(match[1]), _RETURNS[match[2]] if self._foreign else WAKES
        numbers = [int(found) for found in match.groups() if found is not None]
        return kind, numbers[0], numbers[1] if len(numbers) > 1 else 0

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


def _is_runnable(state: bytes) -> bool:
    """Whether a task that leaves its CPU could run on: ``R``, ``R+``; a number, if it is raw, of which the bits of
    sleep are the lowest (include/linux/sched.h, TASK_REPORT).
    """
    return state.startswith(b"R") or (state.isdigit() and int(state) & 0xFF == 0)


def looks_like_event(line: bytes) -> bool:
    """Whether a line has the shape of a trace's, whatever its event is."""
    return _LINE.fullmatch(line) is not None or _SHORT_LINE.fullmatch(line) is not None
