# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that undo: they hit what is meant, not themselves, and prove it."""

import subprocess
import uuid
from collections.abc import Iterator

import psutil
import pytest

from switchover.hosts.host import paste
from switchover.hosts.journal import Change, undo_change
from switchover.hosts.local import LocalHost
from switchover.hosts.undo import end_processes
from switchover.hosts.waiting import wait_until
from switchover.record.errors import NotReady

SLEEP = "trap '' TERM; while :; do sleep 0.1; done"


@pytest.fixture
def mark() -> str:
    return uuid.uuid4().hex[:12]


@pytest.fixture
def strays(mark: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two processes with the mark inside a word, and one with almost the same word."""
    words = [f"/tmp/x-{mark}/qmp", f"sw{mark}", f"sw{mark[:-1]}"]
    started = [subprocess.Popen(["sh", "-c", SLEEP, "sh", word]) for word in words]
    wait_until("the strays", lambda: all("-c" in psutil.Process(one.pid).cmdline() for one in started), timeout=5)
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_processes_with_a_mark_end_and_no_other(mark: str, strays: list[subprocess.Popen[bytes]]) -> None:
    """All that carry the mark are killed, whatever they do with a polite signal; the commands are not among them."""
    undo, gone = end_processes(mark)
    undo_change(LocalHost(), Change(1, {}, "local", "x", tuple(undo), tuple(gone)))
    assert [process.wait(5) for process in strays[:2]] == [-9, -9]
    assert strays[2].poll() is None
    undo_change(LocalHost(), Change(1, {}, "local", "x", tuple(undo), tuple(gone)))
    assert mark not in paste([*undo, *gone])


@pytest.mark.usefixtures("strays")
def test_what_runs_is_not_gone(mark: str) -> None:
    """While one of them runs the proof fails and names it; so it does where there is no pgrep."""
    _, gone = end_processes(mark)
    with pytest.raises(NotReady, match=mark):
        undo_change(LocalHost(), Change(1, {}, "local", "x", ("true",), tuple(gone)))
    completed = LocalHost().run(["/usr/bin/env", "PATH=/nowhere", "/bin/sh", *gone[1:]], check=False)
    assert completed.returncode != 0
