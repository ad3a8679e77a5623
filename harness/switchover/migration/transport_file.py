# SPDX-License-Identifier: GPL-2.0-or-later
"""The transport ``file``: the source is saved to a file of its host, from which the destination is restored.

The guest runs until all but the rest is saved, then it is stopped until it is restored: the file has to reach the other
host meanwhile, by storage that both see, or by a copy over the network between them.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from switchover.guests.qemu import QemuGuest
from switchover.hosts.waiting import stretch, wait_until
from switchover.migration.phases import TERMINAL, last_status
from switchover.migration.proxies import find_port, start_places, start_proxy
from switchover.migration.settings import MigrationSettings, TransportName
from switchover.migration.transport import find_file_problem
from switchover.record.errors import Deadline, GuestCrashed, NotReady, Refused

_COPY_S = 600.0


@dataclass
class _FileStream:
    """See :class:`switchover.migration.transport.Stream`. ``path``: of the file on both hosts; empty: each is in the
    directory of its guest. ``shared``: both hosts see the same one there.
    """

    source: QemuGuest
    destination: QemuGuest
    address: str
    path: str
    shared: bool
    timeout_s: float
    outgoing: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self.outgoing = f"file:{self._saved}"

    @property
    def _saved(self) -> str:
        return self.path or f"{self.source.files.directory}/saved"

    def listen(self) -> None:
        """There is nothing to be restored yet."""

    def deliver(self) -> str:
        restored = self._saved
        if not self.shared and self.source.host.name != self.destination.host.name:
            restored = self.path or f"{self.destination.files.directory}/saved"
            self._copy(restored)
        seen = len(self.destination.qmp.events)

        def find_status() -> str | None:
            status = last_status(self.destination.qmp.events[seen:])
            return status if status in TERMINAL else None

        try:
            self.destination.qmp.execute("migrate-incoming", {"uri": f"file:{restored}"}, timeout=self.timeout_s)
            status = wait_until(
                "the saved guest to be restored",
                find_status,
                timeout=self.timeout_s,
                invariants=[self.destination.require_alive],
                exact=True,
            )
        except Refused as error:
            return error.why
        except (Deadline, GuestCrashed) as error:
            return self._find_last_words() or error.why or error.what
        return "" if status == "completed" else self._find_last_words() or "the saved guest was not taken"

    def _copy(self, restored: str) -> None:
        """With zeros where the file has holes. :raises NotReady: not all of it is there"""
        into = f"TCP-LISTEN:0,bind={self.address}"
        with start_proxy(self.destination, "-u", into, f"CREATE:{restored},perm=0600") as proxy:
            port = find_port(proxy, f"what takes the saved guest on {self.destination.host.name}")
            send = ["socat", "-u", f"OPEN:{self._saved},rdonly", f"TCP:{self.address}:{port}"]
            self.source.host.run(send, timeout=stretch(_COPY_S))
            wait_until("the saved guest to be written", lambda: proxy.poll() is not None, timeout=_COPY_S)
        size = ["stat", "-c", "%s"]
        sizes = [self.source.host.run([*size, self._saved]).text, self.destination.host.run([*size, restored]).text]
        if sizes[0] != sizes[1]:
            there = f"{sizes[1].strip()} of {sizes[0].strip()} bytes are there"
            raise NotReady(
                f"The saved guest was not copied to {self.destination.host.name}:{restored}.",
                why=f"{there}; {' '.join(proxy.stderr().split())[-300:]}",
                fix="is there room on that file system?",
            )

    def _find_last_words(self) -> str:
        """Of a QEMU that did not take what was saved: it ends then, unless it was told to stay (exit-on-error)."""
        with contextlib.suppress(GuestCrashed, NotReady):
            if words := self.destination.qmp.execute("query-migrate").get("error-desc"):
                return str(words)
        with contextlib.suppress(GuestCrashed):
            self.destination.explain_silence()
        return self.destination.last_words()


class FileTransport:
    """See :class:`switchover.migration.transport.Transport`."""

    name: TransportName = "file"
    has_no_downtime = "the guest was saved, and stood still until it was restored"
    has_proxies = False
    has_file = True

    def find_path_problem(self, path: str) -> str:
        return find_file_problem(path)

    @contextlib.contextmanager
    def start(
        self, source: QemuGuest, destination: QemuGuest, listen: str, settings: MigrationSettings
    ) -> Iterator[_FileStream]:
        shared = settings.file_is_shared
        with start_places((source,) if shared else (source, destination), settings.path):
            yield _FileStream(source, destination, listen, settings.path, shared, settings.timeout_s)
