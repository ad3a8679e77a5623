# SPDX-License-Identifier: GPL-2.0-or-later
"""The one place that starts processes on the controller; each is logged as a line that can be pasted into a shell."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from switchover.hosts.host import Completed, check_completed, paste
from switchover.hosts.packages import explain_install
from switchover.record.errors import CommandFailed, NotReady
from switchover.record.log import LOG

CONTROLLER = "this machine"
_RUNNING: set[subprocess.Popen[bytes]] = set()
_STARTER = [ThreadPoolExecutor(1, "starter")]
"""The thread that starts what goes on. PR_SET_PDEATHSIG fires when the thread that forked ends, not the process: what
goes on must not die with a thread that had to start it and nothing else."""
os.register_at_fork(after_in_child=lambda: _STARTER.__setitem__(0, ThreadPoolExecutor(1, "starter")))


def require_program(name: str, *, needed_to: str) -> str:
    """Path of a program that the table of packages has.

    :raises NotReady: it is not installed; names what needs it and the command that installs it
    """
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        raise NotReady(f"The program {name} was not found; it is needed to {needed_to}.", fix=explain_install(name))
    return path


def run(
    argv: Sequence[str],
    *,
    timeout: float | None = None,
    stdin: bytes = b"",
    check: bool = True,
    env: Mapping[str, str] | None = None,
    output: Path | None = None,
) -> Completed:
    """Run a command to its end; with ``output``, both of its streams go to that file instead of the result.

    On a timeout or any exception (Ctrl-C among them) the command and its process group are killed first.

    :raises CommandFailed: see :func:`check_completed`
    """
    LOG.debug("$ %s", paste(argv))
    with contextlib.ExitStack() as stack:
        sink: IO[bytes] | int = stack.enter_context(output.open("wb")) if output else subprocess.PIPE
        try:
            process = subprocess.Popen(
                _with_parent(argv),
                stdin=subprocess.PIPE,
                stdout=sink,
                stderr=subprocess.STDOUT if output else subprocess.PIPE,
                env=None if env is None else dict(env),
                start_new_session=True,
            )
        except OSError as error:
            raise CommandFailed(f"A command could not be started: {paste(argv)}", why=str(error)) from error
        _RUNNING.add(process)
        try:
            out, err = process.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            kill_group(process)
            raise CommandFailed(f"A command took longer than {timeout:g} s: {paste(argv)}") from None
        except BaseException:
            kill_group(process)
            raise
        finally:
            _RUNNING.discard(process)
    completed = Completed(tuple(argv), process.returncode, out or b"", err or b"")
    return check_completed(CONTROLLER, completed) if check else completed


def kill_started() -> None:
    """End every command that :func:`run` waits for, in whichever thread."""
    for process in list(_RUNNING):
        kill_group(process)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started with a session of its own, and all of its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _with_parent(argv: Sequence[str]) -> list[str]:
    """The same command, killed by the kernel when the thread that starts it ends (setpriv of util-linux).

    A harness that dies before setpriv has asked for that leaves the command: hence journals, and tokens of labs.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", *argv] if setpriv else list(argv)


def _start_to_go_on(argv: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
    """Start a command that the kernel kills when this process ends, whichever thread asked for it."""
    future = _STARTER[0].submit(lambda: subprocess.Popen(_with_parent(argv), start_new_session=True, **options))
    try:
        return future.result()
    except BaseException:
        future.add_done_callback(_kill_unwanted)  # Ctrl-C came while it was started
        raise


def _kill_unwanted(future: "Future[subprocess.Popen[bytes]]") -> None:
    if not future.cancelled() and future.exception() is None:
        kill_group(future.result())


class LocalProcess:
    """A process of the controller that goes on. ``outlives_us``: it stays when the harness ends.

    What it says goes to ``words``, for others to read, or to a file that has no name.
    """

    def __init__(self, argv: Sequence[str], *, outlives_us: bool = False, words: Path | None = None) -> None:
        LOG.debug("$ %s &", paste(argv))
        self._stderr = words.open("w+b") if words else tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process)
        try:
            streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": self._stderr, "stderr": self._stderr}
            if outlives_us:
                self._process = subprocess.Popen(list(argv), start_new_session=True, **streams)
            else:
                self._process = _start_to_go_on(argv, **streams)
        except OSError as error:
            raise CommandFailed(f"A command could not be started: {paste(argv)}", why=str(error)) from error

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.poll()

    def wait(self, timeout: float) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout)
        return None

    def interrupt(self) -> None:
        """Ask it to end and to release what it has (SIGTERM)."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()

    def kill(self) -> None:
        if self._process.poll() is None:
            kill_group(self._process)

    def end_group(self) -> None:
        """Kill it, and what is left of its process group, also after its own end."""
        kill_group(self._process)

    def stderr(self) -> str:
        # pread: the process writes at the offset that it shares with us
        descriptor = self._stderr.fileno()
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")


def open_stream(argv: Sequence[str]) -> socket.socket:
    """A command whose standard input and output are the returned socket; closing it ends the command."""
    LOG.debug("$ %s (stream)", paste(argv))
    ours, theirs = socket.socketpair()
    with theirs:
        process = _start_to_go_on(argv, stdin=theirs.fileno(), stdout=theirs.fileno())
    return _CommandSocket(process, ours.detach())


class _CommandSocket(socket.socket):
    """A socket to a command, which ends with it."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        super().__init__(fileno=descriptor)
        self._process = process

    def close(self) -> None:
        super().close()
        kill_group(self._process)


def replace_process(argv: Sequence[str]) -> None:
    """Become another program (an interactive ssh); does not return."""
    LOG.debug("$ exec %s", paste(argv))
    os.execvp(argv[0], list(argv))
