# SPDX-License-Identifier: GPL-2.0-or-later
"""When a migration ended the way it did, from the events of its source. Pure but for one file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from switchover.record.shape import parse_json

_TERMINAL = ("completed", "failed", "cancelled")
_ENDING = ("cancelling", "failing")
"""Statuses on the way to a terminal one (``failing``: QEMU 11)."""


@dataclass(frozen=True)
class Moment:
    """``seconds`` since ``migrate`` (its status ``setup``); ``status``: the last one before the migration ended.

    ``end``: how it ended, empty if no event says so. ``device``: last device state of the source before that.
    """

    seconds: float
    status: str
    end: str = ""
    device: str = ""

    def __str__(self) -> str:
        device = f", the source's device in {self.device}" if self.device else ""
        what = f"{self.end} after {self.status}" if self.end else f"last event in {self.status}"
        return f"{self.seconds:.1f} s after migrate, {what}{device}"


def find_moment(events: Iterable[Mapping[str, Any]], *, came: bool = False) -> Moment | None:
    """From lines of ``source.events.jsonl``, of the first migration in them; None if none began.

    ``came``: the guest had come to this QEMU by a migration, and the one after that is meant.
    """
    start: int | None = None
    status = device = ""
    last = 0
    for event in events:
        try:
            at, name, data = int(event["arrived_ns"]), event["event"], event["data"]
            if name == "MIGRATION":
                word = str(data["status"])
                if came:
                    came = word not in _TERMINAL
                    continue
                if start is None:
                    start = at
                if word in (*_TERMINAL, *_ENDING):
                    return Moment((at - start) / 1e9, status or word, word, device)
                status = word
            elif name == "VFIO_MIGRATION" and start is not None:
                device = str(data["device-state"])
            last = at
        except (KeyError, TypeError, ValueError):
            continue
    return None if start is None else Moment((last - start) / 1e9, status, "", device)


def read_moment(repeat: Path, *, came: bool = False) -> Moment | None:
    """Of a repeat's directory, or that of a hop; None if the migration did not begin, or the file is not there.

    ``came``: as for :func:`find_moment`.
    """
    return find_moment(_read_lines(repeat / "source.events.jsonl"), came=came)


def _read_lines(path: Path) -> Iterable[Mapping[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            found = parse_json(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found
