# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMUs in a lab besides the lab host's own, and guests' kernels: each is a disk, plugged in when a case names it.

A QEMU's disk is mounted read-only at ``/opt/qemu/NAME-DIGEST``, and ``/usr/local/bin/NAME`` starts it. A kernel's is
at ``/opt/kernel/NAME-DIGEST``, and ``/usr/lib/switchover/NAME`` leads there. Both stay until the lab is stopped: they
are a part of the lab as its other images are, and no change that a journal would undo.
"""

from collections.abc import Iterable

from switchover.hosts.host import Host
from switchover.hosts.local import LocalHost
from switchover.hosts.loop import LoopThread
from switchover.hosts.qmp import QmpSession
from switchover.hosts.waiting import wait_until
from switchover.lab.images import Image, find_image, find_recipe, require_image
from switchover.lab.lab import Lab
from switchover.lab.labhost import KERNELS, TOOLCHAIN_BUS
from switchover.record.errors import NotReady, Refused

_MODULES = ["modprobe", "-a", "virtio_scsi", "sd_mod"]
_FIND = 'path=$(grep -l -s "$1" /sys/block/sd*/device/vpd_pg80) && path=${path#/sys/block/} && echo "/dev/${path%%/*}"'
_MOUNT = 'mkdir -p "$1"; mount -o ro "$2" "$1"'


def find_toolchains(names: Iterable[str]) -> list[str]:
    """Those that name a toolchain with an image, each once; others are programs that a host has or has not."""
    recipes = {name: find_recipe(name) for name in names}
    return [name for name, recipe in recipes.items() if recipe is not None and recipe.is_toolchain]


def list_unbuilt(names: Iterable[str]) -> list[str]:
    """Of :func:`find_toolchains`, those whose image is not there."""
    return [name for name in find_toolchains(names) if find_image(name) is None]


def provide_toolchain(lab: Lab, host_name: str, name: str) -> None:
    """Make a lab host have a toolchain, as its image is now.

    :raises NotReady: its image is not built, or the disk cannot be plugged in
    """
    image, host = require_image(name), lab.host(host_name)
    recipe = find_recipe(name)
    if recipe is not None and recipe.is_kernel:
        place, file = f"/opt/kernel/{name}-{image.digest}", "vmlinuz"
        target, link = place, f"{KERNELS}/{name}"
    else:
        place, file = f"/opt/qemu/{name}-{image.digest}", "bin/qemu-system-x86_64"
        target, link = f"{place}/{file}", f"/usr/local/bin/{name}"
    if host.run(["test", "-e", f"{place}/{file}"], check=False).returncode != 0:
        _plug_in(lab, host_name, image)
        host.run(_MODULES)
        disk = wait_until(f"the disk of {name} on {host_name}", lambda: _find_disk(host, image), timeout=30, poll=0.25)
        host.run(["sh", "-euc", _MOUNT, "sh", place, disk])
    host.run(["ln", "-sfn", target, link])


def _find_disk(host: Host, image: Image) -> str | None:
    return host.run(["sh", "-c", _FIND, "sh", image.digest], check=False).text.strip() or None


def _plug_in(lab: Lab, host_name: str, image: Image) -> None:
    """Its digest is the disk's serial number, by which the lab host finds it; a disk that is there stays."""
    node = f"disk-{image.digest}"
    file = {"driver": "file", "filename": str(image.artifact("toolchain.ext4")), "read-only": True}
    monitor_path = str(lab.monitor(host_name))
    try:
        with LoopThread() as loop, QmpSession(f"lab host {host_name}", LocalHost(), monitor_path, loop) as monitor:
            if any(entry.get("node-name") == node for entry in monitor.execute("query-named-block-nodes")):
                return
            monitor.execute("blockdev-add", {"driver": "raw", "node-name": node, "read-only": True, "file": file})
            device = {"driver": "scsi-hd", "drive": node, "bus": f"{TOOLCHAIN_BUS}.0", "serial": image.digest}
            monitor.execute("device_add", device)
    except Refused as error:
        raise NotReady(
            f"{image.name} cannot be plugged into lab host {host_name}.",
            why=error.why or error.what,
            fix="switchover lab down, then the same command again",
        ) from error
