# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest keeps from one migration to the next: its connection, and its devices where they offer the same."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.runner.guest_sessions import CASE, COMPLETED, CUT, FAILED, World, make_world, travel

from switchover.devices.reference import Knobs
from switchover.guests.qemu import QemuGuest
from switchover.migration.phases import Action, Phase
from switchover.record.errors import Refused, UsageError
from switchover.runner.guest_session import GuestSession, offers_of
from switchover.runner.listener import RunListener
from switchover.scenarios.case import AnyDevice, DeviceSpec, FunctionSpec, SideSpec, with_one_device
from switchover.scenarios.faults import Fault

SLOW = replace(CASE, faults=(Fault(Action.SLOW_LINK, Phase.ACTIVE),))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return make_world(monkeypatch)


def test_the_connection_goes_along(world: World) -> None:
    """The guest is logged in to once, where it boots, for all its migrations; at its end the connection is closed."""
    world.outcomes = [COMPLETED, FAILED, COMPLETED]

    def use(made: GuestSession) -> None:
        for number in range(3):
            made.attempt(CASE)
            assert [login.name for login in world.logins] == ["a"], f"after migration {number + 1}"
        assert world.logins[0].connected
        assert made.migrations == 2

    travel(world, use)
    assert not world.logins[0].connected


def test_one_that_broke_is_made_anew_before_the_migration(world: World) -> None:
    """What breaks between two migrations is no matter of the next one."""
    world.outcomes = [COMPLETED, COMPLETED]

    def use(made: GuestSession) -> None:
        made.attempt(CASE)
        world.logins[0].connected = False
        made.attempt(CASE)

    travel(world, use)
    assert [login.name for login in world.logins] == ["a", "b"]


@pytest.mark.parametrize("case", [CUT, SLOW])
def test_a_link_is_disturbed_without_the_connection_on_it(world: World, case: Any) -> None:
    """A connection that runs through the other host is made anew through the guest's own, before the links are
    disturbed: the case would disturb it too. One that runs through the guest's host is left alone.
    """
    world.outcomes = [FAILED, COMPLETED, FAILED]

    def use(made: GuestSession) -> None:
        made.attempt(case)
        assert [login.name for login in world.logins] == ["a"]
        made.attempt(CASE)
        assert [login.name for login in world.logins] == ["a"]
        made.attempt(case)
        assert [login.name for login in world.logins] == ["a", "b"]
        assert [login.connected for login in world.logins] == [False, True]

    travel(world, use)


def test_sides_are_told_by_where_the_guest_is(world: World) -> None:
    """A QEMU that was a destination is the source of the next migration, and its evidence is that of a source."""
    world.outcomes = [COMPLETED, COMPLETED]

    def use(made: GuestSession) -> None:
        made.attempt(CASE, "hop 1")
        assert made.side.guest.side == "hop 1"
        world.log.clear()
        made.attempt(CASE, "hop 2")

    travel(world, use)
    assert [line for line in world.log if line.startswith(("keep", "end"))] == [
        "keep source",
        "end hop 1",
        "keep hop 2",
        "end hop 2",
    ]


def test_the_listener_of_the_next_case_is_told(world: World) -> None:
    """What a case's own listener is told ends with it, also of the QEMU that was started before."""
    world.outcomes = [COMPLETED]
    told: list[str] = []

    class Releases(RunListener):
        def release(self, guest: QemuGuest, name: str) -> None:
            told.append(name)

    def use(made: GuestSession) -> None:
        made.listener = Releases()
        made.attempt(CASE)

    travel(world, use)
    assert told == ["source", "destination"]


def side_of(*devices: AnyDevice) -> SideSpec:
    return SideSpec(devices=devices)


def take(world: World, wanted: SideSpec, source: SideSpec = CASE.source) -> list[str]:
    """What is done for the next case's devices, after a first migration that did not complete."""
    world.outcomes = [FAILED]

    def use(made: GuestSession) -> None:
        made.attempt(replace(CASE, source=source, destination=source))
        world.log.clear()
        made.take_devices(wanted)
        assert made.side.spec.devices == wanted.devices
        assert made.before is not None
        done.extend(world.log)

    done: list[str] = []
    travel(world, use, source=source)
    return done


@pytest.mark.parametrize(
    "device",
    [
        DeviceSpec(knobs=Knobs(pre_copy=False)),
        DeviceSpec(knobs=Knobs(p2p=False)),
        DeviceSpec(type="refdev-16vec"),
        DeviceSpec(properties={}),
        DeviceSpec(allow_pre_copy="off"),
        DeviceSpec(knobs=Knobs(dma_pages_per_sec=7)),
        DeviceSpec(id="other"),
    ],
)
def test_devices_that_offer_something_else_are_exchanged(world: World, device: DeviceSpec) -> None:
    """What a device in use does not change is had by another one, which the guest's driver takes and gives a state."""
    done = take(world, side_of(device))
    assert done[:3] == ["exchange devices of source", "1 devices taken", "seed 0"]
    assert ("enable dma 0" in done) is (device.knobs.dma_pages_per_sec > 0)
    assert not any(line.startswith(("knobs", "canary")) for line in done)


@pytest.mark.parametrize("knobs", [Knobs(), Knobs(fail_at="read:7"), Knobs(save_bytes_per_sec=5, irq_rates=(3,))])
def test_devices_that_offer_the_same_stay(world: World, knobs: Knobs) -> None:
    """They take the knobs of the case, and keep their state."""
    assert take(world, with_one_device(knobs)) == [f"knobs of source: fail_at {knobs.fail_at}"]


def test_dma_of_another_rate_is_a_knob(world: World) -> None:
    """Only whether a device does DMA at all is decided when its driver takes it."""
    done = take(world, with_one_device(Knobs(dma_pages_per_sec=9)), with_one_device(Knobs(dma_pages_per_sec=7)))
    assert done == ["knobs of source: fail_at none"]


@pytest.mark.parametrize(
    "wanted", [side_of(), side_of(DeviceSpec(), DeviceSpec("more")), side_of(FunctionSpec(pci="0000:01:00.0"))]
)
def test_devices_that_cannot_be_exchanged(world: World, wanted: SideSpec) -> None:
    """More or fewer of them, or PCI functions, are an error before anything is unplugged."""
    with pytest.raises(UsageError):
        take(world, wanted)
    assert "exchange devices of source" not in world.log


def test_a_device_that_qemu_rejects(world: World) -> None:
    """The error passes, and the guest is released."""
    world.fail = {"exchange devices of source": Refused("no")}
    with pytest.raises(Refused):
        take(world, with_one_device(Knobs(pre_copy=False)))
    assert world.log[-1] == "end source"


def test_what_is_offered() -> None:
    """Knobs that can be set while a device is open are no part of it."""
    assert offers_of(with_one_device(Knobs())) == offers_of(with_one_device(Knobs(initial_bytes=4096)))
    assert offers_of(with_one_device(Knobs())) != offers_of(with_one_device(Knobs(migration=False)))
