# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that stayed is healed, and migrates again."""

from typing import Any, cast

import pytest
from tests.unit.builders import make_answers
from tests.unit.runner.guest_sessions import CASE, COMPLETED, CUT, FAILED, World, make_world, travel

from switchover.record.errors import CommandFailed, GuestCrashed, HostLost
from switchover.record.measurement import Check, NotChecked
from switchover.runner.attempt import Attempt
from switchover.runner.guest_session import GuestSession, migrate_again
from switchover.scenarios.case import Case, in_order


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return make_world(monkeypatch)


def test_healing(world: World) -> None:
    """The devices where the guest lives lose their faults and get a new state, which is then to be kept."""
    world.outcomes = [FAILED]

    def use(made: GuestSession) -> None:
        made.attempt(CASE)
        made.before = None
        world.log.clear()
        made.heal()
        assert made.before == make_answers(1)

    travel(world, use)
    assert world.log[:3] == ["knobs of source: fail_at none", "mend 0", "seed 0"]


@pytest.mark.parametrize(
    ("outcome", "passed", "observed"),
    [
        (COMPLETED, True, "yes"),
        (FAILED, False, "failed: failed: "),
        (GuestCrashed("it ended"), False, "crashed: migrate: it ended"),
        (HostLost("it is gone"), False, "it is gone"),
    ],
)
def test_migrating_again(world: World, outcome: Any, passed: bool, observed: str) -> None:
    """The guest that stayed is healed and migrates in order; what it comes to is one check."""
    world.outcomes = [FAILED, outcome]
    checks: list[Check | NotChecked] = []

    def use(made: GuestSession) -> None:
        made.attempt(CASE)
        checks.append(migrate_again(made, CASE, "second destination"))

    travel(world, use)
    (check,) = checks
    assert isinstance(check, Check)
    assert (check.passed, check.observed) == (passed, observed)
    after = world.log[world.log.index("end destination") + 1 :]
    assert after[:4] == ["knobs of source: fail_at none", "mend 0", "seed 0", "start second destination on b"]
    assert "canary" not in after


def test_a_guest_that_cannot_be_healed(world: World) -> None:
    """A device that does not take its knobs is a failed check, and no destination is started."""
    world.outcomes = [FAILED]
    world.fail = {"knobs of source: fail_at none": CommandFailed("device busy")}
    checks: list[Check | NotChecked] = []

    def use(made: GuestSession) -> None:
        made.attempt(CASE)
        checks.append(migrate_again(made, CASE))

    travel(world, use)
    (check,) = checks
    assert isinstance(check, Check)
    assert (check.passed, check.observed) == (False, "device busy")
    assert world.log.count("start destination on b") == 1


def test_the_second_destination_is_as_the_source(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second migration has the case's guest, and none of its faults."""
    tried: list[Case] = []
    attempt = GuestSession.attempt

    def keep(self: GuestSession, case: Case, name: str = "destination") -> Attempt:
        tried.append(case)
        return attempt(self, case, name)

    monkeypatch.setattr(GuestSession, "attempt", keep)
    world.outcomes = [COMPLETED]
    travel(world, lambda made: cast(None, migrate_again(made, CUT)))
    assert tried == [in_order(CUT)]
