# SPDX-License-Identifier: GPL-2.0-or-later
"""``run --json``: what happens in a run as it happens, a line of JSON for each event (docs/running.md)."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TextIO

from switchover.record.record import Record, list_measured
from switchover.record.rundir import RunDirectory
from switchover.report.rundata import RunData
from switchover.report.summary import count_outcomes
from switchover.runner.listener import RunListener
from switchover.runner.turns import Turn

EVENTS_VERSION = 1


@dataclass(frozen=True)
class CasePlanned:
    """A case of :class:`RunStarted`."""

    case: str
    """id of the case"""
    scenario: str
    """name of its scenario or function"""
    repeats: int
    """how often it is to be run"""
    expected: str
    """the verdict that is expected"""
    seconds: float
    """an estimate of how long a repeat takes; 0: none"""


@dataclass(frozen=True)
class RunStarted:
    """The first line. With `--resume`, of the repeats that are left."""

    version: int
    """version of these lines; another one if a field changes its meaning or goes"""
    directory: str
    """the run directory"""
    cases: tuple[CasePlanned, ...]
    """what is to be run"""


@dataclass(frozen=True)
class RepeatStarted:
    """A repeat begins; one that is run again begins again."""

    case: str
    """id of the case"""
    repeat: int
    """number of the repeat, from 1"""


@dataclass(frozen=True)
class RepeatEnded:
    """A repeat has its record. Of a case that is not supported, only the first has one, and it was never begun."""

    case: str
    """id of the case"""
    repeat: int
    """number of the repeat, from 1"""
    verdict: str
    """what happened"""
    reason: str
    """what QEMU, libvirt or the harness said of it; empty: nothing"""
    mismatch: str
    """how that differs from what was expected; empty: it does not"""
    downtimes_s: tuple[float, ...]
    """the explained downtime in seconds; of a chain, that of each migration; empty: none was measured"""
    seconds: float
    """how long the repeat took"""
    directory: str
    """where its record is, and the files beside it"""


@dataclass(frozen=True)
class RunEnded:
    """The last line, also of a run that was interrupted."""

    counts: Mapping[str, int]
    """cases of the whole run by what became of them, in the words of `show`"""
    exit_code: int
    """with which the command ends"""
    directory: str
    """the run directory"""


EVENTS = {
    RunStarted: "run-started",
    RepeatStarted: "repeat-started",
    RepeatEnded: "repeat-ended",
    RunEnded: "run-ended",
}


class EventLines(RunListener):
    """Writes a line for each event. A reader that goes away does not end the run: its directory has everything."""

    def __init__(self, directory: RunDirectory, stream: TextIO) -> None:
        self._directory = directory
        self._stream: TextIO | None = stream

    def start(self, turns: Sequence[Turn]) -> None:
        lines = {turn.line.id: turn.line for turn in turns}.values()
        cases = tuple(
            CasePlanned(
                line.id, line.scenario, line.repeats, str(line.expectation.get("verdict", "")), round(line.seconds, 1)
            )
            for line in lines
        )
        self._write(RunStarted(EVENTS_VERSION, str(self._directory.path), cases))

    def begin(self, turn: Turn) -> None:
        self._write(RepeatStarted(turn.line.id, turn.number))

    def end(self, turn: Turn, record: Record) -> None:
        migrations = [record.at_hop(hop.number) for hop in record.hops] or [record]
        self._write(
            RepeatEnded(
                turn.line.id,
                turn.number,
                str(record.verdict),
                record.verdict.reason,
                record.mismatch,
                tuple(list_measured(migrations, "downtime.explained")),
                round(sum(record.seconds.values()), 3),
                str(self._directory.repeat_path(record.case, record.repeat)),
            )
        )

    def conclude(self, run: RunData, exit_code: int) -> None:
        """The run ended, however it did."""
        self._write(RunEnded(count_outcomes(run), int(exit_code), str(self._directory.path)))

    def _write(self, event: RunStarted | RepeatStarted | RepeatEnded | RunEnded) -> None:
        if self._stream is None:
            return
        head = {"event": EVENTS[type(event)], "time": datetime.now(UTC).isoformat(timespec="milliseconds")}
        try:
            print(json.dumps(head | asdict(event), ensure_ascii=False), file=self._stream, flush=True)
        except BrokenPipeError:
            # what is left in the stream's buffer goes nowhere, at exit either
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            self._stream = None
