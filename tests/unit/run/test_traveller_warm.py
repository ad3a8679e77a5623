# SPDX-License-Identifier: GPL-2.0-or-later
"""A warm guest is restored, and both sides are released whatever fails."""

from collections.abc import Callable
from typing import Any, cast

import pytest
from tests.unit.fakes import FaultyHost
from tests.unit.run.travelling import CASE, COMPLETED, LOOP, World, make_pair, make_world, watch

from switchover.guests.warm import SavedGuest, SavedGuests
from switchover.record.errors import Refused
from switchover.run.traveller import Traveller, start_traveller
from switchover.scenarios.case import with_start


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return make_world(monkeypatch)


WARM = with_start(CASE, "warm")


class FakeSavedGuests:
    """Stands where :class:`SavedGuests` is used."""

    def __init__(self, world: World) -> None:
        self.world = world

    def require(self, spec: Any, ports: int, host: FaultyHost, *_: Any, **__: Any) -> SavedGuest:
        self.world.note(f"saved guest with {ports} ports on {host.name}")
        return SavedGuest("key", "/tmp/x/guest", "5eed", 80, 20.5, "")

    def start(self, use: Callable[[Traveller], None]) -> None:
        saved_guests = cast(SavedGuests, self)
        pair = make_pair(self.world)
        with start_traveller(WARM.source, pair, LOOP, watch(self.world), saved_guests) as made:
            use(made)


def test_a_warm_guest_is_restored_while_the_destination_starts(world: World) -> None:
    """It is given its devices, the time and its state; nothing waits for a boot, and everything is there to migrate."""
    world.outcomes = [COMPLETED, COMPLETED]

    def use(made: Traveller) -> None:
        made.attempt(WARM)
        made.attempt(WARM, "source again")

    FakeSavedGuests(world).start(use)
    assert world.log[:2] == ["saved guest with 1 ports on a", "start source on a"]
    begun = world.log.index("both started")
    assert sorted(world.log[2:begun]) == sorted(
        ["start destination on b", "restore source", "clock", "1 devices taken", "canary", "seed 0"]
    )
    assert [line for line in world.log[2:begun] if not line.startswith("start")] == [
        "restore source", "clock", "1 devices taken", "canary", "seed 0",
    ]  # fmt: skip
    assert world.log[begun + 1] == "migrate source to destination at at b"
    again = world.log[world.log.index("start source again on a") :]
    assert again[:3] == ["start source again on a", "both started", "migrate destination to source again at at a"]


@pytest.mark.parametrize("step", ["start destination on b", "restore source", "1 devices taken"])
def test_a_warm_start_that_fails_releases_both_sides(world: World, step: str) -> None:
    """Whichever of the two that are started together fails, each side that was started ends once."""
    world.fail = {step: Refused("no")}

    def use(made: Traveller) -> None:
        with pytest.raises(Refused, match="no"):
            made.attempt(WARM)

    FakeSavedGuests(world).start(use)
    assert world.log.count("end source") == 1
    assert world.log.count("end destination") == (step != "start destination on b")
