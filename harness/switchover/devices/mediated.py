# SPDX-License-Identifier: GPL-2.0-or-later
"""Mediated devices on a host: made for a repeat, gone after it."""

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from switchover.hosts.host import Host, paste
from switchover.hosts.journal import UNDO_TIMEOUT_S, own_journal
from switchover.hosts.undo import end_processes
from switchover.record.errors import CommandFailed, NotReady


@dataclass(frozen=True)
class MediatedDevice:
    """A mediated device of a host. ``sysfs`` is what QEMU's ``vfio-pci,sysfsdev=`` takes."""

    host: Host
    uuid: str

    @property
    def sysfs(self) -> str:
        return f"/sys/bus/mdev/devices/{self.uuid}"


_FIND_PARENT = (
    'for type in /sys/class/mdev_bus/*/mdev_supported_types/"$1"; do '
    '[ -e "$type/create" ] && cd -P "$type/../.." && pwd && exit; done; '
    'echo "no device in /sys/class/mdev_bus has the type $1" >&2; exit 1'
)


def require_parent(host: Host, mdev_type: str) -> str:
    """The path in sysfs of the first device of a host that can make mediated devices of a type.

    :raises NotReady: there is none
    """
    try:
        return host.run(["sh", "-c", _FIND_PARENT, "sh", mdev_type]).text.strip()
    except CommandFailed as error:
        raise NotReady(
            f"{host.name} makes no mediated device of type {mdev_type}.",
            why=error.why,
            fix="see that the kernel module of such devices is loaded; switchover hosts tells the types there are",
        ) from error


@contextlib.contextmanager
def start_mediated_device(host: Host, parent: str, mdev_type: str) -> Iterator[MediatedDevice]:
    """A mediated device for the time of a ``with`` block.

    ``parent``: the parent's path in sysfs; ``mdev_type``: a folder of its ``mdev_supported_types``. QEMU must have
    closed the device before the block ends: removing it waits for that.

    :raises NotReady: the host has no such type, or no instance of it left
    """
    device = MediatedDevice(host, str(uuid.uuid4()))
    # in two words, as end_processes wants it: its shell must not have the UUID on its own command line
    halves = (device.sysfs[:-8], device.sysfs[-8:])
    remove = ["sh", "-c", 'test ! -e "$1$2" || echo 1 >"$1$2/remove"', "sh", *halves]
    gone = ["sh", "-c", 'test ! -e "$1$2"', "sh", *halves]
    # what a killed harness left: a command that is about to create the device, or a QEMU that has it open
    end_users, _ = end_processes(device.uuid)
    undo = ["sh", "-c", f"{paste(end_users)}; {paste(remove)}"]
    with own_journal().change(host, f"mediated device {device.uuid}", undo=undo, gone=gone) as change:
        create = f"{parent}/mdev_supported_types/{mdev_type}/create"
        try:
            host.run(["sh", "-c", 'echo "$1" >"$2"', "sh", device.uuid, create])
        except (CommandFailed, OSError) as error:
            raise NotReady(
                f"{host.name} makes no mediated device of type {mdev_type}.",
                why=str(error),
                fix=f"see that its kernel module is loaded (ls {parent}/mdev_supported_types), and that nothing that a "
                "killed harness left has its instances (switchover clean)",
            ) from error
        release = ["sh", "-c", f"{paste(remove)}; {paste(gone)}"]
        change.release = lambda: host.run(release, timeout=UNDO_TIMEOUT_S)
        yield device
