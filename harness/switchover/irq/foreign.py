# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces that others made: the text of the kernel's ``trace`` and ``trace_pipe``, and of ``trace-cmd report``. Pure.

They are read twice: first for what a recording says in its first line, as far as the text has it, then as a trace. What
nobody can know from it (masks, chips, the clock, counters) stays unknown.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BufferedIOBase

from switchover.irq.columns import HEADER_LINES, TRACE_CMD, Columns, LatencyFormat, parse_header
from switchover.irq.events import looks_like_event
from switchover.irq.recording import RecordingEnd, RecordingStart
from switchover.irq.state import Counters, IrqState, IrqThread, tell_secondary
from switchover.record.errors import UsageError

_CHUNK = 1 << 18
_THREAD = re.compile(
    rb"comm=(irq/(\d+)-.{0,11}?) (?:prev_|next_)?pid=(\d+) (?:prev_|next_)?prio=(-?\d+)"
    rb"|(irq/(\d+)-[^\n:]{0,11}):(\d+) \[(-?\d+)\]"
)
_STARTED = re.compile(rb"^##### CPU \d+ buffer started ####$", re.MULTILINE)
_ENTRIES = re.compile(r"^# entries-in-buffer/entries-written: (\d+)/(\d+)")
_TRACE_CMD = re.compile(rb"(?:version = \d+|cpus=\d+|CPU \d+ is empty)\s*$")
_COUNTED = re.compile(rb".{16,}-\d+ .*\[\d+\] (?:[^ ]+ +)?\d+: \w+: ")
_HIGHEST = 99
"""A real-time priority is so many less than the kernel's number, which the events have (include/linux/sched/prio.h)."""


@dataclass(frozen=True)
class Survey:
    """What the first reading finds. ``offset``: bytes before which some CPUs' events were overwritten."""

    kind: str
    columns: Columns | None
    threads: tuple[IrqThread, ...]
    offset: int
    notes: tuple[str, ...]


@dataclass
class ForeignTrace:
    """One pass over such a trace, after its :class:`Survey`; as :class:`switchover.irq.recording.RecordingReader`."""

    file: BufferedIOBase
    survey: Survey
    end: RecordingEnd | None = field(default=None, init=False)
    damage: str = field(default="", init=False)

    @property
    def foreign(self) -> str:
        return self.survey.kind

    @property
    def start(self) -> RecordingStart:
        threads = self.survey.threads
        state = IrqState("", "", "", (), threads, Counters({}, {}))
        chosen = tuple(sorted({thread.irq for thread in threads}))
        return RecordingStart("", "", 0.0, "", 0, chosen, state, self.survey.notes)

    @property
    def columns(self) -> Columns | None:
        return self.survey.columns

    def chunks(self) -> Iterator[bytes]:
        """The trace, in pieces."""
        left = self.survey.offset
        for data in read_pieces(self.file):
            if left < len(data):
                yield data[left:]
            left = max(0, left - len(data))


def read_pieces(file: BufferedIOBase) -> Iterator[bytes]:
    while data := file.read(_CHUNK):
        yield data


def survey_trace(file: BufferedIOBase, name: str) -> Survey:
    """Read it once.

    :raises UsageError: it is no such trace, or has no times that can be read
    """
    header: list[bytes] = []
    threads: dict[int, IrqThread] = {}
    offset = place = 0
    rest = b""
    for data in read_pieces(file):
        text = rest + data
        cut = text.rfind(b"\n") + 1 or len(text)
        if len(header) < HEADER_LINES:
            header += text[:cut].splitlines()[: HEADER_LINES - len(header)]
        for match in _THREAD.finditer(text, 0, cut):
            words = match.groups()[:4] if match[1] else match.groups()[4:]
            thread = _make_thread(*(word or b"" for word in words))
            threads.setdefault(thread.pid, thread)
        if b"#####" in text:
            for match in _STARTED.finditer(text, 0, cut):
                offset = place + match.end()
        rest, place = text[cut:], place + cut
    kind, columns = _find_kind(header, name)
    state = tell_secondary(IrqState("", "", "", (), tuple(threads.values()), Counters({}, {})))
    return Survey(kind, columns, state.threads, offset, tuple(_find_notes(header, kind, offset)))


def _make_thread(comm: bytes, irq: bytes, pid: bytes, prio: bytes) -> IrqThread:
    """Of what an event says of it; ``prio``: the kernel's number."""
    number = int(prio)
    policy, priority = ("real-time", _HIGHEST - number) if 0 <= number < 100 else ("priority of", number)
    return IrqThread(int(pid), comm.decode(errors="replace"), int(irq), False, "", policy, priority, -1, True)


def _find_kind(header: list[bytes], name: str) -> tuple[str, Columns | None]:
    lines = [line.rstrip() for line in header if line.strip()]
    text = [line.decode(errors="replace") for line in lines]
    try:
        columns = parse_header(line for line in text if line.startswith("#"))
    except LatencyFormat as error:
        raise UsageError(f"{name} is in the kernel's latency format.", why=error.why, fix=error.fix) from error
    events = [line for line in lines if not line.startswith(b"#")]
    if events and _TRACE_CMD.match(events[0]):
        return "trace-cmd report", TRACE_CMD
    if any(map(looks_like_event, events)) or (text[:1] and text[0].startswith("# tracer:")):
        if not any(map(looks_like_event, events)) and any(map(_COUNTED.match, events)):
            raise UsageError(
                f"{name} has no times in seconds.",
                why="its clock counts something else (trace_clock counter, x86-tsc)",
                fix="trace again after: echo mono >/sys/kernel/tracing/trace_clock",
            )
        return ("trace_pipe" if columns is None else "trace"), columns
    raise UsageError(
        f"{name} is neither a recording of interrupts nor a trace.",
        why=f"it begins with {text[0][:60]!r}" if text else "it is empty",
        fix="make a recording: switchover irq record HOST; or take the text of the kernel's trace or trace_pipe, of "
        "trace-cmd report, or a trace.dat",
    )


def _find_notes(header: list[bytes], kind: str, offset: int) -> Iterator[str]:
    yield f"text of {kind} that was not recorded here: masks, chips, counters, kernel and clock are unknown"
    for line in header:
        if (match := _ENTRIES.match(line.decode(errors="replace"))) and match[1] != match[2]:
            yield f"its buffer was full: {match[1]} of {match[2]} events are left"
    if offset:
        yield "what is before the first event of every CPU that is left is not counted: others were overwritten there"
