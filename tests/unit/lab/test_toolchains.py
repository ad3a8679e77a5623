# SPDX-License-Identifier: GPL-2.0-or-later
"""Toolchains in a lab: which names are some, and how a lab host gets one."""

import shutil
from pathlib import Path

import pytest
from tests.unit.lab.plugged import World

from switchover.guests.spec import GuestSpec, Kernel
from switchover.hosts import processes
from switchover.lab import toolchains
from switchover.lab.images import Image
from switchover.lab.toolchains import find_toolchains, list_unbuilt, provide_toolchain
from switchover.record.errors import NotReady, Refused
from switchover.record.paths import data_directory

IMAGE = Image("qemu-11.1", "0123456789abcdef", Path("/cache/qemu-11.1-0123456789abcdef"), 0, 0)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_names() -> None:
    """A toolchain is known by its name; programs, paths and images of other kinds are none."""
    names = [
        "qemu-11.1",
        "qemu-system-x86_64",
        "/opt/q",
        "qemu-10.0",
        "guest",
        "qemu-7.2",
        "qemu-11.1",
        "qemu-buildroot",
        "kernel-6.12-rt",
        "kernel-6.12-rt-root",
        "ovmf",
        "mtty",
    ]
    assert find_toolchains(names) == ["qemu-11.1", "qemu-7.2", "kernel-6.12-rt", "ovmf", "mtty"]
    assert list_unbuilt(names) == ["qemu-11.1", "qemu-7.2", "kernel-6.12-rt", "ovmf", "mtty"]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(toolchains, "require_image", lambda name: IMAGE)
    return World(monkeypatch)


def test_the_disk_is_plugged_in_and_mounted(world: World) -> None:
    """Read-only, found by the digest as its serial number once the kernel has it, and started by its name."""
    provide_toolchain(world.lab, "hosta", "qemu-11.1")
    (_, node), (_, device) = world.executed
    assert node["read-only"]
    assert node["file"]["filename"] == "/cache/qemu-11.1-0123456789abcdef/toolchain.ext4"
    assert device["serial"] == IMAGE.digest
    assert device["drive"] == node["node-name"]
    assert len(node["node-name"]) <= 31, "the longest that QEMU takes"
    mount, link = world.commands[-2:]
    assert mount[-2:] == ("/opt/qemu/qemu-11.1-0123456789abcdef", "/dev/sdb")
    assert link[-2:] == (f"{mount[-2]}/bin/qemu-system-x86_64", "/usr/local/bin/qemu-11.1")
    assert world.looked == 2


def test_a_kernel_is_where_guests_look_for_it(world: World) -> None:
    """What a guest's spec makes of a kernel's name leads to the files of its disk."""
    provide_toolchain(world.lab, "hosta", "kernel-6.12-rt")
    mount, link = world.commands[-2:]
    assert link[-2:] == (mount[-2], str(Path(GuestSpec(kernel=Kernel("kernel-6.12-rt")).kernel_file).parent))
    assert "kernel-6.12-rt" in mount[-2]


def test_firmware_is_where_debian_has_it(world: World) -> None:
    """What a guest's spec makes of its name are files of the disk."""
    provide_toolchain(world.lab, "hosta", "ovmf")
    mount, link = world.commands[-2:]
    assert link[-2] == mount[-2]
    assert {str(Path(file).parent) for file in GuestSpec(firmware="ovmf").firmware_files} == {link[-1]}


def test_a_module_is_loaded(world: World) -> None:
    """From its disk, unless the kernel has it; of a lab host that has the disk already, too."""
    provide_toolchain(world.lab, "hosta", "mtty")
    mount, _, load = world.commands[-3:]
    assert load[-2:] == (f"{mount[-2]}/mtty.ko", "mtty")
    assert "insmod" in load[2]
    world.mounted = True
    provide_toolchain(world.lab, "hosta", "mtty")
    assert world.commands[-1] == load


def test_a_disk_that_is_there(world: World) -> None:
    """What is mounted is not plugged in again; the name is set all the same, since another digest may have had it."""
    world.mounted = True
    provide_toolchain(world.lab, "hosta", "qemu-11.1")
    assert world.executed == []
    assert [command[0] for command in world.commands] == ["test", "ln"]


def test_a_disk_that_was_not_mounted(world: World) -> None:
    """A harness that died in between left the disk plugged in: it is mounted."""
    world.nodes = [f"disk-{IMAGE.digest}"]
    provide_toolchain(world.lab, "hosta", "qemu-11.1")
    assert world.executed == []
    assert any("mount -o ro" in command[2] for command in world.commands if len(command) > 2)


def test_a_lab_that_takes_no_disks(world: World) -> None:
    """A lab of an older version has no bus for it: that is said, with QEMU's words."""
    world.error = Refused("hosta rejected device_add.", why="Bus 'toolchains.0' not found")
    with pytest.raises(NotReady, match="cannot be plugged") as caught:
        provide_toolchain(world.lab, "hosta", "qemu-11.1")
    assert "toolchains.0" in caught.value.why


def test_the_script_that_starts_it(tmp_path: Path) -> None:
    """Through any link to it, with its own loader, libraries, modules and firmware; arguments stay as they are."""
    tree = tmp_path / "opt" / "qemu"
    for folder in ("bin", "lib"):
        (tree / folder).mkdir(parents=True)
    script = tree / "bin" / "qemu-system-x86_64"
    shutil.copy(data_directory("images") / "qemu" / "wrapper", script)
    loader = tree / "lib" / "ld.so"
    loader.write_text('#!/bin/sh\nprintf "%s\\n" "$QEMU_MODULE_DIR" "$@"\n')
    loader.chmod(0o755)
    (tmp_path / "qemu-11.1").symlink_to(script)
    said = processes.run([str(tmp_path / "qemu-11.1"), "-name", "a  b"]).text.splitlines()
    assert said == [
        f"{tree}/modules",
        "--argv0",
        str(tmp_path / "qemu-11.1"),
        "--library-path",
        f"{tree}/lib",
        f"{tree}/libexec/qemu-system-x86_64",
        "-L",
        f"{tree}/share",
        "-name",
        "a  b",
    ]
