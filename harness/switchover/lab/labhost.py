# SPDX-License-Identifier: GPL-2.0-or-later
"""One lab host: a VM on the controller that serves as a host. Its QEMU arguments are built here, purely."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from switchover.lab.accelerator import Accelerator
from switchover.lab.images import Image

MEMORY_MIB = 3072
LINK_MTU = 65000
# A lab host tells its NICs apart by these first five bytes (images/labhost/rc).
_USER_MAC = "52:54:00:53:75"
_LINK_MAC = "52:54:00:53:6c"
_OBSERVE_MAC = "52:54:00:53:6f"
MOST_HOSTS = 4
"""Of a lab. Their numbers are digits of MAC addresses and names (images/labhost/rc)."""
GUEST_PLACES = 8
"""Guests that can be on the hosts of a lab at a time, each with a MAC address, an address and an outlet of its own."""
OUTLET_ADDRESS = "10.77.0.250"
OUTLET_MAC = f"{_OBSERVE_MAC}:ff"
"""What a guest sends here leaves its lab host for the controller (images/labhost/rc); no machine has this address."""

CONSOLE = "console.log"
WORDS = "qemu.log"
"""Files of a lab host's directory: what its kernel says, and what the QEMU says that it runs in."""

TOOLCHAIN_BUS = "toolchains"
"""Disks with other QEMUs and kernels are plugged in here while the lab runs."""
KERNELS = "/usr/lib/switchover"
"""Folder of a host with a folder for each guest's kernel that has a name: its vmlinuz and initramfs.cpio."""
FIRMWARE = "/usr/share/OVMF"
"""Folder of a host with OVMF, where Debian's package puts it."""


GROUPED = ("0000:01:00.0", "0000:01:00.1")
"""Two NICs behind one root port, without ACS between them: one IOMMU group."""
SINGLE = ("0000:02:00.0", "0000:03:00.0")
"""NICs in groups of their own, wired to each other: what one sends the other one gets."""
PHYSICAL = "0000:04:00.0"
"""A NIC with SR-IOV (igb), which came with QEMU 8.0."""
VIRTUAL_FUNCTIONS = 7
"""How many of them the kernel's igb makes at most."""
PCI_FUNCTIONS = (*GROUPED, *SINGLE, PHYSICAL)
"""What lab hosts have to pass through, if they are asked for with an IOMMU. Emulated: none can migrate."""
_PCI_MACHINE = "q35,kernel-irqchip=split"  # as intremap wants it where there is KVM
_PCI_APPEND = "intel_iommu=on iommu=pt switchover.pci"  # the last is for images/labhost/rc
_IOMMU = ("-device", "intel-iommu,intremap=on,aw-bits=48")
"""Before all other devices: those that are made before it are not behind it."""


@dataclass(frozen=True)
class LinkEnd:
    """A lab host's end of its link to another one. ``peer``: number of that, from 1; one end listens, one connects."""

    peer: int
    listens: bool


@dataclass(frozen=True)
class LabHostSpec:
    """What a lab host is started from. ``token`` marks its process as one of this lab."""

    name: str
    token: str
    index: int
    """1 for the first lab host; part of the MAC addresses on its links."""
    address: str
    """Address on the private network, ``ADDRESS/PREFIX``."""
    links: tuple[LinkEnd, ...]
    """To each other host of the lab."""
    directory: Path
    """Holds its keys and its console, mode 0700."""
    sockets: Path
    """Holds monitor, outlets and links, mode 0700; short, since a unix socket's path has at most 107 bytes."""
    disks: tuple[Path, ...] = ()
    """Images of the user that it has as ``/dev/vdb``, ``/dev/vdc`` and so on."""
    pci: bool = False
    """Whether it has an IOMMU and the functions of :data:`PCI_FUNCTIONS`."""

    @property
    def monitor(self) -> Path:
        return monitor_socket(self.sockets, self.name)

    @property
    def listening(self) -> tuple[Path, ...]:
        """Sockets of links that its QEMU makes."""
        return tuple(link_socket(self.sockets, self.index, link.peer) for link in self.links if link.listens)

    @property
    def console(self) -> Path:
        return self.directory / CONSOLE

    @property
    def words(self) -> Path:
        return self.directory / WORDS


def process_name(token: str, name: str) -> str:
    """What the QEMU of the lab host ``name`` is called on its command line; no other process has this word there."""
    return f"{token}-{name}"


def monitor_socket(sockets: Path, name: str) -> Path:
    """Of the QEMU that the lab host ``name`` runs in."""
    return sockets / f"{name}.qmp"


def outlet_socket(sockets: Path, name: str, number: int) -> Path:
    """Datagram socket of the controller to which the lab host ``name`` sends frames; whoever wants them makes it.

    There is one for each guest that can be there at a time, by the number of its place, and 0 for a guest that has
    none: a socket has one reader. All of them get all frames.
    """
    return sockets / f"{name}.seen.{number}"


def list_links(index: int, count: int) -> tuple[LinkEnd, ...]:
    """Ends of the links of the lab host with this number, in a lab of ``count``: one to each other host.

    The one that is started before the other listens.

    >>> list_links(2, 3)
    (LinkEnd(peer=1, listens=False), LinkEnd(peer=3, listens=True))
    """
    return tuple(LinkEnd(peer, listens=index < peer) for peer in range(1, count + 1) if peer != index)


def link_socket(sockets: Path, one: int, other: int) -> Path:
    """Of the link between the lab hosts with these numbers, in whatever order."""
    return sockets / f"link-{min(one, other)}-{max(one, other)}"


def link_interface(peer: int) -> str:
    """A lab host's NIC on its link to the one with the number ``peer`` (images/labhost/rc)."""
    return f"link{peer}"


def labhost_arguments(spec: LabHostSpec, image: Image, accelerator: Accelerator) -> list[str]:
    """QEMU's arguments, program name excluded.

    The user network is restricted: the lab host reaches nothing through it, and its SSH is forwarded to a port of
    127.0.0.1 that the kernel chooses (``info usernet`` tells which). Disks are shared and never written: what lab hosts
    write goes with them.
    """
    append = " ".join(
        filter(None, ("console=ttyS0 quiet panic=-1", accelerator.words, _PCI_APPEND if spec.pci else ""))
    )
    return [
        *("-name", process_name(spec.token, spec.name)),
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *("-machine", _PCI_MACHINE if spec.pci else "q35", "-accel", accelerator.accel, "-cpu", accelerator.cpu),
        *(_IOMMU if spec.pci else ()),
        *("-smp", str(accelerator.vcpus), "-m", str(MEMORY_MIB)),
        *("-kernel", str(image.artifact("vmlinuz")), "-initrd", str(image.artifact("initramfs.cpio"))),
        *("-append", append),
        "-no-reboot",
        *("-serial", f"file:{spec.console}"),
        *("-qmp", f"unix:{spec.monitor},server=on,wait=off"),
        *_disk_arguments(image.artifact("root.ext4"), *spec.disks),
        *("-netdev", "user,id=user,restrict=on,hostfwd=tcp:127.0.0.1:0-:22"),
        *("-device", f"virtio-net-pci,netdev=user,mac={_USER_MAC}:01,romfile="),
        *(word for link in spec.links for word in _link_arguments(spec, link)),
        *_outlet_arguments(spec),
        *("-device", f"virtio-scsi-pci,id={TOOLCHAIN_BUS}"),
        *(_pci_arguments() if spec.pci else ()),
        *_fw_cfg(spec, "name", "link_address", "authorized_keys", "ssh_host_ed25519_key"),
    ]


def own_qemu(image: Image) -> str:
    """Program in the image ``labhost-qemu``: the QEMU that lab hosts have, started on the controller to run them in.

    The controller's own may be Debian 12's 7.2, which has no igb, and in which kernels die under TCG (docs/lab.md,
    Known traps).
    """
    return str(image.artifact("root") / "bin" / "qemu-system-x86_64")


def _disk_arguments(*disks: Path) -> list[str]:
    names = (str(disk).replace(",", ",,") for disk in disks)
    drives = (f"file={name},if=virtio,format={find_format(disk)}" for disk, name in zip(disks, names, strict=True))
    return [word for drive in drives for word in ("-drive", f"{drive},snapshot=on,cache=unsafe")]


def find_format(disk: Path) -> str:
    """``qcow2`` by its first bytes (docs/interop/qcow2.rst in QEMU), else ``raw``: QEMU itself does not guess raw."""
    with contextlib.suppress(OSError), disk.open("rb") as file:
        return "qcow2" if file.read(4) == b"QFI\xfb" else "raw"
    return "raw"


def _pci_arguments() -> list[str]:
    """Root ports in the order of their buses, which are numbered from 1 as the firmware finds them: by slot."""
    behind = (
        ("e1000e,addr=0.0,multifunction=on,romfile=", "e1000e,addr=0.1,romfile="),
        ("e1000e,netdev=wire1,romfile=",),
        ("e1000e,netdev=wire2,romfile=",),
        ("igb,romfile=",),
    )
    words = [word for end in (1, 2) for word in ("-netdev", f"hubport,id=wire{end},hubid=1")]
    for bus, devices in enumerate(behind, start=1):
        words += ["-device", f"pcie-root-port,id=pci{bus},chassis={bus},addr={0x10 + bus:#x}"]
        for device in devices:
            words += ["-device", f"{device},bus=pci{bus}"]
    return words


def _link_arguments(spec: LabHostSpec, link: LinkEnd) -> list[str]:
    """The last byte of its MAC address is the peer's number and its own, a digit each (images/labhost/rc)."""
    name = link_interface(link.peer)
    server, socket = "on" if link.listens else "off", link_socket(spec.sockets, spec.index, link.peer)
    mac = f"{_LINK_MAC}:{link.peer:x}{spec.index:x}"
    return [
        *("-netdev", f"stream,id={name},server={server},addr.type=unix,addr.path={socket}"),
        *("-device", f"virtio-net-pci,netdev={name},mac={mac},host_mtu={LINK_MTU},romfile="),
    ]


def _outlet_arguments(spec: LabHostSpec) -> list[str]:
    """One NIC, and behind it a hub that sends each frame to all outlets: guests' receivers are processes of their own,
    and a datagram socket has one reader. Where nobody reads, QEMU drops what is sent. The datagram netdev is in QEMU
    7.2 and newer.
    """
    words = ["-netdev", "hubport,id=observe,hubid=2"]
    for number in range(GUEST_PLACES + 1):
        local, remote = spec.sockets / f"{spec.name}.out.{number}", outlet_socket(spec.sockets, spec.name, number)
        ends = f"local.type=unix,local.path={local},remote.type=unix,remote.path={remote}"
        words += ["-netdev", f"dgram,id=out{number},{ends}"]
        words += ["-netdev", f"hubport,id=observe{number},hubid=2,netdev=out{number}"]
    mac = f"{_OBSERVE_MAC}:{spec.index:02x}"
    return [*words, "-device", f"virtio-net-pci,netdev=observe,mac={mac},romfile="]


def _fw_cfg(spec: LabHostSpec, *names: str) -> list[str]:
    pairs = (("-fw_cfg", f"name=opt/switchover/{name},file={spec.directory / name}") for name in names)
    return [word for pair in pairs for word in pair]
