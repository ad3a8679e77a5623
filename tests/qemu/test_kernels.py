# SPDX-License-Identifier: GPL-2.0-or-later
"""Other kernels than the lab's, as guests: those of Debian's packages, and those from source that are built already."""

import re
from pathlib import Path
from typing import Any

import pytest
from tests.qemu.conftest import Guests, require_running

from switchover.guests.console import find_trouble
from switchover.guests.spec import Kernel
from switchover.lab.images import build_images, find_image
from switchover.lab.recipes import RECIPES

KERNELS = [
    name
    for name, recipe in RECIPES.items()
    if recipe.is_kernel and (RECIPES[f"{name}-root"].packages or find_image(name) is not None)
]


def find_release(initramfs: Path) -> str:
    """The release of the kernel whose modules are in an initramfs (an archive that is not compressed)."""
    found = re.search(rb"usr/lib/modules/([^/\0]+)\0", initramfs.read_bytes())
    assert found
    return found[1].decode()


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_boots(guests: Guests, name: str) -> None:
    """It comes up on 4 vCPUs with threaded interrupts, it is the one of its modules, and they load."""
    image = build_images([name])[name]
    initramfs = image.artifact("initramfs.cpio")
    spec: dict[str, Any] = {"vcpus": 4, "memory_mib": 384, "append": "threadirqs loglevel=7"}
    files: dict[str, Any] = {"kernel": Kernel(str(image.artifact("vmlinuz"))), "initramfs": str(initramfs)}
    with guests.start("source", incoming=False, **spec, **files) as guest:
        guest.wait_until_reachable()
        console = guest.console.text()
        assert f"Linux version {find_release(initramfs)} " in console
        assert "did not load" not in console
        assert find_trouble(console) == []
        require_running(guest)
