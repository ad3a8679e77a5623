# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMUs in a lab besides the lab host's own, guests' kernels and firmware, and kernel modules for devices of others:
each is a disk, plugged in when a case names it.

A QEMU's disk is mounted read-only at ``/opt/qemu/NAME-DIGEST``, and ``/usr/local/bin/NAME`` starts it. A kernel's is
at ``/opt/kernel/NAME-DIGEST``, and ``/usr/lib/switchover/NAME`` leads there; that of firmware at
``/opt/firmware/NAME-DIGEST``, where ``/usr/share/OVMF`` leads. Modules are at ``/opt/module/NAME-DIGEST``, and loaded
from there. They stay until the lab is stopped: they are a part of the lab as its other images are, and no change that a
journal would undo.
"""

from collections.abc import Iterable

from switchover.lab.disks import plug_in
from switchover.lab.images import find_image, find_recipe, require_image
from switchover.lab.lab import Lab
from switchover.lab.labhost import FIRMWARE, KERNELS

_QEMU_FILE = "bin/qemu-system-x86_64"
_LOAD = 'test -e "/sys/module/$2" || insmod "$1"'
_MOUNT = 'mkdir -p "$1"; mount -o ro "$2" "$1"'


def find_toolchains(names: Iterable[str]) -> list[str]:
    """Those that name a toolchain with an image, each once; others are programs that a host has or has not."""
    recipes = {name: find_recipe(name) for name in names}
    return [name for name, recipe in recipes.items() if recipe is not None and recipe.is_toolchain]


def list_unbuilt(names: Iterable[str]) -> list[str]:
    """Of :func:`find_toolchains`, those whose image is not there."""
    return [name for name in find_toolchains(names) if find_image(name) is None]


def find_qemu_path(name: str) -> str | None:
    """Where a QEMU is on the lab hosts that have it, as its image is now; None: it has no image."""
    image = find_image(name)
    return None if image is None else _qemu_place(name, image.digest)


def _qemu_place(name: str, digest: str) -> str:
    return f"/opt/qemu/{name}-{digest}/{_QEMU_FILE}"


def provide_toolchain(lab: Lab, host_name: str, name: str) -> None:
    """Make a lab host have a toolchain, as its image is now.

    :raises NotReady: its image is not built, or the disk cannot be plugged in
    """
    image, host = require_image(name), lab.host(host_name)
    recipe = find_recipe(name)
    if recipe is not None and recipe.is_kernel:
        place, file = f"/opt/kernel/{name}-{image.digest}", "vmlinuz"
        target, link = place, f"{KERNELS}/{name}"
    elif recipe is not None and recipe.is_firmware:
        place, file = f"/opt/firmware/{name}-{image.digest}", recipe.artifacts[0]
        target, link = place, FIRMWARE
    elif recipe is not None and recipe.is_module:
        place, file = f"/opt/module/{name}-{image.digest}", recipe.artifacts[0]
        target, link = place, f"/opt/module/{name}"
    else:
        target, link = _qemu_place(name, image.digest), f"/usr/local/bin/{name}"
        place, file = target.removesuffix(f"/{_QEMU_FILE}"), _QEMU_FILE
    if host.run(["test", "-e", f"{place}/{file}"], check=False).returncode != 0:
        disk = plug_in(lab, host_name, image.artifact("toolchain.ext4"), image.digest, what=name)
        host.run(["sh", "-euc", _MOUNT, "sh", place, disk])
    host.run(["ln", "-sfn", target, link])
    if recipe is not None and recipe.is_module:
        host.run(["sh", "-euc", _LOAD, "sh", f"{place}/{file}", file.removesuffix(".ko")])
