# SPDX-License-Identifier: GPL-2.0-or-later
"""Words of a lab host reach the lab's guests, and no guest or kernel of the user."""

from dataclasses import replace

import pytest

from switchover.guests.arguments import render_append
from switchover.guests.spec import LAB_INITRAMFS, LAB_KERNEL, GuestSpec, Kernel, with_lab_words
from switchover.lab.recipes import RECIPES

WORDS = "pci=lastbus=0"
SHIPPED = [Kernel(name) for name, recipe in RECIPES.items() if recipe.is_kernel]


@pytest.mark.parametrize("kernel", [Kernel(""), *SHIPPED])
def test_our_kernels(kernel: Kernel) -> None:
    """The lab's guest gets them with the lab's kernel and with each that the project ships, before its own words."""
    spec = GuestSpec(kernel=kernel, append="pci=lastbus=9")
    assert render_append(with_lab_words(spec, WORDS)).endswith(f" {WORDS} pci=lastbus=9")


@pytest.mark.parametrize(
    "spec",
    [
        GuestSpec(disk="/disk"),
        GuestSpec(disk="/disk", kernel=SHIPPED[0]),
        GuestSpec(kernel=Kernel("/boot/vmlinuz")),
        GuestSpec(kernel=LAB_KERNEL),
        GuestSpec(kernel=Kernel("kernel-mine")),
        GuestSpec(initramfs="/boot/initrd"),
        GuestSpec(kernel=SHIPPED[0], initramfs=LAB_INITRAMFS),
    ],
)
def test_others(spec: GuestSpec) -> None:
    """A disk, a kernel by path or of the user's own, another initramfs: left as they are."""
    spec = replace(spec, append="threadirqs")
    assert with_lab_words(spec, WORDS) == spec


def test_no_words() -> None:
    """A host without words leaves the guest as it is."""
    assert with_lab_words(GuestSpec(), "") == GuestSpec()
