# SPDX-License-Identifier: GPL-2.0-or-later
"""One side of a case: whatever fails at whichever step, device and guest are released, last first."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.fakes import FakeMonitor, FaultyHost
from tests.unit.scripted_host import ScriptedHost, answer_questions

from switchover.devices.mediated import MediatedDevice
from switchover.devices.reference import Knobs, ReferenceDevice
from switchover.guests.qemu import GuestKeys, QemuGuest
from switchover.guests.spec import GuestSpec, Launch, VfioDevice
from switchover.hosts.loop import LoopThread
from switchover.record.errors import CommandFailed, HostLost, Refused, SwitchoverError
from switchover.runner import side as side_module
from switchover.runner.host_pair import Endpoint, HostPair
from switchover.runner.side import Side, exchange_devices, start_side
from switchover.scenarios.case import DeviceSpec, SideSpec, make_mediated, with_one_device

KEYS = GuestKeys("ssh-ed25519 AAAA login", "private", "host private", "host public")
SPEC = with_one_device(Knobs())
STEPS = ["make device", "set knobs", "make files", "start qemu", "follow console", "open monitor"]


def label(method: str, argument: str) -> str:
    match method:
        case "run" if argument.endswith("/create"):
            return "make device"
        case "run" if "/remove" in argument:
            return "remove device"
        case "run" if "knobs" in argument:
            return "set knobs"
        case "run" if "nobody-1" in argument:
            return "find parent"
        case "run" if "pkill" in argument:
            return "end processes"
        case "run":
            return "make files" if "mkdir" in argument else "remove files"
        case "start":
            return "start qemu"
        case "open_stream":
            return "follow console"
        case "open_unix":
            return "open monitor"
    raise AssertionError(f"{method} {argument}")


def answer_knobs(argv: Sequence[str]) -> bytes:
    return "".join(f"{word.partition('=')[2]}\n" for word in argv if "=" in word and " " not in word).encode()


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[FakeMonitor]:
    with FakeMonitor(tmp_path / "qmp") as running:
        yield running


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    with LoopThread() as thread:
        yield thread


def run_side(host: FaultyHost, loop: LoopThread) -> None:
    with start_side(SPEC, host, "source", KEYS, loop, incoming=False) as side:
        (passed,) = side.guest.launch.devices
        assert passed.sysfsdev == side.devices[0].mediated.sysfs
        assert dict(passed.properties) == dict(SPEC.devices[0].properties)
        host.log.append("in use")


def test_all_is_released_in_reverse_order(monitor: FakeMonitor, loop: LoopThread) -> None:
    """QEMU ends before its files go, and before the device is removed: removing an open device would wait."""
    host = FaultyHost(label, monitor.path, outputs=answer_knobs)
    run_side(host, loop)
    assert host.log == [*STEPS, "in use", "kill process", "remove files", "remove device"]
    host.close()


def test_words_of_the_host_are_given_to_the_guest(monitor: FakeMonitor, loop: LoopThread) -> None:
    """QEMU gets the words that its host has for guests, and nothing of it without."""
    host = FaultyHost(label, monitor.path, outputs=answer_knobs)
    for words in ("pci=lastbus=0", ""):
        with start_side(SPEC, host, "source", KEYS, loop, incoming=False, words=words) as side:
            assert side.guest.spec.append == words
    host.close()


def test_a_device_that_is_not_ours(monitor: FakeMonitor, loop: LoopThread) -> None:
    """It is made where its host makes such devices, passed on by its UUID, and removed once QEMU ended."""
    spec = SideSpec(devices=(make_mediated("nobody-1", properties={"enable-migration": "on"}),))

    def answer(argv: Sequence[str]) -> bytes:
        return b"/sys/devices/virtual/nobody\n" if "mdev_bus" in " ".join(argv) else b""

    host = FaultyHost(label, monitor.path, outputs=answer)
    with start_side(spec, host, "source", KEYS, loop, incoming=False) as side:
        (passed,) = side.guest.launch.devices
        assert passed.sysfsdev == side.mediated["dut"].sysfs
        assert dict(passed.properties) == {"enable-migration": "on"}
        assert (side.devices, side.function_numbers) == ((), [])
    steps = ["find parent", "make device", *STEPS[2:], "kill process", "remove files", "remove device"]
    assert host.log == steps
    host.close()


@pytest.mark.parametrize("step", range(len(STEPS)))
def test_a_failure_at_any_step_releases_what_was_there(monitor: FakeMonitor, loop: LoopThread, step: int) -> None:
    """Whichever step fails, what was made before it goes in reverse order; files go even if they were half made."""
    host = FaultyHost(label, monitor.path, fail_at=step, error=SwitchoverError("injected"), outputs=answer_knobs)
    with pytest.raises(SwitchoverError, match="injected"):
        run_side(host, loop)
    released = ["remove device"]  # even if it was never made, as far as one knows
    if step >= STEPS.index("make files"):
        ended = "kill process" if step > STEPS.index("start qemu") else "end processes"
        released = [ended, "remove files", *released]
    assert host.log == [*STEPS[: step + 1], *released]
    host.close()


@pytest.mark.parametrize("release", range(2))
def test_a_lost_host_in_the_release_is_no_error(monitor: FakeMonitor, loop: LoopThread, release: int) -> None:
    """A host that goes away while a side is released takes all with it, and every step is still tried."""
    host = FaultyHost(label, monitor.path, error=HostLost("gone"), outputs=answer_knobs)
    # "in use" and "kill process" are notes of the list too, which do not fail
    host.fail_at = len(STEPS) + 2 + release
    run_side(host, loop)
    assert host.log[-3:] == ["kill process", "remove files", "remove device"]
    host.close()


def test_a_pair_the_other_way_round() -> None:
    """Reversed, source and destination change places and the keys stay."""
    host = FaultyHost(label, "")
    pair = HostPair(Endpoint(host, "10.77.0.1"), Endpoint(host, "10.77.0.2"), KEYS)
    assert pair.reversed() == HostPair(pair.destination, pair.source, KEYS)


TRUTH = "==> state <==\nRUNNING\n\n==> generation <==\n{}\n\n==> history <==\n\n==> counters/loads <==\n5\n"


def make_side(answer: Callable[[str, str], str | int]) -> tuple[Side, ScriptedHost]:
    """A side with two devices, on a host that answers questions."""
    host = ScriptedHost(lambda argv: answer_questions(argv[-1], answer), "hosta")
    guest = SimpleNamespace(host=host, files=SimpleNamespace(log="/tmp/a b/qemu.log"))
    devices = tuple(ReferenceDevice(MediatedDevice(host, name)) for name in ("one", "two"))
    return Side(SPEC, devices, cast(QemuGuest, guest)), host


def test_devices_and_log_are_read_in_one_exchange() -> None:
    """Each device's truth is its own, in their order; the log comes along where it is wanted."""

    def answer(name: str, script: str) -> str:
        if name == "log":
            assert "'/tmp/a b/qemu.log'" in script
            return "7@1.0:a\n"
        return TRUTH.format(1 if "/one" in script else 2)

    side, host = make_side(answer)
    assert [truth.generation for truth in side.read_truths()] == [1, 2]
    truths, log = side.read_truths_and_log()
    assert ([truth.generation for truth in truths], log) == ([1, 2], "7@1.0:a\n")
    assert truths[0].counters == {"loads": 5}
    assert len(host.commands) == 2


@pytest.mark.parametrize("missing", ["device-0", "device-1", "log"])
def test_what_cannot_be_read_is_an_error_of_the_host(missing: str) -> None:
    """No answer is made up, and it is no bug of ours."""
    side, _ = make_side(lambda name, script: 1 if name == missing else TRUTH.format(1))
    with pytest.raises(CommandFailed, match=missing):
        side.read_truths_and_log()


class Exchange:
    """A side whose devices are exchanged on paper."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.fail = ""
        monkeypatch.setattr(side_module, "start_reference_device", self.start)
        self.made = 0
        guest = SimpleNamespace(
            host="hosta",
            unplug=lambda name: self.note(f"unplug {name}"),
            plug=lambda device, number: self.note(f"plug {device.sysfsdev} as {device.id} into port {number}"),
        )
        spec = SideSpec(devices=(DeviceSpec("dut"), DeviceSpec("second")))
        self.slots = tuple(contextlib.ExitStack() for _ in spec.devices)
        devices = [slot.enter_context(self.start("hosta", Knobs(), "a-type")) for slot in self.slots]
        passed = tuple(VfioDevice(one.id, made.mediated.sysfs) for one, made in zip(spec.devices, devices, strict=True))
        guest.launch = Launch(GuestSpec(), passed)
        self.side = Side(spec, tuple(devices), cast(QemuGuest, guest), slots=self.slots)
        self.log.clear()

    def note(self, line: str) -> None:
        self.log.append(line)
        if line == self.fail:
            raise Refused("no")

    @contextlib.contextmanager
    def start(self, host: str, knobs: Knobs, type: str) -> Iterator[Any]:
        self.made += 1
        name = f"{self.made}"
        self.note(f"make {name} ({type}, pre_copy {knobs.pre_copy}) on {host}")
        try:
            yield SimpleNamespace(mediated=SimpleNamespace(sysfs=f"/sys/{name}"))
        finally:
            self.note(f"remove {name}")


WANTED = SideSpec(
    devices=(DeviceSpec("dut", knobs=Knobs(pre_copy=False)), DeviceSpec("other", type="refdev-16vec", properties={}))
)


def test_devices_are_exchanged_in_their_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guest lets all go, each before it is removed, since the new ones may have their ids; each new one comes into
    its port. The side then has these, and what ends them.
    """
    world = Exchange(monkeypatch)
    side = exchange_devices(world.side, WANTED)
    assert world.log == [
        "unplug dut",
        "remove 1",
        "unplug second",
        "remove 2",
        "make 3 (refdev-4vec, pre_copy False) on hosta",
        "plug /sys/3 as dut into port 1",
        "make 4 (refdev-16vec, pre_copy True) on hosta",
        "plug /sys/4 as other into port 2",
    ]
    assert side.spec.devices == WANTED.devices
    assert [device.mediated.sysfs for device in side.devices] == ["/sys/3", "/sys/4"]
    assert [(device.id, device.sysfsdev) for device in side.guest.launch.devices] == [
        ("dut", "/sys/3"),
        ("other", "/sys/4"),
    ]
    assert dict(side.guest.launch.devices[1].properties) == dict(WANTED.devices[1].given_properties())
    world.log.clear()
    for slot in world.slots:
        slot.close()
    assert world.log == ["remove 3", "remove 4"]


@pytest.mark.parametrize("step", ["unplug dut", "plug /sys/3 as dut into port 1", "unplug second"])
def test_an_exchange_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """The error passes; every device that was made is removed once with its side."""
    world = Exchange(monkeypatch)
    world.fail = step
    with pytest.raises(Refused):
        exchange_devices(world.side, WANTED)
    for slot in world.slots:
        slot.close()
    removed = sorted(line.split()[1] for line in world.log if line.startswith("remove"))
    assert removed == [str(number) for number in range(1, world.made + 1)]
