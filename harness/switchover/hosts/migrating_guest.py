# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that migrates, for code that works with one host all the time."""

import socket
from collections.abc import Sequence

from switchover.hosts.host import Address, Completed, Host, Running
from switchover.hosts.waiting import Invariant


class MigratingGuest:
    """A guest reached by the connection that it has now; satisfies :class:`switchover.hosts.host.Host`.

    A connection through the host that it has left answers no more: what it carries has to be over before it moves.
    """

    def __init__(self, now: Host) -> None:
        self.now = now
        """to be set again when the guest has moved"""

    @property
    def name(self) -> str:
        return self.now.name

    @property
    def address(self) -> Address:
        return self.now.address

    def run(self, argv: Sequence[str], *, timeout: float = 30, stdin: bytes = b"", check: bool = True) -> Completed:
        return self.now.run(argv, timeout=timeout, stdin=stdin, check=check)

    def start(self, argv: Sequence[str]) -> Running:
        return self.now.start(argv)

    def open_stream(self, argv: Sequence[str]) -> socket.socket:
        return self.now.open_stream(argv)

    def open_unix(self, path: str, *, wait: float = 0, invariants: Sequence[Invariant] = ()) -> socket.socket:
        return self.now.open_unix(path, wait=wait, invariants=invariants)

    def open_tcp(self, address: str, port: int, *, timeout: float = 10) -> socket.socket:
        return self.now.open_tcp(address, port, timeout=timeout)

    def read_file(self, path: str) -> bytes:
        return self.now.read_file(path)

    def write_file(self, path: str, data: bytes) -> None:
        self.now.write_file(path, data)
