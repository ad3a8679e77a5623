# SPDX-License-Identifier: GPL-2.0-or-later
"""The arguments of a lab host's QEMU: what it may use, and what it must not reach."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.lab.accelerator import Accelerator, tcg
from switchover.lab.images import Image
from switchover.lab.labhost import (
    OUTLET_MAC,
    PCI_FUNCTIONS,
    SINGLE,
    LabHostSpec,
    LinkEnd,
    labhost_arguments,
    outlet_socket,
)
from switchover.record.paths import data_directory

IMAGE = Image("labhost", "0", Path("/cache/labhost-0"), 0, 0)
SPEC = LabHostSpec(
    name="hosta",
    token="switchover-lab-0123",
    index=1,
    address="10.77.0.1/24",
    link=LinkEnd.LISTENS,
    directory=Path("/state/labs/default/hosta"),
    sockets=Path("/tmp/switchover-x"),
)
ENDS = st.sampled_from(list(LinkEnd))


def values(words: list[str], option: str) -> list[str]:
    """Values of an option, in order."""
    return [value for name, value in pairwise(words) if name == option]


@given(ENDS, st.integers(1, 8))
def test_exactly_the_accelerators_cpus(link: LinkEnd, vcpus: int) -> None:
    """As many vCPUs as the accelerator says: with more than one, TCG corrupts a lab host's memory."""
    words = labhost_arguments(replace(SPEC, link=link), IMAGE, Accelerator("kvm", "host", vcpus, ""))
    assert values(words, "-smp") == [str(vcpus)]
    assert values(words, "-accel") == ["kvm"]
    assert values(words, "-cpu") == ["host"]


def test_emulation_has_one_cpu() -> None:
    """TCG comes with one vCPU and without 5-level paging."""
    assert tcg("x").vcpus == 1
    assert "la57=off" in tcg("x").cpu


@given(ENDS)
def test_nothing_is_reached_through_the_user_network(link: LinkEnd) -> None:
    """The user network is restricted, and what it forwards is a port of 127.0.0.1 that the kernel chooses."""
    words = labhost_arguments(replace(SPEC, link=link), IMAGE, tcg("x"))
    (user,) = [value for value in values(words, "-netdev") if value.startswith("user,")]
    options = user.split(",")
    assert "restrict=on" in options
    assert [option for option in options if option.startswith("hostfwd=")] == ["hostfwd=tcp:127.0.0.1:0-:22"]
    assert "guestfwd" not in user


@given(ENDS)
def test_no_network_listener_but_that_one(link: LinkEnd) -> None:
    """Monitor, console, outlet and link are files and unix sockets: nothing else listens on a network."""
    words = labhost_arguments(replace(SPEC, link=link), IMAGE, tcg("x"))
    (monitor,) = values(words, "-qmp")
    assert monitor.startswith(f"unix:{SPEC.sockets}/")
    (console,) = values(words, "-serial")
    assert console == f"file:{SPEC.console}"
    others = [value for value in values(words, "-netdev") if not value.startswith("user,")]
    types = [option for value in others for option in value.split(",") if ".type=" in option]
    assert len(types) == (1 if link is not LinkEnd.NONE else 0) + 2
    assert all(option.endswith(".type=unix") for option in types)
    forbidden = ("-vnc", "-spice", "-monitor", "-gdb", "-s", "-chardev", "-nic", "-net", "-incoming")
    assert not set(forbidden) & set(words)
    rest = [word for word in words if "hostfwd" not in word]
    assert not any("tcp:" in word or "telnet:" in word or "0.0.0.0" in word for word in rest)


@pytest.mark.parametrize(
    ("link", "server"), [(LinkEnd.NONE, []), (LinkEnd.LISTENS, ["server=on"]), (LinkEnd.CONNECTS, ["server=off"])]
)
def test_the_link(link: LinkEnd, server: list[str]) -> None:
    """One end listens, the other connects, a lab of one has no link."""
    words = labhost_arguments(replace(SPEC, link=link), IMAGE, tcg("x"))
    ends = [value for value in values(words, "-netdev") if value.startswith("stream,")]
    assert [option for end in ends for option in end.split(",") if option.startswith("server=")] == server


def test_lab_hosts_differ_on_the_link() -> None:
    """Two lab hosts have two MAC addresses on the link, and the one of the user network is told apart by its start."""
    macs = []
    for index in (1, 2):
        words = labhost_arguments(replace(SPEC, index=index), IMAGE, tcg("x"))
        macs.append([option for value in values(words, "-device") for option in value.split(",") if "mac=" in option])
    assert macs[0][0] == macs[1][0]
    assert macs[0][1] != macs[1][1]
    assert macs[0][1].startswith("mac=52:54:00:53:6c:")
    assert macs[0][0].startswith("mac=52:54:00:53:75:")


@given(ENDS)
def test_the_outlet(link: LinkEnd) -> None:
    """Every lab host has an outlet of its own to the controller, at the path where the receiver makes its socket."""
    words = labhost_arguments(replace(SPEC, link=link), IMAGE, tcg("x"))
    (outlet,) = [value for value in values(words, "-netdev") if value.startswith("dgram,")]
    assert f"remote.path={outlet_socket(SPEC.sockets, 'hosta')}" in outlet.split(",")
    (local,) = [option for option in outlet.split(",") if option.startswith("local.path=")]
    assert local not in outlet.replace(local, "", 1), "both ends would be one socket"
    (nic,) = [value for value in values(words, "-device") if "netdev=observe" in value]
    assert "mac=52:54:00:53:6f:01" in nic.split(",")
    assert OUTLET_MAC not in nic, "a frame to the outlet would be taken for one to its NIC"


def test_the_lab_host_knows_the_outlet() -> None:
    """The address that guests send to is the one that images/labhost/rc lets out."""
    assert f"bridge fdb add {OUTLET_MAC} dev observe0" in (data_directory("images") / "labhost" / "rc").read_text()


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
