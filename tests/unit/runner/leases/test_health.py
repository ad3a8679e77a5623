# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a host is fit for the next case."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.unit.scripted_host import ScriptedHost, answer_questions

from switchover.hosts.local import LocalHost
from switchover.hosts.waiting import wait_until
from switchover.record.errors import HostLost, NotReady
from switchover.runner.leases.health import HealthLook, HealthWatch, find_ailment, judge, look_at, parse_look

NIC = "0000:3b:00.2"
WELL = HealthLook("boot-1", drivers={NIC: ("mlx5_core", "")})
OOPS = "[  812.000001] BUG: kernel NULL pointer dereference, address: 0000000000000008"
LOG = f"""
[    0.000000] Kernel command line: debug BUG
[   10.100000] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [qemu-system-x86:311]
[   11.100000] BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 43s!
{OOPS}
[  812.000002] Oops: 0000 [#1] PREEMPT SMP NOPTI
"""


def answer(**changes: str) -> dict[str, str]:
    """What a host that is well says."""
    return {"boot": "boot-1\n4096\n", "processes": "", "devices": f"{NIC} mlx5_core (null)\n", "log": "", **changes}


def test_a_host_that_is_well() -> None:
    """An out-of-tree module is no oops, and a driver is what it was."""
    look = parse_look(answer(), [NIC])
    assert look == WELL
    assert judge(look) == judge(look, WELL, WELL) == ""


def test_a_stray_qemu() -> None:
    """One of ours, unless it is known; of those the first is told."""
    look = parse_look(answer(processes="311 qemu-system-x86_64 -name g /tmp/switchover-g/qmp\n"), [NIC])
    assert judge(look).startswith("a QEMU of ours still runs there, process 311: qemu-system-x86_64 -name g")
    assert judge(look, known=[311]) == ""


@pytest.mark.parametrize(
    ("line", "ailment"),
    [
        (f"{NIC} vfio-pci vfio-pci", "bound to vfio-pci (kept for vfio-pci), and was to mlx5_core when the run began"),
        (f"{NIC}  (null)", "is bound to no driver, and was to mlx5_core when the run began"),
        (f"{NIC} mlx5_core mlx5_core", "is bound to mlx5_core (kept for mlx5_core), and was to mlx5_core when"),
        ("", f"{NIC} is not there any more"),
    ],
)
def test_a_device_that_has_changed(line: str, ailment: str) -> None:
    """Its driver, its override, or that it is there; nothing is known of what was before the first look."""
    look = parse_look(answer(devices=line), [NIC])
    assert ailment in judge(look, WELL, WELL)
    assert judge(look) == ("" if line else f"{NIC} is not there")


def test_an_oops() -> None:
    """Since boot at the first look, then what is new; what only says that the host is slow is none."""
    look = parse_look(answer(log=LOG), [])
    assert look.complaints == (OOPS, "[  812.000002] Oops: 0000 [#1] PREEMPT SMP NOPTI")
    assert judge(look) == judge(look, WELL, WELL) == f"its kernel complains: {OOPS}"
    assert judge(look, WELL, look) == ""
    assert judge(look, WELL, replace(look, boot="boot-0")) == f"its kernel complains: {OOPS}"


def test_an_oops_that_the_log_has_lost() -> None:
    """The kernel remembers that there was one."""
    died = parse_look(answer(boot="boot-1\n4224\n"), [])
    assert "its kernel died once since its boot" in judge(died)
    assert judge(died, WELL, died) == ""
    assert "died once" in judge(died, WELL, replace(died, boot="boot-0"))


def test_a_host_that_tells_nothing() -> None:
    """Without an answer there is no health."""
    with pytest.raises(NotReady, match="did not answer the questions"):
        parse_look(answer(boot="sh: cat: not found"), [])


def test_looks_are_remembered() -> None:
    """The driver of the first look is the right one; an oops is told once; a host that is lost ails."""
    said = answer()

    def tell(argv: Sequence[str]) -> str:
        if not said:
            raise HostLost("h does not answer")
        return answer_questions(argv[2], lambda name, script: said[name])

    host, watch = ScriptedHost(tell, "h"), HealthWatch()
    assert watch.find_ailment(host, [NIC]) == ""
    said["devices"] = f"{NIC} vfio-pci (null)"
    assert "is bound to vfio-pci" in watch.find_ailment(host, [NIC])
    assert "is bound to vfio-pci" in watch.find_ailment(host, [NIC])
    said.update(answer(log=LOG))
    assert "its kernel complains" in watch.find_ailment(host, [NIC])
    assert watch.find_ailment(host, [NIC]) == ""
    assert len(host.commands) == 5, "one command a look"
    said.clear()
    assert watch.find_ailment(host) == "h does not answer"


def test_a_look_at_this_machine() -> None:
    """The questions are answered by a real one: a process like a QEMU of ours is found, one of a lab is not, nor are
    the questions themselves.
    """
    argv = [sys.executable, "-c", "input()", "qemu-system-x86_64"]
    with (
        subprocess.Popen([*argv, "/tmp/switchover-g-source-0/qmp"], stdin=subprocess.PIPE) as ours,
        subprocess.Popen([*argv, "/tmp/switchover-0/qmp", "switchover-lab-0-hosta"], stdin=subprocess.PIPE) as labs,
    ):
        wait_until("the process", lambda: ours.pid in look_at(LocalHost()).processes, timeout=10)
        look = look_at(LocalHost())
        assert len(look.boot) == 36
        assert labs.pid not in look.processes
        assert not any("grep" in arguments for arguments in look.processes.values())
        assert look_at(LocalHost(), ["ffff:00:00.0"]).drivers == {"ffff:00:00.0": None}
        assert f"process {ours.pid}" in find_ailment(LocalHost(), known=set(look.processes) - {ours.pid})
        for process in (ours, labs):
            process.kill()
