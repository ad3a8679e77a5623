# SPDX-License-Identifier: GPL-2.0-or-later
"""The file of a recording: what was written is read, and what is missing is told."""

import gzip
import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.irq.test_state import TEXT

from switchover.irq.recording import (
    Around,
    Loss,
    RecordingEnd,
    RecordingReader,
    RecordingStart,
    RecordingWriter,
    open_recording,
)
from switchover.irq.state import parse_counters, parse_state
from switchover.record.errors import UsageError

STATE = parse_state(TEXT)
AROUND = Around(parse_counters(TEXT), parse_counters(TEXT))
START = RecordingStart("guest", "2026-01-01T00:00:00+00:00", 1.5, "mono", 1024, (4, 25), STATE, ("a note",))
END = RecordingEnd(STATE, AROUND, AROUND, (Loss(0, 1, 2, 3),))


def write(path: Path, trace: bytes, end: RecordingEnd | None = END) -> Path:
    writer = RecordingWriter(path, START)
    for first in range(0, len(trace), 7):
        writer.add(trace[first : first + 7])
    if end:
        writer.finish(end)
    writer.close()
    return path


def read(path: Path) -> tuple[RecordingReader, bytes]:
    with open_recording(path) as file:
        reader = RecordingReader(file, path.name)
        return reader, b"".join(reader.chunks())


TRACES = st.lists(st.from_regex(rb" [^\n{]{0,40}\n", fullmatch=True), max_size=30).map(b"".join)


@given(TRACES)
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, trace: bytes) -> None:
    """Start, trace and end, byte by byte; also after somebody unpacked it."""
    path = write(tmp_path_factory.mktemp("recording") / "x.gz", trace)
    unpacked = path.with_suffix("")
    unpacked.write_bytes(gzip.decompress(path.read_bytes()))
    for one in (path, unpacked):
        reader, found = read(one)
        assert (reader.start, found, reader.end, reader.damage) == (START, trace, END, "")


def test_a_recording_that_did_not_end(tmp_path: Path) -> None:
    """Without its last line there is no end; the trace is read as far as it goes."""
    reader, trace = read(write(tmp_path / "x.gz", b" a\n b\n", None))
    assert (trace, reader.end) == (b" a\n b\n", None)


def test_a_file_that_was_cut_off(tmp_path: Path) -> None:
    """What was unpacked before the cut is not lost, and the cut is told."""
    noise = random.Random(1)  # so that it does not pack into nothing; in all less than is read at once
    trace = b"".join(b" %s\n" % noise.randbytes(20).hex().encode() for _ in range(5_000))
    path = write(tmp_path / "x.gz", trace)
    path.write_bytes(path.read_bytes()[:-2000])
    reader, found = read(path)
    assert trace.startswith(found)
    assert len(found) > len(trace) / 2
    assert reader.end is None
    assert "end-of-stream" in reader.damage


@pytest.mark.parametrize(
    "data", [b"", b"hello\n", b"[]\n", b"\x1f\x8bnot gzip at all", b'{"irq_recording": 1, "start": {"host": 5}}\n']
)
def test_what_is_no_recording(tmp_path: Path, data: bytes) -> None:
    """Named, with what would be one."""
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(UsageError, match="x"):
        read(path)


def test_a_recording_of_a_later_version(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text(json.dumps({"irq_recording": 2, "start": {}}) + "\n")
    with pytest.raises(UsageError, match="version 2"):
        read(path)


def test_files_that_cannot_be_had(tmp_path: Path) -> None:
    """Neither read nor written, with the system's reason."""
    with pytest.raises(UsageError) as caught:
        open_recording(tmp_path / "none")
    assert "No such file" in caught.value.why
    with pytest.raises(UsageError) as caught:
        RecordingWriter(tmp_path / "none" / "x.gz", START)
    assert "No such file" in caught.value.why
