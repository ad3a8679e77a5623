# SPDX-License-Identifier: GPL-2.0-or-later
"""Saved guests that are images: which guests can be one, what one depends on, and how it is made once."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.scripted_host import ScriptedHost

from switchover.guests import snapshot_images
from switchover.guests.qemu import GuestKeys
from switchover.guests.snapshot_images import find_obstacle, make_image_key, require_stored
from switchover.guests.spec import LAB_INITRAMFS, GuestSpec, Kernel, KeyFile
from switchover.hosts.loop import LoopThread
from switchover.lab.custom_toolchains import LABHOST_QEMU
from switchover.lab.images import store_directory
from switchover.lab.lab import Lab
from switchover.lab.snapshot_store import StoredGuest, find_stored, lock_stored
from switchover.record.errors import GuestCrashed, NotReady

KEYS = GuestKeys("ssh-ed25519 AAAA login", "private", "host private", "host public")
SPEC = GuestSpec(append="pci=lastbus=0")
LOOP = cast(LoopThread, None)


@pytest.fixture(autouse=True)
def digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Of images that are built, by name."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    built = {name: f"{name} today" for name in ("guest", "labhost", "labhost-root", "qemu-11.1", "kernel-7.x", "ovmf")}
    monkeypatch.setattr(
        snapshot_images, "find_image", lambda name: SimpleNamespace(digest=built[name]) if name in built else None
    )
    return built


def make_lab(**changes: Any) -> Lab:
    file = {"accelerator": {"accel": "tcg,x", "cpu": "max,erms=off"}, "images": {"labhost": "labhost today"}}
    return cast(Lab, SimpleNamespace(name="default", file=SimpleNamespace(**(file | changes))))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"disk": "/disk.qcow2"}, "it has a disk"),
        ({"append": "threadirqs"}, "words of its own for its kernel"),
        ({"initramfs": "/own.cpio"}, "none of the project's"),
        ({"kernel": Kernel("/boot/vmlinuz")}, "none of the project's"),
        ({"initramfs": LAB_INITRAMFS, "kernel": Kernel("/boot/vmlinuz")}, "none of the project's"),
        ({"ssh_key": KeyFile("/key")}, "keys of its own"),
        ({"ssh_host_key": KeyFile("/key")}, "keys of its own"),
        ({"qemu": "/opt/q/bin/qemu-system-x86_64"}, "is no image"),
        ({"qemu": "qemu-mine"}, "its QEMU, qemu-mine, is no image"),
        ({"iommu": "intel-iommu"}, "its IOMMU looks at devices when the machine starts"),
        ({"qemu_devices": ("edu",)}, "it has devices or objects of its own"),
        ({"qemu_arguments": ("-only-migratable",)}, "its QEMU has arguments of its own"),
        ({"qemu_objects": ("rng-builtin,id=a",)}, "it has devices or objects of its own"),
        ({"firmware": "/b.bin"}, "its firmware is none of the project's"),
    ],
)
def test_obstacles(changes: dict[str, Any], words: str) -> None:
    """Each stands in the way alone, and is told in words."""
    assert words in find_obstacle(replace(GuestSpec(), **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"qemu": LABHOST_QEMU},
        {"qemu": "qemu-11.1"},
        {"kernel": Kernel("kernel-7.x")},
        {"memory_mib": 512, "vcpus": 2, "machine": "pc-q35-8.0", "address": "10.77.0.102"},
        {"start": "warm"},
        {"nic": {"host_uso": "off"}, "nic_queues": 2, "vcpus": 2, "topology": {"cores": 2}, "firmware": "ovmf"},
    ],
)
def test_no_obstacle(changes: dict[str, Any]) -> None:
    """The lab's guest with what the project ships can be an image, whatever its size and machine."""
    assert find_obstacle(replace(GuestSpec(), **changes)) == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"memory_mib": 512},
        {"machine": "pc-q35-8.0"},
        {"vcpus": 2},
        {"append": ""},
        {"qemu": "qemu-11.1"},
        {"kernel": Kernel("kernel-7.x")},
        {"bridge": ""},
        {"nic": {"host_uso": "off"}},
        {"nic_queues": 2},
        {"topology": {"cores": 1}},
        {"firmware": "ovmf"},
    ],
)
def test_guests_that_differ_have_keys_of_their_own(changes: dict[str, Any]) -> None:
    """Whatever is in what is saved: the machine, its memory, its vCPUs, its NIC, its firmware, its kernel and the words
    for it.
    """
    assert make_image_key(replace(SPEC, **changes), 1, make_lab()) != make_image_key(SPEC, 1, make_lab())


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"mac": "52:54:00:53:67:02"},
        {"address": "10.77.0.102"},
        {"prefix": 16},
        {"traced": False},
        {"boot_timeout_s": 7},
        {"start": "warm"},
        {"qemu": LABHOST_QEMU},
    ],
)
def test_what_is_given_when_it_is_restored_is_in_no_key(changes: dict[str, Any]) -> None:
    """Name, addresses, what is traced and how long one waits: such guests are one image."""
    assert make_image_key(replace(SPEC, **changes), 1, make_lab()) == make_image_key(SPEC, 1, make_lab())


def test_root_ports_are_in_the_key() -> None:
    """One for each device that is to be plugged in."""
    assert len({make_image_key(SPEC, ports, make_lab()) for ports in (0, 1, 2)}) == 3


def test_images_are_in_the_key(digests: dict[str, str]) -> None:
    """Another guest or another root of lab hosts, with its QEMU, makes another saved guest; an image that has no part
    in it does not.
    """
    key = make_image_key(SPEC, 1, make_lab())
    for name, matters in (("guest", True), ("labhost-root", True), ("qemu-11.1", False), ("kernel-7.x", False)):
        kept, digests[name] = digests[name], "tomorrow"
        assert (make_image_key(SPEC, 1, make_lab()) != key) is matters, name
        digests[name] = kept
    other = replace(SPEC, qemu="qemu-11.1", kernel=Kernel("kernel-7.x"))
    key = make_image_key(other, 1, make_lab())
    for name, matters in (("guest", False), ("labhost-root", False), ("qemu-11.1", True), ("kernel-7.x", True)):
        kept, digests[name] = digests[name], "tomorrow"
        assert (make_image_key(other, 1, make_lab()) != key) is matters, name
        digests[name] = kept


def test_a_lab_of_older_images_has_guests_of_its_own() -> None:
    """Its lab hosts have another QEMU than the image of today."""
    old = make_lab(images={"labhost": "labhost of yesterday"})
    assert make_image_key(SPEC, 1, old) != make_image_key(SPEC, 1, make_lab())


def test_the_cpu_of_lab_hosts_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a guest found of its CPU when it booted is saved: another emulated CPU, KVM, with KVM another machine."""
    flags = ["flags : fpu"]

    def read(self: Path) -> str:
        assert str(self) == "/proc/cpuinfo"
        return "\n".join(["processor : 0", "cpu MHz : 1234", "model name : Some CPU", *flags, "processor : 1", *flags])

    monkeypatch.setattr(Path, "read_text", read)
    kvm = make_lab(accelerator={"accel": "kvm", "cpu": "host"})
    labs = [make_lab(), make_lab(accelerator={"accel": "tcg,x", "cpu": "max"}), kvm]
    keys = [make_image_key(SPEC, 1, lab) for lab in labs]
    assert len(set(keys)) == 3
    flags[0] = "flags : fpu erms"
    assert make_image_key(SPEC, 1, kvm) != keys[2]
    assert make_image_key(SPEC, 1, make_lab()) == keys[0], "an emulated CPU is the same on every machine"


def test_an_image_that_is_not_built(digests: dict[str, str]) -> None:
    """Is told, with the command that builds it."""
    del digests["guest"]
    with pytest.raises(NotReady, match="'guest' is not built") as caught:
        make_image_key(SPEC, 1, make_lab())
    assert caught.value.fix == "switchover images build guest"


KEY = "0123456789abcdef" * 4


class World:
    """A lab host on which a guest is booted and saved, into a file and from there to a disk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.fail: dict[str, BaseException] = {}
        self.disk: Path | None = None
        self.host = ScriptedHost(self.run, "hosta")
        monkeypatch.setattr(snapshot_images, "start_file", self.start_file)
        monkeypatch.setattr(snapshot_images, "boot_and_save", self.boot_and_save)
        monkeypatch.setattr(snapshot_images, "plug_in", self.plug_in)
        monkeypatch.setattr(snapshot_images, "unplug", lambda lab, name, serial: self.note("unplug"))

    def note(self, line: str) -> None:
        self.log.append(line)
        if line in self.fail:
            raise self.fail[line]

    @contextlib.contextmanager
    def start_file(self, host: object) -> Iterator[str]:
        self.note("make file")
        try:
            yield "/tmp/saved/guest"
        finally:
            self.note("remove file")

    def boot_and_save(self, spec: Any, ports: int, host: Any, keys: Any, loop: Any, path: str, **how: Any) -> None:
        assert how["held"], "it takes on no identity"
        assert spec.mac == GuestSpec.mac, "it is for guests of all addresses"
        self.note(f"boot and save to {path}")

    def plug_in(self, lab: Any, name: str, disk: Path, serial: str, *, what: str, writable: bool) -> str:
        assert writable
        assert find_stored(KEY) is None
        self.disk = disk
        self.note("plug in")
        return "/dev/sdb"

    def run(self, argv: Any) -> str:
        assert {"if=/tmp/saved/guest", "of=/dev/sdb"} <= set(argv)
        assert any("fsync" in word for word in argv)
        self.note("copy")
        assert self.disk is not None
        with self.disk.open("r+b") as file:
            file.write(b"saved")
        return ""

    def require(self) -> StoredGuest:
        return require_stored(
            KEY, replace(SPEC, memory_mib=16, mac="52:54:00:53:67:02"), 1, self.host, KEYS, LOOP, make_lab()
        )


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


MAKING = ["make file", "boot and save to /tmp/saved/guest", "plug in", "copy", "unplug", "remove file"]


def test_it_is_made_once(world: World) -> None:
    """The first who wants it boots it; it is in the store from then on, with what it was made of."""
    made = world.require()
    assert world.log == MAKING
    assert made == find_stored(KEY)
    assert made.made_of == {"guest": "guest today", "labhost-root": "labhost-root today"}
    assert made.path.read_bytes()[:5] == b"saved"
    assert world.require() == made
    assert world.log == MAKING


def test_one_that_was_made_meanwhile(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waited for another process finds its guest, and boots none."""

    @contextlib.contextmanager
    def wait(key: str) -> Iterator[None]:
        monkeypatch.setattr(snapshot_images, "lock_stored", lock_stored)
        world.require()
        world.log.clear()
        with lock_stored(key):
            yield

    monkeypatch.setattr(snapshot_images, "lock_stored", wait)
    assert world.require() == find_stored(KEY)
    assert world.log == []


@pytest.mark.parametrize("step", MAKING[:-1])
@pytest.mark.parametrize("error", [GuestCrashed("it ended"), KeyboardInterrupt()])
def test_one_that_cannot_be_made_leaves_nothing(world: World, step: str, error: BaseException) -> None:
    """The error passes; disk and file are gone, nothing is found, and the next who wants it makes it."""
    world.fail = {step: error}
    with pytest.raises(type(error)):
        world.require()
    assert find_stored(KEY) is None
    assert not any(path.is_dir() for path in store_directory().iterdir())
    if step in MAKING[1:]:
        assert world.log[-1] == "remove file"
    assert ("unplug" in world.log) is (step in ("copy", "unplug"))
    world.fail = {}
    assert world.require() == find_stored(KEY)


def test_a_damaged_one_is_made_again(world: World) -> None:
    """It is not found, goes, and another takes its place."""
    world.require().path.write_bytes(b"cut")
    world.log.clear()
    assert world.require() == find_stored(KEY)
    assert world.log == MAKING
