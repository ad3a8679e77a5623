# SPDX-License-Identifier: GPL-2.0-or-later
"""Each knob of the reference device shows in what is measured."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.lab.case_runner import CaseRunner

from switchover import MIB, DeviceSpec, Knobs, MigrationSettings, Record, VerdictName, build_case

KNOBS = Knobs(initial_bytes=4 * MIB, stop_copy_bytes=4 * MIB)
TURNED: dict[str, dict[str, Any]] = {
    "none": {},
    "save_bytes_per_sec": {"save_bytes_per_sec": 4 * MIB},
    "load_bytes_per_sec": {"load_bytes_per_sec": 2 * MIB},
    "dirty_bytes_per_sec": {"dirty_bytes_per_sec": 2 * MIB},
    "load_initial_ms": {"load_initial_ms": 4000},
    "state_change_ms": {"state_change_ms": 150},
    "p2p": {"p2p": False},
    "sizes": {"initial_bytes": 6 * MIB, "stop_copy_bytes": 2 * MIB},
}
SETTINGS = MigrationSettings(downtime_limit_ms=10_000, settle_vfio_bytes=KNOBS.initial_bytes)


@pytest.fixture
def turn(run_case: CaseRunner) -> Callable[[str], Record]:
    """A migration between two devices that both have a knob turned; its record, by the name of the knob."""

    def run(name: str) -> Record:
        device = DeviceSpec(knobs=replace(KNOBS, **TURNED[name]))
        record = run_case(build_case(name, device=device, migration=SETTINGS, heartbeat_us=0))
        assert record.verdict.name is VerdictName.COMPLETED, (name, record.verdict)
        return record

    return run


def _value(record: Record, name: str) -> float:
    value = record.measured(name)
    assert value is not None
    return value


def _part(record: Record, *names: str) -> float:
    return float(sum(part["seconds"] for part in record.downtime["parts"] if part["name"] in names))


def _takes(turned: float, without: float, seconds: float) -> None:
    """A knob that makes a device slower by ``seconds`` does so, and without it the same migration is quicker by half of
    that at least: the rest is for what two migrations of a lab differ by anyway.
    """
    assert turned >= seconds
    assert turned - without >= seconds / 2


def test_saving_takes_its_time(turn: Callable[[str], Record]) -> None:
    """4 MiB of stop-copy at 4 MiB/s take a second of the downtime to save, but for the timers' grain."""
    turned, without = (_part(turn(name), "save iterable") for name in ("save_bytes_per_sec", "none"))
    _takes(turned, without, 0.9)


def test_loading_takes_its_time(turn: Callable[[str], Record]) -> None:
    """4 MiB at 2 MiB/s take a second of the downtime to load: the device works ahead by 2 MiB before they come."""
    turned, without = (_value(turn(name), "downtime.explained") for name in ("load_bytes_per_sec", "none"))
    _takes(turned, without, 0.9)


def test_dirty_state_is_read_again(turn: Callable[[str], Record]) -> None:
    """State that becomes dirty in pre-copy is moved on top of the initial bytes."""
    assert _value(turn("dirty_bytes_per_sec"), "bytes.vfio.precopy") > KNOBS.initial_bytes
    assert _value(turn("none"), "bytes.vfio.precopy") == KNOBS.initial_bytes


def test_the_destination_takes_its_time_for_the_initial_bytes(turn: Callable[[str], Record]) -> None:
    """The write that completes them sleeps, and the migration cannot end before."""
    turned, without = (_value(turn(name), "time.total") for name in ("load_initial_ms", "none"))
    _takes(turned, without, 4.0)


def test_state_changes_take_their_time(turn: Callable[[str], Record]) -> None:
    """State ioctls of the downtime take as long as their arcs: 150 ms each, and from RESUMING to RUNNING are two."""
    turned, without = (_state_changes(turn(name)) for name in ("state_change_ms", "none"))
    _takes(turned["PRE_COPY_P2P"], without["PRE_COPY_P2P"], 0.15)
    _takes(turned["STOP_COPY"], without["STOP_COPY"], 0.15)
    arrived = [seconds["RUNNING_P2P"] + seconds["RUNNING"] for seconds in (turned, without)]
    _takes(arrived[0], arrived[1], 0.3)


def _state_changes(record: Record) -> dict[str, float]:
    """Seconds, by the state that was set."""
    return {
        one["state"]: (one["end_ns"] - one["start_ns"]) / 1e9
        for one in record.downtime["transitions"]
        if one["end_ns"] is not None
    }


def test_without_p2p_there_are_no_p2p_states(turn: Callable[[str], Record]) -> None:
    """A device that does not offer P2P goes straight from PRE_COPY to STOP_COPY."""
    assert turn("p2p").states["source"] == ["pre-copy", "stop-copy", "stop"]
    assert "pre-copy-p2p" in turn("none").states["source"]


@pytest.mark.quick
def test_sizes_are_bytes_of_the_stream(turn: Callable[[str], Record]) -> None:
    """Initial and stop-copy bytes are moved as set, to the byte."""
    record = turn("sizes")
    moved = [_value(record, f"bytes.vfio.{phase}") for phase in ("precopy", "stop_copy")]
    assert moved == [6 * MIB, 2 * MIB]
