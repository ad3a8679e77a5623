# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes whose parents are gone are still ended, and a process that stands for another one hands on what it gets."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from switchover.hosts.waiting import wait_until

_HARNESS = str(Path(__file__).parents[3] / "harness")
_ADOPTS = """
import subprocess, sys
from switchover.hosts.orphans import adopt_orphans, end_descendants
adopt_orphans()
subprocess.run(["sh", "-c", f"setsid sh -c 'exec sleep 987.{sys.argv[1]}' & sleep 0.2"])
print(end_descendants())
"""
_STANDS = """
import pathlib, signal, subprocess, sys, time
from switchover.hosts.orphans import run_behind
place = pathlib.Path(sys.argv[1])
def end(number, frame):
    (place / "asked").touch()
    sys.exit(5)
def work():
    signal.signal(signal.SIGTERM, end)
    subprocess.Popen(["setsid", "sleep", sys.argv[2]])
    (place / "child").write_text(str(__import__("os").getpid()))
    time.sleep(60)
sys.exit(run_behind(work, lambda how: (place / "death").write_text(how)))
"""


def _start(script: str, *words: str) -> "subprocess.Popen[str]":
    variables = {**os.environ, "PYTHONPATH": _HARNESS}
    return subprocess.Popen([sys.executable, "-c", script, *words], stdout=subprocess.PIPE, text=True, env=variables)


def _find(word: str) -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["cmdline"]) if word in (process.info["cmdline"] or [])]


def _start_standing(place: Path) -> tuple["subprocess.Popen[str]", int, str]:
    """The process that stands for another one, the id of that, and a word on the command line of its own child."""
    word = f"987.{os.getpid()}"
    known = _start(_STANDS, str(place), word)
    wait_until("the start of the process behind", lambda: (place / "child").exists() and _find(word), timeout=60)
    return known, int((place / "child").read_text()), word


def test_a_child_whose_parent_ended_and_that_has_a_session_of_its_own_is_ended() -> None:
    word = f"{os.getpid()}"
    said, _ = _start(_ADOPTS, word).communicate(timeout=60)
    assert int(said) >= 1
    assert not _find(f"987.{word}")


def test_a_request_to_end_reaches_the_process_behind(tmp_path: Path) -> None:
    known, _, word = _start_standing(tmp_path)
    known.send_signal(signal.SIGTERM)
    assert known.wait(60) == 5
    assert (tmp_path / "asked").exists()
    assert not (tmp_path / "death").exists()
    assert not _find(word)


def test_the_death_of_the_process_that_stands_for_it_is_a_request_to_end(tmp_path: Path) -> None:
    known, behind, word = _start_standing(tmp_path)
    known.kill()
    known.wait(60)
    wait_until("the end of the process behind", lambda: not psutil.pid_exists(behind), timeout=60)
    assert (tmp_path / "asked").exists()
    assert not _find(word)


@pytest.mark.parametrize(("number", "how"), [(signal.SIGKILL, "killed by signal 9"), (signal.SIGSEGV, "signal 11")])
def test_the_death_of_the_process_behind_is_told_and_nothing_of_it_is_left(
    tmp_path: Path, number: signal.Signals, how: str
) -> None:
    known, behind, word = _start_standing(tmp_path)
    os.kill(behind, number)
    assert known.wait(60) == 128 + number
    assert how in (tmp_path / "death").read_text()
    assert not _find(word)


def test_a_process_that_ends_by_itself_has_its_exit_status(tmp_path: Path) -> None:
    script = "import sys\nfrom switchover.hosts.orphans import run_behind\nsys.exit(run_behind(lambda: None, print))"
    known = _start(script)
    assert known.communicate(timeout=60)[0] == ""
    assert known.returncode == 0
