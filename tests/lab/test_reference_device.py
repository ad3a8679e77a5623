# SPDX-License-Identifier: GPL-2.0-or-later
"""The reference device by itself, without QEMU."""

from switchover.devices.reference import Knobs, start_reference_device
from switchover.run.case import Pair


def test_device_keeps_the_vfio_uapi(pair: Pair) -> None:
    """Every arc of the state machine, split reads and writes, damaged streams, MSI-X: as the VFIO uAPI says."""
    host = pair.source.host
    with start_reference_device(host, Knobs()) as device:
        result = host.run(["/usr/lib/switchover/refdev_vfio_test", device.mediated.uuid], timeout=120, check=False)
        truth = device.read_truth()
    failed = [line for line in result.text.splitlines() if line.startswith("not ok")]
    assert (result.returncode, failed) == (0, []), result.text[-2000:]
    assert truth.counters["loads"] > 0


def test_device_tells_what_it_is_told(pair: Pair) -> None:
    """Knobs are read back as they were set, and a fresh device has no history and no counts."""
    knobs = Knobs(pre_copy=False, p2p=False, initial_bytes=8 << 20, save_bytes_per_sec=12345678)
    with start_reference_device(pair.destination.host, knobs) as device:
        truth = device.read_truth()
    assert truth.state == "RUNNING"
    assert truth.history == ()
    assert set(truth.counters.values()) == {0}
