# SPDX-License-Identifier: GPL-2.0-or-later
"""The transport ``unix``: each QEMU knows a unix socket of its own host only, and a proxy goes from host to host.

It is how KubeVirt migrates: what is between the sockets, QEMU does not see. Within one host there is no proxy.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from switchover.guests.qemu import QemuGuest
from switchover.migration.proxies import start_places, start_proxies
from switchover.migration.settings import MigrationSettings, TransportName
from switchover.migration.transport import find_file_problem

_LONGEST = 107
"""Bytes of the path of a unix socket: ``sun_path`` has 108 (unix(7)), the last of them for the end of the text."""


@dataclass
class _UnixStream:
    """See :class:`switchover.migration.transport.Stream`. ``path``: of the sockets of both hosts; empty: each is in the
    directory of its guest.
    """

    source: QemuGuest
    destination: QemuGuest
    address: str
    path: str
    stack: contextlib.ExitStack
    outgoing: str = field(default="", init=False)

    def listen(self) -> None:
        inner = self.path or f"{self.destination.files.directory}/incoming"
        self.destination.qmp.execute("migrate-incoming", {"uri": f"unix:{inner}"})
        if self.source.host.name == self.destination.host.name:
            self.outgoing = f"unix:{inner}"
            return
        outer = self.path or f"{self.source.files.directory}/outgoing"
        start_proxies(self.source, self.destination, self.address, outer, inner, self.stack)
        self.outgoing = f"unix:{outer}"

    def deliver(self) -> str:
        return ""


class UnixTransport:
    """See :class:`switchover.migration.transport.Transport`."""

    name: TransportName = "unix"
    has_no_downtime = ""
    has_proxies = True
    has_file = False

    def find_path_problem(self, path: str) -> str:
        if (size := len(path.encode())) > _LONGEST:
            return f"is too long for a unix socket: it has {size} bytes, and must have at most {_LONGEST}"
        return find_file_problem(path)

    @contextlib.contextmanager
    def start(
        self, source: QemuGuest, destination: QemuGuest, listen: str, settings: MigrationSettings
    ) -> Iterator[_UnixStream]:
        with start_places((source, destination), settings.path), contextlib.ExitStack() as stack:
            yield _UnixStream(source, destination, listen, settings.path, stack)
