# SPDX-License-Identifier: GPL-2.0-or-later
"""A file with a trace in it, opened as what it is: a recording of ours, text that others made, or a ``trace.dat``."""

import contextlib
import gzip
import tempfile
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Protocol

from switchover.hosts.host import Host
from switchover.hosts.local import LocalHost
from switchover.hosts.processes import require_program
from switchover.irq.columns import Columns
from switchover.irq.foreign import ForeignTrace, survey_trace
from switchover.irq.recording import RecordingEnd, RecordingReader, RecordingStart, open_recording
from switchover.record.errors import CommandFailed, UsageError

_TRACE_DAT = b"\x17\x08\x44tracing"
"""With which a file of trace-cmd begins (trace-cmd.dat.v7)."""


class TraceSource(Protocol):
    """One pass over a trace: ``start`` and ``columns`` at once, then :meth:`chunks`, then ``end`` and ``damage``."""

    end: RecordingEnd | None
    damage: str

    @property
    def start(self) -> RecordingStart: ...

    @property
    def columns(self) -> Columns | None:
        """None: nobody knows."""

    @property
    def foreign(self) -> str:
        """Whose text it is; empty: a recording of ours."""

    def chunks(self) -> Iterator[bytes]: ...


@contextlib.contextmanager
def start_source(path: Path) -> Iterator[TraceSource]:
    """The source of a file for the time of a ``with`` block.

    :raises UsageError: it cannot be read, or has no trace; :raises NotReady: it needs trace-cmd, which is not there
    """
    with contextlib.ExitStack() as stack:
        begin = _read_begin(path)
        if begin.startswith(_TRACE_DAT):
            text = stack.enter_context(_start_text(path, LocalHost()))
        else:
            text = path
        if begin.startswith((b"{", b"[")):
            yield RecordingReader(stack.enter_context(open_recording(path)), str(path))
            return
        try:
            with open_recording(text) as file:
                survey = survey_trace(file, str(path))
            yield ForeignTrace(stack.enter_context(open_recording(text)), survey)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UsageError(f"{path} cannot be read as a trace.", why=str(error)) from error


def _read_begin(path: Path) -> bytes:
    file: BufferedIOBase
    with open_recording(path) as file:
        try:
            return file.read(len(_TRACE_DAT))
        except (OSError, EOFError, zlib.error) as error:
            raise UsageError(f"{path} cannot be read as a recording of interrupts.", why=str(error)) from error


@contextlib.contextmanager
def _start_text(path: Path, host: Host) -> Iterator[Path]:
    """What ``trace-cmd report`` prints of a file, with the numbers that handlers returned, which words do not have."""
    program = require_program("trace-cmd", needed_to=f"read {path}")
    with tempfile.TemporaryDirectory(prefix="switchover-irq-") as directory:
        text = Path(directory) / "report"
        script = '"$1" report -r irq_handler_exit "$2" >"$3"'
        try:
            host.run(["sh", "-c", script, "sh", program, str(path.absolute()), str(text)], timeout=600)
        except CommandFailed as error:
            raise UsageError(f"{path} cannot be read by trace-cmd.", why=error.why) from error
        yield text
