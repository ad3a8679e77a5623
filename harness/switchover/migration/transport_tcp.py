# SPDX-License-Identifier: GPL-2.0-or-later
"""The transport ``tcp``: the destination's QEMU listens on a port of its host, and the source's connects to it."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from switchover.guests.qemu import QemuGuest
from switchover.hosts.qmp import QmpSession
from switchover.migration.settings import MigrationSettings, TransportName
from switchover.record.errors import NotReady


@dataclass
class _TcpStream:
    """See :class:`switchover.migration.transport.Stream`."""

    destination: QemuGuest
    address: str
    outgoing: str = field(default="", init=False)

    def listen(self) -> None:
        self.destination.qmp.execute("migrate-incoming", {"uri": f"tcp:{self.address}:0"})
        self.outgoing = f"tcp:{self.address}:{_find_port(self.destination.qmp)}"

    def deliver(self) -> str:
        return ""


class TcpTransport:
    """See :class:`switchover.migration.transport.Transport`."""

    name: TransportName = "tcp"
    has_no_downtime = ""
    has_proxies = False
    has_file = False

    def find_path_problem(self, path: str) -> str:
        return 'has no effect with the transport "tcp", which has no path'

    @contextlib.contextmanager
    def start(
        self, source: QemuGuest, destination: QemuGuest, listen: str, settings: MigrationSettings
    ) -> Iterator[_TcpStream]:
        yield _TcpStream(destination, listen)


def _find_port(destination: QmpSession) -> int:
    """The port that QEMU listens on, from its own ``socket-address``."""
    addresses = destination.execute("query-migrate").get("socket-address", [])
    for address in addresses:
        if address.get("type") == "inet":
            return int(address["port"])
    raise NotReady(f"{destination.name} does not tell where it listens.", why=str(addresses))
