# SPDX-License-Identifier: GPL-2.0-or-later
"""Each knob of the reference device shows in what is measured. One guest migrates from knob to knob."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from switchover.devices.reference import Knobs
from switchover.guests.spec import GuestSpec
from switchover.hosts.loop import LoopThread
from switchover.migration.settings import MigrationSettings
from switchover.record.record import VerdictName
from switchover.record.units import MIB
from switchover.run.pair import Pair
from switchover.run.passage import Passage
from switchover.run.traveller import start_traveller
from switchover.run.verdict import judge_passage
from switchover.scenarios.case import Case, DeviceSpec, SideSpec

KNOBS = Knobs(initial_bytes=4 * MIB, stop_copy_bytes=4 * MIB)
TURNED: dict[str, dict[str, Any]] = {
    "save_bytes_per_sec": {"save_bytes_per_sec": 8 * MIB},
    "load_bytes_per_sec": {"load_bytes_per_sec": 4 * MIB},
    "dirty_bytes_per_sec": {"dirty_bytes_per_sec": 2 * MIB},
    "load_initial_ms": {"load_initial_ms": 1500},
    "state_change_ms": {"state_change_ms": 150},
    "p2p": {"p2p": False},
    "sizes": {"initial_bytes": 6 * MIB, "stop_copy_bytes": 2 * MIB},
}
SETTINGS = MigrationSettings(downtime_limit_ms=10_000, settle_vfio_bytes=KNOBS.initial_bytes)


def _side(changes: dict[str, Any]) -> SideSpec:
    return SideSpec(GuestSpec(memory_mib=192), (DeviceSpec(knobs=replace(KNOBS, **changes)),))


@pytest.fixture(scope="module")
def passages(pair: Pair) -> Iterator[dict[str, Passage]]:
    """By knob: a migration between two devices that both have it turned."""
    found = {}
    with LoopThread() as loop, start_traveller(_side(TURNED["save_bytes_per_sec"]), pair, loop) as traveller:
        for (name, changes), (_, following) in pairwise([*TURNED.items(), ("", {})]):
            # the device that it arrives at offers what the next one needs; the other knobs are this one's
            offered = {key: value for key, value in following.items() if key == "p2p"}
            arrival = {**{key: value for key, value in changes.items() if key != "p2p"}, **offered}
            case = Case(name, _side(changes), _side(arrival), SETTINGS, heartbeat_us=0)
            traveller.take_knobs(case.source)
            found[name] = traveller.attempt(case)
            verdict = judge_passage(found[name])
            assert verdict.name is VerdictName.COMPLETED, (name, verdict)
        yield found


@pytest.fixture(autouse=True)
def clean() -> None:
    """The guest lives on from test to test; its end is looked at by the next module."""


def _value(passage: Passage, name: str) -> float:
    (value,) = (number.value for number in passage.measurements if number.name == name)
    assert value is not None
    return value


def _part(passage: Passage, *names: str) -> float:
    return float(sum(part["seconds"] for part in passage.downtime["parts"] if part["name"] in names))


def test_saving_takes_its_time(passages: dict[str, Passage]) -> None:
    """4 MiB of stop-copy at 8 MiB/s take half a second of the downtime to save, but for the timers' grain."""
    assert _part(passages["save_bytes_per_sec"], "save iterable") >= 0.45
    assert _part(passages["sizes"], "save iterable") < 0.45


def test_loading_takes_its_time(passages: dict[str, Passage]) -> None:
    """4 MiB at 4 MiB/s take half a second to load: the device works ahead by 2 MiB before they come."""
    assert _value(passages["load_bytes_per_sec"], "downtime.explained") >= 0.45


def test_dirty_state_is_read_again(passages: dict[str, Passage]) -> None:
    """State that becomes dirty in pre-copy is moved on top of the initial bytes."""
    assert _value(passages["dirty_bytes_per_sec"], "bytes.vfio.precopy") > KNOBS.initial_bytes
    assert _value(passages["save_bytes_per_sec"], "bytes.vfio.precopy") == KNOBS.initial_bytes


def test_the_destination_takes_its_time_for_the_initial_bytes(passages: dict[str, Passage]) -> None:
    """The write that completes them sleeps, and the migration cannot end before."""
    assert _value(passages["load_initial_ms"], "time.total") >= 1.5


def test_state_changes_take_their_time(passages: dict[str, Passage]) -> None:
    """State ioctls of the downtime take as long as their arcs: 150 ms each, and from RESUMING to RUNNING are two."""
    transitions = passages["state_change_ms"].downtime["transitions"]
    seconds = {
        one["state"]: (one["end_ns"] - one["start_ns"]) / 1e9 for one in transitions if one["end_ns"] is not None
    }
    assert seconds["PRE_COPY_P2P"] >= 0.15
    assert seconds["STOP_COPY"] >= 0.15
    assert seconds["RUNNING"] >= 0.3  # the device that it arrives at has no P2P states


def test_without_p2p_there_are_no_p2p_states(passages: dict[str, Passage]) -> None:
    """A device that does not offer P2P goes straight from PRE_COPY to STOP_COPY."""
    assert passages["p2p"].states["source"] == ["pre-copy", "stop-copy", "stop"]
    assert "pre-copy-p2p" in passages["sizes"].states["source"]


def test_sizes_are_bytes_of_the_stream(passages: dict[str, Passage]) -> None:
    """Initial and stop-copy bytes are moved as set, to the byte."""
    moved = [_value(passages["sizes"], f"bytes.vfio.{phase}") for phase in ("precopy", "stop_copy")]
    assert moved == [6 * MIB, 2 * MIB]
