# SPDX-License-Identifier: GPL-2.0-or-later
"""Loads of a guest's scheduler. Each proves that it ran, and is gone afterwards: it ends with its connection."""

import contextlib
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from switchover.hosts.host import Host
from switchover.record.errors import NotReady

PROGRAM = "switchover-hog"
"""In the guest image (images/guest/hog.c)."""
Policy = Literal["other", "fifo", "rr"]
_TIMEOUT_S = 60.0


@dataclass
class Hog:
    """A task that uses all the CPU time that it gets. ``spun_ns``: its own count, once it has ended."""

    policy: Policy
    priority: int
    cpus: str
    spun_ns: int | None = None


@contextlib.contextmanager
def start_hog(host: Host, cpus: str, *, policy: Policy = "other", priority: int = 0) -> Iterator[Hog]:
    """A hog on these CPUs for the time of a ``with`` block. A real-time priority is 1 to 99.

    :raises NotReady: it does not start, or did not get to run at all
    """
    hog = Hog(policy, priority, cpus)
    with contextlib.closing(host.open_stream([PROGRAM, policy, str(priority), cpus])) as stream:
        stream.settimeout(_TIMEOUT_S)
        if _read_line(stream) != "running":
            raise NotReady(f"The load {hog.policy} {hog.priority} on CPUs {hog.cpus} of {host.name} did not start.")
        yield hog
        stream.sendall(b"stop\n")  # its end would close the channel over SSH before the answer
        match = re.fullmatch(r"spun (\d+)", _read_line(stream))
        if match is None or match[1] == "0":
            raise NotReady(f"The load {hog.policy} {hog.priority} on CPUs {hog.cpus} of {host.name} did not run.")
        hog.spun_ns = int(match[1])


def _read_line(stream: socket.socket) -> str:
    """Empty if none comes."""
    line = bytearray()
    with contextlib.suppress(OSError):
        while not line.endswith(b"\n") and (byte := stream.recv(1)):
            line += byte
    return line.decode(errors="replace").strip()
