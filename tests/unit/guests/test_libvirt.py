# SPDX-License-Identifier: GPL-2.0-or-later
"""Domains: what their events mean, their log, their removal; and the connection, against the library's test driver."""

import subprocess
import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from switchover.guests import libvirt
from switchover.guests.domain import DomainIdentity
from switchover.guests.libvirt import DomainProcess, LibvirtGuest, _require_program, find_words
from switchover.guests.libvirtd import DomainEvent, Libvirtd, describe_error, find_lack, find_libvirt, require_libvirt
from switchover.guests.spec import GuestFiles, GuestSpec, Launch
from switchover.hosts.host import UNKNOWN_SIGNAL
from switchover.hosts.local import LocalHost
from switchover.hosts.loop import LoopThread
from switchover.hosts.waiting import wait_until
from switchover.record.errors import HostLost, NotReady, Refused

LOG = """\
2026-11-22 05:00:00.000+0000: starting up libvirt version: 11.3.0, package: 3, qemu version: 10.0.13, kernel: 6.12
/usr/bin/qemu-system-x86_64 \\
-S
2026-11-22T05:00:00.1Z qemu-system-x86_64: of the first
2026-11-22 05:00:10.000+0000: shutting down, reason=migrated
2026-11-22 05:01:00.000+0000: starting up libvirt version: 11.3.0, package: 3, qemu version: 10.0.13, kernel: 6.12
/usr/bin/qemu-system-x86_64 \\
-S
char device redirected to /dev/pts/1 (label charserial0)
2026-11-22T05:01:00.1Z qemu-system-x86_64: load of migration failed: Invalid argument
2026-11-22 05:01:01.000+0000: shutting down, reason=crashed
"""
STOPPED = 5
CRASHED, MIGRATED = 2, 3
MODULE = SimpleNamespace(VIR_DOMAIN_EVENT_STOPPED=STOPPED, VIR_DOMAIN_EVENT_STOPPED_CRASHED=CRASHED)


def make_process(has_closed: bool = False) -> DomainProcess:
    libvirtd = SimpleNamespace(module=MODULE, require_connected=lambda: None)
    return DomainProcess(LocalHost(), cast(Libvirtd, libvirtd), lambda: has_closed)


def test_qemus_own_words_of_its_last_start() -> None:
    """Of a log that libvirt continues with each start: neither what came before nor what libvirt wrote."""
    assert find_words(LOG) == "2026-11-22T05:01:00.1Z qemu-system-x86_64: load of migration failed: Invalid argument\n"
    assert find_words("") == ""
    other = LOG.replace("Z qemu-system-x86_64: load", "Z /usr/local/bin/qemu-11.1: load")
    assert (
        find_words(other)
        == "2026-11-22T05:01:00.1Z /usr/local/bin/qemu-11.1: load of migration failed: Invalid argument\n"
    )


@pytest.mark.parametrize(("detail", "code"), [(CRASHED, UNKNOWN_SIGNAL), (MIGRATED, 0)])
def test_how_a_domain_ended(detail: int, code: int) -> None:
    """A QEMU that ended by itself is a crash, one that libvirt ended is none; with other events it lives."""
    process = make_process()
    assert process.poll() is None
    process.note_event(DomainEvent(1, "lifecycle", {"event": 4, "detail": detail}))
    process.note_event(DomainEvent(1, "migration-iteration", {"iteration": 3}))
    assert process.poll() is None
    process.note_event(DomainEvent(2, "lifecycle", {"event": STOPPED, "detail": detail}))
    assert process.poll() == process.wait(0) == code


def test_an_end_that_libvirt_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A monitor that was closed is the end some time later; until then libvirt's event is waited for, and counts."""
    process = make_process(has_closed=True)
    assert process.poll() is None
    process.note_event(DomainEvent(1, "lifecycle", {"event": STOPPED, "detail": CRASHED}))
    assert process.poll() == UNKNOWN_SIGNAL
    monkeypatch.setattr(libvirt, "_EVENT_S", 0)
    quiet = make_process(has_closed=True)
    wait_until("the end", lambda: quiet.poll() == 0, timeout=5)


def test_a_domain_that_never_was_has_no_words() -> None:
    """And nothing is killed."""
    process = make_process()
    process.kill()
    assert process.stderr() == ""


def test_removal_ends_what_has_the_mark_and_proves_it() -> None:
    """The undo ends the process that has the directory on its command line; the proof fails before, and holds after."""
    directory = f"/tmp/switchover-guest-source-{uuid.uuid4().hex[:12]}"
    undo, gone = libvirt._removal_of_domain(GuestFiles(directory, "sw0"))
    with subprocess.Popen(["sh", "-c", "read -r line", "sh", directory], stdin=subprocess.PIPE) as process:
        try:
            assert LocalHost().run(gone, check=False).returncode == 1
            LocalHost().run(undo)
            assert process.wait(timeout=10) == -9
        finally:
            process.kill()
    assert LocalHost().run(gone, check=False).returncode == 0
    LocalHost().run(undo)


def test_a_domain_that_is_still_there_is_not_gone(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """libvirt's file of a running domain names its directory: then the proof fails. Its log goes with the undo."""
    ident = uuid.uuid4().hex[:12]
    monkeypatch.setattr(libvirt, "_STATUS_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(libvirt, "_LOG_DIRECTORY", str(tmp_path))
    undo, gone = libvirt._removal_of_domain(GuestFiles(f"/tmp/switchover-guest-source-{ident}", "sw0"))
    (tmp_path / "other.log").write_text("nothing")
    (tmp_path / "a.log").write_text(f"/tmp/switchover-guest-source-{ident}/qmp")
    status = tmp_path / "a.xml"
    status.write_text(f"<arg value='/tmp/switchover-guest-source-{ident}/qmp'/>")
    assert LocalHost().run(gone, check=False).returncode == 1
    status.unlink()
    LocalHost().run(undo)
    assert LocalHost().run(gone, check=False).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["other.log"]


@pytest.fixture
def libvirtd() -> Iterator[Libvirtd]:
    """A connection to the hypervisor that libvirt's library pretends for tests."""
    if find_libvirt() is None:
        pytest.skip("libvirt-python is not installed")
    module = require_libvirt()
    connection = Libvirtd(LocalHost(), module, module.open("test:///default"))
    yield connection
    connection.close()


XML = "<domain type='test'><name>x</name><uuid>{}</uuid><memory>1024</memory><os><type>hvm</type></os></domain>"


def test_events_of_one_domain(libvirtd: Libvirtd) -> None:
    """Events come in, of the domain that is asked for and of no other."""
    wanted, other = str(uuid.uuid4()), str(uuid.uuid4())
    events: list[DomainEvent] = []
    libvirtd.listen(wanted, events.append)
    for identity in (other, wanted):
        domain = libvirtd.raw.createXML(XML.format(identity).replace("<name>x", f"<name>{identity}"), 0)
        domain.destroy()
    wait_until("the events", lambda: len(events) >= 2, timeout=10)
    assert [event.details["event"] for event in events] == [
        libvirtd.module.VIR_DOMAIN_EVENT_STARTED,
        libvirtd.module.VIR_DOMAIN_EVENT_STOPPED,
    ]
    assert {event.name for event in events} == {"lifecycle"}


def test_a_guest_is_paused_and_resumed_through_libvirt(libvirtd: Libvirtd) -> None:
    """libvirt knows of it; and one that runs is let be, which libvirt itself would reject."""
    identity = DomainIdentity("paused", str(uuid.uuid4()))
    libvirtd.raw.createXML(XML.format(identity.uuid).replace("<name>x", "<name>paused"), 0)
    with LoopThread() as loop:
        guest = LibvirtGuest(
            Launch(GuestSpec()), LocalHost(), "source", GuestFiles("/nonexistent", "sw0"), libvirtd, loop
        )
        guest.identity = identity
        states = []
        for step in (guest.pause, guest.resume, guest.resume):
            step()
            states.append(guest.domain.state()[0])
        guest.domain.destroy()
    module = libvirtd.module
    assert states == [module.VIR_DOMAIN_PAUSED, module.VIR_DOMAIN_RUNNING, module.VIR_DOMAIN_RUNNING]


def test_the_emulator_is_a_path() -> None:
    """As libvirt wants it, of a program that is named; a host without it says so."""
    assert _require_program(LocalHost(), "sh").endswith("/sh")
    assert _require_program(LocalHost(), "/bin/sh") == "/bin/sh"
    with pytest.raises(NotReady, match="local has no qemu-none"):
        _require_program(LocalHost(), "qemu-none")


def test_what_libvirt_rejects_is_a_refusal_in_its_words(libvirtd: Libvirtd) -> None:
    """And no failure of the harness."""
    rejected = pytest.raises(Refused, match="libvirt of local rejected to find the domain")
    with rejected as caught, libvirtd.calls("to find the domain"):
        libvirtd.raw.lookupByName("none")
    assert "Domain not found" in caught.value.why


def test_a_connection_that_broke_is_a_lost_host(libvirtd: Libvirtd) -> None:
    """Once libvirt has told that it is closed, every call says so."""
    libvirtd.require_connected()
    libvirtd._note_close(None, 1, None)
    with pytest.raises(HostLost, match="The connection to libvirtd of local broke") as caught:
        libvirtd.require_connected()
    assert caught.value.why == "end of file"


def test_version_and_messages(libvirtd: Libvirtd) -> None:
    assert libvirtd.version.count(".") == 2
    with pytest.raises(libvirtd.module.libvirtError) as caught:
        libvirtd.raw.lookupByName("none")
    assert describe_error(caught.value).startswith("Domain not found")


def test_what_a_controller_or_a_host_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """In words for the preflight."""
    monkeypatch.setattr("switchover.guests.libvirtd.find_libvirt", lambda: None)
    assert "the controller has no libvirt-python" in find_lack(LocalHost())
    monkeypatch.setattr("switchover.guests.libvirtd.find_libvirt", lambda: SimpleNamespace())
    monkeypatch.setattr("switchover.guests.libvirtd.SOCKET", "/nonexistent/libvirt-sock")
    assert find_lack(LocalHost()) == "local has no libvirtd at /nonexistent/libvirt-sock"
