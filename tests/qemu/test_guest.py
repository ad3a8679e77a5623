# SPDX-License-Identifier: GPL-2.0-or-later
"""A QEMU on this machine: its monitor, its console, what it rejects, and that it goes away."""

import os
import signal
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from tests.qemu.conftest import Guests, list_leftovers, require_running

from switchover.guests.console import find_trouble
from switchover.guests.spec import VfioDevice
from switchover.hosts.waiting import wait_until
from switchover.record.errors import GuestCrashed, Refused


@pytest.mark.quick
def test_monitor(guests: Guests) -> None:
    """The transcript begins with QEMU's greeting and has what was asked; events come with both clocks."""
    with guests.start("source") as guest:
        before = time.time_ns()
        guest.qmp.execute("stop")
        guest.qmp.execute("cont")
        after = time.time_ns()
        assert guest.qmp.execute("query-status")["running"] is True
    first, second, *_ = guest.qmp.transcript
    assert first.direction == "received"
    assert "qemu" in first.message["QMP"]["version"]
    assert (second.direction, second.message["execute"]) == ("sent", "qmp_capabilities")
    events = [event for event in guest.qmp.events if event.name in ("STOP", "RESUME")]
    assert [event.name for event in events] == ["STOP", "RESUME"]
    # QEMU cuts its times to microseconds
    assert before - 1000 <= events[0].qemu_ns <= events[1].qemu_ns <= after
    assert events[0].arrived_ns <= events[1].arrived_ns
    assert not guest.qmp.is_open()


@pytest.mark.quick
def test_a_guest_boots(guests: Guests) -> None:
    """The guest boots as far as its SSH server, its console is followed and free of trouble, and it answers."""
    with guests.start("source") as guest:
        guest.wait_until_reachable()
        assert "switchover-guest: ready" in guest.console.text()
        assert find_trouble(guest.console.text()) == []
        require_running(guest)
        evidence = guest.collect_evidence()
    assert "NMI received" in evidence.console
    assert evidence.command.startswith(f"{guests.spec.qemu} -name {guests.spec.name},")


@pytest.mark.quick
def test_its_files_are_private_and_go_with_it(guests: Guests) -> None:
    """Keys and monitor are in a directory of their own for nobody else, which is gone afterwards, with the process."""
    with guests.start("source") as guest:
        directory = Path(guest.files.directory)
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE((directory / "ssh_host_ed25519_key").stat().st_mode) == 0o600
        pid = guest.pid
        assert str(directory) in list_leftovers()
        assert f"process {pid}" in list_leftovers()
    assert not directory.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.quick
def test_an_error_in_use_leaves_nothing(guests: Guests) -> None:
    """When the test author's own code fails, the guest goes away and the error passes."""
    with pytest.raises(ZeroDivisionError), guests.start("source"):
        raise ZeroDivisionError
    assert list_leftovers() == []


@pytest.mark.quick
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"devices": (VfioDevice("dut", "/none", {"no-such-property": "on"}),)}, "no-such-property"),
        ({"devices": (VfioDevice("dut", "/none"),)}, "/none"),
        ({"kernel": "/none"}, "/none"),
        ({"cpu": "no-such-cpu"}, "no-such-cpu"),
        ({"memory_mib": 1 << 40}, ""),
    ],
)
def test_what_qemu_rejects(guests: Guests, changes: dict[str, Any], words: str) -> None:
    """A property, device, machine or memory that QEMU rejects is refused soon, in its own words, and nothing stays."""
    start = time.monotonic()
    with pytest.raises(Refused) as caught, guests.start("source", incoming=False, **changes):
        pytest.fail("QEMU accepted it")
    assert words in caught.value.why
    assert "qemu" in caught.value.why
    assert time.monotonic() - start < 10
    assert list_leftovers() == []


@pytest.mark.quick
def test_a_machine_type_that_qemu_has_not(guests: Guests) -> None:
    """QEMU rejects a machine type before it makes its monitor's socket: refused all the same."""
    test_what_qemu_rejects(guests, {"machine": "no-such-machine"}, "machine type")


@pytest.mark.quick
def test_a_program_that_is_no_qemu(guests: Guests) -> None:
    """A program that does not exist is an error that names it, and nothing stays."""
    with pytest.raises(Exception, match="no-such-qemu"), guests.start("source", qemu="/no-such-qemu"):
        pytest.fail("it was started")


@pytest.mark.quick
def test_a_qemu_that_is_killed_is_found_out(guests: Guests) -> None:
    """A QEMU that dies while its guest boots is a crash within a second, and the next command says so too."""
    with guests.start("source") as guest:
        os.kill(guest.pid, signal.SIGKILL)
        start = time.monotonic()
        with pytest.raises(GuestCrashed, match="exit status -9"):
            guest.wait_until_reachable()
        with pytest.raises(GuestCrashed):
            guest.qmp.execute("query-status")
        assert time.monotonic() - start < 1
        assert guest.collect_evidence().command


@pytest.mark.quick
def test_a_panic_is_found_out(guests: Guests) -> None:
    """A guest without anything to start panics; that ends the wait for it, with the kernel's own words."""
    with (
        guests.start("source", append="rdinit=/none init=/none root=/none panic=0") as guest,
        pytest.raises(GuestCrashed, match=r"crashed: .*Kernel panic") as caught,
    ):
        guest.wait_until_reachable()
    assert "Kernel panic - not syncing" in caught.value.why


@pytest.mark.quick
def test_commands_that_qemu_does_not_know(guests: Guests) -> None:
    """An unknown command is refused in QEMU's words, and the session goes on."""
    with guests.start("source") as guest:
        with pytest.raises(Refused, match="no-such-command has not been found"):
            guest.qmp.execute("no-such-command")
        assert guest.qmp.is_open()
        guest.qmp.execute("stop")
        wait_until("the event", lambda: any(event.name == "STOP" for event in guest.qmp.events), timeout=5)
