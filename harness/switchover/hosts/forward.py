# SPDX-License-Identifier: GPL-2.0-or-later
"""A unix socket of a host, reached through one of the controller: for libraries that open connections themselves."""

import contextlib
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from switchover.hosts.host import Host
from switchover.record.errors import SwitchoverError
from switchover.record.log import LOG


@contextlib.contextmanager
def start_forward(host: Host, path: str) -> Iterator[Path]:
    """A unix socket, in a directory of mode 0700, that leads to ``path`` of a host for the time of a ``with`` block.

    Whoever connects talks to the host's socket over the connection that the harness has to the host. What was
    connected is cut when the block ends.
    """
    with tempfile.TemporaryDirectory(prefix="switchover-") as directory, socket.socket(socket.AF_UNIX) as listener:
        local = Path(directory) / "socket"
        listener.bind(str(local))
        listener.listen()
        opened: list[socket.socket] = []
        thread = threading.Thread(target=_accept, args=(listener, host, path, opened), daemon=True, name="forward")
        thread.start()
        try:
            yield local
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # ends accept()
            thread.join(timeout=5)
            for end in opened:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, host: Host, path: str, opened: list[socket.socket]) -> None:
    with contextlib.suppress(OSError):
        while True:
            near, _ = listener.accept()
            try:
                far = host.open_unix(path)
            except (SwitchoverError, OSError) as error:
                LOG.debug("%s of %s: %s", path, host.name, error)
                near.close()  # whoever connected sees the end of the connection
                continue
            opened += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True, name="forward of bytes").start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
