# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests with four vCPUs under TCG and a network of their own, each for all tests of a file: a boot takes longest.

``SWITCHOVER_TEST_RECORDINGS`` names a directory in which the recordings are kept.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.qemu.conftest import NAME, find_qemu, list_leftovers

from switchover.guests.qemu import GuestKeys
from switchover.irq.guest import HELD, IrqGuest, start_irq_guest
from switchover.irq.provoke import LeasedHosts, read_stage
from switchover.lab.images import Image


@pytest.fixture(autouse=True)
def clean() -> None:
    """The guest of a file stays for its tests; see :func:`start_clean_guest` for what it leaves."""


def list_instances(guest: IrqGuest) -> list[str]:
    """Those that are not part of the guest."""
    return [name for name in guest.host.run(["ls", "/sys/kernel/tracing/instances"]).text.split() if name not in HELD]


@contextmanager
def start_clean_guest(image: Image, keys: GuestKeys, append: str) -> Iterator[IrqGuest]:
    """One in which nothing of ours is left at the end, and of which nothing is left on this machine."""
    with start_irq_guest(image, append, find_qemu(), name=NAME, keys=keys) as guest:
        yield guest
        assert list_instances(guest) == []
        assert " unknown channel" not in guest.qemu.console.text(), "dropbear hung up on us"
    assert list_leftovers() == []


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    kept = os.environ.get("SWITCHOVER_TEST_RECORDINGS")
    return Path(kept) if kept else tmp_path_factory.mktemp("irq")


@pytest.fixture(scope="module")
def guest(image: Image, keys: GuestKeys) -> Iterator[IrqGuest]:
    """Its interrupts have an effective CPU (APIC)."""
    with start_clean_guest(image, keys, "threadirqs") as guest:
        yield guest


@pytest.fixture(scope="module")
def threaded(guest: IrqGuest, directory: Path) -> LeasedHosts:
    return read_stage(guest.host, directory)


@pytest.fixture(scope="module")
def noapic(image: Image, keys: GuestKeys, directory: Path) -> Iterator[LeasedHosts]:
    """Its serial port has no effective CPU (XT-PIC)."""
    with start_clean_guest(image, keys, "threadirqs noapic") as guest:
        yield read_stage(guest.host, directory)
