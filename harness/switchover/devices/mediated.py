# SPDX-License-Identifier: GPL-2.0-or-later
"""Mediated devices on a host: made for a repeat, gone after it."""

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from switchover.hosts.host import Host
from switchover.record.errors import CommandFailed, HostLost, NotReady


@dataclass(frozen=True)
class MediatedDevice:
    """A mediated device of a host. ``sysfs`` is what QEMU's ``vfio-pci,sysfsdev=`` takes."""

    host: Host
    uuid: str

    @property
    def sysfs(self) -> str:
        return f"/sys/bus/mdev/devices/{self.uuid}"


@contextlib.contextmanager
def start_mediated_device(host: Host, parent: str, mdev_type: str) -> Iterator[MediatedDevice]:
    """A mediated device for the time of a ``with`` block.

    ``parent``: the parent's path in sysfs; ``mdev_type``: a folder of its ``mdev_supported_types``. QEMU must have
    closed the device before the block ends: removing it waits for that.

    :raises NotReady: the host has no such type, or no instance of it left
    """
    device = MediatedDevice(host, str(uuid.uuid4()))
    create = f"{parent}/mdev_supported_types/{mdev_type}/create"
    try:
        host.write_file(create, device.uuid.encode())
    except (CommandFailed, OSError) as error:
        raise NotReady(
            f"{host.name} makes no mediated device of type {mdev_type}.",
            why=str(error),
            fix=f"see that its kernel module is loaded: ls {parent}/mdev_supported_types",
        ) from error
    try:
        yield device
    except BaseException:
        with contextlib.suppress(Exception):  # the error that led here is the one to tell
            _remove(device)
        raise
    _remove(device)


def _remove(device: MediatedDevice) -> None:
    with contextlib.suppress(HostLost):  # a host that is gone took its devices with it
        device.host.write_file(f"{device.sysfs}/remove", b"1")
