# SPDX-License-Identifier: GPL-2.0-or-later
"""Unix sockets of a host, reached through one of the controller."""

import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from switchover.hosts.forward import start_forward
from switchover.hosts.local import LocalHost


@pytest.fixture
def shouting(tmp_path: Path) -> Iterator[str]:
    """A server that says in capitals what it is told."""
    path = str(tmp_path / "server")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection:
                while data := connection.recv(100):
                    connection.sendall(data.upper())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield path
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=5)


def connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(5)
    connection.connect(str(path))
    return connection


def test_several_connections_at_once(shouting: str) -> None:
    """Each connection has one of its own at the host, and bytes go both ways."""
    with start_forward(LocalHost(), shouting) as path, connect(path) as one, connect(path) as other:
        one.sendall(b"one")
        other.sendall(b"other")
        assert (other.recv(10), one.recv(10)) == (b"OTHER", b"ONE")


def test_nobody_else_can_connect_and_nothing_is_left(shouting: str) -> None:
    """The socket is in a directory of its own with mode 0700, which is gone afterwards, and connections are cut."""
    with start_forward(LocalHost(), shouting) as path:
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        connection = connect(path)
        connection.sendall(b"x")
        assert connection.recv(1) == b"X"
    assert not path.parent.exists()
    assert connection.recv(1) == b""
    connection.close()


def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    """Whoever connects sees the end of the connection, and the next one is taken all the same."""
    with start_forward(LocalHost(), str(tmp_path / "none")) as path:
        for _ in range(2):
            with connect(path) as connection:
                assert connection.recv(1) == b""
