# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that cases share: the next one goes on with it where it is now, so that directions alternate."""

import contextlib
from dataclasses import replace

from switchover.guests.snapshots import Snapshots
from switchover.guests.spec import GuestSpec
from switchover.hosts.loop import LoopThread
from switchover.migration.drivers import DRIVERS
from switchover.migration.settings import MigrationSettings
from switchover.runner.guest_session import GuestSession, start_guest_session
from switchover.runner.host_pair import HostPair
from switchover.runner.listener import RunListener
from switchover.scenarios.case import Case, SideSpec, with_start


class SharedGuest:
    """For a ``with`` block over cases. A guest that the next case cannot have is ended, and another one started.

    ``boots``: such a guest is booted, and not restored.
    """

    def __init__(self, *, boots: bool = False) -> None:
        self._boots = boots
        self._stack = contextlib.ExitStack()
        self._guest_session: GuestSession | None = None
        self._set: frozenset[str] = frozenset()
        self._began: GuestSpec | None = None

    def __enter__(self) -> "SharedGuest":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def guest_session(self) -> GuestSession | None:
        """The guest that is there now, if there is one."""
        return self._guest_session

    is_subject = False
    """Whether the guest itself is what somebody is about: then it stays whatever a migration came to, while it lives,
    and nothing is done with it that nobody asked for.
    """

    def accepts(self, source: SideSpec) -> bool:
        """Whether a case with this source is one for guests that are shared."""
        return can_share(source)

    def take(self, case: Case, pair: HostPair, listener: RunListener, snapshots: Snapshots | None) -> GuestSession:
        """The guest for a case, with its devices. Raises what starting one, or plugging devices in, raises."""
        if self._guest_session is not None and self._fits(self._guest_session, case, pair):
            guest_session = self._guest_session
            guest_session.listener = listener
            guest_session.side.guest.take_side("source")
            listener.step("devices")
            guest_session.take_devices(case.source)
        else:
            self.end()
            loop = self._stack.enter_context(LoopThread())
            source = with_start(case, "cold").source if self._boots else case.source
            start = start_guest_session(source, pair, loop, listener, snapshots)
            guest_session = self._guest_session = self._stack.enter_context(start)
            self._began = source.guest
        self._set = frozenset(name for hop in case.list_hops() for name in name_extras(hop.settings))
        return guest_session

    def leave(self) -> None:
        """A case is over and the guest is well; what happens to it until the next one is nobody's evidence."""
        if self._guest_session is not None:
            self._guest_session.listener = RunListener()

    def end(self) -> None:
        """End the guest, if there is one."""
        self._guest_session, self._set, self._began = None, frozenset(), None
        self._stack.close()

    def _fits(self, guest_session: GuestSession, case: Case, pair: HostPair) -> bool:
        here, wanted = guest_session.side.spec, case.source
        return (
            can_share(wanted)
            and replace(here.guest, start="auto") == replace(wanted.guest, start="auto")
            # what it was offered when it booted, and what that QEMU made of it: neither has changed since
            and self._began is not None
            and _as_booted(self._began) == _as_booted(wanted.guest)
            and len(here.devices) == len(wanted.devices)
            and not (here.functions or here.mediated)
            and self._set <= name_extras(case.settings)  # so what the last case set is all that was set
            and {guest_session.pair.source.host.name, guest_session.pair.destination.host.name}
            == {pair.source.host.name, pair.destination.host.name}
            and guest_session.side.guest.exit_status() is None
        )


def can_share(source: SideSpec) -> bool:
    """Whether a case with this source can go on with the guest of another: its boot is not the subject, and its devices
    are the reference device, which the harness can plug and which an IOMMU of its machine may not see.
    """
    guest = source.guest
    others = source.functions or source.mediated
    plugged = not DRIVERS[guest.driver].cannot_restore and not others and not guest.iommu
    return guest.start != "cold" and plugged


def _as_booted(guest: GuestSpec) -> GuestSpec:
    """A guest as it saw its machine when it booted."""
    return replace(guest, start="auto")


def name_extras(settings: MigrationSettings) -> frozenset[str]:
    """Parameters that only some cases set: a QEMU keeps them for the next one, and their defaults are its own."""
    return frozenset(settings.parameters)
