# SPDX-License-Identifier: GPL-2.0-or-later
"""The arguments of a lab host's QEMU: what it may use, and what it must not reach."""

from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.lab.accelerator import Accelerator, tcg
from switchover.lab.images import Image
from switchover.lab.labhost import (
    GUEST_PLACES,
    OUTLET_MAC,
    PCI_FUNCTIONS,
    SINGLE,
    LabHostSpec,
    labhost_arguments,
    link_interface,
    link_socket,
    list_links,
    outlet_socket,
)
from switchover.record.paths import data_directory

IMAGE = Image("labhost", "0", Path("/cache/labhost-0"), 0, 0)
SPEC = LabHostSpec(
    name="hosta",
    token="switchover-lab-0123",
    index=1,
    address="10.77.0.1/24",
    links=list_links(1, 2),
    directory=Path("/state/labs/default/hosta"),
    sockets=Path("/tmp/switchover-x"),
)
SPECS = st.integers(1, 4).flatmap(lambda count: st.integers(1, count).map(lambda index: make_spec(index, count)))


def make_spec(index: int, count: int) -> LabHostSpec:
    """The lab host with this number in a lab of ``count``."""
    return replace(SPEC, name=f"host{'abcd'[index - 1]}", index=index, links=list_links(index, count))


def values(words: list[str], option: str) -> list[str]:
    """Values of an option, in order."""
    return [value for name, value in pairwise(words) if name == option]


@given(SPECS, st.integers(1, 8))
def test_exactly_the_accelerators_cpus(spec: LabHostSpec, vcpus: int) -> None:
    """As many vCPUs as the accelerator says: with more than one, TCG corrupts a lab host's memory."""
    words = labhost_arguments(spec, IMAGE, Accelerator("kvm", "host", vcpus, ""))
    assert values(words, "-smp") == [str(vcpus)]
    assert values(words, "-accel") == ["kvm"]
    assert values(words, "-cpu") == ["host"]


def test_emulation_has_one_cpu() -> None:
    """TCG comes with one vCPU and without 5-level paging."""
    assert tcg("x").vcpus == 1
    assert "la57=off" in tcg("x").cpu


@given(SPECS)
def test_nothing_is_reached_through_the_user_network(spec: LabHostSpec) -> None:
    """The user network is restricted, and what it forwards is a port of 127.0.0.1 that the kernel chooses."""
    words = labhost_arguments(spec, IMAGE, tcg("x"))
    (user,) = [value for value in values(words, "-netdev") if value.startswith("user,")]
    options = user.split(",")
    assert "restrict=on" in options
    assert [option for option in options if option.startswith("hostfwd=")] == ["hostfwd=tcp:127.0.0.1:0-:22"]
    assert "guestfwd" not in user


@given(SPECS)
def test_no_network_listener_but_that_one(spec: LabHostSpec) -> None:
    """Monitor, console, outlets and links are files and unix sockets: nothing else listens on a network."""
    words = labhost_arguments(spec, IMAGE, tcg("x"))
    (monitor,) = values(words, "-qmp")
    assert monitor.startswith(f"unix:{SPEC.sockets}/")
    (console,) = values(words, "-serial")
    assert console == f"file:{SPEC.console}"
    others = [value for value in values(words, "-netdev") if not value.startswith("user,")]
    types = [option for value in others for option in value.split(",") if ".type=" in option]
    assert len(types) == len(spec.links) + 2 * (GUEST_PLACES + 1)
    assert all(option.endswith(".type=unix") for option in types)
    forbidden = ("-vnc", "-spice", "-monitor", "-gdb", "-s", "-chardev", "-nic", "-net", "-incoming")
    assert not set(forbidden) & set(words)
    rest = [word for word in words if "hostfwd" not in word]
    assert not any("tcp:" in word or "telnet:" in word or "0.0.0.0" in word for word in rest)


def options_of(value: str) -> dict[str, str]:
    """Options of a netdev or a device, the first word as ``type``."""
    return dict(option.split("=", 1) for option in f"type={value}".split(","))


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_links(count: int) -> None:
    """Each lab host has a link to each other one, by a socket of the two alone: the one that is started first listens,
    the other connects; a lab of one has none.
    """
    ends: dict[str, list[str]] = {}
    for index in range(1, count + 1):
        spec = make_spec(index, count)
        netdevs = [options_of(value) for value in values(labhost_arguments(spec, IMAGE, tcg("x")), "-netdev")]
        for link in (netdev for netdev in netdevs if netdev["type"] == "stream"):
            ends.setdefault(link["addr.path"], []).append(f"{index} {link['server']}")
        made = [Path(link["addr.path"]) for link in netdevs if link.get("server") == "on"]
        assert made == list(spec.listening), "what is waited for before the next one starts"
    assert ends == {
        str(link_socket(SPEC.sockets, other, one)): [f"{one} on", f"{other} off"]
        for one, other in combinations(range(1, count + 1), 2)
    }


def test_lab_hosts_differ_on_the_links() -> None:
    """No two NICs of four lab hosts have the same MAC address on the links, which say whom they lead to; the one of the
    user network is told apart by its start.
    """
    macs: dict[str, list[str]] = {}
    for index in range(1, 5):
        spec = make_spec(index, 4)
        for nic in map(options_of, values(labhost_arguments(spec, IMAGE, tcg("x")), "-device")):
            if nic["type"] == "virtio-net-pci":
                macs.setdefault(nic["netdev"], []).append(nic["mac"])
    links = [mac for peer in range(1, 5) for mac in macs[link_interface(peer)]]
    assert len(set(links)) == 4 * 3
    assert macs["link3"] == ["52:54:00:53:6c:31", "52:54:00:53:6c:32", "52:54:00:53:6c:34"]
    assert set(macs["user"]) == {"52:54:00:53:75:01"}
    assert macs["observe"] == [f"52:54:00:53:6f:0{index}" for index in range(1, 5)]
    assert not {OUTLET_MAC} & set(macs["observe"]), "a frame to the outlet would be taken for one to its NIC"


@given(SPECS)
def test_the_outlets(spec: LabHostSpec) -> None:
    """Every lab host has outlets of its own to the controller, one for each place of guests, at the paths where
    receivers make their sockets: all behind the hub of the one NIC, which no other hub has to do with.
    """
    netdevs = [
        options_of(value) for value in values(labhost_arguments(replace(spec, pci=True), IMAGE, tcg("x")), "-netdev")
    ]
    outlets = [netdev for netdev in netdevs if netdev["type"] == "dgram"]
    assert [outlet["remote.path"] for outlet in outlets] == [
        str(outlet_socket(SPEC.sockets, spec.name, place)) for place in range(GUEST_PLACES + 1)
    ]
    paths = [outlet[end] for outlet in outlets for end in ("local.path", "remote.path")]
    assert len(set(paths)) == len(paths), "two ends would be one socket"
    hubs = [netdev for netdev in netdevs if netdev["type"] == "hubport" and netdev["hubid"] == "2"]
    assert [hub.get("netdev") for hub in hubs] == [None, *(outlet["id"] for outlet in outlets)]
    assert hubs[0]["id"] == "observe"


def test_the_lab_host_knows_its_nics() -> None:
    """The address that guests send to is the one that images/labhost/rc lets out, and links have their names there."""
    rc = (data_directory("images") / "labhost" / "rc").read_text()
    assert f"bridge fdb add {OUTLET_MAC} dev observe0" in rc
    assert "link=link${ends%?}" in rc
    assert link_interface(3) == "link3"


def test_the_disk_is_never_written() -> None:
    """Lab hosts share one disk image: what they write goes into a snapshot of their own."""
    (drive,) = values(labhost_arguments(SPEC, IMAGE, tcg("x")), "-drive")
    assert "snapshot=on" in drive.split(",")
    assert "file=/cache/labhost-0/root.ext4" in drive.split(",")


def test_disks_of_the_user(tmp_path: Path) -> None:
    """They follow the lab host's own in their order, are never written either, and only qcow2 is taken for qcow2."""
    raw, qcow2 = tmp_path / "a,b.raw", tmp_path / "b.img"
    raw.write_bytes(b"\0" * 512)
    qcow2.write_bytes(b"QFI\xfb")
    own, *drives = values(labhost_arguments(replace(SPEC, disks=(raw, qcow2)), IMAGE, tcg("x")), "-drive")
    assert "root.ext4" in own
    assert [drive.split(",if=")[0] for drive in drives] == [f"file={tmp_path}/a,,b.raw", f"file={qcow2}"]
    assert ["format=raw" in drives[0], "format=qcow2" in drives[1]] == [True, True]
    assert all("snapshot=on" in drive for drive in drives)


def test_functions_to_pass_through() -> None:
    """Asked for, they are behind an IOMMU that comes before every other device, at the addresses that are told; without
    being asked for nothing of it is there.
    """
    plain, words = (labhost_arguments(replace(SPEC, pci=pci), IMAGE, tcg("x")) for pci in (False, True))
    first, *devices = values(words, "-device")
    assert first.startswith("intel-iommu,")
    assert "intel_iommu=on" in values(words, "-append")[0]
    ports = [device.split(",")[1] for device in devices if device.startswith("pcie-root-port,")]
    assert ports == ["id=pci1", "id=pci2", "id=pci3", "id=pci4"]
    behind = [device.rpartition("bus=pci")[2] for device in devices if ",bus=pci" in device]
    assert [f"0000:{int(bus):02x}" for bus in behind] == [address[:7] for address in PCI_FUNCTIONS]
    wired = [device.rpartition("bus=pci")[2] for device in devices if ",netdev=wire" in device]
    assert [f"0000:0{bus}:00.0" for bus in wired] == list(SINGLE)
    hubs = {backend.rpartition(",")[2] for backend in values(words, "-netdev") if "id=wire" in backend}
    assert hubs == {"hubid=1"}
    assert [word for word in plain if "iommu" in word or "pci1" in word or "split" in word or "wire" in word] == []


def test_its_token_is_its_name() -> None:
    """The process is found again by the lab's token at the start of a word."""
    assert values(labhost_arguments(SPEC, IMAGE, tcg("x")), "-name") == ["switchover-lab-0123-hosta"]


def test_secrets_are_files_not_arguments() -> None:
    """Keys reach the lab host by file name: a command line is readable by every user."""
    words = labhost_arguments(SPEC, IMAGE, tcg("x"))
    names = values(words, "-fw_cfg")
    assert len(names) == 4
    assert all(f",file={SPEC.directory}/" in name for name in names)
