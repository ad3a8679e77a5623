# SPDX-License-Identifier: GPL-2.0-or-later
"""Release: whatever ends a repeat, both hosts are as they were, and the record says what happened."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from switchover.cli.main import main
from switchover.devices.reference import TYPE
from switchover.hosts.journal import parse_journal
from switchover.hosts.waiting import wait_until
from switchover.lab.lab import Lab, start_lab
from switchover.lab.labfile import lab_processes
from switchover.lab.release import list_leftovers, undo_dead_journals
from switchover.record.paths import journals_directory
from switchover.record.record import VerdictName
from switchover.record.rundir import make_run_directory
from switchover.runner.case_runner import run_repeat
from switchover.runner.host_pair import HostPair, pair_of_lab
from switchover.runner.interventions import start_link
from switchover.runner.standard import PRE_COPY_ON
from switchover.scenarios.case import with_start

_REPEAT = """
import sys
from pathlib import Path
from switchover.lab.lab import Lab
from switchover.record.log import set_up_logging
from switchover.record.rundir import RunDirectory
from switchover.runner.host_pair import pair_of_lab
from switchover.runner.case_runner import run_repeat
from switchover.runner.standard import PRE_COPY_ON

set_up_logging(verbose=True)
run_repeat(PRE_COPY_ON, 1, pair_of_lab(Lab(Path(sys.argv[1]))), RunDirectory(Path(sys.argv[2])).repeat("case", 1), {})
"""


def start_repeat(lab: Lab, directory: Path) -> "subprocess.Popen[str]":
    """A harness of its own with one repeat, which says its steps."""
    return subprocess.Popen(
        [sys.executable, "-c", _REPEAT, str(lab.directory), str(directory)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "harness")},
        stderr=subprocess.PIPE,
        text=True,
    )


def list_changed(pid: int) -> set[str]:
    """Hosts with changes that are open in the journal of a process."""
    journals = (parse_journal(path.read_bytes()) for path in journals_directory().glob("*.jsonl"))
    mine = (found for found in journals if found.owner.startswith(f"process {pid}:"))
    return {change.host for found in mine for change in found.changes}


@pytest.mark.parametrize("step", ["start source", "guest restore", "migrate", "ask after"])
def test_interrupt_in_each_step(lab: Lab, tmp_path: Path, step: str) -> None:
    """Ctrl-C in a step of a repeat: everything is released (the fixture looks), and the record names the step."""
    process = start_repeat(lab, tmp_path)
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.strip() == f"step: {step}":
            process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    assert process.returncode not in (0, None), "".join(lines[-20:])
    record = json.loads((tmp_path / "case" / "01" / "record.json").read_text())
    assert record["verdict"]["reason"] == f"{step}: interrupted"


@pytest.mark.parametrize(
    "step",
    [
        "start source",
        "start destination",
        "guest restore",
        pytest.param("migrate", marks=pytest.mark.quick),
        "ask after",
    ],
)
def test_kill_in_each_step(lab: Lab, tmp_path: Path, step: str) -> None:
    """SIGKILL in a step of a repeat: what it left is in its journal, and the next command undoes it on both hosts.

    That they are clean then, the fixture looks.
    """
    process = start_repeat(lab, tmp_path)
    assert process.stderr is not None
    for line in process.stderr:
        if line.strip() == f"step: {step}":
            break
    changed = lab.hosts()[0 if step == "start source" else 1].name
    wait_until("a change to undo", lambda: changed in list_changed(process.pid), timeout=10, poll=0.01)
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    (dead,) = (found for found in undo_dead_journals() if f"process {process.pid}:" in found.owner)
    assert dead.outcomes, "there was nothing to undo"
    assert [str(outcome) for outcome in dead.outcomes if outcome.remains or outcome.how != "undone"] == []
    assert not dead.path.exists()


@pytest.mark.parametrize(("seconds", "left"), [(2, 0), (60, 1)])
def test_a_qemu_that_ended_is_left_if_nobody_takes_note(lab: Lab, seconds: int, left: int) -> None:
    """A zombie that its parent is about to reap is nothing that is left; one that stays is."""
    host = lab.hosts()[0]
    program = "/run/qemu-system-z"
    script = 'cp "$(command -v sleep)" "$1"; ("$1" 0 & exec sleep "$2") >/dev/null 2>&1 & echo $!'
    parent = host.run(["sh", "-c", script, "sh", program, str(seconds)]).text.strip()
    try:
        ended = ["sh", "-c", "ps -eo stat=,comm= | grep '^Z.* qemu-system-z'"]
        wait_until("the zombie", lambda: not host.run(ended, check=False).returncode, timeout=10)
        assert len(list_leftovers(host)) == left
    finally:
        host.run(["sh", "-c", 'kill "$1"; rm "$2"', "sh", parent, program], check=False)


def test_a_disturbed_link_is_in_order_afterwards(lab: Lab, pair: HostPair) -> None:
    """A link has its own discipline again after the fault, whether it was disturbed or not; until then it is seen."""
    host = lab.hosts()[0]
    for disturbed in (True, False):
        with start_link(host, pair.source.link) as link:
            if disturbed:
                link.disturb("netem", "rate", "8mbit")
                assert "netem" in list_leftovers(host)[0]
        assert list_leftovers(host) == []


def test_leftovers_are_seen(lab: Lab) -> None:
    """What the other tests look for is found where it is: a file, a tap, a mediated device, a domain, a QEMU."""
    host = lab.hosts()[0]
    assert list_leftovers(host) == []
    kinds = (
        ("touch /tmp/switchover-x", "rm /tmp/switchover-x"),
        (
            "mkdir -p /run/libvirt/qemu; touch /run/libvirt/qemu/switchover-x.xml",
            "rm /run/libvirt/qemu/switchover-x.xml",
        ),
        ("ip tuntap add dev swx mode tap", "ip link delete dev swx"),
        (
            "echo 5d0f8c1e-0000-4000-8000-000000000000 >/sys/devices/platform/refdev/mdev_supported_types/*/create",
            "echo 1 >/sys/bus/mdev/devices/5d0f8c1e-0000-4000-8000-000000000000/remove",
        ),
    )
    for make, remove in kinds:
        host.run(["sh", "-ec", make.replace("types/*", f"types/{TYPE}")])
        try:
            assert len(list_leftovers(host)) == 1, make
        finally:
            host.run(["sh", "-ec", remove])
    qemu = host.start(["qemu-system-x86_64", "-S", "-nodefaults", "-display", "none"])
    try:
        assert len(list_leftovers(host)) == 1
    finally:
        qemu.kill()


def test_a_lab_in_use_is_not_taken_away(lab: Lab) -> None:
    """Neither ``lab down`` nor ``clean`` stops a lab while a run has it."""
    assert main(["lab", "down", lab.name]) == 3
    assert main(["clean"]) == 0
    assert len(lab_processes(lab.file)) == 2


def test_lab_host_that_dies_in_the_middle(tmp_path: Path) -> None:
    """A lab host killed while the guest boots is an infrastructure error, told within seconds; the rest is released."""
    with start_lab("mortal", hosts=1) as mortal:
        pair = pair_of_lab(mortal)
        victim = lab_processes(mortal.file)[0]
        directory = make_run_directory("test", tmp_path).repeat("case", 1)
        watch = subprocess.Popen(["sh", "-c", f"sleep 6; kill -KILL {victim.pid}"])
        record = run_repeat(with_start(PRE_COPY_ON, "cold"), 1, pair, directory, {})
        watch.wait()
    assert record.verdict.name is VerdictName.INFRASTRUCTURE_ERROR, record.verdict
    assert sum(record.seconds.values()) < 40
