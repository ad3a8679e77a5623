# SPDX-License-Identifier: GPL-2.0-or-later
"""Warm guests: saved once for all that is alike, restored in the right order, and gone at the end."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.fakes import Answer, FakeMonitor, FaultyHost, ScriptedQmp

from switchover.guests import snapshot_images, snapshots
from switchover.guests.hotplug import plug_device
from switchover.guests.qemu import GuestKeys, QemuGuest
from switchover.guests.snapshots import (
    Beginning,
    NotRestored,
    Snapshot,
    Snapshots,
    begin_restore,
    finish_restore,
    make_key,
)
from switchover.guests.spec import GuestSpec, Launch, VfioDevice
from switchover.hosts.host import Host
from switchover.hosts.loop import LoopThread
from switchover.lab.lab import Lab
from switchover.lab.snapshot_store import StoredGuest
from switchover.record.errors import Deadline, GuestCrashed, HostLost, NotReady, Refused
from switchover.record.paths import journals_directory

KEYS = GuestKeys("ssh-ed25519 AAAA login", "private", "host private", "host public")
SPEC = GuestSpec(start="warm")
DIGESTS = {"qemu": "1", "kernel": "2", "initramfs": "3"}
SAVED = Snapshot("key", "/tmp/switchover-saved-x/guest", "5eed", 80, 20.5, "")
HELD = replace(SAVED, path="/dev/sdb", held=True)


@pytest.mark.parametrize(
    ("spec", "ports", "keys", "digests"),
    [
        (replace(SPEC, memory_mib=512), 1, KEYS, DIGESTS),
        (replace(SPEC, machine="pc-q35-8.0"), 1, KEYS, DIGESTS),
        (replace(SPEC, append="threadirqs"), 1, KEYS, DIGESTS),
        (replace(SPEC, address="10.77.0.102"), 1, KEYS, DIGESTS),
        (SPEC, 2, KEYS, DIGESTS),
        (SPEC, 1, replace(KEYS, authorized="another"), DIGESTS),
        (SPEC, 1, replace(KEYS, host_public="another"), DIGESTS),
        (SPEC, 1, KEYS, DIGESTS | {"qemu": "4"}),
        (SPEC, 1, KEYS, DIGESTS | {"initramfs": "4"}),
    ],
)
def test_guests_that_differ_are_not_taken_for_each_other(
    spec: GuestSpec, ports: int, keys: GuestKeys, digests: dict[str, str]
) -> None:
    """Whatever the saved state depends on is in its key."""
    assert make_key(spec, ports, keys, digests) != make_key(SPEC, 1, KEYS, DIGESTS)


class Guest:
    """A guest whose QEMU answers as it is told."""

    def __init__(self, **answers: Answer) -> None:
        given = {name.replace("_", "-"): answer for name, answer in answers.items()}
        usual: dict[str, Answer] = {
            "migrate-set-capabilities": lambda _: {},
            "migrate-incoming": lambda _: {},
            "query-status": lambda _: {"status": "paused"},
            "human-monitor-command": lambda _: "",
            "cont": lambda _: {},
        }
        self.scripted = ScriptedQmp(usual | given)
        session = self.scripted.session()
        devices = (VfioDevice("dut", "/sys/a", {"enable-migration": "on"}), VfioDevice("other", "/sys/b"))
        self.guest = cast(
            QemuGuest,
            SimpleNamespace(
                qmp=session,
                plug=lambda device, number: plug_device(session, device, number),
                launch=Launch(GuestSpec(), devices),
                label="the source QEMU on a",
                require_alive=lambda: None,
                wait_until_reachable=self.wait_until_reachable,
            ),
        )
        self.reachable: list[float] = []
        self.answers: Exception | None = None

    def wait_until_reachable(self, timeout: float) -> None:
        self.reachable.append(timeout)
        if self.answers:
            raise self.answers


def refuse(_: object) -> object:
    raise Refused("rejected", why="no")


def crash(_: object) -> object:
    raise GuestCrashed("it ended")


def test_restoring() -> None:
    """The file is read, what only reading it needed is off again, and the devices are there before the guest runs."""
    states = iter(["inmigrate", "paused"])
    made = Guest(query_status=lambda _: {"status": next(states)})
    begin_restore(made.guest, SAVED)
    finish_restore(made.guest, SAVED)

    def mapped_ram(state: bool) -> tuple[str, dict[str, Any]]:
        return "migrate-set-capabilities", {"capabilities": [{"capability": "mapped-ram", "state": state}]}

    assert made.scripted.commands == [
        mapped_ram(True),
        ("migrate-incoming", {"uri": "file:/tmp/switchover-saved-x/guest"}),
        ("query-status", {}),
        ("query-status", {}),
        mapped_ram(False),
        (
            "human-monitor-command",
            {"command-line": "device_add vfio-pci,id=dut,sysfsdev=/sys/a,bus=port1,enable-migration=on"},
        ),
        ("human-monitor-command", {"command-line": "device_add vfio-pci,id=other,sysfsdev=/sys/b,bus=port2"}),
        ("cont", {}),
    ]
    assert made.reachable == [], "it had answered when it was saved"


def test_a_guest_that_was_held_is_waited_for() -> None:
    """It takes on who it is only now: it is restored when it answers, once it runs with its devices."""
    made = Guest()
    finish_restore(made.guest, HELD)
    assert made.scripted.commands[-1] == ("cont", {})
    assert len(made.reachable) == 1


@pytest.mark.parametrize("error", [GuestCrashed("panic"), Deadline("Waited 120 s.")])
def test_a_guest_that_was_held_and_does_not_go_on(error: Exception) -> None:
    """Says nothing about its devices either: it was not restored, and it is told which it was."""
    made = Guest()
    made.answers = error
    with pytest.raises(NotRestored, match="could not be restored") as caught:
        finish_restore(made.guest, HELD)
    assert caught.value.saved == HELD
    assert str(error) in caught.value.why


def test_a_device_that_is_rejected() -> None:
    """As on a command line: refused, in QEMU's words; the guest does not run without it."""
    made = Guest(human_monitor_command=lambda _: "Error: vfio: no migration\r\n")
    with pytest.raises(Refused) as error:
        finish_restore(made.guest, SAVED)
    assert error.value.why == "vfio: no migration"
    assert "cont" not in [name for name, _ in made.scripted.commands]


@pytest.mark.parametrize(
    ("command", "answer"),
    [("migrate_set_capabilities", refuse), ("migrate_incoming", refuse), ("query_status", crash)],
)
def test_a_restore_that_fails_is_no_verdict_on_the_product(command: str, answer: Answer) -> None:
    """A saved guest that cannot be read says nothing about the case: the environment is not ready."""
    made = Guest(**{command: answer})

    def restore() -> None:
        begin_restore(made.guest, SAVED)
        finish_restore(made.guest, SAVED)

    with pytest.raises(NotRestored, match="could not be restored") as caught:
        restore()
    assert caught.value.saved == SAVED


def label(method: str, argument: str) -> str:
    match method:
        case "run" if "%d %i" in argument:
            return "identify files"
        case "run" if "sha256sum" in argument:
            return f"digest of {argument.split()[-1].split('-')[0]}"
        case "run" if argument.startswith("mkdir"):
            return "make place"
        case "run" if "rm -rf /tmp/switchover-saved" in argument:
            return "remove saved"
        case "run" if "stat -c" in argument:
            return "measure"
        case "run" if "pkill" in argument:
            return "end processes"
        case "run":
            return "make files" if "mkdir" in argument else "remove files"
    return method


FIRST = ["identify files", *(f"digest of /{name}" for name in ("qemu", "kernel", "initramfs"))]
SAVING = [
    "make place",
    "make files",
    "start",
    "open_stream",
    "open_unix",
    "log in",
    "kill process",
    "remove files",
    "measure",
    "digest of /tmp/switchover",
]


def answer(argv: Sequence[str]) -> bytes:
    text = " ".join(argv)
    if "%d %i" in text:
        return b"/qemu 1 2 3 4\n/kernel 1 3 3 4\n/initramfs 1 4 3 4\n"
    if "sha256sum" in text:
        return b"5eed  x\n"
    return b"16 512\n" if "stat -c" in text else b""


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    with LoopThread() as thread:
        yield thread


MONITOR: dict[str, object] = {"stop": {}, "migrate-set-capabilities": {}, "migrate-set-parameters": {}, "migrate": {}}


@pytest.fixture
def make_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FaultyHost]]:
    hosts: list[FaultyHost] = []
    monitors: list[FakeMonitor] = []

    def make(status: str = "completed", **others: Any) -> FaultyHost:
        monitor = FakeMonitor(tmp_path / f"qmp{len(monitors)}", {**MONITOR, "query-migrate": {"status": status}})
        monitors.append(monitor)
        monitor.__enter__()
        host = FaultyHost(label, monitor.path, outputs=answer, **others)
        hosts.append(host)
        return host

    def log_in(self: QemuGuest, keys: GuestKeys) -> Any:
        cast(FaultyHost, self.host).log.append("log in")
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(QemuGuest, "wait_until_reachable", lambda self: None)
    monkeypatch.setattr(QemuGuest, "open_ssh", log_in)
    yield make
    for monitor in monitors:
        monitor.__exit__()
    for host in hosts:
        host.close()


def test_saved_once_and_gone_at_the_end(make_host: Callable[..., FaultyHost], loop: LoopThread) -> None:
    """The second case with the same guest only looks whether its files are the same; at the end nothing is left."""
    host = make_host()
    with Snapshots() as snapshots:
        first = snapshots.require(SPEC, 1, host, KEYS, loop)
        assert host.log == [*FIRST, *SAVING]
        assert snapshots.require(SPEC, 1, host, KEYS, loop) == first
        assert snapshots.directories == [first.path.removesuffix("/guest")]
        assert host.log[len(FIRST + SAVING) :] == ["identify files"]
        assert (first.bytes, first.sha256) == (8192, "5eed")
        assert len(list(journals_directory().iterdir())) == 1
    assert snapshots.directories == []
    assert host.log[-1] == "remove saved"
    assert list(journals_directory().iterdir()) == []


OTHERS = ("log in", "kill process", "remove files")
"""No requests that a host can fail at, or those of a release, which raises nothing."""


@pytest.mark.parametrize("step", [n for n, name in enumerate(FIRST + SAVING) if n >= len(FIRST) and name not in OTHERS])
def test_a_guest_that_could_not_be_saved_leaves_nothing(
    make_host: Callable[..., FaultyHost], loop: LoopThread, step: int
) -> None:
    """Whichever step fails, what was made is removed at once, and the next case tries again."""
    host = make_host(fail_at=step, error=HostLost("injected"))
    with Snapshots() as snapshots:
        with pytest.raises(HostLost, match="injected"):
            snapshots.require(SPEC, 1, host, KEYS, loop)
        assert host.log[-1] == "remove saved"
        assert list(journals_directory().iterdir()) == []
        snapshots.require(SPEC, 1, host, KEYS, loop)


def test_saving_that_fails_is_said(make_host: Callable[..., FaultyHost], loop: LoopThread) -> None:
    """QEMU could not write the file: not ready, and never a cold guest instead."""
    host = make_host(status="failed")
    with Snapshots() as snapshots, pytest.raises(NotReady, match="could not be saved"):
        snapshots.require(SPEC, 1, host, KEYS, loop)


def test_a_guest_with_trouble_is_not_saved(
    make_host: Callable[..., FaultyHost], loop: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No case would see what the guest reported while it booted."""
    monkeypatch.setattr(snapshot_images, "find_trouble", lambda text: ["WARNING: CPU: 0"])
    with Snapshots() as snapshots, pytest.raises(NotReady, match="not fit to be saved"):
        snapshots.require(SPEC, 1, make_host(), KEYS, loop)


def test_only_so_many_are_kept(make_host: Callable[..., FaultyHost], loop: LoopThread) -> None:
    """Of those of a host the one that was not wanted for longest goes, before the next takes memory; others stay."""
    host, other = make_host(), make_host(address={"kind": "fake", "name": "other"})
    with Snapshots(kept=2) as snapshots:
        for address in ("1", "2", "1", "3"):
            snapshots.require(replace(SPEC, address=address), 1, host, KEYS, loop)
        snapshots.require(SPEC, 1, other, KEYS, loop)
        removed = host.log.index("remove saved")
        assert host.log[removed + 1] == "make place"
        assert host.log.count("remove saved") == 1
        before = len(host.log)
        snapshots.require(replace(SPEC, address="1"), 1, host, KEYS, loop)
        assert host.log[before:] == ["identify files"]
    assert (host.log.count("remove saved"), other.log.count("remove saved")) == (3, 1)


# what is decided, and images

LAB = cast(Lab, SimpleNamespace(file=SimpleNamespace(hosts=["hosta", "hostb"])))
HOST = FaultyHost(label, "", name="hosta")


@pytest.fixture
def capabilities(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Of QEMUs, by program; a program is asked once."""
    asked: list[str] = []
    made = {GuestSpec.qemu: {"mapped-ram"}, "qemu-7.2": {"multifd"}, "qemu-11.1": {"mapped-ram"}}

    def read(host: Host, qemu: str) -> Any:
        assert qemu not in asked, "asked again"
        asked.append(qemu)
        return SimpleNamespace(capabilities=made[qemu])

    monkeypatch.setattr(snapshots, "read_abilities", read)
    monkeypatch.setattr(snapshot_images, "find_image", lambda name: name)
    return made


AUTO = GuestSpec(start="auto")


@pytest.mark.parametrize(
    ("spec", "beginning"),
    [
        (AUTO, Beginning("warm")),
        (replace(AUTO, qemu="qemu-11.1"), Beginning("warm")),
        (replace(AUTO, start="warm"), Beginning("warm")),
        (replace(AUTO, start="warm", append="x"), Beginning("warm")),
        (replace(AUTO, start="cold"), Beginning("cold")),
        (replace(AUTO, append="x"), Beginning("cold", "it has words of its own for its kernel")),
        (replace(AUTO, qemu="qemu-7.2"), Beginning("cold", "its QEMU, qemu-7.2, has no mapped-ram")),
    ],
)
@pytest.mark.usefixtures("capabilities")
def test_how_a_guest_begins(spec: GuestSpec, beginning: Beginning) -> None:
    """What a scenario says holds, without a reason; else a guest is warm where nothing stands against it, or cold with
    the reason. QEMUs are asked once.
    """
    snapshots = Snapshots()
    for _ in range(2):
        assert snapshots.decide(spec, HOST, LAB) == beginning


def test_a_driver_that_restores_no_guest(capabilities: dict[str, set[str]]) -> None:
    """Its reason is the one that is told, nothing else is looked at; what a scenario says holds all the same."""
    capabilities.clear()
    for spec in (AUTO, replace(AUTO, append="x")):
        assert Snapshots().decide(spec, HOST, LAB, "it does not") == Beginning("cold", "it does not")
    assert Snapshots().decide(replace(AUTO, start="warm"), HOST, LAB, "it does not") == Beginning("warm")


def test_a_host_of_no_lab(capabilities: dict[str, set[str]]) -> None:
    """Has no images of saved guests: it boots them, and is not asked what its QEMU can."""
    capabilities.clear()
    begins = Snapshots().decide(AUTO, HOST, None)
    assert begins.start == "cold"
    assert "none of a lab" in begins.reason


class Store:
    """Images of saved guests, and disks in lab hosts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        monkeypatch.setattr(snapshots, "make_image_key", lambda spec, ports, lab: f"{spec.append}/{ports}/{'0' * 20}")
        monkeypatch.setattr(snapshots, "require_stored", self.require)
        monkeypatch.setattr(snapshots, "plug_in", self.plug_in)
        monkeypatch.setattr(
            snapshots, "unplug", lambda lab, name, serial: self.log.append(f"unplug {serial} of {name}")
        )
        monkeypatch.setattr(snapshots, "remove_stored", lambda key: self.log.append(f"remove {key}"))

    def require(self, key: str, *_: object) -> StoredGuest:
        self.log.append(f"require {key}")
        return StoredGuest(key, Path("/store/guest.raw"), 300, "5eed", 80, 20.5, "now", {})

    def plug_in(self, lab: Lab, name: str, path: Path, serial: str, *, what: str) -> str:
        self.log.append(f"plug {path} into {name}")
        return "/dev/sdb"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    return Store(monkeypatch)


def test_a_guest_of_a_lab_is_an_image(store: Store, loop: LoopThread) -> None:
    """It is taken from the store, with the words of its lab host, and plugged in once for all cases; at the end it
    stays where it is.
    """
    with Snapshots() as snapshots:
        first = snapshots.require(AUTO, 1, HOST, KEYS, loop, LAB, "pci=lastbus=0")
        key = f"pci=lastbus=0/1/{'0' * 20}"
        assert first == Snapshot(key, "/dev/sdb", "5eed", 80, 20.5, "now", held=True)
        assert "path" not in first.describe()
        assert snapshots.require(AUTO, 1, HOST, KEYS, loop, LAB, "pci=lastbus=0") is first
        assert store.log == [f"require {key}", "plug /store/guest.raw into hosta"]
        other = replace(HOST, name="hostb", address={"kind": "other"})
        snapshots.require(AUTO, 1, other, KEYS, loop, LAB, "pci=lastbus=0")
        snapshots.require(AUTO, 2, HOST, KEYS, loop, LAB, "pci=lastbus=0")
    assert [line for line in store.log if line.startswith("plug")] == [
        f"plug /store/guest.raw into {name}" for name in ("hosta", "hostb", "hosta")
    ]


def test_a_guest_that_cannot_be_an_image_is_saved_by_the_run(
    make_host: Callable[..., FaultyHost], loop: LoopThread, store: Store
) -> None:
    """Words of its own for its kernel, and ``warm`` asked for: saved on its host, also in a lab."""
    host = make_host()
    with Snapshots() as snapshots:
        made = snapshots.require(replace(SPEC, append="threadirqs"), 1, host, KEYS, loop, LAB, "w=1")
        assert not made.held
        assert host.log == [*FIRST, *SAVING]
    assert store.log == []


def test_an_image_that_is_forgotten_is_made_again(store: Store, loop: LoopThread) -> None:
    """It is taken from every lab host and from the store; others stay."""
    with Snapshots() as snapshots:
        bad, good = (snapshots.require(AUTO, ports, HOST, KEYS, loop, LAB) for ports in (1, 2))
        store.log.clear()
        snapshots.forget(bad, LAB)
        assert store.log == [f"unplug {bad.key[:16]} of hosta", f"unplug {bad.key[:16]} of hostb", f"remove {bad.key}"]
        store.log.clear()
        assert snapshots.require(AUTO, 2, HOST, KEYS, loop, LAB) is good
        assert store.log == []
        snapshots.require(AUTO, 1, HOST, KEYS, loop, LAB)
        assert store.log[0] == f"require {bad.key}"


def test_a_file_that_is_forgotten_is_made_again(
    make_host: Callable[..., FaultyHost], loop: LoopThread, store: Store
) -> None:
    """The file goes from its host at once; the store has nothing to do with it."""
    host = make_host()
    with Snapshots() as snapshots:
        bad = snapshots.require(SPEC, 1, host, KEYS, loop)
        snapshots.forget(bad, None)
        assert host.log[-1] == "remove saved"
        before = len(host.log)
        snapshots.require(SPEC, 1, host, KEYS, loop)
        assert host.log[before : before + 2] == ["identify files", "make place"]
    assert store.log == []
