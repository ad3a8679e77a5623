# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks that a lab host gets and loses while it runs."""

from pathlib import Path

import pytest
from tests.unit.lab.plugged import World

from switchover.hosts.local import LocalHost
from switchover.lab import disks
from switchover.lab.disks import plug_in, unplug
from switchover.record.errors import Deadline, NotReady, Refused

FILE, SERIAL = Path("/store/guest.raw"), "0123456789abcdef"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


@pytest.mark.parametrize("writable", [False, True])
def test_a_disk_is_plugged_in(world: World, writable: bool) -> None:
    """A raw file on the lab's bus, found by its serial number once the kernel has it; written to only if that is wanted."""
    assert plug_in(world.lab, "hosta", FILE, SERIAL, what="a disk", writable=writable) == "/dev/sdb"
    assert world.looked == 2
    (added, node), (plugged, device) = world.executed
    assert (added, plugged) == ("blockdev-add", "device_add")
    assert (node["driver"], node["file"]["filename"]) == ("raw", str(FILE))
    assert node["read-only"] is node["file"]["read-only"] is not writable
    assert (device["drive"], device["serial"]) == (node["node-name"], SERIAL)


def test_a_disk_that_is_there_stays(world: World) -> None:
    """QEMU is not asked for it again."""
    world.there = True
    assert plug_in(world.lab, "hosta", FILE, SERIAL, what="a disk") == "/dev/sdb"
    assert world.executed == []


def test_a_disk_that_the_kernel_does_not_see(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is told by its name when time is over."""
    monkeypatch.setattr(disks, "_PLUG_S", 0.1)
    monkeypatch.setattr(disks, "_find", lambda host, serial: None)
    with pytest.raises(Deadline, match="the disk of a saved guest on hosta"):
        plug_in(world.lab, "hosta", FILE, SERIAL, what="a saved guest")


def test_a_disk_is_taken_away(world: World) -> None:
    """What was written is in its file before the kernel lets go of it, and QEMU has closed the file at the end."""
    world.there, world.nodes, world.keeps = True, [f"disk-{SERIAL}"], 2
    unplug(world.lab, "hosta", SERIAL)
    written = next(command for command in world.commands if "delete" in " ".join(command))
    assert "sync; echo 1 " in written[2]
    assert written[-1] == "sdb"
    assert world.executed == [("device_del", {"id": f"disk-{SERIAL}"}), ("blockdev-del", {"node-name": f"disk-{SERIAL}"})]


def test_a_disk_that_is_not_there_is_not_taken(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither from the kernel nor from QEMU."""
    monkeypatch.setattr(disks, "_find", lambda host, serial: None)
    unplug(world.lab, "hosta", SERIAL)
    assert world.executed == []
    assert not any("delete" in " ".join(command) for command in world.commands)


def test_a_disk_that_qemu_keeps(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is told: as a refusal of its monitor, or when time is over."""
    world.nodes = [f"disk-{SERIAL}"]
    world.error = Refused("rejected", why="Bus does not support hotplugging")
    with pytest.raises(NotReady, match="cannot be taken from lab host hosta") as caught:
        unplug(world.lab, "hosta", SERIAL)
    assert "hotplugging" in caught.value.why
    world.error = None
    world.keeps = 10**9
    monkeypatch.setattr(disks, "_PLUG_S", 0.1)
    with pytest.raises(Deadline, match=SERIAL):
        unplug(world.lab, "hosta", SERIAL)


def test_the_script_that_finds_a_disk(tmp_path: Path) -> None:
    """By the serial number in the disk's own page, which is not text alone; of several disks the one that has it."""
    for name, serial in (("sda", b"other"), ("sdb", SERIAL.encode()), ("sdc", b"")):
        page = tmp_path / name / "device" / "vpd_pg80"
        page.parent.mkdir(parents=True)
        page.write_bytes(b"\x00\x80\x00" + bytes([len(serial)]) + serial)
    script = disks._FIND.replace("/sys/block/", f"{tmp_path}/")
    assert script != disks._FIND
    assert LocalHost().run(["sh", "-c", script, "sh", SERIAL]).text == "/dev/sdb\n"
    assert LocalHost().run(["sh", "-c", script, "sh", "none"], check=False).returncode != 0
