# SPDX-License-Identifier: GPL-2.0-or-later
"""Hardware of a guest, as words of QEMU and as parts of a domain."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.guests.arguments import build_arguments
from switchover.guests.domain import QEMU_NAMESPACE, DomainIdentity, build_domain, find_obstacles
from switchover.guests.hardware import double_commas, parse_option, render_smp
from switchover.guests.spec import OVMF_CODE, GuestFiles, GuestSpec, Launch, VfioDevice

FILES = GuestFiles("/tmp/switchover-guest-source-0", "sw0")
DEVICE = VfioDevice("dut", "/sys/bus/mdev/devices/5d0f8c1e-0000-4000-8000-000000000000")
IDENTITY = DomainIdentity("switchover-guest-0", "5d0f8c1e-0000-4000-8000-000000000001")
QEMU = f"{{{QEMU_NAMESPACE}}}"
NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,12}", fullmatch=True)
VALUES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=12)


def build(**spec: object) -> list[str]:
    return build_arguments(Launch(GuestSpec(**spec), (DEVICE,)), FILES, incoming=False)  # type: ignore[arg-type]


def domain(**spec: object) -> ElementTree.Element:
    return ElementTree.fromstring(
        build_domain(Launch(GuestSpec(**spec), (DEVICE,)), FILES, IDENTITY)  # type: ignore[arg-type]
    )


def values(words: list[str], option: str) -> list[str]:
    return [value for name, value in pairwise(words) if name == option]


@given(NAMES, st.dictionaries(NAMES, VALUES, max_size=4))
def test_an_option_is_read_as_qemu_reads_it(driver: str, properties: dict[str, str]) -> None:
    """Whatever the values, doubled commas in them are one."""
    text = ",".join([driver, *(f"{name}={double_commas(value)}" for name, value in properties.items())])
    option = parse_option(text)
    assert (option.driver, dict(option.properties)) == (driver, properties)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-device edu", "write what follows -device"),
        ("", "must begin with the name"),
        ("a b,id=x", "must begin with the name"),
        ("edu,", "a comma with no property"),
        ("edu,id=a,id=b", "has id twice"),
    ],
)
def test_what_is_no_option(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_option(text)


def test_a_plain_guest_has_the_command_line_that_it_had() -> None:
    """Keys that nobody sets add nothing: guests that were saved before fit, and so do command lines of old records."""
    words = build()
    assert values(words, "-smp") == ["1"]
    assert "tap,id=net,ifname=sw0,script=no,downscript=no" in words
    assert "virtio-net-pci,netdev=net,mac=52:54:00:53:67:01,romfile=" in words
    assert not {"-object", "-bios", "-drive"} & set(words)


def test_what_comes_before_what() -> None:
    """Objects and the IOMMU before each device, further devices after all of them."""
    words = build(
        iommu="intel-iommu,caching-mode=on",
        qemu_objects=("rng-builtin,id=a", "rng-builtin,id=b"),
        qemu_devices=("virtio-rng-pci,rng=a", "edu"),
    )
    devices = values(words, "-device")
    assert devices[0] == "intel-iommu,caching-mode=on"
    assert devices[-2:] == ["virtio-rng-pci,rng=a", "edu"]
    assert devices[-3].startswith("vfio-pci,id=dut,")
    assert values(words, "-object") == ["rng-builtin,id=a", "rng-builtin,id=b"]
    assert words.index("-object") < words.index("-device")


def test_words_as_they_are() -> None:
    """Further arguments come after all devices, each as it is."""
    words = build(qemu_devices=("edu",), qemu_arguments=("-global", "migration.x=on", "-only-migratable"))
    start = words.index("-global")
    assert words[start - 2 : start + 3] == ["-device", "edu", "-global", "migration.x=on", "-only-migratable"]


def test_the_nic() -> None:
    """Its properties after the harness's, of which one can be changed; an empty value leaves one out; with several
    queues the tap has as many.
    """
    words = build(nic={"host_uso": "on", "romfile": "a,b.rom", "csum": ""}, nic_queues=2)
    (nic,) = (word for word in words if word.startswith("virtio-net-pci,"))
    assert nic == "virtio-net-pci,netdev=net,mac=52:54:00:53:67:01,romfile=a,,b.rom,mq=on,host_uso=on"
    assert values(words, "-netdev")[0].endswith(",queues=2")


def test_vcpus() -> None:
    """Levels in QEMU's order; those that x86 always had are told, with 1 where nobody sets them."""
    assert render_smp(GuestSpec(vcpus=2)) == "2"
    assert render_smp(GuestSpec(vcpus=2, topology={"dies": 2})) == "2,sockets=1,dies=2,cores=1,threads=1"


def test_firmware() -> None:
    """OVMF is flash: code that is not written, and variables of the guest's own; a path is an image of a BIOS."""
    assert values(build(firmware="ovmf"), "-drive") == [
        f"if=pflash,format=raw,unit=0,readonly=on,file={OVMF_CODE}",
        f"if=pflash,format=raw,unit=1,file={FILES.variables}",
    ]
    assert values(build(firmware="/b.bin"), "-bios") == ["/b.bin"]
    assert GuestSpec(firmware="ovmf").programs == ("qemu-system-x86_64", "ovmf")
    assert GuestSpec(firmware="/b.bin").programs == ("qemu-system-x86_64",)


def test_the_nic_of_a_domain() -> None:
    """What libvirt has a word for is said by it, on ``<driver>`` or below; the rest are typed overrides."""
    root = domain(
        nic={
            "csum": "off",
            "guest_tso4": "off",
            "packed": "on",
            "page-per-vq": "on",
            "host_mtu": "1400",
            "host_uso": "off",
            "vectors": "6",
            "disable-legacy": "on",
            "mq": "on",
        },
        nic_queues=2,
    )
    driver = root.find("devices/interface/driver")
    assert driver is not None
    assert driver.attrib == {"name": "qemu", "queues": "2", "packed": "on", "page_per_vq": "on"}
    assert [(child.tag, child.attrib) for child in driver] == [("host", {"csum": "off"}), ("guest", {"tso4": "off"})]
    mtu, alias = root.find("devices/interface/mtu"), root.find("devices/interface/alias")
    assert mtu is not None
    assert mtu.attrib == {"size": "1400"}
    assert alias is not None
    (override,) = root.findall(f"{QEMU}override/{QEMU}device")
    assert override.get("alias") == alias.get("name")
    assert [one.attrib for one in override.iter(f"{QEMU}property")] == [
        {"name": "host_uso", "type": "bool", "value": "false"},
        {"name": "vectors", "type": "unsigned", "value": "6"},
        {"name": "disable-legacy", "type": "string", "value": "on"},
    ]
    assert domain().find("devices/interface/alias") is None


def test_the_machine_of_a_domain() -> None:
    """Topology, firmware, IOMMU and interrupt chip have elements; objects and devices go to QEMU as they are."""
    root = domain(
        machine="q35,kernel-irqchip=split",
        vcpus=4,
        topology={"cores": 2, "threads": 2},
        firmware="ovmf",
        iommu="intel-iommu,caching-mode=on,aw-bits=48",
        qemu_objects=("rng-builtin,id=a",),
        qemu_devices=("edu",),
    )
    kind, topology = root.find("os/type"), root.find("cpu/topology")
    assert kind is not None
    assert kind.get("machine") == "q35"
    assert topology is not None
    assert topology.attrib == {"sockets": "1", "dies": "1", "cores": "2", "threads": "2"}
    found = {path: root.find(path) for path in ("os/loader", "os/nvram", "features/ioapic", "devices/iommu/driver")}
    told = {path: (one.text or "", one.attrib) for path, one in found.items() if one is not None}
    assert told == {
        "os/loader": (OVMF_CODE, {"readonly": "yes", "type": "pflash"}),
        "os/nvram": (FILES.variables, {}),
        "features/ioapic": ("", {"driver": "qemu"}),
        "devices/iommu/driver": ("", {"caching_mode": "on", "aw_bits": "48"}),
    }
    words = [str(one.get("value")) for one in root.iter(f"{QEMU}arg")]
    assert (values(words, "-object"), values(words, "-device")) == (["rng-builtin,id=a"], ["edu"])
    loader = domain(firmware="/b.bin").find("os/loader")
    assert loader is not None
    assert (loader.text, loader.attrib) == ("/b.bin", {"type": "rom"})
    iommu = domain(iommu="virtio-iommu-pci").find("devices/iommu")
    assert iommu is not None
    assert iommu.attrib == {"model": "virtio"}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"nic": {"addr": "0x10"}}, "places the guest's NIC by itself: it takes no property 'addr'"),
        ({"topology": {"modules": 1}}, "no level 'modules'"),
        ({"iommu": "amd-iommu"}, "no IOMMU 'amd-iommu'"),
        ({"iommu": "intel-iommu,x-flts=on"}, "no way to give intel-iommu the property 'x-flts'"),
        ({"machine": "q35,hpet=off"}, "no way to give QEMU -machine q35,hpet=off"),
        ({"machine": "q35,kernel-irqchip=off"}, "no way to give QEMU -machine q35,kernel-irqchip=off"),
    ],
)
def test_what_no_domain_can_say(spec: dict[str, object], words: str) -> None:
    """It is named; what libvirt has words for is no obstacle."""
    (obstacle,) = find_obstacles(GuestSpec(**spec))  # type: ignore[arg-type]
    assert re.search(words, obstacle)
    able = GuestSpec(machine="q35,kernel-irqchip=split", iommu="intel-iommu,eim=on", nic={"host_uso": "off"})
    assert find_obstacles(able) == []
