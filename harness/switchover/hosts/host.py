# SPDX-License-Identifier: GPL-2.0-or-later
"""What the harness asks of a machine that can run a guest, whether it is this one or reached over SSH."""

import shlex
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from switchover.hosts.waiting import Invariant
from switchover.record.errors import CommandFailed

Address = Mapping[str, str]
"""How another process reaches a host: ``kind`` is the name of a :class:`switchover.hosts.host_kind.HostKind`, the rest
is what that needs.

Empty for a host that nobody can reach later, such as a guest: nothing is changed there that would need an undo.
"""
UNKNOWN_SIGNAL = -1
"""Exit status of a command that a signal ended over SSH: SSH has the signal's name, paramiko does not pass it on."""

SILENT_SHELL = "let the login shell print nothing when it runs a command: see its .bashrc, .profile and /etc/profile.d"
"""What to do about a host whose shell says something of its own before the answers of commands."""


@dataclass(frozen=True)
class Completed:
    """A command that ended. ``returncode`` is -N if signal N ended it; over SSH the signal is not known, and it is
    :data:`UNKNOWN_SIGNAL`.
    """

    argv: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")


class Running(Protocol):
    """A process that was started and goes on. It is killed when the harness that started it dies."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None:
        """Exit status, or None while it runs."""

    def wait(self, timeout: float) -> int | None:
        """Exit status, or None if it still runs after ``timeout`` seconds."""

    def kill(self) -> None:
        """End it now; no error if it is gone already."""

    def stderr(self) -> str:
        """What it has written to standard error so far."""


class Host(Protocol):
    """A machine on which commands run and files, sockets and TCP ports are reached."""

    @property
    def name(self) -> str: ...

    @property
    def address(self) -> Address:
        """How another process reaches the host; the journal keeps it."""

    def run(self, argv: Sequence[str], *, timeout: float = 30, stdin: bytes = b"", check: bool = True) -> Completed:
        """Run a command to its end.

        :raises CommandFailed: with ``check``, on an exit status other than 0 or when it takes longer than ``timeout`` s
        :raises HostLost: the host does not answer
        """

    def start(self, argv: Sequence[str]) -> Running:
        """Start a process that goes on; it dies with the harness or with the connection to the host."""

    def open_stream(self, argv: Sequence[str]) -> socket.socket:
        """Start a command whose standard input and output are the returned socket; closing it ends the command."""

    def open_unix(self, path: str, *, wait: float = 0, invariants: Sequence[Invariant] = ()) -> socket.socket:
        """Connect to a unix socket of the host, which may take up to ``wait`` seconds to appear.

        Over SSH the returned socket may still be waiting at the host's end; an ``invariants`` entry ends a wait here.
        """

    def open_tcp(self, address: str, port: int, *, timeout: float = 10) -> socket.socket:
        """Connect from the host to a TCP port, as the host sees the network."""

    def read_file(self, path: str) -> bytes:
        """Contents of a file, sysfs attributes included."""

    def write_file(self, path: str, data: bytes) -> None:
        """Write a file in one write, as sysfs attributes need it; readable by its owner only if it is new."""


def paste(argv: Sequence[str]) -> str:
    """A command as a line for a shell."""
    return shlex.join(argv)


def check_completed(host_name: str, completed: Completed) -> Completed:
    """The command itself, if it ended with 0.

    :raises CommandFailed: with the pastable command and the end of its standard error
    """
    if completed.returncode == 0:
        return completed
    code = completed.returncode
    ended = f"exited with {code}"
    if code == 127:
        ended = "was not found"
    elif code < 0:
        ended = "was killed by a signal" if code == UNKNOWN_SIGNAL else f"was killed by signal {-code}"
    lines = (completed.stderr or completed.stdout).decode(errors="replace").strip().splitlines()
    raise CommandFailed(
        f"On {host_name}, a command {ended}: {paste(completed.argv)}",
        why="\n       ".join(lines[-8:]),
        returncode=code,
    )
