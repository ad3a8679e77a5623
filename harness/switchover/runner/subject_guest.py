# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that is the subject: it is there before its first migration, and between them."""

import contextlib
from collections.abc import Iterator

from switchover.guests.snapshots import Snapshots
from switchover.hosts.loop import LoopThread
from switchover.record.errors import GuestCrashed, UsageError
from switchover.runner.guest_session import GuestSession, start_guest_session
from switchover.runner.host_pair import HostPair
from switchover.runner.listener import RunListener
from switchover.runner.shared_guest import SharedGuest
from switchover.scenarios.case import Case, SideSpec


class SubjectGuest(SharedGuest):
    """As a shared guest, but a case that cannot go on with it is an error, and never gets another one. Made by
    :func:`start_subject_guest`.
    """

    def __init__(self, guest_session: GuestSession, stack: contextlib.ExitStack) -> None:
        super().__init__()
        self._guest_session = guest_session
        self._stack.push(stack.pop_all())

    is_subject = True

    def accepts(self, source: SideSpec) -> bool:
        return True

    def require(self) -> GuestSession:
        """:raises GuestCrashed: the guest has ended"""
        if self._guest_session is None:
            raise GuestCrashed(
                "The guest has ended.", why="something was wrong after its last migration: see its record"
            )
        return self._guest_session

    def take(self, case: Case, pair: HostPair, listener: RunListener, snapshots: Snapshots | None) -> GuestSession:
        """:raises GuestCrashed: the guest has ended; :raises UsageError: it cannot have the devices of the case"""
        guest_session = self.require()
        here, wanted = guest_session.side.spec, case.source
        if here.guest.driver != wanted.guest.driver or len(here.devices) != len(wanted.devices):
            raise UsageError(
                f"The guest cannot go on with the case {case.id}.",
                why="its driver or the number of its devices differs",
            )
        guest_session.listener = listener
        guest_session.side.guest.take_side("source")
        listener.step("devices")
        if here.devices != wanted.devices:
            guest_session.take_devices(wanted)
        return guest_session


@contextlib.contextmanager
def start_subject_guest(case: Case, pair: HostPair, snapshots: Snapshots) -> Iterator[SubjectGuest]:
    """The guest of a case on the source of a pair, booted or restored as its ``start`` says, with its devices."""
    with contextlib.ExitStack() as stack:
        loop = stack.enter_context(LoopThread())
        guest_session = stack.enter_context(start_guest_session(case.source, pair, loop, None, snapshots))
        guest_session.settle_in()
        held = SubjectGuest(guest_session, stack)
    try:
        yield held
    finally:
        held.end()
