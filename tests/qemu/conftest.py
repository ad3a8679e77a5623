# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests of the qemu tier: on this machine, emulated, without a VFIO device and without a network.

They run in the QEMU of the lab's hosts: that of Debian 12, which may be the one in PATH, is too old for them, see
:func:`find_qemu`. ``SWITCHOVER_TEST_QEMU`` names another one. The tests ask the binary what it can.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from switchover.guests.qemu import GuestKeys, QemuGuest, start_guest
from switchover.guests.spec import GuestSpec, Kernel, Launch, VfioDevice
from switchover.hosts.local import LocalHost
from switchover.hosts.loop import LoopThread
from switchover.hosts.waiting import wait_until
from switchover.lab.images import Image, build_images
from switchover.lab.keys import generate_key_pair
from switchover.lab.labhost import own_qemu

NAME = f"test-{os.getpid()}"
"""Name of every guest of this tier: it tells what one of these tests left behind."""


def find_qemu() -> str:
    """QEMU 10.0, as lab hosts run in it: guests of Debian 12's 7.2 die under TCG (docs/lab.md, Known traps)."""
    return os.environ.get("SWITCHOVER_TEST_QEMU") or own_qemu(build_images(["labhost-qemu"])["labhost-qemu"])


def list_leftovers() -> list[str]:
    """QEMU processes and directories of guests of this tier."""
    left = [str(path) for path in Path("/tmp").glob(f"switchover-{NAME}-*")]
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if f"{NAME},debug-threads=on" in words and process.info["status"] != psutil.STATUS_ZOMBIE:
            left.append(f"process {process.pid}")
    return left


@pytest.fixture(scope="module", autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Journals of these tests are not among the user's. A file of the lab may be next: its lab has the user's state."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Each test leaves nothing of its own on this machine."""
    yield
    assert list_leftovers() == []


@pytest.fixture(scope="session")
def image() -> Image:
    return build_images(["guest"])["guest"]


@pytest.fixture(scope="session")
def keys() -> GuestKeys:
    login, host = generate_key_pair(), generate_key_pair()
    return GuestKeys(login.public, login.private, host.private, host.public)


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    with LoopThread() as thread:
        yield thread


@dataclass(frozen=True)
class Guests:
    """Starts guests; the machine is the same for all, so that they can migrate into one another."""

    spec: GuestSpec
    keys: GuestKeys
    loop: LoopThread

    def start(
        self, side: str, *, incoming: bool = False, devices: tuple[VfioDevice, ...] = (), **changes: Any
    ) -> AbstractContextManager[QemuGuest]:
        spec = replace(self.spec, **changes)
        return start_guest(Launch(spec, devices), LocalHost(), side, self.keys, self.loop, incoming=incoming)


@pytest.fixture
def guests(image: Image, keys: GuestKeys, loop: LoopThread) -> Guests:
    spec = GuestSpec(
        name=NAME,
        qemu=find_qemu(),
        accel="tcg",
        cpu="max",
        bridge="",
        kernel=Kernel(str(image.artifact("vmlinuz"))),
        initramfs=str(image.artifact("initramfs.cpio")),
    )
    return Guests(spec, keys, loop)


def knows_capability(guest: QemuGuest, name: str) -> bool:
    return any(entry["capability"] == name for entry in guest.qmp.execute("query-migrate-capabilities"))


def traces_checkpoints(guest: QemuGuest) -> bool:
    """Whether this binary has the events that explain a downtime (QEMU 8.2 and newer)."""
    return bool(guest.qmp.execute("trace-event-get-state", {"name": "vmstate_downtime_check*"}))


def wait_until_idle(guest: QemuGuest) -> None:
    """The guest has booted and does nothing more, as is needed to migrate it while it runs.

    While a guest writes, a write may be lost under TCG (:func:`find_qemu`): one that still booted had an oops at its
    destination, once.
    """
    guest.wait_until_reachable()
    process = psutil.Process(guest.pid)

    def idle() -> bool:
        return process.cpu_percent(0.5) < 20

    wait_until("the guest to be idle", idle, timeout=120, invariants=[guest.require_alive])


def require_running(guest: QemuGuest) -> None:
    """The guest's kernel answers an NMI on its console; QEMU's word that it runs would not show that."""
    assert guest.qmp.execute("query-status")["running"] is True
    before = guest.console.text().count("NMI received")
    guest.qmp.execute("inject-nmi")
    answered: Callable[[], bool] = lambda: guest.console.text().count("NMI received") > before  # noqa: E731
    wait_until("the guest's kernel to answer an NMI", answered, timeout=30, invariants=[guest.require_alive])
