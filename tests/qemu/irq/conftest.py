# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests with four vCPUs under TCG and a network of their own, each for all tests of a file: a boot takes longest.

``SWITCHOVER_TEST_RECORDINGS`` names a directory in which the recordings are kept.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.qemu.conftest import NAME, list_leftovers

from switchover.guests.qemu import GuestKeys, start_guest
from switchover.guests.spec import GuestSpec, Kernel
from switchover.hosts.inventory import HostEntry, open_inventory_host
from switchover.hosts.local import LocalHost
from switchover.hosts.loop import LoopThread
from switchover.hosts.ssh import SshHost
from switchover.irq.activations import Activation
from switchover.irq.analysis import InterruptResult, analyse_file
from switchover.irq.recorder import OpenRecording, start_recording, survey_subject
from switchover.irq.state import IrqState, read_state
from switchover.lab.boot import parse_forwarded_port
from switchover.lab.images import Image

ADDRESS = "10.0.2.15"
"""Of a guest in QEMU's user network."""


@pytest.fixture(autouse=True)
def clean() -> None:
    """The guest of a file stays for its tests; see :func:`start_irq_guest` for what it leaves."""


@dataclass(frozen=True)
class Recorded:
    """What was recorded in a window, of one interrupt."""

    result: InterruptResult
    activations: list[Activation]


@dataclass
class IrqGuest:
    """A guest that answers over SSH as any host of a user does."""

    entry: HostEntry
    host: SshHost
    directory: Path

    def state(self) -> IrqState:
        return read_state(self.host)

    def serial(self, count: int) -> None:
        """Make the serial port interrupt, once or twice for each line."""
        script = 'i=0; while [ $i -lt "$1" ]; do echo >/dev/ttyS0; usleep 20000; i=$((i + 1)); done'
        self.host.run(["sh", "-c", script, "sh", str(count)])

    def record(self, name: str, word: str, during: Callable[[OpenRecording], None]) -> Recorded:
        """Record one interrupt while something is done; the recording must be valid."""
        path = self.directory / f"{name}.trace.gz"
        with start_recording(survey_subject(self.host, [word]), path) as recording:
            during(recording)
        if kept := os.environ.get("SWITCHOVER_TEST_RECORDINGS"):
            shutil.copy(path, Path(kept) / path.name)
        seen: list[Activation] = []
        analysis = analyse_file(path, notice=seen.append)
        assert analysis.problems == ()
        return Recorded(analysis.interrupts[0], seen)


@contextmanager
def start_irq_guest(image: Image, keys: GuestKeys, directory: Path, append: str) -> Iterator[IrqGuest]:
    spec = GuestSpec(
        name=NAME,
        qemu=os.environ.get("SWITCHOVER_TEST_QEMU", "qemu-system-x86_64"),
        accel="tcg",
        cpu="max",
        vcpus=4,
        bridge="",
        address=ADDRESS,
        prefix=24,
        append=append,
        kernel=Kernel(str(image.artifact("vmlinuz"))),
        initramfs=str(image.artifact("initramfs.cpio")),
    )
    network = (
        *("-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:0-{ADDRESS}:22"),
        *("-device", "virtio-net-pci,netdev=net,romfile="),
    )
    key = directory / "key"
    key.touch(mode=0o600)
    key.write_text(keys.login)
    with (
        LoopThread() as loop,
        start_guest(spec, LocalHost(), "source", keys, loop, incoming=False, more=network) as guest,
    ):
        guest.wait_until_reachable()
        text = guest.qmp.execute("human-monitor-command", {"command-line": "info usernet"})
        entry = HostEntry(
            address="127.0.0.1", port=parse_forwarded_port(text) or 0, key=str(key), host_key=keys.host_public
        )
        with open_inventory_host("guest", entry) as host:
            yield IrqGuest(entry, host, directory)
            assert host.run(["ls", "/sys/kernel/tracing/instances"]).text == ""
    assert list_leftovers() == []


@pytest.fixture(scope="module")
def threaded(image: Image, keys: GuestKeys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[IrqGuest]:
    with start_irq_guest(image, keys, tmp_path_factory.mktemp("irq"), "threadirqs") as guest:
        yield guest


@pytest.fixture(scope="module")
def noapic(image: Image, keys: GuestKeys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[IrqGuest]:
    with start_irq_guest(image, keys, tmp_path_factory.mktemp("irq"), "threadirqs noapic") as guest:
        yield guest
