# SPDX-License-Identifier: GPL-2.0-or-later
"""The seam between a migration and the way that its stream goes from one QEMU to the other."""

import re
from contextlib import AbstractContextManager
from typing import Protocol

from switchover.guests.qemu import QemuGuest
from switchover.migration.settings import MigrationSettings, TransportName


def find_file_problem(path: str) -> str:
    """What is wrong with a path that QEMU and socat are to take, in words; empty: nothing. Pure."""
    if not path.startswith("/") or path.endswith("/"):
        return "must be the absolute path of a file, such as /run/migrate.sock"
    if re.search(r"[\s,:!\"'\\]", path):
        return "must have no blanks, quotes, backslashes, ',', ':' and '!', which socat or QEMU read otherwise"
    return ""


class Stream(Protocol):
    """The way of one migration, made by a :class:`Transport`."""

    @property
    def outgoing(self) -> str:
        """Where the source migrates to, as QMP's ``migrate`` takes it; known once :meth:`listen` has returned."""

    def listen(self) -> None:
        """Let the destination wait for the stream, where it does so before the source is told to migrate.

        :raises Refused: QEMU rejects ``migrate-incoming``; :raises NotReady: there is no way between the hosts
        """

    def deliver(self) -> str:
        """Once the source has completed: bring what it has sent to the destination, where it is not there yet.

        Returns in its words why the destination did not take it; empty: it did.

        :raises NotReady: it could not be brought there; :raises HostLost: a host does not answer
        """


class Transport(Protocol):
    """A way for streams: a class like this in a file of its own, and one of ``TRANSPORTS`` in :mod:`transports`."""

    name: TransportName
    has_no_downtime: str
    """Why the time for which the guest is stopped is no downtime of a migration, a clause; empty: it is one."""
    has_proxies: bool
    """Whether proxies are between the hosts."""
    has_file: bool
    """Whether the guest is saved to a file, which the destination reads."""

    def find_path_problem(self, path: str) -> str:
        """What is wrong with a path that is set, in words; empty: nothing. Pure."""

    def start(
        self, source: QemuGuest, destination: QemuGuest, listen: str, settings: MigrationSettings
    ) -> AbstractContextManager[Stream]:
        """The way for the time of a ``with`` block. ``listen``: address at which the destination's host is reached.

        :raises NotReady: something is in its place
        """
