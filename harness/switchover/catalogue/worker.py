# SPDX-License-Identifier: GPL-2.0-or-later
"""A case of the catalogue in a process of its own: what it does to its process it does to nobody else's.

``python -m switchover.catalogue.worker`` with a request as its argument is the child; :func:`conduct_apart` its parent.
"""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

from switchover.catalogue.case import CatalogueCase
from switchover.catalogue.conduct import (
    TimedOut,
    conduct,
    describe_timeout,
    make_hung,
    make_interrupted,
    make_lost,
)
from switchover.catalogue.load import load_file, with_parameters
from switchover.hosts.orphans import adopt_orphans, end_descendants
from switchover.hosts.processes import LocalProcess
from switchover.hosts.waiting import pace, stretch
from switchover.lab.release import clean_up_after_others
from switchover.record.errors import NotReady, SwitchoverError, UsageError
from switchover.record.log import say, set_up_logging
from switchover.record.record import Record, read_record
from switchover.record.rundir import RepeatDirectory, RunDirectory
from switchover.runner.case_runner import RunContext
from switchover.runner.testbed import Testbed, reopen_testbed

RELEASE_S = 60.0
"""So long may a case that is told to end take until everything is released, on a machine that is not slow."""
LOG_FILE = "case.log"


@dataclass(frozen=True)
class Request:
    """What a child is to do. ``testbed``: where hosts are, see :attr:`Testbed.address`; empty: it needs none.

    ``directory``: the repeat's, which is there. ``run``: the run directory. ``words``: see
    :func:`switchover.catalogue.load.with_parameters`.
    """

    case: str
    source: str
    number: int
    directory: str
    run: str
    timeout_s: float
    testbed: Mapping[str, object] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)


def conduct_apart(
    case: CatalogueCase,
    number: int,
    place: RepeatDirectory,
    run: RunDirectory,
    testbed: Mapping[str, object],
    *,
    words: Mapping[str, str] | None = None,
    tick: Callable[[], None] = lambda: None,
    tick_s: float = 0.25,
) -> Record:
    """Run a case in a child, and see that there is a record whatever becomes of it. ``tick`` is called meanwhile.

    What the child said is in ``case.log`` beside the record. A child that was killed has left things on hosts: they are
    undone here.
    """
    steps = conduct_in_steps(case, number, place, run, testbed, words=words, step_s=tick_s)
    while True:
        try:
            next(steps)
            tick()
        except StopIteration as end:
            return cast(Record, end.value)
        except BaseException as error:
            steps.throw(error)
            raise


def conduct_in_steps(
    case: CatalogueCase,
    number: int,
    place: RepeatDirectory,
    run: RunDirectory,
    testbed: Mapping[str, object],
    *,
    words: Mapping[str, str] | None = None,
    step_s: float = 0.25,
) -> Generator[None, None, Record]:
    """The same for who has to do something else every ``step_s`` seconds. What is thrown in is raised again, after the
    child was told to end, and has ended.
    """
    limit = stretch(case.timeout_s)
    request = Request(
        case.id, str(case.source), number, str(place.path), str(run.path), limit, testbed, dict(words or {})
    )
    record = place.record_path
    record.unlink(missing_ok=True)
    child = LocalProcess([sys.executable, "-m", __name__, json.dumps(asdict(request))], words=place.path / LOG_FILE)
    try:
        ended = yield from _wait(child, limit + stretch(RELEASE_S), step_s)
    except BaseException:
        child.interrupt()
        child.wait(stretch(RELEASE_S))
        child.end_group()
        if not record.exists():
            place.write_record(make_interrupted(case, number))
            clean_up_after_others()
        raise
    child.end_group()
    status = child.poll()
    if not record.exists():
        words_of_end = _describe_end(status, child.stderr())
        made = make_lost(case, number, words_of_end) if ended else make_hung(case, number, limit)
        place.write_record(made)
        clean_up_after_others()
    return read_record(record)


@dataclass(frozen=True)
class ConductApart:
    """A case for runs: each execution in a child of its own (:class:`switchover.runner.turns.Apart`)."""

    case: CatalogueCase

    @property
    def needs_hosts(self) -> bool:
        return bool(self.case.needs.hosts)

    def __call__(
        self, number: int, repeat: RepeatDirectory, run: RunDirectory, address: Mapping[str, object]
    ) -> Record:
        return conduct_apart(self.case, number, repeat, run, address)


def _wait(child: LocalProcess, seconds: float, step_s: float) -> Generator[None, None, bool]:
    """Whether it ended by itself. The child watches its own time; this is for one that cannot any more."""
    waited = 0.0
    while child.wait(step_s) is None:
        waited += step_s
        yield
        if waited > seconds:
            return False
    return True


def _describe_end(status: int | None, said: str) -> str:
    how = f"killed by signal {-status}" if status is not None and status < 0 else f"exit status {status}"
    last = said.strip().splitlines()[-1:]
    return f"the process of the case died ({how}){f': {last[0]}' if last else ''}"


@contextlib.contextmanager
def limit_time(seconds: float) -> Iterator[None]:
    """A block that is ended after so many seconds, with :class:`TimedOut`; in the main thread only."""

    def end(_number: int, _frame: object) -> None:
        raise TimedOut(describe_timeout(seconds))

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def main(argv: list[str]) -> int:
    """The child: 0 where there is a record. Nothing that the case started outlives it."""
    adopt_orphans()
    try:
        return _work(Request(**json.loads(argv[1])))
    finally:
        if count := end_descendants():
            say(f"{count} processes that the case left running were killed")


def _work(request: Request) -> int:
    set_up_logging(verbose=bool(os.environ.get("SWITCHOVER_VERBOSE")))
    signal.signal(signal.SIGTERM, _interrupt)
    place = RepeatDirectory(Path(request.directory))
    case = require_case(Path(request.source), request.case)
    try:
        case = with_parameters(case, request.words)
        with limit_time(request.timeout_s), contextlib.ExitStack() as stack:
            testbed: Testbed | None = None
            if case.needs.hosts:
                run = RunDirectory(Path(request.run))
                testbed = stack.enter_context(reopen_testbed(request.testbed, run, RunContext()))
            conduct(case, request.number, place, testbed)
    except TimedOut:
        place.write_record(make_hung(case, request.number, request.timeout_s / pace()))
    except SwitchoverError as error:
        place.write_record(make_lost(case, request.number, str(error)))
    return 0


def require_case(source: Path, identity: str) -> CatalogueCase:
    """:raises UsageError: the file has no such case"""
    found = [case for case in load_file(source) if case.id == identity]
    if not found:
        raise UsageError(f"{source} has no case {identity!r}.")
    return found[0]


def _interrupt(_number: int, _frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv))
    except KeyboardInterrupt:
        sys.exit(130)
    except NotReady as error:
        print(error, file=sys.stderr)
        sys.exit(3)
