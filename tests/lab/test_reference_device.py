# SPDX-License-Identifier: GPL-2.0-or-later
"""The reference device: by itself through the VFIO uAPI, and busy in a guest that migrates."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import pytest

from switchover.devices.guest_driver import GuestDriver, InterruptCounts
from switchover.devices.reference import Knobs, ReferenceDevice, start_reference_device
from switchover.guests.console import find_trouble
from switchover.guests.qemu import QemuGuest, start_guest
from switchover.guests.spec import GuestSpec, Launch, VfioDevice
from switchover.hosts.host import Host
from switchover.hosts.loop import LoopThread
from switchover.hosts.waiting import wait_until
from switchover.migration.session import migrate
from switchover.migration.settings import MigrationSettings
from switchover.record.errors import CommandFailed, NotSupported
from switchover.record.units import MIB
from switchover.runner.host_pair import Endpoint, HostPair

OTHER_KNOBS = Knobs(
    migration=False,
    stop_copy=False,
    pre_copy=False,
    p2p=False,
    precopy_info_v2=False,
    dirty_tracking=True,
    initial_bytes=8 * MIB,
    stop_copy_bytes=2 * MIB,
    dirty_bytes_per_sec=1,
    reinit_count=1000000,
    reinit_bytes=8 * MIB,
    reinit_after_bytes=1,
    reinit_at="PRE_COPY_P2P",
    save_bytes_per_sec=12345678,
    load_bytes_per_sec=10**12,
    load_initial_ms=600000,
    state_change_ms=3,
    p2p_active="all",
    dma_pages_per_sec=1000000,
    log_report="too-little",
    log_page_bytes=8192,
    log_max_ranges=1,
    log_max_pages=7,
    irq_rates=(0, 10000, 0, 1),
    fail_at="write:4096",
    fail_errno=28,
    fail_times="always",
    fail_device="error",
    corrupt="state",
    stream_version=1,
    other_version="misread",
    version_errno=95,
)


@pytest.mark.quick
def test_device_keeps_the_vfio_uapi(pair: HostPair) -> None:
    """Every arc of the state machine, split reads and writes, damaged streams, MSI-X, DMA and which pages it makes
    dirty, rates, faults: as the VFIO uAPI and the device's documentation say.
    """
    host = pair.source.host
    with start_reference_device(host, Knobs()) as device:
        result = host.run(["/usr/lib/switchover/refdev_vfio_test", device.mediated.uuid], timeout=120, check=False)
        truth = device.read_truth()
    failed = [line for line in result.text.splitlines() if line.startswith("not ok")]
    assert (result.returncode, failed) == (0, []), result.text[-2000:]
    assert min(truth.counters[name] for name in ("loads", "faults", "dma_pages_written", "dma_errors")) > 0


def test_device_tells_what_it_is_told(pair: HostPair) -> None:
    """Each knob is read back as it was set, and a fresh device has no history and no counts."""
    assert all(getattr(OTHER_KNOBS, field.name) != field.default for field in fields(Knobs)), "a knob is not tried"
    with start_reference_device(pair.destination.host, Knobs()) as device:
        try:
            device.set_knobs(OTHER_KNOBS)
        except NotSupported:  # a kernel without IOMMUFD_DRIVER
            device.set_knobs(replace(OTHER_KNOBS, dirty_tracking=False))
        truth = device.read_truth()
        device.set_knobs(Knobs())
        with pytest.raises(CommandFailed):
            device.set_knob("fail_at", "ERROR")
        with pytest.raises(CommandFailed):
            device.set_knob("irq_rates", (1, 2, 3, 4, 5))
    assert truth.state == "RUNNING"
    assert truth.history == ()
    assert set(truth.counters.values()) == {0}


@dataclass(frozen=True)
class Side:
    device: ReferenceDevice
    guest: QemuGuest


@contextlib.contextmanager
def start_side(end: Endpoint, pair: HostPair, name: str, knobs: Knobs, loop: LoopThread) -> Iterator[Side]:
    with start_reference_device(end.host, knobs) as device:
        properties = {"enable-migration": "on", "migration-events": "on"}
        launch = Launch(GuestSpec(), (VfioDevice("dut", device.mediated.sysfs, properties),))
        with start_guest(launch, end.host, name, pair.keys, loop, incoming=name == "destination") as guest:
            yield Side(device, guest)


def wait_until_seen(driver: GuestDriver, guest: QemuGuest) -> InterruptCounts:
    """Counts once both handlers of every vector have seen all that was raised. Raising has stopped before."""

    def all_seen() -> InterruptCounts | None:
        counts = driver.read_interrupts()
        return counts if counts.seen == counts.raised else None

    return wait_until("every interrupt to be seen", all_seen, timeout=15, invariants=[guest.require_alive])


def make_busy(guest: Host) -> None:
    driver = GuestDriver(guest)
    driver.set_interrupt_rate(1, 20)
    driver.enable_dma()


def make_idle(guest: Host, device: ReferenceDevice) -> None:
    driver = GuestDriver(guest)
    device.set_knob("irq_rates", ())
    driver.set_interrupt_rate(1, 0)
    driver.disable_dma()


def test_busy_device_migrates(pair: HostPair) -> None:
    """A device that writes to memory and interrupts all the time, at its own rate and at the guest's, is migrated:
    every page that it wrote on either side is there, and no interrupt was lost.
    """
    knobs = Knobs(dma_pages_per_sec=200, irq_rates=(10, 0, 0, 5))
    settings = MigrationSettings(downtime_limit_ms=1000)
    with (
        LoopThread() as loop,
        start_side(pair.source, pair, "source", knobs, loop) as source,
        start_side(pair.destination, pair, "destination", knobs, loop) as destination,
    ):
        source.guest.wait_until_reachable()
        with source.guest.open_ssh(pair.keys) as guest:
            make_busy(guest)
            before = GuestDriver(guest).verify_dma()
        written = source.device.read_truth().counters["dma_pages_written"]
        result = migrate(source.guest, destination.guest, pair.destination.address, settings, loop)
        assert result.status == "completed", result.error
        left = source.device.read_truth().counters
        with destination.guest.open_ssh(pair.keys) as guest:
            driver = GuestDriver(guest)
            arrived = driver.verify_dma()
            rates = driver.read_interrupt_rates()
            make_idle(guest, destination.device)
            counts = wait_until_seen(driver, destination.guest)
            after = driver.verify_dma()
        there = destination.device.read_truth().counters
        consoles = [side.guest.console.text() for side in (source, destination)]
    assert before.ok
    assert arrived.ok, arrived
    assert after.ok, after
    assert after.sequence == left["dma_pages_written"] + there["dma_pages_written"]
    assert after.sequence > arrived.sequence > left["dma_pages_written"] > written > 0
    assert left["dma_errors"] == there["dma_errors"] == 0
    assert result.source["ram"]["dirty-sync-count"] > 1
    assert rates == (0, 20, 0, 0)
    assert all(counts.raised[vector] > 0 for vector in (0, 1, 3))
    assert sum(counts.raised) == left["irqs_raised"] + there["irqs_raised"]
    assert [find_trouble(text) for text in consoles] == [[], []]
