# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt's domain XML for a guest."""

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from switchover.guests.arguments import TRACE_PATTERNS, build_arguments
from switchover.guests.domain import QEMU_NAMESPACE, DomainIdentity, build_domain, find_obstacles, render_hostdev
from switchover.guests.spec import LAB_INITRAMFS, LAB_KERNEL, GuestFiles, GuestSpec, Kernel, Launch, VfioDevice

SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
FILES = GuestFiles("/tmp/switchover-guest-source-0", "sw0")
IDENTITY = DomainIdentity("switchover-guest-0", "5d0f8c1e-0000-4000-8000-000000000001")
UUID = "5d0f8c1e-0000-4000-8000-000000000000"
MEDIATED = VfioDevice(
    "dut", f"/sys/bus/mdev/devices/{UUID}", {"enable-migration": "on", "migration-events": "on", "x-pci-device-id": "7"}
)
FUNCTION = VfioDevice("fn", "/sys/bus/pci/devices/0000:3b:02.1", {"x-allow-pre-copy": "off"})
QEMU = f"{{{QEMU_NAMESPACE}}}"
LAUNCHES = {
    "lab guest": Launch(GuestSpec(), (MEDIATED,)),
    "no device": Launch(GuestSpec()),
    "functions": Launch(GuestSpec(), (FUNCTION, replace(FUNCTION, id="other", managed=True))),
    "disk": Launch(GuestSpec(disk="/images/a,b.qcow2", disk_format="qcow2", bridge="")),
    "shared disk and a kernel": Launch(
        GuestSpec(disk="/images/a.raw", disk_readonly=True, kernel=Kernel("/boot/vmlinuz"))
    ),
    "TCG and a model": Launch(
        GuestSpec(accel="tcg", cpu="EPYC,+svm,-x2apic,avx=off", qemu="/opt/qemu/bin/qemu", traced=False)
    ),
    "hardware": Launch(
        GuestSpec(
            machine="q35,kernel-irqchip=split",
            vcpus=2,
            topology={"threads": 2},
            firmware="ovmf",
            iommu="intel-iommu,intremap=on,caching-mode=on,aw-bits=48",
            nic={"host_uso": "off", "csum": "off", "guest_tso4": "off", "packed": "on", "host_mtu": "1400"},
            nic_queues=2,
            qemu_objects=("rng-builtin,id=a",),
            qemu_devices=("virtio-rng-pci,rng=a",),
        ),
        (MEDIATED,),
    ),
    "other hardware": Launch(GuestSpec(firmware="/b.bin", iommu="virtio-iommu-pci", nic={"rx_queue_size": "512"})),
    "max": Launch(GuestSpec(cpu="max", machine="pc-q35-8.0")),
}


def build(spec: GuestSpec, *devices: VfioDevice) -> ElementTree.Element:
    return ElementTree.fromstring(build_domain(Launch(spec, devices), FILES, IDENTITY))


def require(root: ElementTree.Element, path: str) -> ElementTree.Element:
    found = root.find(path)
    assert found is not None, path
    return found


@pytest.mark.skipif(not SCHEMA.exists(), reason="libvirt's schemas come with its library (libvirt0)")
@pytest.mark.parametrize("name", LAUNCHES)
def test_valid_by_libvirts_schema(name: str) -> None:
    """What is built for any guest is valid by the schema that libvirt itself validates with."""
    etree: Any = importlib.import_module("lxml.etree")
    schema = etree.RelaxNG(etree.parse(str(SCHEMA)))
    document = etree.fromstring(build_domain(LAUNCHES[name], FILES, IDENTITY))
    assert schema.validate(document), schema.error_log


@pytest.mark.skipif(not SCHEMA.exists(), reason="libvirt's schemas come with its library (libvirt0)")
def test_the_schema_finds_faults() -> None:
    """The test above can fail: an element that libvirt does not know is told."""
    etree: Any = importlib.import_module("lxml.etree")
    schema = etree.RelaxNG(etree.parse(str(SCHEMA)))
    text = (
        build_domain(Launch(GuestSpec()), FILES, IDENTITY)
        .replace("<serial ", "<cereal ")
        .replace("</serial>", "</cereal>")
    )
    assert not schema.validate(etree.fromstring(text))


def test_the_same_guest_as_the_command_line() -> None:
    """Machine, CPU, memory, kernel, network and what firmware passes on are those of QEMU's arguments."""
    spec = GuestSpec(machine="pc-q35-10.0", memory_mib=300, vcpus=2, append="threadirqs")
    words = build_arguments(Launch(spec), FILES, incoming=False)
    root = build(spec)
    assert root.get("type") == "kvm"
    assert require(root, "os/type").get("machine") == "pc-q35-10.0"
    assert (require(root, "memory").text, require(root, "memory").get("unit")) == ("300", "MiB")
    assert require(root, "vcpu").text == "2"
    assert require(root, "cpu").get("mode") == "host-passthrough"
    assert [require(root, f"os/{name}").text for name in ("kernel", "initrd")] == [LAB_KERNEL, LAB_INITRAMFS]
    assert require(root, "os/cmdline").text == words[words.index("-append") + 1]
    assert require(root, "devices/interface/mac").get("address") == spec.mac
    assert require(root, "devices/interface/source").get("bridge") == spec.bridge
    assert require(root, "devices/interface/target").get("dev") == FILES.tap
    firmware = {f"name={entry.get('name')},file={entry.get('file')}" for entry in root.findall("sysinfo/entry")}
    assert firmware == {words[at + 1] for at, word in enumerate(words) if word == "-fw_cfg"}
    assert require(root, "devices/emulator").text == "/usr/bin/qemu-system-x86_64"
    assert require(root, "devices/serial/source").get("path") == FILES.console


def test_monitor_log_and_traces_go_to_qemu_as_they_are() -> None:
    """The second monitor, the log and each trace pattern; a guest that is not traced has no patterns."""
    passed = [arg.get("value") for arg in build(GuestSpec()).findall(f"{QEMU}commandline/{QEMU}arg")]
    assert passed[:4] == ["-qmp", f"unix:{FILES.monitor},server=on,wait=off", "-D", FILES.log]
    assert passed[5::2] == list(TRACE_PATTERNS)
    untraced = build(GuestSpec(traced=False)).findall(f"{QEMU}commandline/{QEMU}arg")
    assert [arg.get("value") for arg in untraced] == passed[:4]


def test_devices_are_host_devices_under_their_ids() -> None:
    """A mediated device by its UUID, a function by its address; the alias, under which overrides find it, is its id."""
    root = build(GuestSpec(), MEDIATED, FUNCTION, replace(FUNCTION, id="other", managed=True))
    mediated, function, other = root.findall("devices/hostdev")
    assert require(mediated, "source/address").attrib == {"uuid": UUID}
    assert (mediated.get("type"), mediated.get("model"), mediated.get("managed")) == ("mdev", "vfio-pci", "no")
    words = {"domain": "0x0000", "bus": "0x3b", "slot": "0x02", "function": "0x1"}
    assert require(function, "source/address").attrib == words
    assert [hostdev.get("managed") for hostdev in (function, other)] == ["no", "yes"]
    assert [require(one, "alias").get("name") for one in (mediated, function, other)] == ["ua-dut", "ua-fn", "ua-other"]
    with pytest.raises(ValueError, match="neither"):
        build(GuestSpec(), VfioDevice("x", "/sys/bus/odd/devices/a.b"))


def test_properties_are_overrides_of_their_type() -> None:
    """QEMU takes no string for a boolean there, and no boolean for an on/off/auto."""
    root = build(GuestSpec(), MEDIATED, FUNCTION, VfioDevice("bare", f"/sys/bus/mdev/devices/{UUID}"))
    found = {
        device.get("alias"): [prop.attrib for prop in device.findall(f"{QEMU}frontend/{QEMU}property")]
        for device in root.findall(f"{QEMU}override/{QEMU}device")
    }
    assert found == {
        "ua-dut": [
            {"name": "enable-migration", "type": "string", "value": "on"},
            {"name": "migration-events", "type": "bool", "value": "true"},
            {"name": "x-pci-device-id", "type": "unsigned", "value": "7"},
        ],
        "ua-fn": [{"name": "x-allow-pre-copy", "type": "bool", "value": "false"}],
    }


def test_both_sides_are_one_domain() -> None:
    """But for files, tap and device the two sides' XML is the same, name and UUID among it."""
    there = replace(MEDIATED, sysfsdev=MEDIATED.sysfsdev.replace("000000000000", "000000000009"))
    source = build_domain(Launch(GuestSpec(), (MEDIATED,)), FILES, IDENTITY)
    destination = build_domain(Launch(GuestSpec(), (there,)), GuestFiles("/tmp/other", "sw9"), IDENTITY)
    moved = destination.replace("/tmp/other", FILES.directory).replace('"sw9"', '"sw0"')
    assert moved.replace("000000000009", "000000000000") == source


@pytest.mark.parametrize("devices", [(), (MEDIATED,), (FUNCTION,) * 9])
def test_ports_leave_low_slots_to_further_devices(devices: tuple[VfioDevice, ...]) -> None:
    """QEMU makes these first, and gives them the lowest slots; eight ports have a slot, which the first opens."""
    more = tuple(replace(device, id=f"d{number}") for number, device in enumerate(devices))
    addresses = build(GuestSpec(qemu_devices=("edu",)), *more).findall("devices/controller/address")
    assert [one.attrib for one in build(GuestSpec(), *more).findall("devices/controller/address")] == [
        one.attrib for one in addresses
    ]
    assert len(addresses) == 2 + len(devices)
    placed = [(one.get("slot"), one.get("function"), one.get("multifunction")) for one in addresses]
    assert placed[0] == ("0x10", "0x0", "on")
    assert placed[1] == ("0x10", "0x1", None)
    assert placed[8:] == ([("0x11", "0x0", "on"), ("0x11", "0x1", None), ("0x11", "0x2", None)] if devices[1:] else [])


@pytest.mark.parametrize("machine", ["pc", "pc-i440fx-10.0"])
def test_a_machine_without_root_ports(machine: str) -> None:
    """libvirt puts its devices on the bus: a port would make the domain wrong before the machines are compared."""
    root = build(GuestSpec(machine=machine), MEDIATED)
    assert [one.get("type") for one in root.findall("devices/controller")] == ["usb"]
    assert root.find("devices/hostdev/address") is None


@pytest.mark.parametrize("spec", [GuestSpec(), GuestSpec(bridge=""), GuestSpec(disk="/images/a.raw")])
def test_an_absent_device_changes_nothing_else(spec: GuestSpec) -> None:
    """Its root port is there and empty, and comes after those that libvirt gives to all other devices; by itself, as it
    is plugged in, the device is the same.
    """
    whole = Launch(spec, (MEDIATED, FUNCTION))
    without = ElementTree.fromstring(build_domain(replace(whole, absent=frozenset({"dut"})), FILES, IDENTITY))
    root = ElementTree.fromstring(build_domain(whole, FILES, IDENTITY))
    (left,), both = without.findall("devices/hostdev"), root.findall("devices/hostdev")
    assert ElementTree.tostring(left) == ElementTree.tostring(both[1])
    ports = [int(one.get("index", "")) for one in root.findall("devices/controller") if one.get("type") == "pci"]
    assert ports == list(range(1, len(ports) + 1))
    assert [one.get("index") for one in without.findall("devices/controller")] == [
        one.get("index") for one in root.findall("devices/controller")
    ]
    buses = [int(require(one, "address").get("bus", ""), 16) for one in both]
    others = len(root.findall("devices/interface") + root.findall("devices/disk") + root.findall("devices/rng"))
    assert buses == [others + 1, others + 2] == ports[-2:]
    alone = ElementTree.fromstring(render_hostdev(whole, MEDIATED))
    assert require(alone, "address").attrib == require(both[0], "address").attrib
    assert require(alone, "alias").attrib == require(both[0], "alias").attrib
    assert [one.get("alias") for one in without.findall(f"{QEMU}override/{QEMU}device")] == ["ua-fn"]


def test_what_a_reboot_comes_to() -> None:
    """A domain ends with it, unless it is to boot again; all else ends a domain."""
    specs = (GuestSpec(), GuestSpec(on_reboot="shutdown"), GuestSpec(on_reboot="reset"))
    assert [build(spec).findtext("on_reboot") for spec in specs] == ["destroy", "destroy", "restart"]
    assert {build(spec).findtext(f"on_{event}") for spec in specs for event in ("poweroff", "crash")} == {"destroy"}


def test_what_no_domain_can_be_made_for_is_told() -> None:
    """Options of QEMU that libvirt has no element for, and a guest that only QEMU restores; others have none."""
    assert find_obstacles(GuestSpec()) == []
    assert find_obstacles(GuestSpec(accel="tcg", machine="pc-q35-8.0")) == []
    assert find_obstacles(GuestSpec(machine="q35,hpet=off")) == [
        "libvirt has no way to give QEMU -machine q35,hpet=off"
    ]
    assert find_obstacles(GuestSpec(accel="xen")) == ["libvirt has no domains for the accelerator xen"]
    assert "warm" in find_obstacles(GuestSpec(start="warm"))[0]
    assert "failover" in find_obstacles(GuestSpec(qemu_devices=("virtio-net-pci,id=s,failover=on",)))[0]
