# SPDX-License-Identifier: GPL-2.0-or-later
"""One test of avocado's: a case of the catalogue on the hosts of the job, its turn awaited, its record handed on."""

import contextlib
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from switchover.catalogue.conduct import make_interrupted, make_lost, make_plan_line
from switchover.catalogue.load import with_parameters
from switchover.catalogue.worker import LOG_FILE, conduct_in_steps, require_case
from switchover.fronts.avocado_api import FinishedMessage, Runnable, RunningMessage
from switchover.fronts.avocado_hosts import LONGEST_WAIT_S, Place, Turn, take_hosts
from switchover.fronts.avocado_messages import (
    FOLDER,
    LogTail,
    Message,
    list_files,
    make_finish,
    make_log,
    make_whiteboard,
)
from switchover.fronts.avocado_resolver import COPY_BYTES, HISTORY, HOSTS, INVENTORY, KIND, MOST_COPIED
from switchover.hosts.waiting import paced
from switchover.lab.labfile import read_lab_file
from switchover.record.errors import SwitchoverError, UsageError
from switchover.record.planfile import make_unrun
from switchover.record.record import Record, read_record
from switchover.record.rundir import RunDirectory, make_run_directory
from switchover.report.failures import render_failure
from switchover.report.history.keeping import find_history, keep_numbers
from switchover.report.rundata import read_run

_STEP_S = 0.25
_REMIND_S = 30.0


class Ending(Protocol):
    """See :class:`switchover.fronts.avocado_runner.Ending`."""

    @property
    def asked(self) -> bool: ...
    @property
    def abandoned(self) -> bool: ...
    @property
    def is_told(self) -> bool: ...


@dataclass(frozen=True)
class Task:
    """What the job said of a test. ``number``: of its first repeat. ``testbed``: where the hosts of the job are, and
    ``lock``: which file says whose turn it is; empty: the job has none. ``lack``: why it has none.
    """

    run: str = ""
    number: int = 1
    testbed: Mapping[str, object] = field(default_factory=dict)
    lock: str = ""
    lack: str = ""


def hand_over(runnable: Runnable, task: Task) -> None:
    """From the job to the process of the test, as arguments of that."""
    runnable.kwargs |= {"run": task.run, "number": task.number, "lock": task.lock, "lack": task.lack}
    runnable.kwargs["testbed"] = dict(task.testbed)


def _take_over(runnable: Runnable) -> Task:
    """Without a job plugin there is nothing to take over."""
    given = runnable.kwargs
    return Task(
        str(given.get("run", "")),
        int(given.get("number", 1)),
        given.get("testbed") or {},
        str(given.get("lock", "")),
        str(given.get("lack", "")),
    )


def read_words(variant: Mapping[str, Any] | None) -> dict[str, str]:
    """The parameters of a variant, of all of its axes. YAML reads ``on`` as true: that is ``on`` again."""
    if variant is None:
        return {}
    return {str(key): _spell(value) for _, items in variant["variant"] for _, key, value in items}


def _spell(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def carry_out(runnable: Runnable, ending: Ending) -> Iterator[Message]:
    """All that is to be said after the start of a test, until its end; whatever happens, that is said."""
    try:
        yield from _Execution(runnable, ending).run()
    except SwitchoverError as error:
        yield make_log(str(error))
        yield FinishedMessage.get("error", fail_reason=str(error).splitlines()[0], fail_class=type(error).__name__)


class _Execution:
    def __init__(self, runnable: Runnable, ending: Ending) -> None:
        self._runnable = runnable
        self._ending = ending
        self._task = _take_over(runnable)
        self._words = read_words(runnable.variant)
        self._waited_s = 0.0
        if "source" not in runnable.kwargs:
            raise UsageError(f"{runnable.uri} is no test of switchover's resolver.", fix="avocado list switchover:*")
        self._case = require_case(Path(str(runnable.kwargs["source"])), runnable.uri)
        self._directory = self._find_directory()

    def _find_directory(self) -> RunDirectory:
        if self._task.run:
            return RunDirectory(Path(self._task.run))
        return make_run_directory(KIND, Path(self._runnable.output_dir or ".").absolute(), name="run")

    def run(self) -> Iterator[Message]:
        """:raises SwitchoverError: the run directory cannot be written"""
        yield make_log(f"run directory: {self._directory.path}")
        first = self._task.number
        numbers = range(first, first + self._case.repeats)
        records: list[Record] = []
        with contextlib.ExitStack() as stack:
            try:
                with_parameters(self._case, self._words)
                testbed = yield from self._take_hosts(stack)
                for number in numbers:
                    records.append((yield from self._conduct(number, testbed)))
                    if self._ending.asked:
                        break
            except SwitchoverError as error:
                records.append(self._leave(make_lost(self._case, first + len(records), str(error))))
            except KeyboardInterrupt:
                records.append(self._leave(make_interrupted(self._case, first + len(records))))
            for number in numbers[len(records) :]:
                asked = self._ending.asked
                reason = "interrupted" if asked else records[-1].verdict.reason
                unrun = make_unrun(make_plan_line(self._case), number, reason, called_off=asked)
                records.append(self._leave(unrun))
        if not self._task.run:  # else the job does it, for all of its tests
            yield from self._keep_numbers()
        yield from self._report(records)

    def _keep_numbers(self) -> Iterator[Message]:
        if trouble := keep_numbers(self._directory, find_history(self._runnable.config.get(HISTORY))):
            yield make_log(trouble)

    def _take_hosts(self, stack: contextlib.ExitStack) -> Generator[Message, None, Mapping[str, object]]:
        """Where the hosts are, after they are ours alone. :raises SwitchoverError: they are not to be had"""
        config, task = self._runnable.config, self._task
        place = Place(config.get(HOSTS) or "", config.get(INVENTORY) or "")
        if not self._case.needs.hosts:
            return {}
        if task.lack:
            raise _Lack(task.lack)
        if not task.testbed:
            return stack.enter_context(take_hosts(place, self._case.needs.programs))
        turn = Turn(Path(task.lock))
        stack.callback(turn.give_back)
        began, told = time.monotonic(), -_REMIND_S
        while not turn.take(self._case.id):
            self._waited_s = time.monotonic() - began
            if self._ending.asked:
                raise KeyboardInterrupt
            if self._waited_s > LONGEST_WAIT_S:
                raise _Lack(f"waited {self._waited_s:.0f} s for the hosts")
            if self._waited_s - told >= _REMIND_S:
                told = self._waited_s
                yield make_log(f"waiting for {_name(task.testbed)}, which {turn.find_owner()} has")
            yield RunningMessage.get()
        if self._waited_s:
            yield make_log(f"waited {self._waited_s:.1f} s for {_name(task.testbed)}")
        if "lab" in task.testbed:
            stack.enter_context(paced(read_lab_file(Path(str(task.testbed["lab"]))).pace))
        return task.testbed

    def _conduct(self, number: int, testbed: Mapping[str, object]) -> Generator[Message, None, Record]:
        place = self._directory.repeat(self._case.id, number)
        tail = LogTail(place.path / LOG_FILE)
        steps = conduct_in_steps(self._case, number, place, self._directory, testbed, words=self._words, step_s=_STEP_S)
        with contextlib.closing(steps):
            while True:
                try:
                    next(steps)
                    yield RunningMessage.get()
                    yield from tail.read()
                    if self._ending.asked:
                        steps.throw(KeyboardInterrupt())
                except (StopIteration, KeyboardInterrupt):
                    break
        yield from tail.read(whole=True)
        return read_record(place.record_path)

    def _leave(self, record: Record) -> Record:
        self._directory.repeat(record.case, record.repeat).write_record(record)
        return record

    def _report(self, records: list[Record]) -> Iterator[Message]:
        for record in records:
            place = self._directory.repeat_path(record.case, record.repeat)
            if record.mismatch:
                yield make_log(render_failure(read_run(self._directory), record))
            yield from list_files(place, record.repeat, int(self._runnable.config.get(COPY_BYTES) or MOST_COPIED))
        yield make_whiteboard(records, self._directory.path, self._waited_s)
        if self._ending.abandoned:
            yield FinishedMessage.get("error", fail_reason="the runner was killed, and the case was ended")
        elif not self._ending.is_told:
            last = self._directory.repeat_path(records[-1].case, records[-1].repeat)
            yield make_finish(records, self._case.group, last)


class _Lack(SwitchoverError):
    """The job has no hosts, and has said why."""


def _name(testbed: Mapping[str, object]) -> str:
    if "hosts" in testbed:
        return f"the hosts {', '.join(str(name) for name in testbed['hosts'])}"  # type: ignore[attr-defined]
    return "the lab"


__all__ = ["FOLDER", "Task", "carry_out", "hand_over", "read_words"]
