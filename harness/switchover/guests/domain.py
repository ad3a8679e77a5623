# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt's domain XML for a guest: the same guest as :mod:`arguments` makes a command line for. Pure.

What a domain has no element for goes to QEMU as it is, in libvirt's own namespace for that: the log with its traces,
and a second monitor, from which the harness reads what libvirt does not pass on. libvirt marks such a domain as tainted
(``custom-argv``). The devices' properties are overrides of what libvirt generates (``custom-device``).
"""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from switchover.guests.arguments import GIVEN, TRACE_PATTERNS, render_append
from switchover.guests.domain_hardware import (
    NIC_ALIAS,
    add_firmware,
    add_iommu,
    add_irqchip,
    add_nic,
    add_topology,
    find_hardware_obstacles,
    list_overridden,
)
from switchover.guests.hardware import parse_machine, render_late, render_objects
from switchover.guests.spec import GuestFiles, GuestSpec, Launch, VfioDevice

QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"
_ALIAS_PREFIX = "ua-"  # libvirt keeps names of users apart from its own by it
_FUNCTION = re.compile(r"(\w+):(\w+):(\w+)\.(\w)")
_UUID = re.compile(r"[0-9A-Za-z_-]+")
_NUMBER = re.compile(r"\d+|0x[0-9a-fA-F]+")

# hw/vfio/pci.c and hw/pci/pci.c of QEMU: libvirt's overrides are typed, and QEMU takes no string for a boolean there
_BOOLEANS = frozenset(
    {
        "migration-events",
        "multifunction",
        "x-allow-pre-copy",
        "x-balloon-allowed",
        "x-igd-lpc",
        "x-igd-opregion",
        "x-no-geforce-quirks",
        "x-no-kvm-intx",
        "x-no-kvm-ioeventfd",
        "x-no-kvm-msi",
        "x-no-kvm-msix",
        "x-no-mmap",
        "x-no-vfio-ioeventfd",
        "x-req",
        "x-vga",
    }
)


@dataclass(frozen=True)
class DomainIdentity:
    """What libvirt knows a guest by; it keeps both when it migrates."""

    name: str
    uuid: str


def alias_of(device_id: str) -> str:
    """What libvirt, and so QEMU, calls a device of the guest's spec."""
    return f"{_ALIAS_PREFIX}{device_id}"


def find_obstacles(spec: GuestSpec) -> list[str]:
    """What of a guest no domain can be made for, a line each."""
    obstacles = find_hardware_obstacles(spec)
    if "," in spec.accel:
        obstacles.append(f"libvirt has no way to give QEMU -accel {spec.accel}")
    if spec.accel not in ("kvm", "tcg") and "," not in spec.accel:
        obstacles.append(f"libvirt has no domains for the accelerator {spec.accel}")
    if spec.start == "warm":
        obstacles.append("a warm guest is restored by QEMU alone: libvirt has no part in it")
    return obstacles


def build_domain(launch: Launch, files: GuestFiles, identity: DomainIdentity, *, keys: bool = True) -> str:
    """The domain as XML; both sides of a migration have the same, but for files, taps and devices.

    ``keys``: whether the guest is given those among its files.

    The guest's ``qemu`` must be a path, as libvirt's schema wants it; a name stands for the program of Debian's
    packages.
    """
    spec = launch.spec
    # written out: ElementTree would give the namespace a prefix of its own
    domain = Element("domain", {"type": "kvm" if spec.accel == "kvm" else "qemu", "xmlns:qemu": QEMU_NAMESPACE})
    SubElement(domain, "name").text = identity.name
    SubElement(domain, "uuid").text = identity.uuid
    SubElement(domain, "memory", unit="MiB").text = str(spec.memory_mib)
    SubElement(domain, "vcpu").text = str(spec.vcpus)
    if keys:
        _add_sysinfo(domain, files)
    _add_os(domain, spec, files)
    features = SubElement(domain, "features")
    SubElement(features, "acpi")
    SubElement(features, "apic")
    add_irqchip(features, spec)
    _add_cpu(domain, spec)
    for event in ("poweroff", "reboot", "crash"):
        restarts = event == "reboot" and spec.on_reboot == "reset"
        SubElement(domain, f"on_{event}").text = "restart" if restarts else "destroy"
    _add_devices(domain, launch, files)
    _add_commandline(domain, spec, files)
    _add_overrides(domain, launch)
    ElementTree.indent(domain)
    return ElementTree.tostring(domain, encoding="unicode") + "\n"


def _add_sysinfo(domain: Element, files: GuestFiles) -> None:
    sysinfo = SubElement(domain, "sysinfo", type="fwcfg")
    for name in GIVEN:
        SubElement(sysinfo, "entry", name=f"opt/switchover/{name}", file=f"{files.directory}/{name}")


def _add_os(domain: Element, spec: GuestSpec, files: GuestFiles) -> None:
    os = SubElement(domain, "os")
    SubElement(os, "type", arch="x86_64", machine=parse_machine(spec.machine)[0]).text = "hvm"
    add_firmware(os, spec, files)
    if spec.boots_from_disk:
        SubElement(os, "boot", dev="hd")
        return
    SubElement(os, "kernel").text = spec.kernel_file
    if spec.initramfs_file:
        SubElement(os, "initrd").text = spec.initramfs_file
    SubElement(os, "cmdline").text = render_append(spec)


def _add_cpu(domain: Element, spec: GuestSpec) -> None:
    """``host``, ``max`` or a model of QEMU's, with features as ``+name``, ``-name`` or ``name=on|off``."""
    model, *features = spec.cpu.split(",")
    special = {"host": "host-passthrough", "max": "maximum"}
    element = SubElement(domain, "cpu", mode=special.get(model, "custom"), check="none")
    if model not in special:
        element.set("match", "exact")
        SubElement(element, "model", fallback="forbid").text = model
    add_topology(element, spec)
    for feature in features:
        name, _, state = feature.lstrip("+-").partition("=")
        off = feature.startswith("-") or state == "off"
        SubElement(element, "feature", policy="disable" if off else "require", name=name)


def _add_devices(domain: Element, launch: Launch, files: GuestFiles) -> None:
    spec = launch.spec
    devices = SubElement(domain, "devices")
    SubElement(devices, "emulator").text = spec.qemu if "/" in spec.qemu else f"/usr/bin/{spec.qemu}"
    if spec.disk:
        _add_disk(devices, spec)
    SubElement(devices, "controller", type="usb", model="none")
    if spec.bridge:
        _add_interface(devices, spec, files)
    serial = SubElement(devices, "serial", type="file")
    SubElement(serial, "source", path=files.console)
    _add_ports(devices, launch)
    for device in launch.present:
        _add_hostdev(devices, device, _port_of(launch, device))
    SubElement(devices, "memballoon", model="none")
    rng = SubElement(devices, "rng", model="virtio")
    SubElement(rng, "backend", model="random").text = "/dev/urandom"
    add_iommu(devices, spec)


def _has_ports(spec: GuestSpec) -> bool:
    """Whether its machine has PCI Express, with root ports. Else devices are on the bus, where libvirt puts them."""
    return "q35" in parse_machine(spec.machine)[0]


def _add_ports(devices: Element, launch: Launch) -> None:
    """Root ports, from slot 0x10 on: QEMU makes what is on its command line in words, as further devices are, before
    what libvirt says in JSON, and gives it the lowest slots. So they are at the same places on both sides, whichever
    has further devices.
    """
    for number in range(_first_port(launch.spec) + len(launch.devices) - 1 if _has_ports(launch.spec) else 0):
        port = SubElement(devices, "controller", type="pci", index=str(number + 1), model="pcie-root-port")
        _place_port(port, *divmod(number, 8))


def _place_port(port: Element, slot: int, function: int) -> None:
    address = SubElement(port, "address", type="pci", domain="0x0000", bus="0x00", slot=f"0x{0x10 + slot:02x}")
    address.set("function", f"0x{function}")
    if function == 0:
        address.set("multifunction", "on")


def _add_disk(devices: Element, spec: GuestSpec) -> None:
    """Caching as in :func:`arguments.build_arguments`, and for its reasons. QEMU's image lock stays on here too."""
    disk = SubElement(devices, "disk", type="file", device="disk")
    SubElement(disk, "driver", name="qemu", type=spec.disk_format, cache="writeback" if spec.disk_readonly else "none")
    SubElement(disk, "source", file=spec.disk)
    SubElement(disk, "target", dev="vda", bus="virtio")
    if spec.disk_readonly:
        SubElement(disk, "readonly")


def _add_interface(devices: Element, spec: GuestSpec, files: GuestFiles) -> None:
    """A tap that libvirt makes, and takes away with QEMU. Without vhost, as the command line is."""
    interface = SubElement(devices, "interface", type="bridge")
    SubElement(interface, "mac", address=spec.mac)
    SubElement(interface, "source", bridge=spec.bridge)
    SubElement(interface, "target", dev=files.tap)
    SubElement(interface, "model", type="virtio")
    add_nic(interface, spec)
    SubElement(interface, "rom", enabled="no")


def _first_port(spec: GuestSpec) -> int:
    """The root port of the first VFIO device. libvirt gives all others the lowest that are free, so theirs come before:
    then each has the same one whether a VFIO device is there or not.
    """
    return 2 + bool(spec.disk) + bool(spec.bridge)


def _port_of(launch: Launch, device: VfioDevice) -> int | None:
    """None: its machine has no ports."""
    if not _has_ports(launch.spec):
        return None
    return _first_port(launch.spec) + launch.devices.index(device)


def render_hostdev(launch: Launch, device: VfioDevice) -> str:
    """One of the launch's devices by itself, as libvirt takes and gives it back in a domain that runs."""
    devices = Element("devices")
    _add_hostdev(devices, device, _port_of(launch, device))
    return ElementTree.tostring(devices[0], encoding="unicode")


def _add_hostdev(devices: Element, device: VfioDevice, port: int | None) -> None:
    """A PCI function by its address, or a mediated device by its UUID; which one, its path in sysfs tells. Each has a
    root port of its own, as with :mod:`arguments`, if there are any.
    """
    name = PurePosixPath(device.sysfsdev).name
    if function := _FUNCTION.fullmatch(name):
        managed = "yes" if device.managed else "no"
        hostdev = SubElement(devices, "hostdev", mode="subsystem", type="pci", managed=managed)
        SubElement(hostdev, "driver", name="vfio")
        words = dict(
            zip(("domain", "bus", "slot", "function"), (f"0x{part}" for part in function.groups()), strict=True)
        )
    elif _UUID.fullmatch(name):
        hostdev = SubElement(devices, "hostdev", mode="subsystem", type="mdev", managed="no", model="vfio-pci")
        words = {"uuid": name}
    else:
        raise ValueError(f"{device.sysfsdev} names neither a PCI function nor a mediated device")
    SubElement(SubElement(hostdev, "source"), "address", words)
    SubElement(hostdev, "alias", name=alias_of(device.id))
    if port is not None:
        SubElement(hostdev, "address", type="pci", domain="0x0000", bus=f"0x{port:02x}", slot="0x00", function="0x0")


def _add_commandline(domain: Element, spec: GuestSpec, files: GuestFiles) -> None:
    words = [
        *("-qmp", f"unix:{files.monitor},server=on,wait=off"),
        *("-D", files.log),
        *render_objects(spec),
        *render_late(spec),
        *(word for pattern in TRACE_PATTERNS if spec.traced for word in ("-trace", pattern)),
    ]
    commandline = SubElement(domain, "qemu:commandline")
    for word in words:
        SubElement(commandline, "qemu:arg", value=word)


def _add_overrides(domain: Element, launch: Launch) -> None:
    nic = list_overridden(launch.spec)
    given = {
        **({NIC_ALIAS: nic} if nic else {}),
        **{
            alias_of(device.id): [_type_property(*pair) for pair in device.properties.items()]
            for device in launch.present
            if device.properties
        },
    }
    if not given:
        return
    override = SubElement(domain, "qemu:override")
    for alias, properties in given.items():
        frontend = SubElement(SubElement(override, "qemu:device", alias=alias), "qemu:frontend")
        for one in properties:
            SubElement(frontend, "qemu:property", one)


def _type_property(name: str, value: str) -> dict[str, str]:
    if name in _BOOLEANS:
        return {"name": name, "type": "bool", "value": "true" if value in ("on", "true", "yes") else "false"}
    return {"name": name, "type": "unsigned" if _NUMBER.fullmatch(value) else "string", "value": value}
