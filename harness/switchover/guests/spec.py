# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest is made of, in terms that a QEMU command line and a libvirt domain share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

LAB_KERNEL = "/usr/lib/switchover/guest/vmlinuz"
LAB_INITRAMFS = "/usr/lib/switchover/guest/initramfs.cpio"

Start = Literal["cold", "warm"]


@dataclass(frozen=True)
class VfioDevice:
    """A device to pass through: ``sysfsdev`` is a mediated device's path in sysfs; ``properties`` are vfio-pci's."""

    id: str
    sysfsdev: str
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class GuestSpec:
    """One side's guest. Source and destination differ in ``devices`` only, which each host has its own of."""

    name: str = "guest"
    """name of the guest in QEMU"""
    qemu: str = "qemu-system-x86_64"
    """program: a path, or a name in PATH"""
    machine: str = "q35"
    """``-machine``: a machine type, or an alias of one"""
    accel: str = "kvm"
    """``-accel``"""
    cpu: str = "host"
    """``-cpu``"""
    memory_mib: int = 256
    """``-m``, MiB"""
    vcpus: int = 1
    """``-smp``"""
    kernel: str = LAB_KERNEL
    """path of the guest's kernel on its host"""
    initramfs: str = LAB_INITRAMFS
    """path of the guest's initramfs on its host"""
    append: str = ""
    """more words for the guest's kernel command line"""
    bridge: str = "br0"
    """bridge of the host that the guest's tap joins; empty: the guest has no network"""
    mac: str = "52:54:00:53:67:01"
    """of the guest's NIC"""
    address: str = "10.77.0.101"
    """IPv4 address of the guest"""
    prefix: int = 24
    """of its network"""
    devices: tuple[VfioDevice, ...] = ()
    start: Start = "cold"
    """how the source gets its guest: `cold` boots it for each case, `warm` restores one that was booted and saved once,
    without its devices, and plugs them in"""
    boot_timeout_s: float = 180
    """until a guest answers over SSH, seconds"""
    traced: bool = True
    """whether QEMU traces the migration; without, only QEMU's own counters are left"""


@dataclass(frozen=True)
class GuestFiles:
    """Where a guest's files are on its host; all in one directory of mode 0700."""

    directory: str
    tap: str

    @property
    def monitor(self) -> str:
        return f"{self.directory}/qmp"

    @property
    def console(self) -> str:
        return f"{self.directory}/console.log"

    @property
    def log(self) -> str:
        """QEMU's log: trace events, and what it says of itself."""
        return f"{self.directory}/qemu.log"
