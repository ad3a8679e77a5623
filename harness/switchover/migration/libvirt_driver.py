# SPDX-License-Identifier: GPL-2.0-or-later
"""The driver ``libvirt``: libvirt starts QEMU as a domain, and migrates it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Unpack

from switchover.guests.domain import DomainIdentity, build_domain, find_obstacles
from switchover.guests.libvirt import LibvirtGuest, start_domain
from switchover.guests.libvirtd import find_lack
from switchover.guests.qemu import GuestKeys, QemuGuest
from switchover.guests.spec import DriverName, GuestFiles, GuestSpec, Launch
from switchover.hosts.host import Host
from switchover.hosts.loop import LoopThread
from switchover.hosts.ssh import SshLogin
from switchover.migration.libvirt_report import list_wanted
from switchover.migration.libvirt_session import migrate_domain
from switchover.migration.libvirt_settings import find_unsettable, list_wanted_capabilities
from switchover.migration.phases import Action, Phase
from switchover.migration.session import MigrationResult, Watchers
from switchover.migration.settings import MigrationSettings
from switchover.record.checks import CheckId
from switchover.record.measurement import Check, Measurement, check_equal, make_check
from switchover.record.units import Direction, Unit


class LibvirtDriver:
    """See :class:`switchover.migration.driver.Driver`. Its guests are all :class:`LibvirtGuest`."""

    name: DriverName = "libvirt"
    cannot_restore = "libvirt starts its guests by itself"
    cannot_reboot = "The harness cannot reboot a guest that libvirt runs."
    # it looks at the state of a guest before it migrates it
    resumes = "guest arrives running: libvirt resumes one that was suspended while it migrated"
    not_in_downtime = "libvirt starts the destination's guest after it (cont): that is not in it"

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
        return start_domain(launch, host, side, keys, loop, incoming=incoming, keep=keep)

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
        if not isinstance(source, LibvirtGuest) or not isinstance(destination, LibvirtGuest):
            raise AssertionError(f"{source.label} or {destination.label} is none of libvirt's guests")
        return migrate_domain(source, destination, listen, settings, loop, login=login, **watchers)

    def find_lack(self, host: Host) -> str:
        return find_lack(host)

    def list_obstacles(
        self,
        guests: Sequence[GuestSpec],
        settings: MigrationSettings,
        faults: Sequence[tuple[Action, Phase | None]],
        *,
        managed: bool,
    ) -> list[str]:
        obstacles = dict.fromkeys(line for guest in guests for line in find_obstacles(guest))
        return [*obstacles, *find_unsettable(settings), *_list_untimely(faults)]

    def find_obstacle_within(self, host: str) -> str:
        return f"libvirt does not migrate a domain from {host} to itself"

    def render_start(self, launch: Launch, files: GuestFiles, *, incoming: bool) -> str:
        return build_domain(launch, files, DomainIdentity("NAME", "UUID"))

    def check(self, result: MigrationResult, settings: MigrationSettings) -> list[Check]:
        """libvirt takes no capabilities by name: those that the case wants must be among what it set by itself. And
        what it was told in its own units has to be what QEMU was to be told.
        """
        held = result.driver["capabilities"].get("source", ())
        wanted = list_wanted_capabilities(settings)
        parameters = result.driver["held"].get("source", {})
        return [
            make_check(
                CheckId.MIGRATION_CAPABILITIES, set(wanted) <= set(held), " ".join(wanted), " ".join(held), "source"
            ),
            check_equal(CheckId.MIGRATION_PARAMETERS, list_wanted(settings), dict(parameters), "source"),
        ]

    def measure(self, told: Mapping[str, Any]) -> list[Measurement]:
        """libvirt's own figure, beside the others, not in their place. Its ``downtime`` is this one and the difference
        of two hosts' real-time clocks, so that a clock that is off makes it longer or shorter. libvirt compares it with
        their difference as unsigned numbers (where it adds VIR_DOMAIN_JOB_DOWNTIME_NET), hence tells no such figure
        where the destination's clock is behind.
        """
        statistics = told.get("statistics", {}).get("source", {})
        milliseconds = statistics.get("downtime_net")
        behind = "libvirt leaves it out where the clock of the destination's host is behind that of the source's"
        return [
            Measurement(
                "downtime.libvirt",
                None if milliseconds is None else milliseconds / 1000,
                Unit.SECONDS,
                Direction.LOWER,
                "from when the source's libvirt noticed that the guest was stopped to when it noticed that QEMU had "
                "completed; the guest's start on the destination comes after it",
                "libvirt's statistics of the source's completed job: downtime_net (whole milliseconds)",
                note="" if milliseconds is not None else behind if "downtime" in statistics else "libvirt did not tell",
            )
        ]


_NO_JOB = "libvirt has no job to abort before it migrates"
_NO_DESTINATION = "libvirt starts the destination's QEMU as part of the migration: there is none to kill before it"
_NOT_HELD = "libvirt itself lets QEMU go on from pre-switchover, at once: nothing can be done in that phase"


def _list_untimely(faults: Sequence[tuple[Action, Phase | None]]) -> Iterator[str]:
    """Faults in a phase that libvirt does not have, or does not leave to others."""
    for action, phase in faults:
        if phase is Phase.PRE_SWITCHOVER:
            yield _NOT_HELD
        elif phase is Phase.BEFORE and action is Action.CANCEL:
            yield _NO_JOB
        elif phase is Phase.BEFORE and action is Action.KILL_DESTINATION:
            yield _NO_DESTINATION
