# SPDX-License-Identifier: GPL-2.0-or-later
"""The controller as a host."""

import contextlib
import os
import socket
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType

from switchover.hosts import processes
from switchover.hosts.host import Address, Completed, Host, Running
from switchover.hosts.waiting import Invariant, wait_until

KIND = "local"
"""Of its address, see :attr:`Host.address`."""


class LocalHost:
    """This machine; satisfies :class:`switchover.hosts.host.Host`."""

    name = "local"
    address: Address = MappingProxyType({"kind": KIND})

    def run(self, argv: Sequence[str], *, timeout: float = 30, stdin: bytes = b"", check: bool = True) -> Completed:
        return processes.run(argv, timeout=timeout, stdin=stdin, check=check)

    def start(self, argv: Sequence[str]) -> Running:
        return processes.LocalProcess(argv)

    def open_stream(self, argv: Sequence[str]) -> socket.socket:
        return processes.open_stream(argv)

    def open_unix(self, path: str, *, wait: float = 0, invariants: Sequence[Invariant] = ()) -> socket.socket:
        def connect() -> socket.socket | None:
            # a socket that is bound but does not listen yet refuses, as one that nobody made is not found
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                return _connect_unix(path)
            return None

        if not wait:
            return _connect_unix(path)
        return wait_until(f"the socket {path}", connect, timeout=wait, invariants=invariants)

    def open_tcp(self, address: str, port: int, *, timeout: float = 10) -> socket.socket:
        return socket.create_connection((address, port), timeout=timeout)

    def read_file(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def write_file(self, path: str, data: bytes) -> None:
        with open(path, "wb", buffering=0, opener=_private_opener) as file:
            file.write(data)


def _connect_unix(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def _private_opener(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class LocalKind:
    """This machine, which is always there; satisfies :class:`switchover.hosts.host_kind.HostKind`."""

    name = KIND
    keys: frozenset[str] = frozenset()

    def reach(self, address: Address) -> AbstractContextManager[Host]:
        return contextlib.nullcontext(LocalHost())

    def build_login(self, address: Address) -> list[str]:
        return []
