# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast recordings are analysed: a real one, repeated until it is long enough, so that each line is a real one."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

import psutil

from switchover.irq.analysis import analyse_file
from switchover.irq.events import BEGIN, END
from switchover.irq.recording import RecordingReader, open_recording
from switchover.record.errors import UsageError

_TIME = re.compile(rb"(?<= )(\d+)(\.\d{6}: )")


@dataclass(frozen=True)
class Throughput:
    """Of one analysis. ``grown``: bytes of memory that the process took more while it analysed."""

    events: int
    seconds: float
    grown: int
    local: int
    ran: int


def measure_throughput(path: Path, scratch: Path, events: int, tell: Callable[[str], None]) -> Throughput:
    """Analyse a recording that is repeated to at least so many events, from a file in ``scratch``, on one core.

    :raises UsageError: it is no recording, or has no events
    """
    once = analyse_file(path)  # also what is loaded and warm before the clock starts
    if not once.reading.events:
        raise UsageError(f"{path} has no events.")
    turns = -(-events // once.reading.events)
    long = scratch / "long.trace"
    with open_recording(path) as file, long.open("wb") as repeated:
        for piece in _repeat(file, turns):
            repeated.write(piece)
    tell(f"{once.reading.events:,} events of {path.name}, {turns} times: {long.stat().st_size >> 20} MiB")
    process = psutil.Process()
    before, began = process.memory_info().rss, time.process_time()
    analysis = analyse_file(long)
    seconds = time.process_time() - began
    total = analysis.total
    return Throughput(analysis.reading.events, seconds, process.memory_info().rss - before, total.local, total.ran)


def _repeat(file: BufferedIOBase, turns: int) -> Iterator[bytes]:
    """The first line, then the trace, each turn later than the one before; without the marks of the window."""
    yield file.readline()
    file.seek(0)
    trace = b"".join(RecordingReader(file, "recording").chunks())
    lines = [line for line in trace.splitlines() if not line.endswith((BEGIN.encode(), END.encode()))]
    times = [int(match[1]) for match in _TIME.finditer(trace)]
    span = times[-1] - times[0] + 1
    trace = b"\n".join(lines) + b"\n"
    for turn in range(turns):
        yield _shift(trace, turn * span)


def _shift(trace: bytes, seconds: int) -> bytes:
    return _TIME.sub(lambda match: b"%d%s" % (int(match[1]) + seconds, match[2]), trace)
