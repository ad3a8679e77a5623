# SPDX-License-Identifier: GPL-2.0-or-later
"""Parts of a domain's XML about the guest's hardware, for what :mod:`hardware` makes words of QEMU of. Pure.

What libvirt has an element for is said by it. Other properties of the NIC are overrides of what libvirt generates,
further objects and devices go to QEMU as they are (:mod:`domain`).
"""

from collections.abc import Mapping
from xml.etree.ElementTree import Element, SubElement

from switchover.guests.hardware import is_standby, list_nic, parse_machine, parse_option
from switchover.guests.spec import GuestFiles, GuestSpec

NIC_ALIAS = "ua-nic"
"""Of the NIC, where it has overrides; the prefix is libvirt's rule."""
_DRIVER: Mapping[str, str] = {
    "rx_queue_size": "rx_queue_size",
    "tx_queue_size": "tx_queue_size",
    "event_idx": "event_idx",
    "packed": "packed",
    "ats": "ats",
    "iommu_platform": "iommu",
    "page-per-vq": "page_per_vq",
}
"""Attributes of an interface's ``<driver>``, by virtio-net-pci's properties (docs/formatdomain.rst of libvirt)."""
_HOST: Mapping[str, str] = {
    "csum": "csum",
    "gso": "gso",
    "host_tso4": "tso4",
    "host_tso6": "tso6",
    "host_ecn": "ecn",
    "host_ufo": "ufo",
    "mrg_rxbuf": "mrg_rxbuf",
}
_GUEST: Mapping[str, str] = {
    "guest_csum": "csum",
    "guest_tso4": "tso4",
    "guest_tso6": "tso6",
    "guest_ecn": "ecn",
    "guest_ufo": "ufo",
}
"""The same of its ``<host>`` and ``<guest>``."""
_PLACED = ("addr", "bus", "multifunction", "romfile")
"""Properties of the NIC by which it has its place, which libvirt gives it."""
_STRINGS = ("disable-legacy", "tx", "duplex")
"""Properties that take no boolean, though their value may be on or off (OnOffAuto in QEMU)."""
_INTEL: Mapping[str, str] = {
    "intremap": "intremap",
    "caching-mode": "caching_mode",
    "eim": "eim",
    "device-iotlb": "iotlb",
    "aw-bits": "aw_bits",
    "dma-translation": "dma_translation",
}
"""Attributes of the ``<driver>`` of an ``<iommu>``."""
_IOAPIC: Mapping[str, str] = {"split": "qemu", "on": "kvm"}
_TOPOLOGY = ("sockets", "dies", "cores", "threads")


def find_hardware_obstacles(spec: GuestSpec) -> list[str]:
    """What of a guest's hardware no domain can say, a line each."""
    obstacles = []
    for name, value in parse_machine(spec.machine)[1].items():
        if name.replace("_", "-") != "kernel-irqchip" or value not in _IOAPIC:
            obstacles.append(f"libvirt has no way to give QEMU -machine {spec.machine}")
            break
    obstacles += [f"libvirt has no level {name!r} of a topology" for name in spec.topology if name not in _TOPOLOGY]
    if any(map(is_standby, spec.qemu_devices)):
        obstacles.append(
            "libvirt has no failover pair with further devices: they come after those that are passed through"
        )
    placed = [name for name in list_nic(spec) if name in _PLACED]
    obstacles += [f"libvirt places the guest's NIC by itself: it takes no property {name!r} of it" for name in placed]
    iommu = parse_option(spec.iommu) if spec.iommu else None
    if iommu is not None:
        known = {"intel-iommu": tuple(_INTEL), "virtio-iommu-pci": ()}.get(iommu.driver)
        if known is None:
            obstacles.append(f"libvirt has no IOMMU {iommu.driver!r} for a guest")
        obstacles += [
            f"libvirt has no way to give {iommu.driver} the property {name!r}"
            for name in iommu.properties
            if known is not None and name not in known
        ]
    return obstacles


def add_irqchip(features: Element, spec: GuestSpec) -> None:
    """``kernel-irqchip`` of the machine."""
    options = parse_machine(spec.machine)[1]
    chip = options.get("kernel-irqchip", options.get("kernel_irqchip", ""))
    if chip in _IOAPIC:
        SubElement(features, "ioapic", driver=_IOAPIC[chip])


def add_topology(cpu: Element, spec: GuestSpec) -> None:
    if spec.topology:
        SubElement(cpu, "topology", {name: str(spec.topology.get(name, 1)) for name in _TOPOLOGY})


def add_firmware(os: Element, spec: GuestSpec, files: GuestFiles) -> None:
    """The flash with variables is a file of the guest's, made before there is a domain."""
    if spec.named_firmware:
        SubElement(os, "loader", readonly="yes", type="pflash").text = spec.firmware_files[0]
        SubElement(os, "nvram").text = files.variables
    elif spec.firmware:
        SubElement(os, "loader", type="rom").text = spec.firmware


def add_iommu(devices: Element, spec: GuestSpec) -> None:
    if not spec.iommu:
        return
    option = parse_option(spec.iommu)
    if option.driver == "virtio-iommu-pci":
        SubElement(devices, "iommu", model="virtio")
        return
    iommu = SubElement(devices, "iommu", model="intel")
    if option.properties:
        SubElement(iommu, "driver", {_INTEL[name]: value for name, value in option.properties.items()})


def add_nic(interface: Element, spec: GuestSpec) -> None:
    """``<driver>`` of an interface with its sub-elements, and ``<mtu>``; without vhost, as the command line is."""
    nic = list_nic(spec)
    if list_overridden(spec):
        SubElement(interface, "alias", name=NIC_ALIAS)
    driver = SubElement(interface, "driver", name="qemu")
    if spec.nic_queues > 1:
        driver.set("queues", str(spec.nic_queues))
    for property_name, attribute in _DRIVER.items():
        if property_name in nic:
            driver.set(attribute, nic[property_name])
    for tag, attributes in (("host", _HOST), ("guest", _GUEST)):
        given = {attribute: nic[name] for name, attribute in attributes.items() if name in nic}
        if given:
            SubElement(driver, tag, given)
    if "host_mtu" in nic:
        SubElement(interface, "mtu", size=nic["host_mtu"])


def list_overridden(spec: GuestSpec) -> list[dict[str, str]]:
    """Properties of the NIC that libvirt has no word for, each as the attributes of a ``<qemu:property>``."""
    said = {*_DRIVER, *_HOST, *_GUEST, *_PLACED, "host_mtu"}
    if spec.nic_queues > 1:
        said.add("mq")
    return [_type_property(name, value) for name, value in list_nic(spec).items() if name not in said]


def _type_property(name: str, value: str) -> dict[str, str]:
    if value in ("on", "off") and name not in _STRINGS:
        return {"name": name, "type": "bool", "value": "true" if value == "on" else "false"}
    return {"name": name, "type": "unsigned" if value.isdecimal() else "string", "value": value}
