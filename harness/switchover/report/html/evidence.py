# SPDX-License-Identifier: GPL-2.0-or-later
"""What a page shows of a migration besides its record: events, samples and heartbeats, read as far as they can be."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

SIDES = ("source", "destination")


class Event(msgspec.Struct, frozen=True):
    """A line of ``SIDE.events.jsonl``. ``qemu_ns``: None where QEMU's own time is not known."""

    arrived_ns: int
    event: str
    data: Mapping[str, Any] = {}
    qemu_ns: int | None = None


class Bytes(msgspec.Struct, frozen=True):
    """Of RAM or of devices, in an answer to ``query-migrate``."""

    transferred: int | None = None
    remaining: int | None = None


class Answer(msgspec.Struct, frozen=True):
    """Of ``query-migrate``, what is drawn."""

    ram: Bytes = Bytes()
    vfio: Bytes = Bytes()


class Sample(msgspec.Struct, frozen=True):
    """A line of ``samples.jsonl``."""

    at_ns: int
    answer: Answer = msgspec.field(name="query-migrate")


class Beat(msgspec.Struct, frozen=True):
    """A heartbeat that arrived: a line of ``outside.jsonl`` after the first."""

    side: str
    at_ns: int


class Evidence(msgspec.Struct, frozen=True):
    """``damaged``: how many lines could not be read."""

    events: Mapping[str, list[Event]] = {}
    samples: list[Sample] = []
    beats: list[Beat] = []
    damaged: int = 0


_Line = TypeVar("_Line")
_EVENTS = msgspec.json.Decoder(Event)
_SAMPLES = msgspec.json.Decoder(Sample)
_BEATS = msgspec.json.Decoder(Beat)


def read_evidence(path: Path) -> Evidence:
    """Of the directory of a migration. A file that is not there says nothing; a line that is damaged is left out."""
    events = {side: parse_lines(_read(path / f"{side}.events.jsonl"), _EVENTS) for side in SIDES}
    samples, bad_samples = parse_lines(_read(path / "samples.jsonl"), _SAMPLES)
    beats, bad_beats = parse_lines(_read(path / "outside.jsonl")[1:], _BEATS)
    damaged = bad_samples + bad_beats + sum(bad for _, bad in events.values())
    return Evidence({side: found for side, (found, _) in events.items()}, samples, beats, damaged)


def parse_lines(lines: Iterable[bytes], decoder: msgspec.json.Decoder[_Line]) -> tuple[list[_Line], int]:
    """The lines that are what they should be, and the number of others."""
    found: list[_Line] = []
    damaged = 0
    for line in lines:
        try:
            found.append(decoder.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            damaged += 1
    return found, damaged


def _read(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except OSError:
        return []


def list_files(path: Path) -> list[str]:
    """Names of the files in a directory, sorted; empty if it is not there."""
    try:
        return sorted(entry.name for entry in path.iterdir() if entry.is_file())
    except OSError:
        return []
