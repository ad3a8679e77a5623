# SPDX-License-Identifier: GPL-2.0-or-later
"""All transports, by the names that scenarios give them."""

from collections.abc import Mapping

from switchover.migration.settings import TransportName
from switchover.migration.transport import Transport
from switchover.migration.transport_file import FileTransport
from switchover.migration.transport_tcp import TcpTransport
from switchover.migration.transport_unix import UnixTransport

_ALL: tuple[Transport, ...] = (TcpTransport(), UnixTransport(), FileTransport())
TRANSPORTS: Mapping[TransportName, Transport] = {transport.name: transport for transport in _ALL}
