# SPDX-License-Identifier: GPL-2.0-or-later
"""The driver ``qmp``: the harness starts QEMU, and migrates through its monitor."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Unpack

from switchover.guests.arguments import build_arguments
from switchover.guests.qemu import GuestKeys, QemuGuest, start_guest
from switchover.guests.spec import DriverName, GuestFiles, GuestSpec, Launch
from switchover.hosts.host import Host
from switchover.hosts.loop import LoopThread
from switchover.hosts.ssh import SshLogin
from switchover.migration.phases import Action, Phase
from switchover.migration.session import MigrationResult, Watchers, migrate
from switchover.migration.settings import MigrationSettings
from switchover.record.measurement import Check, Measurement


class QmpDriver:
    """See :class:`switchover.migration.driver.Driver`."""

    name: DriverName = "qmp"
    cannot_restore = ""
    cannot_reboot = ""
    resumes = ""
    not_in_downtime = ""

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
        return start_guest(launch, host, side, keys, loop, incoming=incoming, empty_ports=empty_ports, keep=keep)

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
        return migrate(source, destination, listen, settings, loop, **watchers)

    def find_lack(self, host: Host) -> str:
        return ""

    def list_obstacles(
        self,
        guests: Sequence[GuestSpec],
        settings: MigrationSettings,
        faults: Sequence[tuple[Action, Phase | None]],
        *,
        managed: bool,
    ) -> list[str]:
        return [
            *(['peer_to_peer needs driver = "libvirt"'] if settings.peer_to_peer else []),
            *(['managed functions need driver = "libvirt"'] if managed else []),
        ]

    def find_obstacle_within(self, host: str) -> str:
        return ""

    def render_start(self, launch: Launch, files: GuestFiles, *, incoming: bool) -> list[str]:
        return build_arguments(launch, files, incoming=incoming)

    def check(self, result: MigrationResult, settings: MigrationSettings) -> list[Check]:
        return []

    def measure(self, told: Mapping[str, Any]) -> list[Measurement]:
        return []
