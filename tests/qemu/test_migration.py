# SPDX-License-Identifier: GPL-2.0-or-later
"""Migration of RAM between two QEMUs on this machine: to its end, and every way it ends otherwise."""

import os
import signal
import threading
import time
from dataclasses import replace

import pytest
from tests.qemu.conftest import Guests, knows_capability, require_running, traces_checkpoints, wait_until_idle

from switchover.guests.qemu import QemuGuest
from switchover.hosts.loop import LoopThread
from switchover.migration.bytes import RESIDUAL_BOUND, account_bytes
from switchover.migration.downtime import ExplainedDowntime, UnexplainedDowntime, explain_downtime
from switchover.migration.limits import find_in_force
from switchover.migration.session import SETTLED_RAM, MigrationResult, Sample, migrate
from switchover.migration.settings import HOLD_LIMIT_MS, MigrationSettings, apply_settings
from switchover.migration.traces import parse_trace, take_last_migration
from switchover.record.errors import GuestCrashed, Refused
from switchover.record.record import VerdictName
from switchover.record.units import MIB
from switchover.runner.verdict import judge_result

LOOPBACK = "127.0.0.1"
# without what QEMU 7.2 does not know
PLAIN = MigrationSettings(switchover_bandwidth=0, settle=False, timeout_s=60, settle_timeout_s=30)
# some minutes for what is in RAM
SLOW = replace(PLAIN, max_bandwidth=MIB, downtime_limit_ms=1)


def explain(
    source: QemuGuest, destination: QemuGuest, result: MigrationResult
) -> ExplainedDowntime | UnexplainedDowntime:
    here, there = (take_last_migration(parse_trace(guest.collect_evidence().log)) for guest in (source, destination))
    return explain_downtime(here, there, result.clocks["source"], result.clocks["destination"])


def require_consistent(source: QemuGuest, destination: QemuGuest, result: MigrationResult) -> None:
    """The explained downtime agrees with QEMU's own, or is missing for the reason that the binary does not trace it."""
    explained = explain(source, destination, result)
    reported = result.source["downtime"] / 1000
    if not traces_checkpoints(source):
        assert isinstance(explained, UnexplainedDowntime)
        assert "src-downtime-start" in explained.reason
        return
    assert isinstance(explained, ExplainedDowntime)
    assert abs(explained.seconds - reported) <= 0.05 + 0.2 * reported
    assert all(part.seconds >= -part.bound_s for part in explained.parts)
    assert explained.bound_s < 0.05


def require_accounted(result: MigrationResult) -> None:
    """Without a device there are no VFIO bytes, and what is on the wire is RAM but for a bounded rest."""
    moved = account_bytes([], {**result.source, "vfio": {"transferred": 0}})
    assert moved.residual is not None
    assert 0 <= moved.residual <= RESIDUAL_BOUND
    assert account_bytes([], result.source).vfio_transferred is None


@pytest.mark.parametrize("settle", [pytest.param(True, marks=pytest.mark.quick), False])
def test_a_guest_migrates_and_goes_on(guests: Guests, loop: LoopThread, settle: bool) -> None:
    """A booted guest goes on at the destination without booting and stays stopped at the source; its numbers agree."""
    with guests.start("source") as source, guests.start("destination", incoming=True) as destination:
        wait_until_idle(source)
        assert destination.console.text() == ""
        # not too fast: without settle there must be something left when QEMU first thinks of switching over
        settings = replace(PLAIN, settle=settle, max_bandwidth=128 * MIB)
        result = migrate(source, destination, LOOPBACK, settings, loop)
        assert (result.status, result.destination_status, result.error) == ("completed", "completed", "")
        assert judge_result(result, []).name is VerdictName.COMPLETED
        require_running(destination)
        assert "Linux version" not in destination.console.text()
        assert source.qmp.execute("query-status")["status"] == "postmigrate"
        statuses = [event.data["status"] for event in source.qmp.events if event.name == "MIGRATION"]
        assert (statuses[:2], statuses[-1]) == (["setup", "active"], "completed")
        assert result.clocks["source"].bound_ns < 50_000_000
        require_consistent(source, destination, result)
        require_accounted(result)
        require_limits(source, result, settle=settle)


def require_limits(source: QemuGuest, result: MigrationResult, *, settle: bool) -> None:
    """With settle, RAM was drained under the limit that holds back, and then let go; without, most of it came late."""
    limits = [
        line.message["arguments"]["downtime-limit"]
        for line in source.qmp.transcript
        if line.message.get("execute") == "migrate-set-parameters"
    ]
    # an idle guest may have nothing left at all: then it passes the limit that holds back by itself
    let_go = [PLAIN.downtime_limit_ms]
    assert limits in ([[HOLD_LIMIT_MS, *let_go], [HOLD_LIMIT_MS]] if settle else [let_go])
    assert (result.source["ram"]["downtime-bytes"] <= SETTLED_RAM) is settle


def test_there_and_on(guests: Guests, loop: LoopThread) -> None:
    """A guest that arrived can migrate on: the second migration is judged by its own events and traces."""
    with guests.start("hop 0") as first, guests.start("hop 1", incoming=True) as second:
        wait_until_idle(first)
        assert migrate(first, second, LOOPBACK, PLAIN, loop).status == "completed"
        with guests.start("hop 2", incoming=True) as third:
            result = migrate(second, third, LOOPBACK, PLAIN, loop)
            assert result.status == "completed"
            assert set(result.clocks) == {"source", "destination"}
            require_running(third)
            require_consistent(second, third, result)


@pytest.mark.quick
def test_switchover_ack_needs_the_return_path(guests: Guests, loop: LoopThread) -> None:
    """The combination is refused in QEMU's words, those of a QEMU that does not know it included; nothing was moved."""
    settings = replace(PLAIN, switchover_ack=True, return_path=False)
    with guests.start("source") as source, guests.start("destination", incoming=True) as destination:
        known = knows_capability(source, "switchover-ack")
        expected = "Capability 'switchover-ack' requires capability 'return-path'" if known else "'switchover-ack'"
        with pytest.raises(Refused) as caught:
            migrate(source, destination, LOOPBACK, settings, loop)
        assert expected in caught.value.why
        assert "migrate-set-capabilities" in caught.value.what
        assert source.qmp.execute("query-migrate").get("status", "none") == "none"
        assert source.qmp.execute("query-status")["running"] is True


@pytest.mark.quick
@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"no-such-parameter": 1}, "'no-such-parameter' is unexpected"),
        ({"downtime-limit": 1 << 40}, "downtime"),
        ({"multifd-channels": 0}, "multifd"),
    ],
)
def test_parameters_that_qemu_rejects(
    guests: Guests, loop: LoopThread, parameters: dict[str, object], words: str
) -> None:
    """A parameter that is unknown or out of range is refused in QEMU's words, before anything starts."""
    with guests.start("source") as source, guests.start("destination", incoming=True) as destination:
        with pytest.raises(Refused) as caught:
            migrate(source, destination, LOOPBACK, replace(PLAIN, parameters=parameters), loop)
        assert words in caught.value.why
        assert source.qmp.execute("query-migrate").get("status", "none") == "none"


@pytest.mark.quick
def test_default_settings_on_this_qemu(guests: Guests) -> None:
    """The defaults are held by a QEMU that knows the switchover bandwidth, and refused by name by one that does not."""
    with guests.start("source") as source:
        if "avail-switchover-bandwidth" in source.qmp.execute("query-migrate-parameters"):
            apply_settings(source.qmp, MigrationSettings(), "source")
            held = source.qmp.execute("query-migrate-parameters")
            assert held["avail-switchover-bandwidth"] == MigrationSettings().switchover_bandwidth
        else:
            with pytest.raises(Refused, match="'avail-switchover-bandwidth' is unexpected"):
                apply_settings(source.qmp, MigrationSettings(), "source")


class AfterSamples:
    """Does something once, after a migration gave some samples; not on the loop, which it may need."""

    def __init__(self, action: object, count: int = 3) -> None:
        self.action = action
        self.left = count
        self.at = 0.0

    def __call__(self, sample: Sample) -> None:
        self.left -= sample.reply.get("status") == "active"
        if self.left == 0 and not self.at:
            self.at = time.monotonic()
            assert callable(self.action)
            threading.Thread(target=self.action).start()


def kill(guest: QemuGuest) -> AfterSamples:
    return AfterSamples(lambda: os.kill(guest.pid, signal.SIGKILL))


@pytest.mark.parametrize("settle", [pytest.param(True, marks=pytest.mark.quick), False])
def test_a_source_that_is_killed(guests: Guests, loop: LoopThread, settle: bool) -> None:
    """A source that dies in a migration is a crash of the source within a second."""
    with guests.start("source") as source, guests.start("destination", incoming=True) as destination:
        killing = kill(source)
        with pytest.raises(GuestCrashed, match="the source QEMU on local ended with exit status -9"):
            migrate(source, destination, LOOPBACK, replace(SLOW, settle=settle), loop, on_sample=killing)
        assert 0 < time.monotonic() - killing.at < 1


@pytest.mark.quick
def test_a_destination_that_is_killed(guests: Guests, loop: LoopThread) -> None:
    """A destination that dies is a failure; the guest goes on at the source, and a second migration succeeds."""
    with guests.start("source") as source:
        wait_until_idle(source)
        with guests.start("destination", incoming=True) as destination:
            killing = kill(destination)
            result = migrate(source, destination, LOOPBACK, SLOW, loop, on_sample=killing)
            assert (result.status, result.destination_status) == ("failed", None)
            assert time.monotonic() - killing.at < 5
            assert destination.exit_status() == -9
        require_running(source)
        with guests.start("second destination", incoming=True) as second:
            assert migrate(source, second, LOOPBACK, PLAIN, loop).status == "completed"
            require_running(second)


@pytest.mark.quick
def test_a_migration_that_is_cancelled(guests: Guests, loop: LoopThread) -> None:
    """A migration that is cancelled ends as cancelled, and the guest goes on at the source.

    Without a return path: with one QEMU may fail the stream that it is told to cancel (docs/concepts.md, Faults).
    """
    settings = replace(SLOW, return_path=False)
    with guests.start("source") as source, guests.start("destination", incoming=True) as destination:
        wait_until_idle(source)
        cancel = AfterSamples(lambda: source.qmp.execute("migrate_cancel"))
        result = migrate(source, destination, LOOPBACK, settings, loop, on_sample=cancel)
        assert result.status == "cancelled"
        assert judge_result(result, []).name is VerdictName.CANCELLED
        require_running(source)


@pytest.mark.quick
def test_a_migration_without_an_end(guests: Guests, loop: LoopThread) -> None:
    """Within the deadline there is no end: the status is None, not long after it, with samples that show why."""
    with guests.start("source") as source, guests.start("destination", incoming=True) as destination:
        start = time.monotonic()
        result = migrate(source, destination, LOOPBACK, replace(SLOW, timeout_s=2), loop)
        assert result.status is None
        assert 2 <= time.monotonic() - start < 6
        verdict = judge_result(result, [])
        assert (verdict.name, verdict.side) == (VerdictName.HUNG, "source")
        assert "not converging: pending" in verdict.reason
        assert source.qmp.execute("query-migrate")["status"] == "cancelled"
        assert source.qmp.execute("query-status")["running"] is True
        remaining = [sample.reply["ram"]["remaining"] for sample in result.samples if "ram" in sample.reply]
        assert remaining[-1] > 10 * MIB


@pytest.mark.quick
def test_a_limit_that_is_raised(guests: Guests, loop: LoopThread) -> None:
    """A migration that would take minutes switches over with the limit that lets it, and that one is told."""
    with guests.start("source") as source, guests.start("destination", incoming=True) as destination:
        wait_until_idle(source)
        settings = replace(SLOW, downtime_steps_ms=(2, 1_000_000), downtime_step_s=2)
        result = migrate(source, destination, LOOPBACK, settings, loop)
        assert result.status == "completed"
        assert [limit.limit_ms for limit in result.limits] == [1, 2, 1_000_000]
        in_force = find_in_force(result.limits, result.statuses["source"])
        assert in_force is not None
        assert in_force.limit_ms == 1_000_000
        first, second = result.limits[1:]
        assert (second.told_ns - first.told_ns) / 1e9 == pytest.approx(2, abs=0.5)


def test_another_machine_is_no_destination(guests: Guests, loop: LoopThread) -> None:
    """A destination with less RAM rejects the stream: a failure, and the guest goes on at the source."""
    with (
        guests.start("source") as source,
        guests.start("destination", incoming=True, memory_mib=128) as destination,
    ):
        wait_until_idle(source)
        result = migrate(source, destination, LOOPBACK, PLAIN, loop)
        verdict = judge_result(result, [])
        assert (result.status, verdict.name, verdict.side) == ("failed", VerdictName.FAILED, "destination"), result
        require_running(source)
