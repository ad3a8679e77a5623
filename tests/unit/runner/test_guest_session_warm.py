# SPDX-License-Identifier: GPL-2.0-or-later
"""A warm guest is restored, and both sides are released whatever fails."""

import pytest
from tests.unit.runner.guest_sessions import CASE, COMPLETED, World, make_world, travel

from switchover.record.errors import Refused
from switchover.runner.guest_session import GuestSession
from switchover.scenarios.case import with_start


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return make_world(monkeypatch)


WARM = with_start(CASE, "warm")


def test_a_warm_guest_is_restored_while_the_destination_starts(world: World) -> None:
    """It is given its devices, the time and its state; nothing waits for a boot, and everything is there to migrate."""
    world.outcomes = [COMPLETED, COMPLETED]

    def use(made: GuestSession) -> None:
        made.attempt(WARM)
        made.attempt(WARM, "source again")

    travel(world, use, source=WARM.source)
    assert world.log[:2] == ["saved guest with 1 ports on a", "start source on a"]
    begun = world.log.index("both started")
    assert sorted(world.log[2:begun]) == sorted(
        ["start destination on b", "restore source", "clock", "canary", "1 devices taken", "seed 0"]
    )
    assert [line for line in world.log[2:begun] if not line.startswith("start")] == [
        "restore source",
        "clock",
        "canary",
        "1 devices taken",
        "seed 0",
    ]
    assert world.log[begun + 1] == "migrate source to destination at at b"
    again = world.log[world.log.index("start source again on a") :]
    assert again[:3] == ["start source again on a", "both started", "migrate destination to source again at at a"]


@pytest.mark.parametrize("step", ["start destination on b", "restore source", "1 devices taken"])
def test_a_warm_start_that_fails_releases_both_sides(world: World, step: str) -> None:
    """Whichever of the two that are started together fails, each side that was started ends once."""
    world.fail = {step: Refused("no")}

    def use(made: GuestSession) -> None:
        with pytest.raises(Refused, match="no"):
            made.attempt(WARM)

    travel(world, use, source=WARM.source)
    assert world.log.count("end source") == 1
    assert world.log.count("end destination") == (step != "start destination on b")
