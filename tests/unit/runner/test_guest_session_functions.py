# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest session with virtual functions: they are there before a guest gets one, and until no guest has one."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from tests.unit.runner.guest_sessions import CASE, COMPLETED, LOOP, Watch, World, make_pair, make_world

from switchover.devices.binding import FunctionRequest
from switchover.hosts.host import Host
from switchover.record.errors import NotReady
from switchover.runner import guest_session
from switchover.runner.guest_session import start_guest_session
from switchover.scenarios.case import DeviceSpec, FunctionSpec, SideSpec

VIRTUAL = SideSpec(devices=(FunctionSpec(pci="0000:04:00.0", vf=0),))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = make_world(monkeypatch)

    @contextlib.contextmanager
    def start(host: Host, requests: Sequence[FunctionRequest]) -> Iterator[None]:
        world.note(f"make {len(requests)} on {host.name}")
        try:
            yield
        finally:
            world.note(f"remove {len(requests)} on {host.name}")

    monkeypatch.setattr(guest_session, "start_virtual_functions", start)
    return world


def test_virtual_functions_outlive_every_side(world: World) -> None:
    """Those of a host that the guest left stay until its end: both sides may be of one host, and it may come back."""
    case = replace(CASE, source=VIRTUAL, destination=VIRTUAL)
    world.outcomes = [COMPLETED, COMPLETED]
    with start_guest_session(VIRTUAL, make_pair(world), LOOP, Watch(world)) as made:
        made.attempt(case)
        made.attempt(case, "back")
        world.note("in use")
    steps = [line for line in world.log if line.startswith(("make", "remove", "start", "end", "in use"))]
    assert steps == [
        "make 1 on a",
        "start source on a",
        "make 1 on b",
        "start destination on b",
        "end source",
        "make 1 on a",
        "start back on a",
        "end destination",
        "in use",
        "end back",
        "remove 1 on a",
        "remove 1 on b",
        "remove 1 on a",
    ]


def test_functions_that_cannot_be_made_start_nothing(world: World) -> None:
    """No QEMU is started for a guest whose virtual functions cannot be had."""
    world.fail = {"make 1 on a": NotReady("too few")}
    with pytest.raises(NotReady), start_guest_session(VIRTUAL, make_pair(world), LOOP, Watch(world)):
        raise AssertionError("it was started")
    assert world.log == ["make 1 on a"]


def test_a_function_has_no_knobs_to_take(world: World) -> None:
    """A guest takes the knobs of the next case for its reference devices only."""
    both = SideSpec(devices=(*VIRTUAL.devices, DeviceSpec("second")))
    with start_guest_session(both, make_pair(world), LOOP, Watch(world)) as made:
        made.take_knobs(both)
    assert [line for line in world.log if line.startswith("knobs")] == ["knobs of source: fail_at none"]
