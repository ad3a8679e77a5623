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
from pathlib import Path
from typing import IO

from switchover.hosts.host import Completed, check_completed, paste
from switchover.record.errors import CommandFailed, NotReady
from switchover.record.log import LOG

CONTROLLER = "this machine"
_RUNNING: set[subprocess.Popen[bytes]] = set()


def require_program(name: str, *, needed_to: str, package: str) -> str:
    """Path of a program.

    :raises NotReady: it is not installed; names what needs it and the Debian package that has it
    """
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        raise NotReady(f"{name} was not found; it is needed to {needed_to}.", fix=f"apt-get install {package}")
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
    """The same command, killed by the kernel when the thread that starts it ends (setpriv of util-linux)."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", *argv] if setpriv else list(argv)


class LocalProcess:
    """A process of the controller that goes on. ``outlives_us``: it stays when the harness ends."""

    def __init__(self, argv: Sequence[str], *, outlives_us: bool = False) -> None:
        LOG.debug("$ %s &", paste(argv))
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the process)
        try:
            self._process = subprocess.Popen(
                list(argv) if outlives_us else _with_parent(argv),
                stdin=subprocess.DEVNULL,
                stdout=self._stderr,
                stderr=self._stderr,
                start_new_session=True,
            )
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

    def kill(self) -> None:
        if self._process.poll() is None:
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
        process = subprocess.Popen(
            _with_parent(argv), stdin=theirs.fileno(), stdout=theirs.fileno(), start_new_session=True
        )
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
