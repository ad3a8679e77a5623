# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that is the subject: it is there before its first migration, and between them."""

import contextlib
from collections.abc import Iterator

from switchover.guests.warm import SavedGuests
from switchover.hosts.loop import LoopThread
from switchover.record.errors import GuestCrashed, UsageError
from switchover.run.listener import RunListener
from switchover.run.pair import Pair
from switchover.run.shared import SharedGuest
from switchover.run.traveller import Traveller, start_traveller
from switchover.scenarios.case import Case, SideSpec


class HeldGuest(SharedGuest):
    """As a shared guest, but a case that cannot go on with it is an error, and never gets another one. Made by
    :func:`start_held_guest`.
    """

    def __init__(self, traveller: Traveller, stack: contextlib.ExitStack) -> None:
        super().__init__()
        self._traveller = traveller
        self._stack.push(stack.pop_all())

    is_subject = True

    def accepts(self, source: SideSpec) -> bool:
        return True

    def require(self) -> Traveller:
        """:raises GuestCrashed: the guest has ended"""
        if self._traveller is None:
            raise GuestCrashed(
                "The guest has ended.", why="something was wrong after its last migration: see its record"
            )
        return self._traveller

    def take(self, case: Case, pair: Pair, listener: RunListener, saved_guests: SavedGuests | None) -> Traveller:
        """:raises GuestCrashed: the guest has ended; :raises UsageError: it cannot have the devices of the case"""
        traveller = self.require()
        here, wanted = traveller.side.spec, case.source
        if here.guest.driver != wanted.guest.driver or len(here.devices) != len(wanted.devices):
            raise UsageError(
                f"The guest cannot go on with the case {case.id}.",
                why="its driver or the number of its devices differs",
            )
        traveller.listener = listener
        traveller.side.guest.take_side("source")
        listener.step("devices")
        if here.devices != wanted.devices:
            traveller.take_devices(wanted)
        return traveller


@contextlib.contextmanager
def start_held_guest(case: Case, pair: Pair, saved_guests: SavedGuests) -> Iterator[HeldGuest]:
    """The guest of a case on the source of a pair, booted or restored as its ``start`` says, with its devices."""
    with contextlib.ExitStack() as stack:
        loop = stack.enter_context(LoopThread())
        traveller = stack.enter_context(start_traveller(case.source, pair, loop, None, saved_guests))
        traveller.settle_in()
        held = HeldGuest(traveller, stack)
    try:
        yield held
    finally:
        held.end()
