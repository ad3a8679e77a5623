# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices plugged into a guest that runs, and taken from it: QEMU's words, and the guest that lets one go."""

from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.fakes import ScriptedQmp

from switchover.guests import hotplug
from switchover.guests.hotplug import find_error, plug_device, unplug_device
from switchover.guests.spec import VfioDevice
from switchover.hosts.qmp import QmpSession
from switchover.record.errors import Deadline, Refused


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("", ""),
        ("warning: vfio x: Could not enable error recovery for the device\r\n", ""),
        ("warning: slow\r\nError: vfio x: no such device\r\n", "vfio x: no such device"),
        ("Error: one\r\ntwo\r\n", "one\ntwo"),
    ],
)
def test_errors_of_the_human_monitor(answer: str, error: str) -> None:
    """A warning is no error; an error is told in QEMU's words."""
    assert find_error(answer) == error


def make_qmp(**answers: Any) -> tuple[ScriptedQmp, QmpSession]:
    renamed = {"human_monitor_command": "human-monitor-command"}
    scripted = ScriptedQmp({renamed.get(name, name): answer for name, answer in answers.items()})
    qmp = scripted.session()
    qmp.events = []
    return scripted, qmp


def event(device: str) -> Any:
    return SimpleNamespace(name="DEVICE_DELETED", data={"device": device})


def test_a_device_that_qemu_rejects() -> None:
    """Is refused in QEMU's words."""
    _, qmp = make_qmp(human_monitor_command=lambda _: "Error: device_add not allowed while migrating\r\n")
    with pytest.raises(Refused, match="rejected the device dut") as caught:
        plug_device(qmp, VfioDevice("dut", "/sys/a"), 1)
    assert caught.value.why == "device_add not allowed while migrating"


def test_unplugging_waits_for_the_guest() -> None:
    """QEMU says that a device is gone when the guest has let it go; what it said before, or of another, is not it."""
    scripted, qmp = make_qmp()
    scripted.answers["device_del"] = lambda _: qmp.events.extend([event("other"), event("dut")])
    qmp.events.append(event("dut"))
    unplug_device(qmp, "dut", [])
    assert scripted.commands == [("device_del", {"id": "dut"})]


def test_a_device_that_the_guest_does_not_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is told when time is over."""
    monkeypatch.setattr(hotplug, "_UNPLUG_S", 0.1)
    _, qmp = make_qmp(device_del=lambda _: {})
    qmp.events.append(event("dut"))
    with pytest.raises(Deadline, match="let dut go"):
        unplug_device(qmp, "dut", [])
