# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages to avocado, made of records and files: text as bytes with whole lines, files in pieces.

avocado writes text with the encoding of its locale, and stops reading messages where that fails; it joins pieces of
lines of different tests; and it drops a message above its buffer of 32 MiB without a word.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from switchover.catalogue.conduct import TRACEBACK
from switchover.catalogue.outcome import NATIVE, Outcome, find_outcome, find_worst
from switchover.fronts.avocado_api import FileMessage, FinishedMessage, LogMessage, StderrMessage, WhiteboardMessage
from switchover.record.record import Record
from switchover.report.failures import render_headline

Message = Mapping[str, Any]
CHUNK_BYTES = 1 << 20
FOLDER = "switchover"
"""In the directory of the test: what the run directory has of it."""


def make_log(text: str) -> Message:
    """Lines for the test's log."""
    message: Message = LogMessage.get(_whole(text))
    return message


class LogTail:
    """What a process writes to a file, while it does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self, *, whole: bool = False) -> Iterator[Message]:
        """Lines that came since; with ``whole`` also a last one without an end."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                while said := file.read(CHUNK_BYTES):
                    if not whole and len(said) < CHUNK_BYTES:
                        said = said[: said.rfind(b"\n") + 1]
                    if not said:
                        return
                    self._offset += len(said)
                    yield StderrMessage.get(said if said.endswith(b"\n") else said + b"\n")
        except FileNotFoundError:
            return


def list_files(place: Path, number: int, most_bytes: int) -> Iterator[Message]:
    """The files of a repeat. ``most_bytes``: those that are larger stay where they are, and the log says so."""
    for path in sorted(place.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        name = f"{FOLDER}/{number:02}/{path.relative_to(place)}"
        if (size := path.stat().st_size) > most_bytes:
            yield make_log(f"{path} is not copied: {size} bytes")
            continue
        with path.open("rb") as file:
            piece = file.read(CHUNK_BYTES)
            yield FileMessage.get(piece, name)
            while piece := file.read(CHUNK_BYTES):
                yield FileMessage.get(piece, name)


def make_whiteboard(records: Sequence[Record], directory: Path, waited_s: float) -> Message:
    """For programs: verdict and measurements, of the repeat that decides, and of all of them if there are several."""
    told = {
        **_describe(_find_deciding(records)),
        "outcome": find_worst([find_outcome(record) for record in records]),
        "waited_s": round(waited_s, 3),
        "run_directory": str(directory),
    }
    if len(records) > 1:
        told["repeats"] = [_describe(record) for record in records]
    message: Message = WhiteboardMessage.get(json.dumps(told))
    return message


def _describe(record: Record) -> dict[str, Any]:
    return {
        "case": record.case,
        "repeat": record.repeat,
        "verdict": record.verdict.name,
        "reason": record.verdict.reason,
        "mismatch": record.mismatch,
        "seconds": record.seconds,
        "measurements": [
            {"name": one.name, "value": one.value, "unit": one.unit, "direction": one.direction}
            for one in record.measurements
        ],
    }


def make_finish(records: Sequence[Record], group: str, traceback: Path | None) -> Message:
    """How a test ends. ``traceback``: the directory where a file of that name may be."""
    outcome, record = find_worst([find_outcome(record) for record in records]), _find_deciding(records)
    text = ""
    if traceback is not None and (traceback / TRACEBACK).exists():
        text = (traceback / TRACEBACK).read_text(encoding="utf-8")
    message: Message = FinishedMessage.get(
        NATIVE[outcome].avocado,
        fail_reason=_describe_reason(outcome, record),
        class_name=group,
        fail_class=None if outcome is Outcome.PASS else str(record.verdict.name),
        traceback=text or None,
    )
    return message


def _describe_reason(outcome: Outcome, record: Record) -> str | None:
    if outcome is Outcome.PASS:
        return None
    return record.verdict.reason if outcome is Outcome.SKIP else render_headline(record)


def _find_deciding(records: Sequence[Record]) -> Record:
    worst = find_worst([find_outcome(record) for record in records])
    return next(record for record in records if find_outcome(record) is worst)


def _whole(text: str) -> bytes:
    return text.rstrip("\n").encode(errors="replace") + b"\n"
