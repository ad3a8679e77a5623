# SPDX-License-Identifier: GPL-2.0-or-later
"""One side of a case: the device made ready, then a QEMU that has it."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from switchover.devices.reference import ReferenceDevice, start_reference_device
from switchover.guests.qemu import GuestKeys, QemuGuest, start_guest
from switchover.guests.spec import VfioDevice
from switchover.hosts.host import Host
from switchover.hosts.loop import LoopThread
from switchover.run.case import Case


@dataclass(frozen=True)
class Side:
    device: ReferenceDevice
    guest: QemuGuest


@contextlib.contextmanager
def start_side(
    case: Case, host: Host, name: str, keys: GuestKeys, loop: LoopThread, *, incoming: bool
) -> Iterator[Side]:
    """Device and QEMU for the time of a ``with`` block; QEMU ends first, since removing an open device would wait."""
    with start_reference_device(host, case.knobs) as device:
        passed = VfioDevice("dut", device.mediated.sysfs, dict(case.device_properties))
        spec = replace(case.guest, devices=(passed,))
        with start_guest(spec, host, name, keys, loop, incoming=incoming) as guest:
            yield Side(device, guest)
