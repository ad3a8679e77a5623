# SPDX-License-Identifier: GPL-2.0-or-later
"""The receiver of heartbeats: a process of its own, so that nothing in the harness delays it, and a handle to it.

It makes the datagram sockets of the outlets, in place of what an earlier one left there. A datagram is stamped by the
kernel when its sender puts it into the socket (SO_TIMESTAMPNS), so a receiver that gets the CPU late loses no accuracy.
The kernel's queue holds net.unix.max_dgram_qlen datagrams (10). When it is full, QEMU keeps what follows and tries
again: those are stamped late, by as much as the receiver was, and none is lost.

It talks over standard input and output: each line in is answered by the number of arrivals so far, by side; the end of
standard input by all arrivals, a line each, and its own end.
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from switchover.hosts.heartbeat import Arrival, parse_heartbeat

_STAMP = struct.Struct("qq")
_SO_TIMESTAMPNS = getattr(socket, "SO_TIMESTAMPNS", 35)  # Python has no name for it; asm-generic/socket.h
_LARGEST = 2048


class Receiver:
    """A running receiver; made by :func:`start_receiver`."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._lines = stream.makefile("rb")
        self.count()  # the sockets are there once it answers

    def count(self) -> Mapping[str, int]:
        """Arrivals so far, by side. :raises NotReady: the receiver does not answer"""
        try:
            self._stream.sendall(b"\n")
            counts: dict[str, int] = json.loads(self._lines.readline() or b"{}")
        except (OSError, ValueError) as error:
            raise _unanswered(error) from error
        return counts

    def finish(self) -> list[Arrival]:
        """All arrivals, in order of time; the receiver ends. :raises NotReady: it does not answer"""
        try:
            self._stream.shutdown(socket.SHUT_WR)
            # an object is the answer to a count that was interrupted before it read it
            told = [json.loads(line) for line in self._lines]
        except (OSError, ValueError) as error:
            raise _unanswered(error) from error
        arrivals = [Arrival(*fields) for fields in told if isinstance(fields, list)]
        return sorted(arrivals, key=lambda arrival: arrival.at_ns)

    def close(self) -> None:
        self._lines.close()
        self._stream.close()


def _unanswered(error: Exception) -> Exception:
    from switchover.record.errors import NotReady  # not needed by the process itself

    return NotReady("The receiver of heartbeats does not answer.", why=str(error) or type(error).__name__)


@contextlib.contextmanager
def start_receiver(sockets: Mapping[str, str], token: int) -> Iterator[Receiver]:
    """A receiver of the heartbeats with ``token``, from the datagram socket of each side, for a ``with`` block."""
    from switchover.hosts import processes  # not needed by the process itself

    root = Path(__file__).parents[2]
    ends = [f"{side}={path}" for side, path in sockets.items()]
    module = "switchover.hosts.receiver"
    argv = ["env", f"PYTHONPATH={root}", sys.executable, "-m", module, f"{token:x}", *ends]
    with contextlib.ExitStack() as stack:
        for path in sockets.values():
            stack.callback(Path(path).unlink, missing_ok=True)
        stream = processes.open_stream(argv)
        stack.callback(stream.close)
        stream.settimeout(30)
        receiver = Receiver(stream)
        stack.callback(receiver.close)
        yield receiver


def main(argv: Sequence[str]) -> None:
    """The process itself. ``argv``: token in hexadecimal, then SIDE=SOCKET for each side."""
    token = int(argv[0], 16)
    sides = {}
    for end in argv[1:]:
        side, _, path = end.partition("=")
        sides[_make_socket(path)] = side
    poll = select.poll()
    for descriptor in (0, *(endpoint.fileno() for endpoint in sides)):
        poll.register(descriptor, select.POLLIN)
    arrivals: list[Arrival] = []
    gc.disable()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who asked may be gone, and then nobody wants the arrivals
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        for endpoint, side in sides.items():
            if endpoint.fileno() in ready:
                arrivals += _drain(endpoint, side, token)
        if 0 in ready:
            if not os.read(0, 4096):
                break
            counts = {side: sum(arrival.side == side for arrival in arrivals) for side in sides.values()}
            print(json.dumps(counts), flush=True)
    for arrival in arrivals:
        print(json.dumps([arrival.side, arrival.at_ns, arrival.sequence, arrival.guest_ns]))


def _make_socket(path: str) -> socket.socket:
    Path(path).unlink(missing_ok=True)
    endpoint = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    endpoint.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    endpoint.bind(path)
    return endpoint


def _drain(endpoint: socket.socket, side: str, token: int) -> Iterator[Arrival]:
    with contextlib.suppress(BlockingIOError):
        while True:
            frame, ancillary, _, _ = endpoint.recvmsg(_LARGEST, 64)
            at_ns = _stamp_ns(ancillary)
            beat = parse_heartbeat(frame)
            if beat is not None and beat.token == token:
                yield Arrival(side, at_ns, beat.sequence, beat.guest_ns)


def _stamp_ns(ancillary: Sequence[tuple[int, int, bytes]]) -> int:
    """When the kernel took a datagram, on the monotonic clock; its stamp is of the real-time one. Now, without one."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = (int(part) for part in _STAMP.unpack(data))
            return min(time.monotonic_ns(), seconds * 1_000_000_000 + nanoseconds - _realtime_ahead_ns())
    return time.monotonic_ns()


def _realtime_ahead_ns() -> int:
    """The real-time clock less the monotonic one: of a few looks the one that took least, since this process may lose
    the CPU between two clocks.
    """
    looks = ((time.monotonic_ns(), time.time_ns(), time.monotonic_ns()) for _ in range(5))
    before, real, after = min(looks, key=lambda look: look[2] - look[0])
    return real - (before + after) // 2


if __name__ == "__main__":
    main(sys.argv[1:])
