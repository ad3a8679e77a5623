# SPDX-License-Identifier: GPL-2.0-or-later
"""Starting a guest: whatever fails at whichever step, all that was acquired is released, last first."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.fakes import FakeMonitor, FakeProcess, FaultyHost

from switchover.guests.qemu import GuestKeys, QemuGuest, start_guest
from switchover.guests.spec import GuestFiles, GuestSpec, Launch
from switchover.hosts.host import Completed
from switchover.hosts.journal import parse_journal
from switchover.hosts.local import LocalHost
from switchover.hosts.loop import LoopThread
from switchover.hosts.waiting import paced, wait_until
from switchover.record.errors import Deadline, GuestCrashed, HostLost, NotReady, Refused
from switchover.record.paths import journals_directory

KEYS = GuestKeys("ssh-ed25519 AAAA login", "private", "host private", "host public")
SPEC = GuestSpec(bridge="br0")
STEPS = ["make files", "start qemu", "follow console", "open monitor"]
RELEASE = ["kill process", "remove files"]


def label(method: str, argument: str) -> str:
    match method:
        case "run" if "mkdir" in argument:
            return "make files"
        case "run" if "pkill" in argument:
            return "end processes"
        case "run" if "rm -rf" in argument:
            return "remove files"
        case "start":
            return "start qemu"
        case "open_stream":
            return "follow console"
        case "open_unix":
            return "open monitor"
    raise AssertionError(f"{method} {argument}")


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[FakeMonitor]:
    with FakeMonitor(tmp_path / "qmp", {"query-status": {"running": True}}) as running:
        yield running


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    with LoopThread() as thread:
        yield thread


def run_guest(host: FaultyHost, loop: LoopThread) -> None:
    with start_guest(Launch(SPEC), host, "source", KEYS, loop, incoming=False) as guest:
        assert guest.qmp.execute("query-status") == {"running": True}
        host.log.append("in use")


def test_all_is_released_in_reverse_order(monitor: FakeMonitor, loop: LoopThread) -> None:
    """A guest that was used: its process ends before its files and its tap go."""
    host = FaultyHost(label, monitor.path)
    run_guest(host, loop)
    assert host.log == [*STEPS, "in use", *RELEASE]
    assert all(stream.recv(1) == b"" for stream in host.streams)
    host.close()


@pytest.mark.parametrize("step", range(len(STEPS)))
def test_a_failure_at_any_step_releases_what_was_there(monitor: FakeMonitor, loop: LoopThread, step: int) -> None:
    """Whichever step fails, what was acquired before it is released in reverse order, files even if half made."""
    host = FaultyHost(label, monitor.path, fail_at=step, error=HostLost("injected"))
    with pytest.raises(HostLost, match="injected"):
        run_guest(host, loop)
    started = "start qemu" in STEPS[:step]
    # without a process to kill, all that have the guest's mark: what makes the files may still be at it
    assert host.log == [*STEPS[: step + 1], *(RELEASE if started else ["end processes", "remove files"])]
    assert all(stream.recv(1) == b"" for stream in host.streams)
    host.close()


@pytest.mark.parametrize("fail_at", ["follow console", "open monitor", "none"])
def test_evidence_is_kept_before_all_is_gone(monitor: FakeMonitor, loop: LoopThread, fail_at: str) -> None:
    """What a QEMU left can be kept once it was started, before it ends, also when it does not come up."""
    step = STEPS.index(fail_at) if fail_at in STEPS else -1
    host = FaultyHost(label, monitor.path, fail_at=step, error=Refused("injected"))
    kept: list[QemuGuest] = []

    def keep(guest: QemuGuest) -> None:
        host.log.append("keep evidence")
        kept.append(guest)

    with (
        contextlib.suppress(Refused),
        start_guest(Launch(SPEC), host, "source", KEYS, loop, incoming=False, keep=keep) as guest,
    ):
        assert guest.qmp.execute("query-status") == {"running": True}
    assert host.log[-3:] == ["keep evidence", *RELEASE]
    assert len(kept) == 1
    assert hasattr(kept[0], "qmp") == (step == -1)
    host.close()


def test_an_error_in_use_releases_all(monitor: FakeMonitor, loop: LoopThread) -> None:
    """An error while the guest is used passes, after the release."""
    host = FaultyHost(label, monitor.path)
    with (
        pytest.raises(GuestCrashed, match="in use"),
        start_guest(Launch(SPEC), host, "source", KEYS, loop, incoming=False),
    ):
        raise GuestCrashed("in use")
    assert host.log == [*STEPS, *RELEASE]
    host.close()


@pytest.mark.parametrize(("status", "killed"), [(None, True), (-11, False), (0, False)])
def test_a_qemu_that_the_harness_killed(status: int | None, killed: bool) -> None:
    """Only one that lived was killed by it: of any other it is told how it ended."""
    process = SimpleNamespace(poll=lambda: status, kill=lambda: None)
    guest = QemuGuest(Launch(SPEC), cast(Any, None), "source", cast(Any, None), [], cast(Any, process))
    assert not guest.killed
    guest.kill()
    assert guest.killed is killed


def test_a_lost_host_does_not_hide_the_error(monitor: FakeMonitor, loop: LoopThread) -> None:
    """When the release finds the host gone, the error in use is still the one that is raised."""
    host = FaultyHost(label, monitor.path, fail_at=len(STEPS), error=HostLost("gone"))
    with (
        pytest.raises(GuestCrashed, match="in use"),
        start_guest(Launch(SPEC), host, "source", KEYS, loop, incoming=False),
    ):
        raise GuestCrashed("in use")
    assert host.log == [*STEPS, *RELEASE]
    host.close()


def test_a_process_that_cannot_be_killed_does_not_keep_the_files(
    monitor: FakeMonitor, loop: LoopThread, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A failure in one step of the release stops no other; it is said, and stays in the journal for the next one."""

    def fail(self: FakeProcess) -> None:
        raise NotReady("cannot be killed")

    monkeypatch.setattr(FakeProcess, "kill", fail)
    host = FaultyHost(label, monitor.path)
    run_guest(host, loop)
    assert host.log[-1] == "remove files"
    said = capsys.readouterr().err
    assert "not undone: QEMU of /tmp/switchover-guest-source-" in said
    assert "cannot be killed" in said
    (path,) = journals_directory().iterdir()
    assert [change.what.split()[0] for change in parse_journal(path.read_bytes()).changes] == ["QEMU"]
    host.close()


def test_secrets_do_not_show(monitor: FakeMonitor, loop: LoopThread) -> None:
    """The guest's private host key is on no command line."""
    seen: list[str] = []

    def note(method: str, argument: str) -> str:
        seen.append(argument)
        return label(method, argument)

    host = FaultyHost(note, monitor.path)
    run_guest(host, loop)
    assert not any("host private" in argument for argument in seen)
    host.close()


class Started:
    """A guest that was started, and the fake parts of it."""

    def __init__(self, guest: QemuGuest, host: FaultyHost) -> None:
        self.guest = guest
        self.host = host
        process = guest._process
        assert isinstance(process, FakeProcess)
        self.process = process

    def print(self, text: str) -> None:
        self.host.streams[0].sendall(text.encode())
        wait_until("the text", lambda: text in self.guest.console.text(), timeout=5)


@pytest.fixture
def started(monitor: FakeMonitor, loop: LoopThread) -> Iterator[Started]:
    host = FaultyHost(label, monitor.path)
    with start_guest(Launch(GuestSpec(boot_timeout_s=5)), host, "source", KEYS, loop, incoming=False) as guest:
        yield Started(guest, host)
    host.close()


def test_alive(started: Started) -> None:
    """A running QEMU with a healthy guest passes."""
    started.print("switchover-guest: ready\n")
    started.guest.require_alive()
    assert started.guest.pid == started.process.pid


def test_a_qemu_that_ended_is_a_crash(started: Started) -> None:
    """The end of the process is a crash, with the side, the status and QEMU's own words."""
    started.process.code = -11
    with pytest.raises(GuestCrashed, match="the source QEMU on fake ended with exit status -11") as caught:
        started.guest.require_alive()
    assert caught.value.why == "qemu: its own words"


def test_last_words(started: Started) -> None:
    """A QEMU that ended has its words, without its name; one that runs has none."""
    assert started.guest.last_words() == ""
    started.process.code = 1
    assert started.guest.last_words() == "its own words"


def test_a_start_that_is_rejected(started: Started) -> None:
    """Exit status 1 while QEMU starts is a refusal in its own words; another end is a crash, and running is neither."""
    started.guest.require_accepted()
    started.process.code = 1
    with pytest.raises(Refused, match="its own words"):
        started.guest.require_accepted()
    started.process.code = -6
    with pytest.raises(GuestCrashed, match="exit status -6"):
        started.guest.require_accepted()


def test_a_start_that_is_rejected_while_it_is_looked_at(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    """A QEMU that ends between two looks at it has rejected its command line all the same, and has not crashed."""
    codes = iter([None])
    monkeypatch.setattr(started.process, "poll", lambda: next(codes, 1))
    started.guest.require_accepted()
    with pytest.raises(Refused, match="its own words"):
        started.guest.require_accepted()


def test_a_panic_is_a_crash(started: Started) -> None:
    """A guest's panic is a crash though QEMU runs on, with the kernel's own line."""
    started.print("Kernel panic - not syncing: Fatal exception in interrupt\n")
    with pytest.raises(GuestCrashed, match=r"crashed: .*Kernel panic") as caught:
        started.guest.require_alive()
    assert "Fatal exception in interrupt" in caught.value.why


def test_the_last_words_of_a_guest_that_took_its_qemu_along(started: Started) -> None:
    """A QEMU that ended crashed as its guest did, though what follows the console has not got so far yet."""
    started.process.code = 0
    started.host.content = b"Kernel panic - not syncing: sysrq triggered crash\n"
    with pytest.raises(GuestCrashed, match=r"crashed: .*sysrq triggered crash"):
        started.guest.require_alive()


def test_silence_is_explained_by_the_end(started: Started) -> None:
    """The process of a QEMU that closed its monitor is waited for: it ends a little later, and tells its status."""
    timer = threading.Timer(0.2, lambda: setattr(started.process, "code", -11))
    timer.start()
    with pytest.raises(GuestCrashed, match="exit status -11"):
        started.guest.explain_silence()
    timer.join()


def test_reachable_needs_both_words(started: Started) -> None:
    """The guest is reachable when its rc is through and its SSH server listens, and not before."""
    started.print("switchover-guest: ready\n")
    started.guest.launch = Launch(GuestSpec(boot_timeout_s=0.1))
    with pytest.raises(Exception, match=r"Waited 0\.1 s for the guest of the source QEMU"):
        started.guest.wait_until_reachable()
    started.print("[101] Nov 21 10:00:00 Not backgrounding\n")
    started.guest.wait_until_reachable()


@pytest.mark.parametrize(("greeting", "answers"), [(b"SSH-2.0-x\r\n", True), (b"HTTP/1.1", False), (b"", False)])
def test_a_guest_of_the_user_is_reachable_when_ssh_answers(
    started: Started, monkeypatch: pytest.MonkeyPatch, greeting: bytes, answers: bool
) -> None:
    """Its console says nothing of ours: it is waited for until an SSH server greets; the lab's guest is not asked."""
    asked: list[tuple[str, int]] = []

    def open_tcp(address: str, port: int, *, timeout: float) -> socket.socket:
        asked.append((address, port))
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.sendall(greeting)
        return ours

    monkeypatch.setattr(started.guest.host, "open_tcp", open_tcp, raising=False)
    started.guest.launch = Launch(GuestSpec(boot_timeout_s=0.1))
    with pytest.raises(Deadline):
        started.guest.wait_until_reachable()
    assert asked == []
    started.guest.launch = Launch(GuestSpec(boot_timeout_s=0.1, disk="/disk", address="10.0.0.9"))
    with contextlib.nullcontext() if answers else pytest.raises(Deadline):
        started.guest.wait_until_reachable()
    assert asked[0] == ("10.0.0.9", 22)


def test_a_boot_that_panics_is_not_waited_for(started: Started) -> None:
    """A panic ends the wait for the boot at once."""
    started.print("Kernel panic - not syncing: VFS\n")
    with pytest.raises(GuestCrashed, match=r"crashed: .*Kernel panic"):
        started.guest.wait_until_reachable()


def test_evidence_is_what_can_be_had(started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can be read of console and log is kept as it is, what cannot is empty: it never raises. The directory has
    the name of the side, such as that of a second destination.
    """
    directory = tmp_path / "guest-second destination-1"
    directory.mkdir()
    started.guest.files = GuestFiles(str(directory), "tap")
    log = b"7@1.000000:vfio_save_start \xff\r\n"
    Path(started.guest.files.log).write_bytes(log)
    monkeypatch.setattr(started.host, "run", LocalHost().run)
    evidence = started.guest.collect_evidence()
    assert evidence.console == ""
    assert evidence.log == log.decode(errors="replace")
    assert evidence.stderr == "qemu: its own words"
    assert evidence.command.startswith("qemu-system-x86_64 -name guest,debug-threads=on ")

    def lose(*_: object, **__: object) -> Completed:
        raise HostLost("gone")

    monkeypatch.setattr(started.host, "run", lose)
    assert (started.guest.collect_evidence().log, started.guest.collect_evidence().console) == ("", "")


def test_a_guest_that_is_held_says_so(started: Started) -> None:
    """One that is to be saved is waited for until it waits itself, and one that panics before is not."""
    started.guest.launch = Launch(GuestSpec(boot_timeout_s=0.1))
    with pytest.raises(Deadline, match="to wait for its identity"):
        started.guest.wait_until_held()
    started.print("switchover-guest: held\n")
    started.guest.wait_until_held()


def test_the_bound_of_a_boot() -> None:
    """A default is stretched on slow hosts; what a scenario sets is not, be it the same number."""
    assert GuestSpec().boot_deadline(2) == 360
    assert GuestSpec(boot_timeout_s=7.5).boot_deadline(2) == 7.5
    assert GuestSpec(given_bounds=("boot_timeout_s",)).boot_deadline(2) == 180


def test_a_bound_of_a_boot_that_was_given_holds(started: Started) -> None:
    """The wait is as long as was asked for, whatever the hosts' pace."""
    started.guest.launch = Launch(GuestSpec(boot_timeout_s=0.1))
    with paced(5), pytest.raises(Deadline, match=r"Waited 0\.1 s"):
        started.guest.wait_until_reachable()
