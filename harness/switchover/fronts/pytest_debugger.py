# SPDX-License-Identifier: GPL-2.0-or-later
"""``pytest --pdb``: the debugger opens while the guests of a case that is not as expected are still there."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

import _pytest
import pytest

from switchover.catalogue.pythoncases import Function
from switchover.record.errors import NotSupported
from switchover.report.failures import list_attach
from switchover.runner.hold_on_failure import Held, HoldOnFailure
from switchover.runner.listener import RunListener

_NOT_SHOWN = (Path(__file__).resolve().parent.parent, Path(_pytest.__file__).resolve().parent)


class GuestsKept(Exception):
    """Raised for the debugger only: a case of a scenario, or of a test, is not as expected, and its guests are kept."""


class Debugger(RunListener):
    """Opens pytest's debugger, whichever that is, through the hook that everybody's debugger listens to.

    ``run``: name of the run directory, as a user types it.
    """

    def __init__(self, run: Callable[[], str]) -> None:
        self._run = run
        self._item: pytest.Item | None = None
        self._seen: set[int] = set()
        self.keeper = HoldOnFailure(self._hold)

    def watch(self, item: pytest.Item) -> None:
        """Whose failures are meant from now on."""
        self._item, self.keeper.used = item, False
        self._seen.clear()

    def left(self, error: BaseException) -> None:
        """Open the debugger where an error was raised; once for each, and once for a case whose guests were kept."""
        interrupted = isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit | pytest.exit.Exception)
        if interrupted or isinstance(error, NotSupported) or self.keeper.used or id(error) in self._seen:
            return
        self._seen.add(id(error))
        self._open(error)

    def watched(self, function: Function) -> Function:
        """The function of a case, with the debugger where it ends with an error."""

        @wraps(function)
        def call(*arguments: Any, **parameters: Any) -> None:
            try:
                function(*arguments, **parameters)
            except BaseException as error:
                self.left(error)
                raise

        return call

    def _hold(self, kept: Held) -> None:
        sides = ", ".join(f"{name} on {side.host}" for name, side in kept.sides.items())
        lines = [
            f"{kept.case}: {kept.mismatch}",
            *kept.verdict.reason.splitlines()[:8],
            f"kept: {sides}; what is there is in {kept.path / 'kept.json'}",
            "look here at the variable kept, or in another terminal:",
            *(f"  {line}" for line in list_attach(self._run(), kept.case)),
            "c ends the guests, and goes on with the next case; q ends the session, too",
        ]
        try:
            _raise_kept(kept, "\n".join(lines))
        except GuestsKept as error:
            self._open(error)

    def _open(self, error: BaseException) -> None:
        if self._item is None:
            return
        call = pytest.CallInfo.from_call(lambda: _raise(error), "call")
        report = _make_report(self._item, call)
        try:
            with paused_time():
                self._item.ihook.pytest_exception_interact(node=self._item, call=call, report=report)
        except pytest.exit.Exception as end:
            self._item.session.shouldstop = str(end) or "the debugger was quit"


def _raise_kept(kept: Held, text: str) -> NoReturn:
    """The frame that the debugger shows."""
    raise GuestsKept(text)


def _make_report(item: pytest.Item, call: pytest.CallInfo[None]) -> pytest.TestReport:
    """What the debugger shows first: without frames of the harness, and of pytest."""
    if call.excinfo is None:
        raise AssertionError("an error was raised")
    own = call.excinfo.traceback.filter(lambda entry: not any(map(Path(entry.path).is_relative_to, _NOT_SHOWN)))
    if own:
        call.excinfo.traceback = own
    report = pytest.TestReport.from_item_and_call(item, call)
    if not own:
        report.longrepr = str(call.excinfo.value)
    return report


def _raise(error: BaseException) -> NoReturn:
    raise error


@contextlib.contextmanager
def paused_time() -> Iterator[None]:
    """Time that counts for no time limit of a case."""
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left)
