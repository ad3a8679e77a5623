# SPDX-License-Identifier: GPL-2.0-or-later
"""The one connection to a guest, which goes with it from host to host."""

import contextlib

from switchover.guests.qemu import GuestKeys, QemuGuest
from switchover.hosts.ssh import SshHost


class GuestConnection:
    """A login that is kept over migrations: its TCP connection runs through the host on which it was opened, and
    reaches the guest over the link where that has gone to the other one. Close it when done.
    """

    def __init__(self, keys: GuestKeys) -> None:
        self._keys = keys
        self._host: SshHost | None = None
        self.through = ""
        """Name of the host through which it runs."""

    @property
    def host(self) -> SshHost:
        """The guest, over the connection as it is."""
        if self._host is None:
            raise AssertionError("the guest was not logged in to")
        return self._host

    def open(self, guest: QemuGuest) -> SshHost:
        """A new login, through the host on which the guest is now. Raises what :meth:`QemuGuest.open_ssh` raises."""
        self.close()
        self._host, self.through = guest.open_ssh(self._keys), guest.host.name
        return self._host

    def require(self, guest: QemuGuest) -> SshHost:
        """The connection, or a new one if that is gone. Raises as :meth:`open`."""
        if self._host is not None and self._host.is_connected():
            return self._host
        return self.open(guest)

    def close(self) -> None:
        if self._host is not None:
            with contextlib.suppress(Exception):
                self._host.close()
            self._host = None
