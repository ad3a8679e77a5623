# SPDX-License-Identifier: GPL-2.0-or-later
"""A passage: what is read from both sides once the migration has ended."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.builders import EXACT, make_answers, make_result, make_truth, read_golden

from switchover.guests.qemu import GuestKeys
from switchover.hosts.clock import ClockOffset
from switchover.hosts.qmp import Event
from switchover.migration.settings import MigrationSettings
from switchover.record.errors import GuestSilent
from switchover.record.measurement import Check
from switchover.record.units import MIB
from switchover.run import passage
from switchover.run.passage import Migrated, examine, list_states
from switchover.run.side import Side

KEYS = GuestKeys("", "", "", "")
CLOCKS = {"source": EXACT, "destination": ClockOffset(-880_000_000, 0, 15)}
STATES = {
    "source": ["pre-copy", "pre-copy-p2p", "stop-copy", "stop"],
    "destination": ["resuming", "running-p2p", "running"],
}
REPLY = {
    "downtime": 256,
    "total-time": 10_000,
    "vfio": {"transferred": 65 * MIB},
    "ram": {"precopy-bytes": 10 * MIB, "downtime-bytes": 1000, "transferred": 75 * MIB + 2000},
}
BEFORE = (make_truth("RUNNING"), make_truth("RUNNING"))
AFTER = (
    make_truth(
        "RUNNING", "PRE_COPY", "PRE_COPY_P2P", "STOP_COPY", "STOP",
        precopy_bytes_read=64 * MIB, stop_copy_bytes_read=MIB,
    ),
    make_truth("RUNNING", "RESUMING", "STOP", "RUNNING_P2P", "RUNNING", bytes_written=65 * MIB),
)  # fmt: skip


def make_side(name: str, truth: Any, console: str = "switchover-guest: ready\n") -> Side:
    """A side whose log is the golden one."""
    host = SimpleNamespace(read_file=lambda path: read_golden(path).encode())
    guest = SimpleNamespace(
        side=name,
        host=host,
        files=SimpleNamespace(log=name),
        console=SimpleNamespace(text=lambda: console),
    )
    return cast(Side, SimpleNamespace(device=SimpleNamespace(read_truth=lambda: truth), guest=guest))


@pytest.fixture
def guest_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passage, "_check_guest", lambda *_: [Check("guest", True, "", "")])


def run_examine(**changes: Any) -> passage.Passage:
    values = {"status": "completed", "source": REPLY, "clocks": CLOCKS} | changes
    migrated = Migrated(make_result(**values), STATES, BEFORE)
    sides = make_side("source", AFTER[0]), make_side("destination", AFTER[1])
    return examine(*sides, migrated, make_answers(), MigrationSettings(), KEYS)


@pytest.mark.usefixtures("guest_check")
def test_a_real_migration_is_in_order() -> None:
    """The golden migration passes all checks, with its downtime explained and its bytes counted."""
    found = run_examine()
    assert [check.name for check in found.checks if not check.passed] == []
    assert len(found.checks) == 5 + 2 + 1 + 2
    values = {number.name: number.value for number in found.measurements}
    assert values["downtime.explained"] == pytest.approx(0.231569)
    assert values["bytes.vfio.precopy"] == 64 * MIB
    assert found.downtime["parts"][0]["name"] == "stop"


@pytest.mark.usefixtures("guest_check")
def test_states_are_compared_side_by_side() -> None:
    """Each side's events are compared with its own device's history."""
    migrated = Migrated(
        make_result(source=REPLY, clocks=CLOCKS),
        {"source": STATES["destination"], "destination": STATES["source"]},
        BEFORE,
    )
    sides = make_side("source", AFTER[0]), make_side("destination", AFTER[1])
    found = examine(*sides, migrated, make_answers(), MigrationSettings(), KEYS)
    assert [check.passed for check in found.checks if "states by events" in check.name] == [False, False]


@pytest.mark.usefixtures("guest_check")
def test_an_oops_on_either_console_is_found() -> None:
    """Both consoles are looked at."""
    migrated = Migrated(make_result(source=REPLY, clocks=CLOCKS), STATES, BEFORE)
    sides = make_side("source", AFTER[0], "BUG: x\n"), make_side("destination", AFTER[1])
    found = examine(*sides, migrated, make_answers(), MigrationSettings(), KEYS)
    assert [check.name for check in found.checks if not check.passed] == ["source: guest console is free of oopses"]


def test_without_completion_nothing_is_asked() -> None:
    """A migration that did not complete has its result and states, no numbers and no checks."""
    found = run_examine(status="failed")
    assert (found.measurements, found.checks) == ((), ())
    assert found.downtime == {"reason": "the migration did not complete"}
    assert found.states == STATES


@pytest.mark.usefixtures("guest_check")
def test_within_one_host_the_clocks_do_not_matter() -> None:
    """On one host spans are exact, whatever its clock's offset to the controller and the offset's bound."""
    sides = make_side("source", AFTER[0]), make_side("destination", AFTER[1])
    vars(sides[1].guest)["host"] = sides[0].guest.host
    clocks = {"source": ClockOffset(5_000, 9_000, 15), "destination": ClockOffset(7_000, 9_000, 15)}
    migrated = Migrated(make_result(source=REPLY, clocks=clocks), STATES, BEFORE)
    found = examine(*sides, migrated, make_answers(), MigrationSettings(), KEYS)
    number = next(number for number in found.measurements if number.name == "downtime.explained")
    assert number.bound == 0
    # the golden logs are of two hosts: as if of one, the destination's clock is simply behind
    assert number.value == pytest.approx(0.231569 - 0.88)


def test_a_guest_that_is_silent_fails_a_check() -> None:
    """A guest that does not answer after a migration is a failed check of the product, not of the environment."""

    def open_ssh(keys: GuestKeys) -> None:
        raise GuestSilent("The guest of the destination QEMU does not answer over SSH.")

    side = make_side("destination", AFTER[1])
    vars(side.guest)["open_ssh"] = open_ssh
    (check,) = passage._check_guest(side, make_answers(), KEYS)
    assert not check.passed
    assert "does not answer over SSH" in check.observed


def test_states_from_events() -> None:
    """Only VFIO_MIGRATION events count, in their order."""
    event = Event("VFIO_MIGRATION", {"device-state": "stop"}, 0, 0)
    events = [event, Event("STOP", {}, 0, 0), replace(event, data={"device-state": "running"})]
    assert list_states(events) == ["stop", "running"]
