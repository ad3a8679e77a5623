# SPDX-License-Identifier: GPL-2.0-or-later
"""Links that a case disturbs are in order again before a guest is asked."""

import contextlib
from typing import Any, cast

import pytest
from tests.unit.runner.guest_sessions import (
    CASE,
    COMPLETED,
    CUT,
    FAILED,
    World,
    make_world,
    travel,
)

from switchover.record.errors import GuestCrashed, HostLost, NotReady
from switchover.runner import guest_session
from switchover.runner.attempt import Migrated
from switchover.runner.side import Side


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return make_world(monkeypatch)


@pytest.mark.parametrize("outcome", [COMPLETED, FAILED, GuestCrashed("ended"), HostLost("gone"), ValueError("a bug")])
def test_links_are_restored_before_the_guest_is_asked(world: World, outcome: Any) -> None:
    """Whatever a migration with a fault of its link comes to, both ends are restored, and that before any guest is
    looked at over it.
    """
    world.outcomes = [outcome]
    with contextlib.suppress(HostLost, ValueError):
        travel(world, lambda made: cast(None, made.attempt(CUT)))
    after = world.log[world.log.index("migrate source to destination at at b") + 1 :]
    assert after[:2] == ["restore", "restore"]
    assert after.count("restore") == 2


def test_links_are_left_alone_without_a_fault_of_theirs(world: World) -> None:
    """A pair whose links are not ours to disturb is good enough for every other fault."""
    world.outcomes = [FAILED]
    travel(world, lambda made: cast(None, made.attempt(CASE)), link="")
    assert "restore" not in world.log
    with pytest.raises(NotReady, match="need a network interface"):
        travel(world, lambda made: cast(None, made.attempt(CUT)), link="")


def test_faults_are_taken_when_it_hangs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that sees a hang can have the links restored before it cancels."""

    def migrate(source: Side, destination: Side, address: str, *rest: Any) -> Migrated:
        (*_, on_hang, _login, _on_intervened, _on_arrived) = rest
        on_hang()
        world.note("cancel")
        return Migrated(FAILED, {})

    monkeypatch.setattr(guest_session, "migrate_sides", migrate)
    travel(world, lambda made: cast(None, made.attempt(CUT)))
    assert world.log[-8:-4] == ["restore", "restore", "cancel", "examine source, which stayed"]
