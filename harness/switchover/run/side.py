# SPDX-License-Identifier: GPL-2.0-or-later
"""One side of a case: the devices made ready, then a QEMU that has them."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from switchover.devices.reference import ReferenceDevice, Truth, start_reference_device
from switchover.guests.libvirt import start_domain
from switchover.guests.qemu import GuestKeys, QemuGuest, start_guest
from switchover.guests.spec import VfioDevice
from switchover.guests.warm import SavedGuest, begin_restore
from switchover.hosts.host import Host
from switchover.hosts.loop import LoopThread
from switchover.scenarios.case import SideSpec


@dataclass(frozen=True)
class Side:
    """``devices`` in the order of the spec, which is that of their slots in the guest.

    ``saved``: the guest that is being restored, to be finished by :func:`finish_restore`.
    """

    spec: SideSpec
    devices: tuple[ReferenceDevice, ...]
    guest: QemuGuest
    saved: SavedGuest | None = None

    def read_truths(self) -> tuple[Truth, ...]:
        return tuple(device.read_truth() for device in self.devices)


def name_devices(side: str, spec: SideSpec) -> list[str]:
    """How records and checks call the devices of a side: ``source`` the first, ``source ID`` each further one."""
    return [f"{side} {device.id}" if number else side for number, device in enumerate(spec.devices)]


@contextlib.contextmanager
def start_side(
    spec: SideSpec,
    host: Host,
    name: str,
    keys: GuestKeys,
    loop: LoopThread,
    *,
    incoming: bool,
    saved: SavedGuest | None = None,
    keep: Callable[[QemuGuest], None] = lambda guest: None,
) -> Iterator[Side]:
    """Devices and QEMU for the time of a ``with`` block; QEMU ends first, since removing an open device would wait.

    ``keep``: see :func:`start_guest`. ``saved``: the guest that QEMU is to begin with, instead of booting one.
    """
    with contextlib.ExitStack() as stack:
        devices = tuple(
            stack.enter_context(start_reference_device(host, device.knobs, device.type)) for device in spec.devices
        )
        passed = tuple(
            VfioDevice(wanted.id, device.mediated.sysfs, wanted.given_properties())
            for wanted, device in zip(spec.devices, devices, strict=True)
        )
        whole = replace(spec.guest, devices=passed)
        guest: QemuGuest
        if whole.driver == "libvirt":
            guest = stack.enter_context(start_domain(whole, host, name, keys, loop, incoming=incoming, keep=keep))
        else:
            guest = stack.enter_context(
                start_guest(
                    whole, host, name, keys, loop,
                    incoming=incoming or saved is not None, empty_ports=len(passed) if saved else None, keep=keep,
                )
            )  # fmt: skip
        if saved:
            begin_restore(guest, saved)
        yield Side(spec, devices, guest, saved)
