# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest is told to do meanwhile, and what counts as not done, or as rejected."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.fakes import FaultyHost

from switchover.guests.qemu import QemuGuest
from switchover.guests.spec import GuestSpec, Launch, VfioDevice
from switchover.migration.phases import NotMade, Rejected
from switchover.record.errors import CommandFailed, Deadline, HostLost, Refused
from switchover.runner import guest_doings
from switchover.runner.guest_doings import plug, reboot, reset_device, suspend, unplug
from switchover.runner.side import Side
from switchover.scenarios.case import DeviceSpec, SideSpec

SPEC = SideSpec(devices=(DeviceSpec("dut"), DeviceSpec("other")))


def make_shell(error: Exception | None = None, tell: Callable[[], None] = lambda: None) -> FaultyHost:
    def label(_: str, argument: str) -> str:
        tell()
        return argument

    return FaultyHost(label, "", fail_at=0 if error else -1, error=error or CommandFailed("no"))


class Qemu:
    """A guest that is plugged and unplugged on paper."""

    def __init__(self, error: Exception | None = None) -> None:
        self.log: list[str] = []
        self.error = error
        self.label = "the source QEMU"
        self.qmp = SimpleNamespace(events=[])
        self.code: int | None = None
        self.launch = Launch(GuestSpec(), tuple(VfioDevice(device.id, "/sys/x") for device in SPEC.devices))

    def require_alive(self) -> None:
        """It always is."""

    def exit_status(self) -> int | None:
        return self.code

    def unplug(self, device_id: str) -> None:
        self.note(f"unplug {device_id}")

    def plug(self, device: VfioDevice, number: int) -> None:
        self.note(f"plug {device.id} into port {number}")

    def note(self, line: str) -> None:
        self.log.append(line)
        if self.error:
            raise self.error


def make_side(error: Exception | None = None) -> tuple[Side, Qemu]:
    qemu = Qemu(error)
    devices = tuple(cast(Any, name) for name in ("first", "second"))
    return Side(SPEC, devices, cast(QemuGuest, qemu)), qemu


def test_a_device_goes_and_comes() -> None:
    """It keeps its slot; in between the guest has the others only."""
    side, qemu = make_side()
    unplug(side, "dut")
    assert [spec.id for spec, _ in side.present] == ["other"]
    assert side.absent == {"dut"}
    assert side.guest.launch.present == (VfioDevice("other", "/sys/x"),)
    plug(side, "dut")
    assert qemu.log == ["unplug dut", "plug dut into port 1"]
    assert (side.absent, len(side.present)) == (frozenset(), 2)


@pytest.mark.parametrize("act", [unplug, plug])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Refused("QEMU rejected it", why="device_del not allowed while migrating"), Rejected),
        (Deadline("the guest does not let it go"), NotMade),
    ],
)
def test_a_device_that_stays_as_it_is(act: Callable[[Side, str], None], error: Exception, told: type) -> None:
    """QEMU's own words are a rejection; a guest that does not let go is none. Neither changes what the guest has."""
    side, qemu = make_side(error)
    qemu.launch = replace(qemu.launch, absent=frozenset({"dut"} if act is plug else ()))
    before = side.absent
    with pytest.raises(told) as caught:
        act(side, "dut")
    assert getattr(error, "why", "") in str(caught.value)
    assert side.absent == before


@pytest.mark.parametrize("name", ["RESET", "SHUTDOWN"])
def test_a_guest_is_told_to_reboot(name: str) -> None:
    """It answers first, and has begun when QEMU says that the guest resets the machine, or ends with it."""
    qemu = Qemu()
    qemu.qmp.events.append(SimpleNamespace(name="RESET", data={"guest": True}))
    by_guest = SimpleNamespace(name=name, data={"guest": True})
    shell = make_shell(tell=lambda: qemu.qmp.events.append(by_guest))
    reboot(cast(QemuGuest, qemu), cast(Any, shell))
    assert "reboot -f" in shell.log[0]
    assert shell.log[0].endswith("&")


def test_a_guest_that_ends_with_its_reboot() -> None:
    """Has rebooted, as far as it could, whether its QEMU said so or not."""
    qemu = Qemu()
    qemu.code = 0
    reboot(cast(QemuGuest, qemu), cast(Any, make_shell()))


def test_a_guest_that_does_not_reboot(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reset by somebody else is none of its own."""
    monkeypatch.setattr(guest_doings, "_EVENT_S", 0.1)
    qemu = Qemu()
    by_host = SimpleNamespace(name="RESET", data={"guest": False})
    shell = make_shell(tell=lambda: qemu.qmp.events.append(by_host))
    with pytest.raises(NotMade, match="does not reboot"):
        reboot(cast(QemuGuest, qemu), cast(Any, shell))


def test_a_guest_that_suspends_itself() -> None:
    """It has when QEMU says so; an event of before is none."""
    qemu = Qemu()
    event = SimpleNamespace(name="SUSPEND")
    qemu.qmp.events.append(event)
    shell = make_shell(tell=lambda: qemu.qmp.events.append(event))
    suspend(cast(QemuGuest, qemu), cast(Any, shell))
    assert "/sys/power/state" in shell.log[0]


def test_a_guest_that_does_not_suspend_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is told."""
    monkeypatch.setattr(guest_doings, "_EVENT_S", 0.1)
    qemu = Qemu()
    qemu.qmp.events.append(SimpleNamespace(name="SUSPEND"))
    with pytest.raises(NotMade, match="does not suspend itself"):
        suspend(cast(QemuGuest, qemu), cast(Any, make_shell()))


def test_the_device_that_is_reset() -> None:
    """Is the one that the case names, by its number among those that the guest has."""
    side, qemu = make_side()
    shell = make_shell()
    reset_device(side, "other", cast(Any, shell))
    qemu.launch = replace(qemu.launch, absent=frozenset({"dut"}))
    reset_device(side, "other", cast(Any, shell))
    assert ["shift 1;" in line for line in shell.log] == [True, False]
    assert all("echo 1 >../reset && echo 1 >reinit" in line for line in shell.log)


@pytest.mark.parametrize("error", [CommandFailed("no such file"), HostLost("the connection broke")])
def test_a_guest_that_cannot_be_told(error: Exception) -> None:
    """The fault is not made, whatever is in the way."""
    side, qemu = make_side()
    for act in (partial(reboot, cast(QemuGuest, qemu)), partial(suspend, cast(QemuGuest, qemu))):
        with pytest.raises(NotMade):
            act(cast(Any, make_shell(error)))
    with pytest.raises(NotMade):
        reset_device(side, "dut", cast(Any, make_shell(error)))
