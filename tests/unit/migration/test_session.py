# SPDX-License-Identifier: GPL-2.0-or-later
"""The order of a migration, and how it ends; the QEMUs are scripted."""

import itertools
import time
from typing import Any

import pytest
from tests.unit.migration.scripted import HostPair

from switchover.hosts.clock import ClockOffset
from switchover.hosts.host import Host
from switchover.hosts.qmp import Event
from switchover.hosts.waiting import paced
from switchover.migration import session, watch
from switchover.migration.session import (
    SETTLED_SAMPLES,
    Sample,
)
from switchover.migration.settings import HOLD_LIMIT_MS, MigrationSettings
from switchover.record.errors import GuestCrashed, NotReady, Refused


def test_the_order_with_settle() -> None:
    """Both sides are set before the destination listens, it listens before the start, the switchover is let go last."""
    pair = HostPair("setup", *["active"] * SETTLED_SAMPLES, "active", "device", "completed")
    result = pair.migrate(MigrationSettings(downtime_limit_ms=777))
    assert pair.log == [
        "destination: capabilities",
        f"destination: downtime-limit {HOLD_LIMIT_MS}",
        "source: capabilities",
        f"source: downtime-limit {HOLD_LIMIT_MS}",
        "destination: listen",
        "source: migrate to tcp:127.0.0.1:4444",
        "source: downtime-limit 777",
    ]
    assert result.status == "completed"
    assert set(result.clocks) == {"source", "destination"}


def test_a_migration_before_is_put_away_first() -> None:
    """A QEMU that has failed one, and is still about to put it away, is not told to start another; one that never was
    in a migration is not even asked.
    """
    pair = HostPair("active", "completed")
    pair.source.events.append(Event("MIGRATION", {"status": "failed"}, 0, 0))
    pair.source.yank = iter([["chardev", "migration"], ["migration"], ["chardev"], ["migration"]])
    assert pair.migrate(MigrationSettings(settle=False)).status == "completed"
    assert next(pair.source.yank) == ["migration"], "it was asked until there was no migration left"
    first = HostPair("active", "completed")
    first.source.yank = iter([["migration"]])
    assert first.migrate(MigrationSettings(settle=False)).status == "completed"
    assert next(first.source.yank) == ["migration"]


def test_one_that_is_never_put_away_is_qemus_to_reject(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait has an end, and the migration is tried: what QEMU says of it is told."""
    monkeypatch.setattr(session, "_PUT_AWAY_S", 0.1)
    pair = HostPair("active", "completed")
    pair.source.events.append(Event("MIGRATION", {"status": "failed"}, 0, 0))
    pair.source.yank = itertools.repeat(["migration"])
    assert pair.migrate(MigrationSettings(settle=False)).status == "completed"


def test_the_order_without_settle() -> None:
    """Without settle the limit is the case's own from the start and never changed."""
    pair = HostPair("active", "completed")
    assert pair.migrate(MigrationSettings(settle=False, downtime_limit_ms=777)).status == "completed"
    assert [line for line in pair.log if "limit" in line] == [
        "destination: downtime-limit 777",
        "source: downtime-limit 777",
    ]


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_a_guest_that_arrived_is_left_alone_first(status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wants it so is called before the hosts' clocks are asked once more; of a guest that stayed nobody is."""
    pair = HostPair("active", status)
    measure = session.measure_clocks

    def measure_clocks(source: Host, destination: Host) -> dict[str, ClockOffset]:
        pair.log.append("clocks")
        return measure(source, destination)

    monkeypatch.setattr(session, "measure_clocks", measure_clocks)
    pair.migrate(MigrationSettings(settle=False), on_arrived=lambda: pair.log.append("arrived"))
    told = [line for line in pair.log if line in ("clocks", "arrived")]
    assert told == ["clocks", *["arrived"] * (status == "completed"), "clocks"]


def test_samples_are_kept_and_shown() -> None:
    """Every reply is kept in its order, and shown as it comes."""
    shown: list[Sample] = []
    pair = HostPair("setup", "active", "active", "completed")
    result = pair.migrate(MigrationSettings(settle=False), on_sample=shown.append)
    statuses = [sample.reply.get("status") for sample in result.samples]
    assert [status for status in statuses if status][:4] == ["setup", "active", "active", "completed"]
    assert tuple(shown[: len(result.samples)]) == result.samples


def test_a_failed_migration_has_qemus_words() -> None:
    """A failed migration ends at once, with error-desc of the source, and the destination is not waited for."""
    pair = HostPair("active", "failed")
    pair.destination.qmp.answers["query-status"] = lambda _: pytest.fail("the destination was waited for")
    result = pair.migrate(MigrationSettings(settle=False))
    assert (result.status, result.error, result.destination_error) == ("failed", "why it failed", "")


def test_a_destination_that_ended_has_the_last_word() -> None:
    """QEMU ends an incoming side that failed: the source's failure is the result, with what the destination said."""
    pair = HostPair("active", "failed")

    def end(_: Sample) -> None:
        pair.destination.open = pair.source.last != "failed"
        pair.destination.words = "qemu: load of migration failed: Invalid argument"

    result = pair.migrate(MigrationSettings(settle=False), on_sample=end)
    assert (result.status, result.destination_status) == ("failed", None)
    assert (result.error, result.destination_error) == ("why it failed", pair.destination.words)


def test_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an end within ``timeout_s`` it is cancelled, the status is None, and it says why it hung."""
    monkeypatch.setattr(watch, "_LOOK_S", 0.1)  # these QEMUs trace nothing
    pair = HostPair(*["active"] * 1000)
    result = pair.migrate(MigrationSettings(settle=False, timeout_s=0.5))
    assert result.status is None
    assert result.hang is not None
    assert result.hang.seconds == 0.5
    assert "status active, RAM remaining 0 bytes" in result.hang.evidence
    assert pair.log[-1] == "source: cancel"
    assert pair.source.last == "cancelled"
    assert result.samples
    assert 0.5 <= result.wall_seconds < 3


def test_the_deadline_on_slow_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound by default is stretched, once; one that was given is not."""
    monkeypatch.setattr(watch, "_LOOK_S", 0.1)
    monkeypatch.setattr(MigrationSettings, "timeout_s", 0.2)
    for given, seconds in (((), 0.6), (("timeout_s",), 0.2)):
        with paced(3):
            result = HostPair(*["active"] * 1000).migrate(
                MigrationSettings(settle=False, timeout_s=0.2, given_bounds=given)
            )
        assert result.hang is not None
        assert result.hang.seconds == pytest.approx(seconds)
        assert result.wall_seconds >= seconds
        assert result.hang.seen_s is not None
        assert 0 <= time.monotonic() - result.hang.seen_s < 30


def test_the_deadline_bounds_settling() -> None:
    """``settle_timeout_s`` is a part of ``timeout_s``: settling does not go on beyond it."""
    pair = HostPair(*["setup"] * 1000)
    result = pair.migrate(MigrationSettings(timeout_s=0.3, settle_timeout_s=1.5))
    assert result.wall_seconds < 1


def test_what_does_not_settle_is_let_go() -> None:
    """A migration that does not settle in its time gets the case's own limit and may still complete."""
    pair = HostPair()
    pair.source.statuses = (
        "completed" if pair.source.parameters.get("downtime-limit") == 777 else "setup" for _ in itertools.count()
    )
    result = pair.migrate(MigrationSettings(downtime_limit_ms=777, settle_timeout_s=0.3))
    assert result.status == "completed"


def test_a_source_that_ends_is_a_crash() -> None:
    """The end of the source QEMU ends the wait at once."""
    pair = HostPair(*["active"] * 1000)
    start = time.monotonic()

    def end_after_two(sample: Sample) -> None:
        if time.monotonic() - start > 0.3:
            pair.source.code = -9

    with pytest.raises(GuestCrashed, match="source ended"):
        pair.migrate(MigrationSettings(settle=False), on_sample=end_after_two)
    assert time.monotonic() - start < 3


def test_a_source_that_fails_the_migration_and_ends() -> None:
    """It is told how the source ended, not that it could not be asked: QEMU fails a migration before it ends."""
    pair = HostPair(*["active"] * 1000)

    def end(sample: Sample) -> None:
        if sample.reply.get("status") == "active" and pair.source.open:
            pair.source.open = False
            pair.source.end("failed")

    with pytest.raises(GuestCrashed, match="source ended"):
        pair.migrate(MigrationSettings(settle=False), on_sample=end)


def test_a_rejected_start_is_refused() -> None:
    """A blocker's text reaches the caller."""
    pair = HostPair()

    def refuse(_: dict[str, Any]) -> object:
        raise Refused("source rejected migrate.", why="VFIO migration is not supported in kernel")

    pair.source.qmp.answers["migrate"] = refuse
    with pytest.raises(Refused, match="not supported in kernel"):
        pair.migrate(MigrationSettings())


def test_an_earlier_migration_does_not_count() -> None:
    """The end of a migration before this one, among the events, does not end this one."""
    pair = HostPair(*["active"] * 1000)
    pair.source.emit("completed")
    pair.source.last = "active"  # so that this migration's first reply comes without an event
    assert pair.migrate(MigrationSettings(settle=False, timeout_s=0.3)).status is None


def test_a_destination_without_an_address() -> None:
    """A destination that does not tell where it listens is an error with what it said, before the start."""
    pair = HostPair()
    pair.destination.qmp.answers["query-migrate"] = lambda _: {"socket-address": [{"type": "unix", "path": "/x"}]}
    with pytest.raises(NotReady, match="/x"):
        pair.migrate(MigrationSettings())
    assert not any("migrate to" in line for line in pair.log)


def test_a_guest_that_arrives_paused_is_let_run() -> None:
    """It is told how it arrived, and runs when this returns; one that runs by itself is not told to."""
    pair = HostPair("active", "completed")
    assert pair.migrate(MigrationSettings(settle=False)).arrived == "running"
    assert "destination: cont" not in pair.log
    pair = HostPair("active", "completed")
    pair.destination.run_state = "paused"
    assert pair.migrate(MigrationSettings(settle=False)).arrived == "paused"
    assert pair.log[-1] == "destination: cont"
    assert HostPair("active", "failed").migrate(MigrationSettings(settle=False)).arrived == ""
