# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrations that hang, and are given up; the QEMUs are scripted."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.migration.scripted import NOW, HostPair

from switchover.migration import session, watch
from switchover.migration.progress import Hang, HangKind
from switchover.migration.settings import MigrationSettings
from switchover.record.errors import GuestCrashed, NotReady

HUNG = replace(NOW, timeout_s=0.3)


@pytest.fixture(autouse=True)
def short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """These QEMUs trace nothing: a look for it takes all of its time."""
    monkeypatch.setattr(watch, "_LOOK_S", 0.1)


def test_a_hang_that_the_source_does_not_answer_in() -> None:
    """A source that waits for its destination with its lock held does not hear: then the destination is ended."""
    pair = HostPair(*["active"] * 1000)

    def silent(_: dict[str, Any]) -> object:
        raise NotReady("source did not answer migrate_cancel within 20 s.")

    pair.source.qmp.answers["migrate_cancel"] = silent
    pair.destination.on_kill = lambda: pair.source.end("failed")
    result = pair.migrate(HUNG)
    assert pair.log[-1] == "destination: killed"
    assert result.hang is not None
    assert (result.status, pair.destination.code, result.destination_status) == (None, -9, None)


def test_a_hang_that_is_not_cancelled_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancellation that is taken and comes to nothing is given up for the end of the destination."""
    monkeypatch.setattr(session, "_CANCEL_TIMEOUT_S", 0.2)
    pair = HostPair(*["active"] * 1000)
    pair.source.qmp.answers["migrate_cancel"] = lambda _: pair.source.emit("cancelling")
    pair.destination.on_kill = lambda: pair.source.end("failed")
    assert pair.migrate(HUNG).hang is not None
    assert pair.log[-1] == "destination: killed"


def test_a_source_that_ends_in_a_hang() -> None:
    """A source that ends while its hung migration is cancelled is a crash."""
    pair = HostPair(*["active"] * 1000)

    def die(_: dict[str, Any]) -> object:
        pair.source.code = -11
        return {}

    pair.source.qmp.answers["migrate_cancel"] = die
    with pytest.raises(GuestCrashed, match="source ended"):
        pair.migrate(HUNG)


def test_a_hang_that_is_found_ends_the_migration(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the watch finds is the result, long before the deadline; it is told whether the switchover is held back."""

    class Watch:
        def __init__(self, *_: object) -> None:
            pass

        def find_hang(self, status: str | None, reply: object, events: int, *, held: bool) -> Hang | None:
            told.append((status, held))
            return hang if status == "active" and not held else None

        def close(self) -> None:
            closed.append(True)

    closed: list[bool] = []
    told: list[tuple[str | None, bool]] = []
    hang = Hang(HangKind.ACK_STARVED, 31, "pending 0 bytes")
    monkeypatch.setattr(session, "HangWatch", Watch)
    pair = HostPair("setup", *["active"] * 1000)
    result = pair.migrate(MigrationSettings(timeout_s=60))
    assert (result.status, result.hang) == (None, hang)
    assert result.wall_seconds < 5
    assert ("active", True) in told
    assert told[-1] == ("active", False)
    assert closed


def test_what_completes_while_it_is_given_up_has_completed() -> None:
    """A migration that completes just before it is cancelled completed: its guest is at the destination."""
    pair = HostPair(*["active"] * 1000)

    def too_late(_: dict[str, Any]) -> object:
        pair.source.end("completed")
        return {}

    pair.source.qmp.answers["migrate_cancel"] = too_late
    result = pair.migrate(HUNG)
    assert (result.status, result.hang) == ("completed", None)
