# SPDX-License-Identifier: GPL-2.0-or-later
"""One side of a case: whatever fails at whichever step, device and guest are released, last first."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.unit.fakes import FakeMonitor, FaultyHost

from switchover.devices.reference import Knobs
from switchover.guests.qemu import GuestKeys
from switchover.hosts.loop import LoopThread
from switchover.record.errors import HostLost, SwitchoverError
from switchover.run.pair import End, Pair
from switchover.run.side import start_side
from switchover.scenarios.case import with_one_device

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
        (passed,) = side.guest.spec.devices
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
    pair = Pair(End(host, "10.77.0.1"), End(host, "10.77.0.2"), KEYS)
    assert pair.reversed() == Pair(pair.destination, pair.source, KEYS)
