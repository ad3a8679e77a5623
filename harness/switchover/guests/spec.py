# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest is made of, in terms that a QEMU command line and a libvirt domain share."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NewType

from switchover.lab.labhost import FIRMWARE, KERNELS
from switchover.lab.recipes import RECIPES

KERNEL_NAME = re.compile(r"kernel-[^/]+")

DriverName = Literal["qmp", "libvirt"]
"""Those of ``DRIVERS`` in :mod:`switchover.migration.drivers`."""
Start = Literal["auto", "cold", "warm"]
DiskFormat = Literal["raw", "qcow2"]
OnReboot = Literal["auto", "reset", "shutdown"]
KeyFile = NewType("KeyFile", str)
"""Path of a private SSH key on the controller; empty: none."""
HostKey = NewType("HostKey", str)
"""A public SSH key, ``TYPE BASE64``, or the path of a file with one on the controller; empty: none."""
Kernel = NewType("Kernel", str)
"""Path of a kernel on a guest's host, or the name of an image; empty: the lab's."""

OVMF = "ovmf"
OVMF_CODE = f"{FIRMWARE}/OVMF_CODE_4M.fd"
OVMF_VARIABLES = f"{FIRMWARE}/OVMF_VARS_4M.fd"
"""As they come: each guest has a copy."""

LAB_KERNEL = Kernel(f"{KERNELS}/guest/vmlinuz")
LAB_INITRAMFS = f"{KERNELS}/guest/initramfs.cpio"


@dataclass(frozen=True)
class VfioDevice:
    """A device to pass through: ``sysfsdev`` is the path in sysfs of a mediated device or a PCI function;
    ``properties`` are vfio-pci's. ``managed``: libvirt binds the function to vfio-pci, and gives it back.
    """

    id: str
    sysfsdev: str
    properties: Mapping[str, str] = field(default_factory=dict)
    managed: bool = False


@dataclass(frozen=True)
class GuestSpec:
    """One side's guest, without its devices, which each host has its own of: see :class:`Launch`."""

    name: str = "guest"
    """name of the guest in QEMU"""
    qemu: str = "qemu-system-x86_64"
    """the QEMU program: a path, or a name in PATH"""
    machine: str = "q35"
    """QEMU's ``-machine``: a machine type, or an alias of one"""
    accel: str = "kvm"
    """QEMU's ``-accel``"""
    cpu: str = "host"
    """QEMU's ``-cpu``"""
    memory_mib: int = 256
    """the guest's memory in MiB, QEMU's ``-m``"""
    vcpus: int = 1
    """the number of vCPUs, QEMU's ``-smp``"""
    topology: Mapping[str, int] = field(default_factory=dict)
    """how the vCPUs are arranged: `sockets`, `dies`, `modules`, `cores` and `threads`, of which those that are not set
    are 1; their product must be `vcpus`; if none is set, QEMU arranges the vCPUs"""
    firmware: str = ""
    """what the guest starts with: `ovmf`, the UEFI firmware of Debian's package of that name in flash, with variables
    of its own; or the path of an image on the host that QEMU gets as `-bios`; if it is empty, QEMU's own SeaBIOS"""
    iommu: str = ""
    """an emulated IOMMU that all PCI devices of the guest are behind, as QEMU's `-device` takes it, such as
    `intel-iommu,caching-mode=on`; the guest's kernel uses it with `append = "intel_iommu=on"`"""
    kernel: Kernel = Kernel("")
    """path of the guest's kernel on its host, or a name such as `kernel-6.12-rt` (`switchover images list`); if it is
    empty, the kernel of the lab's guest is used, or, with `disk`, QEMU boots from the disk"""
    initramfs: str = ""
    """path of the guest's initramfs on its host; if it is empty, that of the lab's guest for this kernel is used, or,
    with `disk`, none"""
    append: str = ""
    """words that are added to the guest's kernel command line"""
    disk: str = ""
    """path of a disk image that the guest sees as virtio-blk; the path must lead to the same storage on both hosts"""
    disk_format: DiskFormat = "raw"
    """format of the disk image"""
    disk_readonly: bool = False
    """whether the disk is read-only for the guest; if it is, each host may have a copy of the image"""
    bridge: str = "br0"
    """the bridge of the host that the guest's tap joins; if it is empty, the guest has no network"""
    mac: str = "52:54:00:53:67:01"
    """the MAC address of the guest's NIC"""
    nic: Mapping[str, str] = field(default_factory=dict)
    """properties of the guest's NIC, a `virtio-net-pci`, as on QEMU's command line; the value "" leaves one out"""
    nic_queues: int = 1
    """how many pairs of queues the guest's NIC and its tap have; with more than one, `mq` is on"""
    qemu_objects: tuple[str, ...] = ()
    """further objects of the guest's QEMU, each as `-object` takes it; they are made before all devices"""
    qemu_devices: tuple[str, ...] = ()
    """further devices of the guest, each as `-device` takes it; they come after all others, so that these keep their
    slots"""
    qemu_arguments: tuple[str, ...] = ()
    """further words of QEMU's command line, each as it is, such as `-only-migratable`; they come last"""
    address: str = "10.77.0.101"
    """the IPv4 address of the guest; it is passed on the kernel command line as `switchover.address`, or is the guest's
    own"""
    prefix: int = 24
    """the length of the network prefix that belongs to `address`"""
    ssh_user: str = "root"
    """the user name for logging in to the guest"""
    ssh_key: KeyFile = KeyFile("")
    """path of a private key on the controller that the guest accepts; if it is empty, the guest is given a key"""
    ssh_host_key: HostKey = HostKey("")
    """the only host key that is accepted from the guest: `TYPE BASE64`, or a file on the controller that contains it;
    if it is empty, the guest is given a host key"""
    driver: DriverName = "qmp"
    """how the guest is started and migrated: `qmp`, by the harness through QEMU's monitor, or `libvirt`, through
    libvirt's API"""
    start: Start = "auto"
    """how the source gets its guest: `cold` boots it for each case; `warm` restores a guest that was booted and saved
    once without its devices, and plugs them in; `auto` is warm on lab hosts, unless something prevents it"""
    on_reboot: OnReboot = "auto"
    """what QEMU does when the guest reboots: `reset` boots it again, `shutdown` ends the guest (QEMU's `-no-reboot`,
    libvirt's `destroy`); `auto` is `reset` in a case whose guest is to reboot, else `shutdown`"""
    boot_timeout_s: float = 180
    """the longest time until a guest answers over SSH, in seconds"""
    given_bounds: tuple[str, ...] = field(default=(), compare=False)
    """`boot_timeout_s`, if the scenario sets it; on a slow lab only defaults are stretched"""
    traced: bool = True
    """whether QEMU traces the migration; if it does not, only QEMU's own counters are available"""

    def boot_deadline(self, pace: float) -> float:
        """``boot_timeout_s`` on a host that is ``pace`` times as slow as the machine that the default was made on; one
        that was given, by name or as another value, holds as it is.
        """
        given = "boot_timeout_s" in self.given_bounds or self.boot_timeout_s != GuestSpec.boot_timeout_s
        return self.boot_timeout_s * (1 if given else pace)

    @property
    def boots_from_disk(self) -> bool:
        return bool(self.disk) and not self.kernel

    @property
    def named_kernel(self) -> str:
        """The name of the image that the kernel is of; empty: it is a file, or the lab's."""
        return self.kernel if KERNEL_NAME.fullmatch(self.kernel) else ""

    @property
    def programs(self) -> tuple[str, ...]:
        """Names of its QEMU, and of its kernel and firmware if they have one: what may have to be brought to its
        host.
        """
        return (self.qemu, *(name for name in (self.named_kernel, self.named_firmware) if name))

    @property
    def named_firmware(self) -> str:
        """The name of the image that the firmware is of; empty: it is a file, or QEMU's own."""
        return self.firmware if self.firmware == OVMF else ""

    @property
    def firmware_files(self) -> tuple[str, ...]:
        """What QEMU gets: one file, or the code and the variables of flash."""
        if self.named_firmware:
            return (OVMF_CODE, OVMF_VARIABLES)
        return (self.firmware,) if self.firmware else ()

    @property
    def kernel_file(self) -> str:
        """What QEMU gets; empty: the guest boots from its disk."""
        if self.named_kernel:
            return f"{KERNELS}/{self.kernel}/vmlinuz"
        return self.kernel or ("" if self.disk else LAB_KERNEL)

    @property
    def initramfs_file(self) -> str:
        """What QEMU gets; empty: none."""
        return self.initramfs or ("" if self.disk else self._lab_initramfs)

    @property
    def _lab_initramfs(self) -> str:
        return f"{KERNELS}/{self.kernel}/initramfs.cpio" if self.named_kernel else LAB_INITRAMFS

    @property
    def is_of_lab(self) -> bool:
        """Whether the guest is the one that the lab brings, which is known to have all that probes need."""
        return self.initramfs_file == self._lab_initramfs and not self.boots_from_disk

    @property
    def has_our_kernel(self) -> bool:
        """Whether it is the lab's guest with the lab's kernel, or with one that the project ships."""
        return self.is_of_lab and (not self.kernel or self.named_kernel in RECIPES)


def with_lab_words(spec: GuestSpec, words: str) -> GuestSpec:
    """With ``words`` of its lab host before its own on the kernel command line, where the kernel is none of the user's.

    >>> with_lab_words(GuestSpec(append="threadirqs"), "pci=lastbus=0").append
    'pci=lastbus=0 threadirqs'
    >>> with_lab_words(GuestSpec(kernel=Kernel("/boot/vmlinuz")), "pci=lastbus=0").append
    ''
    """
    return replace(spec, append=f"{words} {spec.append}".strip()) if words and spec.has_our_kernel else spec


@dataclass(frozen=True)
class Launch:
    """What a QEMU is started with: a guest, and the devices that it has on this host, in the order of their slots."""

    spec: GuestSpec
    devices: tuple[VfioDevice, ...] = ()
    absent: frozenset[str] = frozenset()
    """Ids of those that it does not have now: their slots are empty."""
    bare: frozenset[str] = frozenset()
    """Ids of those that libvirt plugged in: overrides, by which it gives a device its properties, are for devices that
    a domain begins with (seen with libvirt 11.3)."""

    @property
    def present(self) -> tuple[VfioDevice, ...]:
        return tuple(device for device in self.devices if device.id not in self.absent)


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
    def variables(self) -> str:
        """Of a guest with OVMF, the flash that it writes its variables to."""
        return f"{self.directory}/variables.fd"

    @property
    def log(self) -> str:
        """QEMU's log: trace events, and what it says of itself."""
        return f"{self.directory}/qemu.log"
