# SPDX-License-Identifier: GPL-2.0-or-later
"""Downtime limits that follow each other, and which was in force at the switchover."""

import math
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from tests.unit.migration.scripted import HostPair

from switchover.migration import limits, watch
from switchover.migration.limits import DowntimeLimit, InForce, Limits, find_in_force
from switchover.migration.phases import Said
from switchover.migration.progress import HangKind
from switchover.migration.session import SETTLED_SAMPLES
from switchover.migration.settings import HOLD_LIMIT_MS, MigrationSettings
from switchover.record.errors import Refused

STEPS = MigrationSettings(settle=False, downtime_limit_ms=150, downtime_steps_ms=(300, 600), downtime_step_s=0.15)


def list_told(log: list[str]) -> list[str]:
    return [line.removeprefix("source: ") for line in log if "source: downtime-limit" in line]


def test_one_limit_after_the_other() -> None:
    """Each is told while the migration goes on, and none after it has ended."""
    pair = HostPair("setup", *["active"] * 6, "device", "completed")
    result = pair.migrate(STEPS)
    assert result.status == "completed"
    assert list_told(pair.log) == [f"downtime-limit {limit}" for limit in (150, 300, 600)]
    assert [limit.limit_ms for limit in result.limits] == [150, 300, 600]
    in_force = find_in_force(result.limits, result.statuses["source"])
    assert in_force is not None
    assert in_force.limit_ms == 600
    quick = HostPair("active", "active", "device", *["device"] * 4, "completed")
    result = quick.migrate(STEPS)
    assert list_told(quick.log)[:1] == ["downtime-limit 150"]
    in_force = find_in_force(result.limits, result.statuses["source"])
    assert in_force is not None
    assert in_force.limit_ms in (150, 300)
    assert "downtime-limit 600" not in list_told(quick.log)


def test_with_settle_the_first_comes_when_the_switchover_is_let_go() -> None:
    """The others follow it, however long it was held back."""
    pair = HostPair(*["active"] * (SETTLED_SAMPLES + 6), "device", "completed")
    result = pair.migrate(MigrationSettings(downtime_limit_ms=150, downtime_steps_ms=(300,), downtime_step_s=0.15))
    assert [limit.limit_ms for limit in result.limits] == [HOLD_LIMIT_MS, 150, 300]
    assert result.limits[2].told_ns - result.limits[1].told_ns >= 150_000_000


def test_what_is_not_taken_is_not_in_force() -> None:
    """A limit that QEMU had not acknowledged when it decided did not count; nor does one that came later."""
    told = (
        DowntimeLimit(150, 0, 0),
        DowntimeLimit(300, 5, 8),
        DowntimeLimit(600, 12, None),
        DowntimeLimit(900, 20, 30),
    )
    for at, limit, since in ((3, 150, math.inf), (7, 150, math.inf), (9, 300, 1), (25, 300, 17), (30, 900, 0)):
        for status in ("pre-switchover", "device", "completed"):
            said = (Said("setup", 0), Said("active", 1), Said(status, at), Said("completed", 99))
            assert find_in_force(told, said) == InForce(limit, since / 1e9)
    assert find_in_force(told, (Said("active", 1), Said("cancelled", 9))) is None
    assert find_in_force((), (Said("device", 1),)) is None


def test_the_time_of_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts from when nothing holds the switchover back, and each from the one before it."""
    now = 100.0
    monkeypatch.setattr(limits, "time", SimpleNamespace(monotonic=lambda: now, monotonic_ns=lambda: round(now * 1e9)))
    due = Limits(MigrationSettings(downtime_limit_ms=1, downtime_steps_ms=(2, 3), downtime_step_s=10))
    found = []
    for now in (150.0, 200.0, 209.0, 211.0, 219.0, 221.0, 300.0):
        if now >= 200:
            due.begin()
        found.append(due.find_due())
    assert found == [None, None, None, 2, None, 3, None]
    assert not due.to_come


def test_an_answer_that_is_an_error() -> None:
    """What was refused was never in force."""
    given: Limits = Limits(STEPS)
    answer: Future[object] = Future()
    given.give(300, lambda _: answer)
    answer.set_exception(Refused("no"))
    assert given.told[-1].taken_ns is None
    assert given.told[-1].limit_ms == 300


def test_a_hang_is_one_of_the_last_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """While another limit is to come nothing hangs for its limit: it has the bound again with the last one."""
    monkeypatch.setattr(watch, "_LOOK_S", 0.1)
    held_back: list[tuple[bool, int]] = []
    find_hang = watch.HangWatch.find_hang

    def note(self: watch.HangWatch, *arguments: object, held: bool) -> object:
        held_back.append((held, self.limit_ms))
        return find_hang(self, *arguments, held=held)  # type: ignore[arg-type]

    monkeypatch.setattr(watch.HangWatch, "find_hang", note)
    pair = HostPair(*["active"] * 1000)
    result = pair.migrate(MigrationSettings(**{**vars(STEPS), "timeout_s": 1.0, "given_bounds": ("timeout_s",)}))
    assert result.hang is not None
    assert result.hang.kind is HangKind.NO_END
    assert list(dict.fromkeys(held_back)) == [(True, 150), (True, 300), (False, 600)]
