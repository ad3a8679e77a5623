# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes on the controller: they end, with all their children, and they say why they failed."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from unittest import mock

import psutil
import pytest

from switchover.hosts import processes
from switchover.hosts.packages import explain_install
from switchover.hosts.waiting import wait_until
from switchover.record.errors import CommandFailed, NotReady

HANG = ["bash", "-c", 'exec -a "$0" sleep 60']
"""A command that does not end; the next word becomes its name."""
HANG_WITH_CHILD = ["bash", "-c", '(exec -a "$0" sleep 60) & wait']


def find_by_argument(word: str) -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["cmdline"]) if word in (process.info["cmdline"] or [])]


def wait_until_gone(word: str) -> None:
    wait_until(f"the end of {word}", lambda: not find_by_argument(word), timeout=5)


def wait_until_sleeping(word: str) -> None:
    """Until HANG is what it becomes: before that, setpriv may not have asked the kernel to end it with the harness."""

    def is_sleeping() -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            return "sleep" in [process.name() for process in find_by_argument(word)]
        return False

    wait_until("the command", is_sleeping, timeout=10)


@pytest.fixture
def word() -> str:
    """A word for a command line that no other process has."""
    return f"switchover-test-{uuid.uuid4().hex}"


def test_output_and_input() -> None:
    """Both streams come back apart, and standard input is the given bytes."""
    completed = processes.run(["sh", "-c", "cat; echo oops >&2"], stdin=b"\0\xff in")
    assert (completed.returncode, completed.stdout, completed.stderr) == (0, b"\0\xff in", b"oops\n")


def test_a_large_output_is_whole() -> None:
    """More than a pipe holds, in both directions at once, arrives whole."""
    data = os.urandom(1 << 20)
    assert processes.run(["cat"], stdin=data).stdout == data


def test_exit_status() -> None:
    """With ``check`` a status other than 0 is an error, without it a value; a signal is negative."""
    with pytest.raises(CommandFailed, match="exited with 3") as caught:
        processes.run(["sh", "-c", "echo its own words >&2; exit 3"])
    assert caught.value.why == "its own words"
    assert caught.value.returncode == 3
    assert processes.run(["sh", "-c", "exit 3"], check=False).returncode == 3
    assert processes.run(["sh", "-c", "kill -TERM $$"], check=False).returncode == -signal.SIGTERM


def test_not_found() -> None:
    """A program that does not exist is told apart from one that failed."""
    with pytest.raises(CommandFailed, match=r"was not found|could not be started"):
        processes.run(["no-such-program-of-ours"])


def test_environment() -> None:
    """With ``env`` the command sees just that."""
    assert processes.run(["/usr/bin/env"], env={"A": "b"}).text == "A=b\n"


def test_output_file(tmp_path: Path) -> None:
    """With ``output`` both streams go to the file in their order, also when the command fails."""
    log = tmp_path / "log"
    with pytest.raises(CommandFailed, match="exited with 2"):
        processes.run(["sh", "-c", "echo one; echo two >&2; echo three; exit 2"], output=log)
    assert log.read_text() == "one\ntwo\nthree\n"


def test_a_timeout_ends_the_whole_group(word: str) -> None:
    """A command that takes too long is killed together with its children."""
    start = time.monotonic()
    with pytest.raises(CommandFailed, match=r"took longer than 0\.5 s"):
        processes.run([*HANG_WITH_CHILD, word], timeout=0.5)
    assert time.monotonic() - start < 5
    wait_until_gone(word)


def test_a_timeout_ends_children_whose_parent_ended(word: str) -> None:
    """A child that holds the output open after its parent ended is killed too."""
    try:
        with pytest.raises(CommandFailed, match="took longer"):
            processes.run(["bash", "-c", '(exec -a "$0" sleep 60) &', word], timeout=0.3)
        wait_until(f"the end of {word}", lambda: not find_by_argument(word), timeout=0.5)
    finally:
        for process in find_by_argument(word):
            os.killpg(os.getpgid(process.pid), signal.SIGKILL)


def test_an_interrupt_ends_the_command(word: str) -> None:
    """Ctrl-C in a wait for a command kills the command before it goes on."""
    script = (
        "import signal, sys; from switchover.hosts import processes\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try: processes.run(sys.argv[1:])\n"
        "except KeyboardInterrupt: sys.exit(42)\n"
    )
    harness = subprocess.Popen([sys.executable, "-c", script, *HANG, word], env=os.environ | {"PYTHONPATH": "harness"})
    wait_until_sleeping(word)
    harness.send_signal(signal.SIGINT)
    assert harness.wait(10) == 42
    wait_until_gone(word)


def test_a_command_dies_with_the_harness(word: str) -> None:
    """A harness that is killed leaves no command behind."""
    script = "import sys; from switchover.hosts import processes; processes.run(sys.argv[1:])"
    harness = subprocess.Popen([sys.executable, "-c", script, *HANG, word], env=os.environ | {"PYTHONPATH": "harness"})
    wait_until_sleeping(word)
    harness.kill()
    harness.wait(10)
    wait_until_gone(word)


WORKER = """
import sys, threading
from switchover.hosts import processes
started = []
worker = threading.Thread(target=lambda: started.append(getattr(processes, sys.argv[1])(sys.argv[2:])))
worker.start()
worker.join()
print("started", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("kind", ["LocalProcess", "open_stream"])
def test_what_goes_on_dies_with_the_harness_not_with_a_thread(word: str, kind: str) -> None:
    """What a thread started goes on when that thread ends, and dies when the harness is killed."""
    harness = subprocess.Popen(
        [sys.executable, "-c", WORKER, kind, *HANG, word],
        env=os.environ | {"PYTHONPATH": "harness"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert harness.stdout is not None
    assert harness.stdout.readline() == b"started\n"

    def find_started() -> list[psutil.Process]:
        return [process for process in find_by_argument(word) if process.pid != harness.pid]

    wait_until("the command", lambda: [found.name() for found in find_started()] == ["sleep"], timeout=5)
    time.sleep(0.2)
    assert len(find_started()) == 1, "it died with its thread"
    harness.kill()
    harness.communicate(timeout=10)
    wait_until_gone(word)


def test_a_command_that_is_waited_for_dies_with_its_thread(word: str) -> None:
    """What a thread runs to its end is killed when the harness is, since the kernel then ends that thread too."""
    script = (
        "import sys, threading; from switchover.hosts import processes\n"
        "threading.Thread(target=processes.run, args=(sys.argv[1:],)).start()\n"
    )
    harness = subprocess.Popen([sys.executable, "-c", script, *HANG, word], env=os.environ | {"PYTHONPATH": "harness"})
    wait_until_sleeping(word)
    harness.kill()
    harness.wait(10)
    wait_until_gone(word)


def test_a_process_may_outlive_the_harness(word: str) -> None:
    """What is meant to stay, as a lab that is left up, stays when its harness is killed."""
    script = (
        "import os, sys; from switchover.hosts import processes\n"
        "process = processes.LocalProcess(sys.argv[1:], outlives_us=True)\n"
        "print(process.pid, flush=True); os.kill(os.getpid(), 9)\n"
    )
    harness = subprocess.run(
        [sys.executable, "-c", script, *HANG, word],
        env=os.environ | {"PYTHONPATH": "harness"},
        stdout=subprocess.PIPE,
        check=False,
    )
    pid = int(harness.stdout)
    try:
        time.sleep(0.2)
        assert word in psutil.Process(pid).cmdline()
    finally:
        os.killpg(pid, signal.SIGKILL)


def test_kill_started_ends_commands_of_all_threads(word: str) -> None:
    """One failure ends the commands that other threads wait for."""
    codes: list[int] = []

    def wait_for_it() -> None:
        codes.append(processes.run([*HANG, word], check=False).returncode)

    threads = [threading.Thread(target=wait_for_it) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until("both commands", lambda: len(processes._RUNNING) == 2, timeout=5)
    processes.kill_started()
    for thread in threads:
        thread.join(timeout=5)
    assert codes == [-signal.SIGKILL] * 2
    wait_until_gone(word)


def test_a_process_that_goes_on(word: str) -> None:
    """It runs until it is killed, with its children; killing it again is no error."""
    process = processes.LocalProcess([*HANG_WITH_CHILD, word])
    wait_until("its child", lambda: len(find_by_argument(word)) == 2, timeout=5)
    assert process.poll() is None
    assert process.wait(0.1) is None
    process.kill()
    assert process.poll() == -signal.SIGKILL
    process.kill()
    wait_until_gone(word)


def test_a_process_says_why_it_ended() -> None:
    """Its status and its own words stay readable after its end, as often as one asks."""
    process = processes.LocalProcess(["sh", "-c", "echo its own words >&2; exit 3"])
    assert process.wait(5) == 3
    assert process.stderr() == process.stderr() == "its own words\n"


def test_a_stream_carries_both_directions() -> None:
    """The socket is the command's input and output, byte by byte."""
    with processes.open_stream(["cat"]) as stream:
        stream.settimeout(5)
        stream.sendall(b"\0\xff there and back")
        assert stream.recv(100) == b"\0\xff there and back"


def test_a_stream_ends_with_its_command() -> None:
    """When the command ends, the socket has an end."""
    with processes.open_stream(["sh", "-c", "echo done"]) as stream:
        stream.settimeout(5)
        assert stream.makefile("rb").read() == b"done\n"


def test_closing_a_stream_ends_its_command(word: str) -> None:
    """As :class:`switchover.hosts.host.Host` promises: closing the socket ends the command, whatever it does."""
    stream = processes.open_stream([*HANG, word])
    wait_until("the command", lambda: find_by_argument(word), timeout=5)
    stream.close()
    wait_until_gone(word)


def test_a_program_that_is_needed() -> None:
    """A program that is missing is named with what needs it and what installs it (packages.txt)."""
    assert processes.require_program("sh", needed_to="x").endswith("/sh")
    with mock.patch.dict("os.environ", PATH="/nowhere"), pytest.raises(NotReady, match="to boot lab hosts") as caught:
        processes.require_program("fish", needed_to="boot lab hosts")
    assert caught.value.fix == explain_install("fish")
