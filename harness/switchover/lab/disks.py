# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks that a lab host gets while it runs: plugged in by the monitor of its QEMU, found by their serial number."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from switchover.hosts.host import Host
from switchover.hosts.local import LocalHost
from switchover.hosts.loop import LoopThread
from switchover.hosts.qmp import QmpSession
from switchover.hosts.waiting import wait_until
from switchover.lab.lab import Lab
from switchover.lab.labhost import TOOLCHAIN_BUS
from switchover.record.errors import NotReady, Refused

_MODULES = ["modprobe", "-a", "virtio_scsi", "sd_mod"]
_FIND = 'path=$(grep -l -s "$1" /sys/block/sd*/device/vpd_pg80) && path=${path#/sys/block/} && echo "/dev/${path%%/*}"'
_PLUG_S = 30


def plug_in(lab: Lab, host_name: str, file: Path, serial: str, *, what: str, writable: bool = False) -> str:
    """Make a lab host have a raw disk, and return its device there, ``/dev/sdX``; one that is there already stays.

    ``serial``: at most 36 characters, by which it is found; ``what``: for errors, such as ``qemu-11.1``.

    :raises NotReady: QEMU does not take the disk
    :raises Deadline: the lab host does not see it
    """
    host = lab.host(host_name)
    host.run(_MODULES)
    if (there := _find(host, serial)) is not None:
        return there
    node = f"disk-{serial}"
    try:
        with _monitor(lab, host_name) as monitor:
            if not any(entry.get("node-name") == node for entry in monitor.execute("query-named-block-nodes")):
                options = {"driver": "raw", "node-name": node, "read-only": not writable}
                behind = {"driver": "file", "filename": str(file), "read-only": not writable}
                monitor.execute("blockdev-add", {**options, "file": behind})
                device = {"driver": "scsi-hd", "id": node, "drive": node, "bus": f"{TOOLCHAIN_BUS}.0", "serial": serial}
                monitor.execute("device_add", device)
    except Refused as error:
        raise NotReady(
            f"{what} cannot be plugged into lab host {host_name}.",
            why=error.why or error.what,
            fix="switchover lab down, then the same command again",
        ) from error
    return wait_until(f"the disk of {what} on {host_name}", lambda: _find(host, serial), timeout=_PLUG_S, poll=0.25)


def unplug(lab: Lab, host_name: str, serial: str) -> None:
    """Take a disk away that nobody uses any more; what was written to it is in its file when this returns.

    :raises NotReady: QEMU keeps it
    """
    host = lab.host(host_name)
    device = _find(host, serial)
    if device is not None:
        name = device.removeprefix("/dev/")
        host.run(["sh", "-euc", 'sync; echo 1 >"/sys/block/$1/device/delete"', "sh", name])
    node = f"disk-{serial}"
    try:
        with _monitor(lab, host_name) as monitor:
            if not any(entry.get("node-name") == node for entry in monitor.execute("query-named-block-nodes")):
                return
            monitor.execute("device_del", {"id": node})

            def is_free() -> bool:
                try:
                    monitor.execute("blockdev-del", {"node-name": node})
                except Refused:
                    return False
                return True

            wait_until(f"the disk {serial} to leave {host_name}", is_free, timeout=_PLUG_S, poll=0.1)
    except Refused as error:
        raise NotReady(f"A disk cannot be taken from lab host {host_name}.", why=error.why or error.what) from error


@contextlib.contextmanager
def _monitor(lab: Lab, host_name: str) -> Iterator[QmpSession]:
    """Of the QEMU that a lab host runs in."""
    with (
        LoopThread() as loop,
        QmpSession(f"lab host {host_name}", LocalHost(), str(lab.monitor(host_name)), loop) as qmp,
    ):
        yield qmp


def _find(host: Host, serial: str) -> str | None:
    return host.run(["sh", "-c", _FIND, "sh", serial], check=False).text.strip() or None
