# SPDX-License-Identifier: GPL-2.0-or-later
"""PCI functions, IOMMU groups and mediated devices of a host, as its sysfs lists them; one command reads it all.

Source of the paths: Documentation/ABI/testing/sysfs-bus-pci, sysfs-kernel-iommu_groups, sysfs-bus-vfio-mdev of Linux.
"""

import posixpath
import re
from dataclasses import dataclass

from switchover.hosts.host import Host

_BRIDGE_CLASS = 0x0604
_SCRIPT = r"""
cd /sys
find bus/pci/devices/*/ -maxdepth 1 -type l \( -name driver -o -name iommu_group -o -name physfn -o -name 'virtfn*' \) \
  -printf '%p -> %l\n'
find bus/pci/drivers/ -mindepth 1 -maxdepth 1 -printf '%p -> %f\n'
find class/mdev_bus/ bus/mdev/devices/ -mindepth 1 -maxdepth 1 -type l -printf '%p -> %l\n'
find bus/mdev/devices/*/ -maxdepth 1 -type l \( -name mdev_type -o -name iommu_group \) -printf '%p -> %l\n'
find kernel/iommu_groups/*/devices/ -mindepth 1 -maxdepth 1 -printf '%p -> %l\n'
grep -H . bus/pci/devices/*/vendor bus/pci/devices/*/device bus/pci/devices/*/class bus/pci/devices/*/numa_node \
  bus/pci/devices/*/driver_override bus/pci/devices/*/modalias bus/pci/devices/*/sriov_totalvfs \
  bus/pci/devices/*/sriov_numvfs bus/pci/devices/*/sriov_drivers_autoprobe
grep -H . class/mdev_bus/*/mdev_supported_types/*/name class/mdev_bus/*/mdev_supported_types/*/available_instances
exit 0
"""


@dataclass(frozen=True)
class PciFunction:
    """A PCI function. ``numbers``: vendor and device id, ``8086:10d3``; ``pci_class``: 24 bits, class to interface."""

    address: str
    numbers: str
    pci_class: int
    driver: str | None
    group: str | None
    """IOMMU group; None without an IOMMU."""
    physical: str | None
    """Address of the physical function, where this is a virtual one."""
    virtual_functions: tuple[int, int] | None
    """SR-IOV: how many there are, and how many there can be; None without SR-IOV."""
    numa_node: int | None
    override: str = ""
    """``driver_override``: the only driver that may have it; empty: any that fits."""
    modalias: str = ""
    virtual: tuple[str, ...] = ()
    """Addresses of the virtual functions that there are, by their numbers from 0."""
    autoprobe: bool = True
    """Whether new virtual functions are given to the drivers that fit, without being asked for."""

    @property
    def is_bridge(self) -> bool:
        return self.pci_class >> 8 == _BRIDGE_CLASS

    @property
    def is_for_vfio(self) -> bool:
        """Whether a VFIO driver has it: vfio-pci, or a vendor's with migration (mlx5_vfio_pci …), by its name."""
        return self.driver is not None and "vfio" in self.driver


@dataclass(frozen=True)
class MdevType:
    """A type of mediated device. ``parent``: the parent's path in sysfs; ``available``: instances that are left."""

    parent: str
    type: str
    name: str
    available: int | None


@dataclass(frozen=True)
class MediatedInstance:
    """A mediated device that exists."""

    uuid: str
    parent: str
    type: str | None
    group: str | None


@dataclass(frozen=True)
class HostDevices:
    """All of them. ``groups``: members of each IOMMU group, PCI addresses and UUIDs. ``drivers``: those of PCI."""

    functions: tuple[PciFunction, ...]
    groups: dict[str, tuple[str, ...]]
    mdev_types: tuple[MdevType, ...]
    mediated: tuple[MediatedInstance, ...]
    drivers: tuple[str, ...] = ()

    def find_function(self, address: str) -> PciFunction | None:
        """By address; the domain may be left out."""
        full = complete_address(address)
        return next((function for function in self.functions if function.address == full), None)

    def find_mdev_type(self, parent: str, mdev_type: str) -> MdevType | None:
        """``parent``: path in sysfs, or its last part."""
        return next(
            (
                entry
                for entry in self.mdev_types
                if entry.type == mdev_type and parent.rstrip("/") in (entry.parent, posixpath.basename(entry.parent))
            ),
            None,
        )

    def list_hindering(self, group: str) -> list[PciFunction]:
        """Members that keep VFIO from a group: functions that another driver has; bridges are allowed any driver."""
        members = [self.find_function(address) for address in self.groups.get(group, ())]
        return [
            function
            for function in members
            if function is not None
            and function.driver is not None
            and not (function.is_for_vfio or function.is_bridge or function.driver == "pci-stub")
        ]


def complete_address(address: str) -> str:
    """
    >>> complete_address("3B:00.2")
    '0000:3b:00.2'
    """
    lower = address.lower()
    return lower if lower.count(":") == 2 else f"0000:{lower}"


def read_devices(host: Host) -> HostDevices:
    """What the host has now. What it does not have (no PCI, no mdev) is empty."""
    return parse_devices(host.run(["sh", "-c", _SCRIPT], timeout=60).text)


def parse_devices(text: str) -> HostDevices:
    """From lines ``PATH -> TARGET`` and ``PATH:VALUE``, paths from /sys on; other lines are left."""
    links: dict[str, str] = {}
    values: dict[str, str] = {}
    for line in text.splitlines():
        # addresses have colons, names of attributes have none
        if match := re.fullmatch(r"(\S+) -> (.+)", line):
            links[posixpath.normpath(match[1])] = match[2]
        elif match := re.fullmatch(r"(\S+/[^/:]+):(.*)", line):
            values[posixpath.normpath(match[1])] = match[2]
    return HostDevices(
        functions=_parse_functions(links, values),
        groups=_parse_groups(links),
        mdev_types=_parse_types(links, values),
        mediated=_parse_mediated(links),
        drivers=tuple(sorted(links[path] for path in links if posixpath.dirname(path) == "bus/pci/drivers")),
    )


def _parse_functions(links: dict[str, str], values: dict[str, str]) -> tuple[PciFunction, ...]:
    found = []
    for path, vendor in sorted(values.items()):
        match = re.fullmatch(r"(bus/pci/devices/([^/]+))/vendor", path)
        if match is None:
            continue
        base = match[1]
        total = _number(values.get(f"{base}/sriov_totalvfs"))
        node = _number(values.get(f"{base}/numa_node"))
        found.append(
            PciFunction(
                address=match[2],
                numbers=f"{vendor.removeprefix('0x')}:{values.get(f'{base}/device', '?').removeprefix('0x')}",
                pci_class=_number(values.get(f"{base}/class")) or 0,
                driver=_last(links.get(f"{base}/driver")),
                group=_last(links.get(f"{base}/iommu_group")),
                physical=_last(links.get(f"{base}/physfn")),
                virtual_functions=None if total is None else (_number(values.get(f"{base}/sriov_numvfs")) or 0, total),
                numa_node=None if node is None or node < 0 else node,
                override=_set_word(values.get(f"{base}/driver_override")),
                modalias=values.get(f"{base}/modalias", ""),
                virtual=_parse_virtual(base, links),
                autoprobe=values.get(f"{base}/sriov_drivers_autoprobe") != "0",
            )
        )
    return tuple(found)


def _set_word(text: str | None) -> str:
    """A word that may be unset, which the kernel prints as ``(null)``."""
    return "" if text in (None, "(null)") else str(text)


def _parse_virtual(base: str, links: dict[str, str]) -> tuple[str, ...]:
    found: list[str] = []
    while (target := links.get(f"{base}/virtfn{len(found)}")) is not None:
        found.append(posixpath.basename(target))
    return tuple(found)


def _parse_groups(links: dict[str, str]) -> dict[str, tuple[str, ...]]:
    groups: dict[str, list[str]] = {}
    for path in sorted(links):
        if match := re.fullmatch(r"kernel/iommu_groups/([^/]+)/devices/([^/]+)", path):
            groups.setdefault(match[1], []).append(match[2])
    ordered = sorted(groups, key=lambda group: (len(group), group))
    return {group: tuple(groups[group]) for group in ordered}


def _parse_types(links: dict[str, str], values: dict[str, str]) -> tuple[MdevType, ...]:
    types: dict[tuple[str, str], dict[str, str]] = {}
    for path, value in values.items():
        if match := re.fullmatch(r"(class/mdev_bus/[^/]+)/mdev_supported_types/([^/]+)/(\w+)", path):
            types.setdefault((match[1], match[2]), {})[match[3]] = value
    return tuple(
        MdevType(_resolve(parent, links.get(parent, "")), name, attributes.get("name", name), _available(attributes))
        for (parent, name), attributes in sorted(types.items())
    )


def _available(attributes: dict[str, str]) -> int | None:
    return _number(attributes.get("available_instances"))


def _parse_mediated(links: dict[str, str]) -> tuple[MediatedInstance, ...]:
    found = []
    for path, target in sorted(links.items()):
        if match := re.fullmatch(r"bus/mdev/devices/([^/]+)", path):
            found.append(
                MediatedInstance(
                    uuid=match[1],
                    parent=posixpath.dirname(_resolve(path, target)),
                    type=_last(links.get(f"{path}/mdev_type")),
                    group=_last(links.get(f"{path}/iommu_group")),
                )
            )
    return tuple(found)


def _resolve(path: str, target: str) -> str:
    """Where a link of /sys leads."""
    return posixpath.normpath(posixpath.join("/sys", posixpath.dirname(path), target))


def _last(target: str | None) -> str | None:
    return None if target is None else posixpath.basename(target)


def _number(text: str | None) -> int | None:
    try:
        return None if text is None else int(text, 0)
    except ValueError:
        return None
