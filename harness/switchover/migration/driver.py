# SPDX-License-Identifier: GPL-2.0-or-later
"""The seam between the harness and what starts a guest's QEMU and migrates it: all in which drivers differ."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, Unpack

from switchover.guests.qemu import GuestKeys, QemuGuest
from switchover.guests.spec import DriverName, GuestFiles, GuestSpec, Launch
from switchover.hosts.host import Host
from switchover.hosts.loop import LoopThread
from switchover.hosts.ssh import SshLogin
from switchover.migration.phases import Action, Phase
from switchover.migration.session import MigrationResult, Watchers
from switchover.migration.settings import MigrationSettings
from switchover.record.measurement import Check, Measurement


class Driver(Protocol):
    """A driver is a class like this in a file of its own, and one of ``DRIVERS`` in :mod:`drivers`."""

    name: DriverName
    cannot_restore: str
    """Why its guests are neither restored from a saved one nor get devices plugged in; empty: they can be."""
    cannot_reboot: str
    """Why the harness cannot let one of its guests reboot, a sentence; empty: it can."""
    resumes: str
    """The claim that a guest which was suspended while it migrated arrives running; empty: it arrives paused."""
    not_in_downtime: str
    """A note on QEMU's own downtime: what this driver does after it; empty: nothing."""

    def start(
        self,
        launch: Launch,
        host: Host,
        side: str,
        keys: GuestKeys,
        loop: LoopThread,
        *,
        incoming: bool,
        empty_ports: int | None,
        keep: Callable[[QemuGuest], None],
    ) -> AbstractContextManager[QemuGuest]:
        """A guest for the time of a ``with`` block, as :func:`switchover.guests.qemu.start_guest`.

        ``empty_ports``: for how many devices, of one that is to be restored; None: it has its own.
        """

    def migrate(
        self,
        source: QemuGuest,
        destination: QemuGuest,
        listen: str,
        settings: MigrationSettings,
        loop: LoopThread,
        *,
        login: SshLogin | None,
        **watchers: Unpack[Watchers],
    ) -> MigrationResult:
        """Migrate between two guests of this driver, as :func:`switchover.migration.session.migrate`.

        ``login``: how the source's host gets into the destination's; None: nobody knows.
        """

    def find_lack(self, host: Host) -> str:
        """Why it cannot be used with a host, in words; empty if it can. Starts nothing.

        :raises HostLost: the host does not answer
        """

    def list_obstacles(
        self,
        guests: Sequence[GuestSpec],
        settings: MigrationSettings,
        faults: Sequence[tuple[Action, Phase | None]],
        *,
        managed: bool,
    ) -> list[str]:
        """What of a case it has no way to do, whatever the hosts, in words; pure.

        ``guests``: the source's and the destination's; ``managed``: whether there are managed functions.
        """

    def find_obstacle_within(self, host: str) -> str:
        """Why it does not migrate from a host of this name to itself, in words; empty: it does; pure."""

    def render_start(self, launch: Launch, files: GuestFiles, *, incoming: bool) -> list[str] | str:
        """What starts QEMU, for people: the words of its command line, or a document; pure."""

    def check(self, result: MigrationResult, settings: MigrationSettings) -> list[Check]:
        """What is claimed of a migration that completed besides what is claimed of all; pure."""

    def measure(self, told: Mapping[str, Any]) -> list[Measurement]:
        """Its own numbers of a migration that completed, always the same ones; pure.

        ``told``: ``driver`` of the result. A number that is not in there has no value, and a note.
        """
