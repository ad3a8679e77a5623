# SPDX-License-Identifier: GPL-2.0-or-later
"""The one connection to a guest, which goes with it from host to host."""

import contextlib
import threading
from collections.abc import Iterator

from switchover.guests.qemu import GuestKeys, QemuGuest
from switchover.hosts.ssh import SshHost

_WATCH_S = 0.5


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

    @contextlib.contextmanager
    def ending_with(self, guest: QemuGuest) -> Iterator[None]:
        """The connection breaks as soon as the guest's QEMU ends within the ``with`` block: nobody would close it."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(_WATCH_S):
                if guest.is_dead():
                    with contextlib.suppress(Exception):
                        self.host.close()  # whoever asks over it hears that it broke
                    return

        watcher = threading.Thread(target=watch, daemon=True, name="guest connection")
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()

    def close(self) -> None:
        if self._host is not None:
            with contextlib.suppress(Exception):
                self._host.close()
            self._host = None
