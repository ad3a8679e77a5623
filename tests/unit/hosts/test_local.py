# SPDX-License-Identifier: GPL-2.0-or-later
"""The controller as a host: files, sockets, ports."""

import os
import socket
import stat
import threading
import time
from pathlib import Path

import pytest

from switchover.hosts.local import LocalHost
from switchover.record.errors import CommandFailed, Deadline

HOST = LocalHost()


def test_files(tmp_path: Path) -> None:
    """Bytes are read back as they were written; a new file is its owner's alone, an old one keeps its mode."""
    path = tmp_path / "key"
    HOST.write_file(str(path), b"\0\xff secret")
    assert HOST.read_file(str(path)) == b"\0\xff secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    HOST.write_file(str(path), b"x")
    assert HOST.read_file(str(path)) == b"x"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_file_is_written_in_one_write(tmp_path: Path) -> None:
    """A sysfs attribute takes its value in one write: a datagram-like reader sees the whole of it at once."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    seen: list[bytes] = []
    reader = threading.Thread(target=lambda: seen.append(os.read(os.open(fifo, os.O_RDONLY), 65536)))
    reader.start()
    HOST.write_file(str(fifo), b"a" * 4000)
    reader.join(timeout=5)
    assert seen == [b"a" * 4000]


def test_a_unix_socket_that_appears_later(tmp_path: Path) -> None:
    """With ``wait`` a socket may still have to be made; without it, its absence is an error at once."""
    path = str(tmp_path / "monitor")
    with pytest.raises(FileNotFoundError):
        HOST.open_unix(path)
    server = socket.socket(socket.AF_UNIX)

    def appear() -> None:
        time.sleep(0.2)
        staged = f"{path}.part"
        server.bind(staged)
        server.listen()
        Path(staged).rename(path)

    thread = threading.Thread(target=appear)
    thread.start()
    with HOST.open_unix(path, wait=5) as connection:
        accepted, _ = server.accept()
        accepted.sendall(b"x")
        assert connection.recv(1) == b"x"
        accepted.close()
    thread.join()
    server.close()


def test_a_unix_socket_that_does_not_listen_yet(tmp_path: Path) -> None:
    """With ``wait``, a socket that exists and does not listen yet is waited for as well."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "monitor"))
    thread = threading.Timer(0.2, server.listen)
    thread.start()
    try:
        HOST.open_unix(str(tmp_path / "monitor"), wait=5).close()
    finally:
        thread.join()
        server.close()


def test_a_unix_socket_that_never_appears(tmp_path: Path) -> None:
    """The wait ends with the path in its name."""
    with pytest.raises(Deadline, match="monitor"):
        HOST.open_unix(str(tmp_path / "monitor"), wait=0.1)


def test_tcp() -> None:
    """A port of this machine is reached, a closed one is refused."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with HOST.open_tcp("127.0.0.1", port) as connection:
            accepted, _ = server.accept()
            with accepted:
                connection.sendall(b"x")
                assert accepted.recv(1) == b"x"
    with pytest.raises(ConnectionRefusedError):
        HOST.open_tcp("127.0.0.1", port)


def test_commands() -> None:
    """Commands run, go on and stream as in :mod:`switchover.hosts.processes`."""
    assert HOST.run(["cat"], stdin=b"x").stdout == b"x"
    with pytest.raises(CommandFailed, match="On this machine"):
        HOST.run(["false"])
    process = HOST.start(["sleep", "60"])
    assert process.poll() is None
    process.kill()
    assert process.poll() == -9
