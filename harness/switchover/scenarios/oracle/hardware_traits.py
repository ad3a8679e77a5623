# SPDX-License-Identifier: GPL-2.0-or-later
"""What rules look at in a guest's hardware besides what all guests are told of (``GuestTraits``) and VFIO. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from switchover.guests.hardware import Option, list_nic, parse_machine, parse_option
from switchover.guests.spec import GuestSpec

# hw/net/virtio-net.c and include/hw/virtio/virtio.h of QEMU: features by the properties that offer them, with whether
# they do by default. Only those that Linux's driver (drivers/net/virtio_net.c) or its virtio core accepts: one that the
# guest did not take is not in the stream. The USO features came with 8.2, and machine types before do not have them.
_ON, _OFF = "on", "off"
_NIC_FEATURES: Mapping[str, str] = {
    **dict.fromkeys(("csum", "host_tso4", "host_tso6", "host_ecn", "host_ufo", "host_uso"), _ON),
    **dict.fromkeys(
        ("guest_csum", "guest_tso4", "guest_tso6", "guest_ecn", "guest_ufo", "guest_uso4", "guest_uso6"), _ON
    ),
    **dict.fromkeys(("mrg_rxbuf", "status", "guest_announce"), _ON),
    **dict.fromkeys(("ctrl_vq", "ctrl_rx", "ctrl_vlan", "ctrl_mac_addr", "ctrl_guest_offloads"), _ON),
    **dict.fromkeys(("event_idx", "indirect_desc", "queue_reset"), _ON),
    **dict.fromkeys(("mq", "rss", "hash", "packed", "iommu_platform"), _OFF),
}
_USO = frozenset({"host_uso", "guest_uso4", "guest_uso6"})
_LAST_WITHOUT_USO = (8, 1)
_NIC_NUMBERS = ("host_mtu", "speed", "duplex")
"""Properties that offer a feature as soon as they are set."""
_NIC_CONFIG = ("page-per-vq", "disable-legacy", "disable-modern")
"""Properties of the NIC that are seen in its PCI configuration space, besides ``vectors``; off, or by QEMU's choice as
good as that on a root bus.
"""
_NIC_OPTIONS = ("iommu_platform", "ats", "packed", "page-per-vq", "host_mtu")
_TRUE = frozenset({"on", "yes", "true", "y"})

Driver = tuple[str, str]
"""A device's driver, and its id."""


@dataclass(frozen=True)
class HardwareTraits:
    """``nic_features``: properties by which the NIC offers what Linux accepts; ``nic_config``: of what is seen in its
    PCI configuration; ``nic_slot``: empty: the next one; ``nic_rom``: whether it has one. ``iommu``: its driver, empty:
    none. ``apic_ids``: of the vCPUs. ``firmware``: ``ovmf``, a path, or empty.
    """

    nic_features: frozenset[str] = frozenset()
    nic_config: tuple[tuple[str, str], ...] = ()
    nic_slot: str = ""
    nic_rom: bool = False
    nic_options: tuple[str, ...] = ()
    """Values of properties that libvirt compares; empty: not given."""
    iommu: str = ""
    iommu_properties: tuple[tuple[str, str], ...] = ()
    caching_mode: bool = False
    intremap: bool = False
    irqchip: str = ""
    """``kernel-irqchip`` of the machine, empty: QEMU's choice."""
    apic_ids: frozenset[int] = frozenset({0})
    topology: tuple[tuple[str, int], ...] = ()
    firmware: str = ""
    devices: tuple[Driver, ...] = ()


def make_hardware_traits(guest: GuestSpec) -> HardwareTraits:
    machine, options = parse_machine(guest.machine)
    nic = list_nic(guest)
    iommu = _read_option(guest.iommu) if guest.iommu else Option("", {})
    return HardwareTraits(
        nic_features=_list_features(nic, machine),
        nic_config=(
            # two for each pair of queues, for the control queue, and for changes of the configuration
            ("vectors", nic.get("vectors", str(2 * guest.nic_queues + 2))),
            *((name, _ON) for name in _NIC_CONFIG if nic.get(name) in _TRUE),
        ),
        nic_slot=nic.get("addr", ""),
        nic_rom="romfile" in nic,
        nic_options=tuple(nic.get(name, "") for name in _NIC_OPTIONS),
        iommu=iommu.driver,
        iommu_properties=tuple(sorted(iommu.properties.items())),
        caching_mode=iommu.properties.get("caching-mode") in _TRUE,
        intremap=iommu.properties.get("intremap") in _TRUE,
        irqchip=options.get("kernel-irqchip", options.get("kernel_irqchip", "")),
        apic_ids=list_apic_ids(guest.vcpus, guest.topology),
        topology=tuple(sorted(guest.topology.items())),
        firmware=guest.firmware,
        devices=tuple((option.driver, option.id) for option in map(_read_option, guest.qemu_devices)),
    )


def list_apic_ids(vcpus: int, topology: Mapping[str, int]) -> frozenset[int]:
    """APIC ids of the vCPUs: each level has as many bits as its numbers need (include/hw/i386/topology.h of QEMU).

    >>> sorted(list_apic_ids(6, {"sockets": 2, "cores": 3})), sorted(list_apic_ids(3, {}))
    ([0, 1, 2, 4, 5, 6], [0, 1, 2])
    """
    ids = set()
    for number in range(vcpus):
        identity, shift, rest = 0, 0, number
        for level in ("threads", "cores", "modules", "dies"):
            count = max(topology.get(level, 1), 1)
            identity |= rest % count << shift
            rest, shift = rest // count, shift + (count - 1).bit_length()
        ids.add(identity | rest << shift if topology else number)
    return frozenset(ids)


def _read_option(text: str) -> Option:
    """What cannot be read is found as a mistake elsewhere."""
    try:
        return parse_option(text)
    except ValueError:
        return Option("", {})


def _list_features(nic: Mapping[str, str], machine: str) -> frozenset[str]:
    found = re.match(r"pc-(?:q35|i440fx)-(\d+)\.(\d+)", machine)
    old = found is not None and (int(found[1]), int(found[2])) <= _LAST_WITHOUT_USO
    offered = {
        name
        for name, default in _NIC_FEATURES.items()
        if nic.get(name, _OFF if old and name in _USO else default) in _TRUE
    }
    return frozenset(offered | {name for name in _NIC_NUMBERS if nic.get(name, "0") not in ("0", "")})
