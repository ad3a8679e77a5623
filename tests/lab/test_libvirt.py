# SPDX-License-Identifier: GPL-2.0-or-later
"""What libvirt has of guests: its schema takes their domains, harnesses that are killed leave none, a libvirtd that
dies is told. Cases through libvirt are in ``cases/test_libvirt.py``; here a libvirtd or a harness is killed in one.
"""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.lab.standard import BY_LIBVIRT

from switchover import VerdictName
from switchover.guests.domain import DomainIdentity, build_domain
from switchover.guests.libvirtd import connect_libvirtd
from switchover.guests.spec import GuestFiles, GuestSpec, Launch, VfioDevice
from switchover.hosts.host import Host
from switchover.hosts.waiting import wait_until
from switchover.lab.lab import Lab
from switchover.lab.release import undo_dead_journals
from switchover.migration.session import Sample
from switchover.record.rundir import make_run_directory
from switchover.runner.case_runner import RunContext, run_repeat
from switchover.runner.host_pair import HostPair
from switchover.runner.listener import RunListener


def test_libvirt_itself_takes_every_kind_of_domain(lab: Lab) -> None:
    """The host's libvirt validates domains with a disk, a PCI function, a model of a CPU, against its own schema."""
    device = VfioDevice("fn", "/sys/bus/pci/devices/0000:3b:02.1", {"x-no-mmap": "on"})
    managed = replace(device, id="managed", sysfsdev=f"{device.sysfsdev[:-1]}2", managed=True)
    launches = (
        Launch(GuestSpec(disk="/images/a.qcow2", disk_format="qcow2")),
        Launch(GuestSpec(), (device, managed)),
        Launch(GuestSpec(accel="tcg", cpu="EPYC,+svm,-x2apic")),
        Launch(GuestSpec(cpu="max", machine="pc-q35-8.0")),
    )
    with connect_libvirtd(lab.hosts()[0]) as libvirtd:
        for number, launch in enumerate(launches):
            identity = DomainIdentity(f"valid-{number}", f"5d0f8c1e-0000-4000-8000-00000000000{number}")
            xml = build_domain(launch, GuestFiles("/tmp/switchover-valid", "sw0"), identity)
            domain = libvirtd.raw.defineXMLFlags(xml, libvirtd.module.VIR_DOMAIN_DEFINE_VALIDATE)
            domain.undefine()


_REPEAT = """
import sys
from pathlib import Path
from switchover.lab.lab import Lab
from switchover.record.log import set_up_logging
from switchover.record.rundir import RunDirectory
from switchover.runner.host_pair import pair_of_lab
from switchover.runner.case_runner import run_repeat
from tests.lab.standard import BY_LIBVIRT

set_up_logging(verbose=True)
run_repeat(BY_LIBVIRT, 1, pair_of_lab(Lab(Path(sys.argv[1]))), RunDirectory(Path(sys.argv[2])).repeat("case", 1), {})
"""


def list_domains(host: Host) -> list[str]:
    """Of a host whose libvirtd nobody has needed yet, none."""
    script = "[ ! -S /run/libvirt/libvirt-sock ] || virsh list --all --name"
    return host.run(["sh", "-c", script]).text.split()


@pytest.mark.parametrize("step", ["guest boot", "migrate"])
def test_kill_while_libvirt_has_the_guest(lab: Lab, tmp_path: Path, step: str) -> None:
    """SIGKILL with domains there, and in a migration: the next command undoes what is left, libvirt has no domain."""
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", _REPEAT, str(lab.directory), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{root / 'harness'}:{root}"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.strip() == f"step: {step}":
            break

    def is_migrating() -> bool:
        assert process.poll() is None
        return list_domains(lab.hosts()[1]) != []

    if step == "migrate":
        wait_until("the domain that libvirt makes at the destination", is_migrating, timeout=60, poll=0.2)
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    (dead,) = (found for found in undo_dead_journals() if f"process {process.pid}:" in found.owner)
    assert any("domain" in outcome.change.what for outcome in dead.outcomes)
    assert [str(outcome) for outcome in dead.outcomes if outcome.remains or outcome.how != "undone"] == []
    assert [list_domains(host) for host in lab.hosts()] == [[], []]


@pytest.mark.parametrize("end", [0, 1], ids=["source", "destination"])
def test_a_libvirtd_that_dies(lab: Lab, pair: HostPair, fingerprint: dict[str, Any], tmp_path: Path, end: int) -> None:
    """SIGKILL of one end's libvirtd while a device is in pre-copy: the connection is told as lost, both QEMUs are ended
    all the same (the fixture looks), and the next connection finds a libvirtd.
    """
    host = lab.hosts()[end]
    kill = ["sh", "-c", "kill -KILL $(cat /run/libvirtd.pid)"]
    killers: list[threading.Thread] = []

    class KillOnce(RunListener):
        def sample(self, sample: Sample) -> None:
            if not killers and sample.reply.get("vfio", {}).get("transferred"):
                killers.append(threading.Thread(target=host.run, args=[kill]))
                killers[0].start()

    directory = make_run_directory("test", tmp_path).repeat(BY_LIBVIRT.id, 1)
    record = run_repeat(BY_LIBVIRT, 1, pair, directory, fingerprint, RunContext(KillOnce()))
    killers[0].join()
    assert record.verdict.name is VerdictName.INFRASTRUCTURE_ERROR
    assert f"The connection to libvirtd of {host.name} broke." in record.verdict.reason
    with connect_libvirtd(host) as libvirtd:
        assert libvirtd.raw.listAllDomains() == []
