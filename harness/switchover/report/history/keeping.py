# SPDX-License-Identifier: GPL-2.0-or-later
"""The end of a run, whatever front made it: its numbers go into a history (docs/history.md)."""

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path

from switchover.record.errors import SwitchoverError
from switchover.record.invocation import command
from switchover.record.log import say
from switchover.record.paths import history_file
from switchover.record.rundir import RunDirectory
from switchover.report.history.store import History
from switchover.report.metrics import list_metrics
from switchover.report.rundata import RunData, read_run

OFF = "off"
"""In place of a file: into none."""
KEEPING_HELP = f"add the numbers of the run to this history; {OFF}: to none; default: the one beside the runs"


def find_history(word: str | None) -> Path | None:
    """What an option or a setting names: a file, :data:`OFF`, or nothing, which is the one beside the runs."""
    if word == OFF:
        return None
    return Path(word) if word else history_file()


def keep_numbers(run: RunDirectory | RunData, history: Path | None) -> str:
    """Add them. A run is not less right where that cannot be done: then a line says why, and how to do it later; empty
    otherwise. ``history``: None: nothing is to be done. A run without numbers leaves a history as it is.
    """
    if history is None:
        return ""
    directory = run if isinstance(run, RunDirectory) else run.directory
    try:
        rows = list(list_metrics(read_run(run) if isinstance(run, RunDirectory) else run))
        if rows:
            with History.open(history, make=True) as kept:
                kept.add(rows)
    except SwitchoverError as error:
        words = [command(), "history", "import", str(directory.path.absolute()), "--history", str(history)]
        told = " ".join(f"{error.what} {error.why and f'({error.why})'}".split())
        return f"warning: the run is not in the history: {told} Add it later: {shlex.join(words)}"
    return ""


@contextlib.contextmanager
def keeping_numbers(directory: RunDirectory, history: Path | None) -> Iterator[None]:
    """When the block ends, however it does; see :func:`keep_numbers`."""
    try:
        yield
    finally:
        if trouble := keep_numbers(directory, history):
            say(trouble)
