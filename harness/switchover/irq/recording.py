# SPDX-License-Identifier: GPL-2.0-or-later
"""The file of a recording: lines of JSON around the trace as the kernel printed it, compressed.

Readable with zcat. A line of the trace never begins with a brace: the kernel prints a task's name of up to 15
characters in a column of 16. In order::

    {"irq_recording": 1, "start": {…}}     host, kernel, what was traced, interrupts and threads before, the header
                                           that the kernel prints above a trace
    … lines of trace_pipe …
    {"end": {…}}                           interrupts and threads after, counters around the window, what was lost

A file without its last line is of a recording that did not end. Memory of writer and reader does not grow with it.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from io import BufferedIOBase
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from switchover.irq.columns import Columns, parse_header
from switchover.irq.state import Counters, IrqState, tell_secondary
from switchover.record.errors import UsageError

VERSION = 1
_CHUNK = 1 << 18


@dataclass(frozen=True)
class RecordingStart:
    """What is known before the window. Times: ISO 8601; ``window_s``: how long it was to be."""

    host: str
    started: str
    window_s: float
    clock: str
    buffer_kib: int
    """for each CPU"""
    chosen: tuple[int, ...]
    """numbers of the interrupts that were traced"""
    before: IrqState
    notes: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    """lines with which the kernel's ``trace`` begins: what its latency columns are; recordings of old have none"""

    @property
    def columns(self) -> Columns | None:
        """None: nobody knows."""
        return parse_header(self.header)


@dataclass(frozen=True)
class Loss:
    """What a CPU's ring buffer did not keep: its lines in ``per_cpu/cpuN/stats``."""

    cpu: int
    overrun: int
    commit_overrun: int
    dropped: int

    @property
    def events(self) -> int:
        return self.overrun + self.commit_overrun + self.dropped


@dataclass(frozen=True)
class Around:
    """Counters before and after a moment: what was counted at it lies between the two."""

    before: Counters
    after: Counters


@dataclass(frozen=True)
class RecordingEnd:
    """What is known after the window. ``opened``, ``closed``: around the moments at which tracing went on and off."""

    after: IrqState
    opened: Around
    closed: Around
    losses: tuple[Loss, ...]


class RecordingWriter:
    """Writes one recording; close it when done. Without :meth:`finish` it says that it did not end."""

    def __init__(self, path: Path, start: RecordingStart) -> None:
        """:raises UsageError: the file cannot be written"""
        try:
            self._file = gzip.open(path, "wb", compresslevel=4)  # noqa: SIM115 (close() below)
        except OSError as error:
            raise UsageError(f"{path} cannot be written.", why=error.strerror or str(error)) from error
        self._write({"irq_recording": VERSION, "start": asdict(start)})

    def add(self, data: bytes) -> None:
        """More of the trace; pieces may end anywhere."""
        self._file.write(data)

    def finish(self, end: RecordingEnd) -> None:
        """After a trace whose last line is whole."""
        self._write({"end": asdict(end)})

    def _write(self, fields: dict[str, object]) -> None:
        self._file.write(json.dumps(fields, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        self._file.close()


class RecordingReader:
    """One pass over a recording: ``start`` at once, then :meth:`chunks`, then ``end``, None if the file has none."""

    foreign = ""
    """Whose text it is, if it is not ours."""

    def __init__(self, file: BufferedIOBase, name: str) -> None:
        """:raises UsageError: it is no recording, or of another version"""
        self._file = file
        self._name = name
        self.end: RecordingEnd | None = None
        self.damage = ""
        """why reading stopped before the end of the file"""
        try:
            first = file.readline()
        except (OSError, EOFError, zlib.error) as error:
            raise UsageError(f"{name} cannot be read as a recording of interrupts.", why=str(error)) from error
        try:
            fields = json.loads(first)
            version = fields["irq_recording"]
        except (ValueError, TypeError, KeyError):
            raise UsageError(
                f"{name} is not a recording of interrupts.", fix="make one: switchover irq record HOST"
            ) from None
        if type(version) is not int:
            what = f"irq_recording is {json.dumps(version)}, not a number"
            raise UsageError(f"The first line of {name} is wrong.", why=what, fix=f"recordings have {VERSION} there")
        if version != VERSION:
            raise UsageError(f"{name} is of version {version}; this switchover reads version {VERSION}.")
        if not isinstance(fields.get("start"), dict):
            why = (
                f"start is {json.dumps(fields['start'])[:80]}, not a table" if "start" in fields else "it has no start"
            )
            raise UsageError(
                f"The first line of {name} is wrong.",
                why=f"{why}: the host, its interrupts and threads before the trace",
                fix="the file is not whole; make another one: switchover irq record HOST",
            )
        try:
            start = _START.validate_python(fields["start"])
        except ValidationError as error:
            raise UsageError(f"The first line of {name} is wrong.", why=f"start.{_first_problem(error)}") from error
        self.start = replace(start, before=tell_secondary(start.before))

    @property
    def columns(self) -> Columns | None:
        return self.start.columns

    def chunks(self) -> Iterator[bytes]:
        """The trace, in pieces."""
        rest = b""
        while data := self._read():
            rest += data
            cut = rest.rfind(b"\n") + 1
            whole, rest = rest[:cut], rest[cut:]
            if (brace := whole.rfind(b"\n{") + 1) or whole.startswith(b"{"):
                yield whole[:brace]
                self._parse_end(whole[brace:])
                return
            yield whole
        if rest:
            yield rest

    def _read(self) -> bytes:
        data = b""
        try:
            # read1: what was unpacked before the file turns out to be cut off is not lost
            while len(data) < _CHUNK and (piece := self._file.read1(_CHUNK)):
                data += piece
        except (OSError, EOFError, zlib.error) as error:
            self.damage = str(error) or type(error).__name__
        return data

    def _parse_end(self, line: bytes) -> None:
        try:
            end = _END.validate_python(json.loads(line)["end"])
            self.end = replace(end, after=tell_secondary(end.after))
        except (ValueError, TypeError, KeyError) as error:
            self.damage = f"the last line is wrong: {error}".splitlines()[0]


_START = TypeAdapter(RecordingStart)
_END = TypeAdapter(RecordingEnd)


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def open_recording(path: Path) -> BufferedIOBase:
    """A recording's text; one that somebody has unpacked, too.

    :raises UsageError: there is no such file
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        return gzip.open(path, "rb") if packed else path.open("rb")
    except OSError as error:
        raise UsageError(f"{path} cannot be read.", why=error.strerror or str(error)) from error
