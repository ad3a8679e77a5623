# SPDX-License-Identifier: GPL-2.0-or-later
"""One contract, both drivers: guests started and migrated by QMP, and through libvirt's API.

Cases of the catalogue's scenario ``drivers`` run in a row with one guest for each driver, which migrates once more
after each of them: to and fro between the hosts. Left to ``switchover run drivers`` is what is like its neighbours, and
of QMP what the matrix of faults has too.
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
from tests.lab.case_runner import CaseRunner
from tests.lab.verdicts import require_right

from switchover.guests.domain import DomainIdentity, build_domain
from switchover.guests.libvirtd import connect_libvirtd
from switchover.guests.spec import GuestFiles, GuestSpec, VfioDevice
from switchover.hosts.waiting import wait_until
from switchover.lab.lab import Lab
from switchover.lab.release import undo_dead_journals
from switchover.migration.session import Sample
from switchover.record.record import Record, VerdictName
from switchover.record.rundir import make_run_directory
from switchover.run.pair import Pair
from switchover.run.repeat import Observer, run_repeat
from switchover.run.standard import KNOBS, PRE_COPY_ON
from switchover.scenarios.case import with_driver
from switchover.scenarios.expand import expand
from switchover.scenarios.scenario import catalogue_directory, load_scenario

DRIVERS = ("qmp", "libvirt")
FILES = ("xml", "command", "console", "trace", "stderr", "qmp.jsonl", "events.jsonl", "libvirt.jsonl")
NEIGHBOURS = ("completes", "auto-converge", "cancelled-active", "destination-RESUMING")
IN_THE_MATRIX = (
    "cancelled-setup", "cancelled-device-pre-copy", "cancelled-device-stop-copy", "destination-write",
    "destination-killed", "source-killed", "x-allow-pre-copy", "other-memory",
)  # fmt: skip
LEFT_OUT = {
    *(f"driver={driver},case={name}" for driver in DRIVERS for name in NEIGHBOURS),
    *(f"driver=qmp,case={name}" for name in IN_THE_MATRIX),
}
CASES = {
    entry.case.id: replace(entry.case, heartbeat_us=0)
    for entry in expand(load_scenario(catalogue_directory() / "drivers.toml"))
    if entry.case.id not in LEFT_OUT
}


@pytest.mark.quick
def test_a_migration_is_measured(run_by_libvirt: tuple[CaseRunner, Record]) -> None:
    """As by QMP (test_migration): started, reached over SSH, migrated, checked; every number is there and they fit each
    other. What libvirt sets by itself is told, and waits that come of it are parts of their own.
    """
    runner, record = run_by_libvirt
    assert record.verdict.name is VerdictName.COMPLETED, record.verdict
    assert record.states["source"] == ["pre-copy", "pre-copy-p2p", "stop-copy", "stop"]
    assert record.states["destination"] == ["resuming", "running-p2p", "running"]
    missing = {entry.name: entry.note for entry in record.measurements if entry.value is None}
    if missing:  # which depends on the clocks of this lab's hosts
        assert list(missing) == ["downtime.libvirt"]
        assert "behind" in missing["downtime.libvirt"]
        assert record.clocks["destination"]["offset_ns"] < record.clocks["source"]["offset_ns"]
    assert record.measured("bytes.vfio.precopy") == KNOBS.initial_bytes
    assert record.measured("bytes.vfio.stop_copy") == KNOBS.stop_copy_bytes
    explained, reported = record.measured("downtime.explained"), record.measured("downtime.qemu")
    assert explained is not None
    assert reported is not None
    assert sum(part["seconds"] for part in record.downtime["parts"]) == pytest.approx(explained)
    files = {f"{side}.{kind}" for side in ("source", "destination") for kind in FILES}
    assert files | {"job.jsonl"} <= {path.name for path in runner.directory.iterdir()}
    assert any("tainted" in remark for remark in record.driver["remarks"]), record.driver["remarks"]
    assert {"pause-before-switchover", "return-path"} <= set(record.driver["capabilities"]["source"])
    assert "return-path" in record.driver["capabilities"]["destination"]
    assert record.downtime["ends_at"] == "vfio_vmstate_change running 1"
    parts = {part["name"]: part["seconds"] for part in record.downtime["parts"]}
    assert parts["pre-switchover"] > 0
    assert parts["wait for cont"] > 0
    moved = record.measured("bytes.vfio.transferred")
    statistics = record.driver["statistics"]
    assert statistics["source"]["vfio_data_transferred"] == moved
    assert statistics["destination"]["memory_total"] == statistics["source"]["memory_total"] > 0


def test_libvirt_itself_takes_every_kind_of_domain(lab: Lab) -> None:
    """The host's libvirt validates domains with a disk, a PCI function, a model of a CPU, against its own schema."""
    device = VfioDevice("fn", "/sys/bus/pci/devices/0000:3b:02.1", {"x-no-mmap": "on"})
    specs = (
        GuestSpec(disk="/images/a.qcow2", disk_format="qcow2"),
        GuestSpec(devices=(device, replace(device, id="managed", sysfsdev=f"{device.sysfsdev[:-1]}2", managed=True))),
        GuestSpec(accel="tcg", cpu="EPYC,+svm,-x2apic"),
        GuestSpec(cpu="max", machine="pc-q35-8.0"),
    )
    with connect_libvirtd(lab.hosts()[0]) as libvirtd:
        for number, spec in enumerate(specs):
            identity = DomainIdentity(f"valid-{number}", f"5d0f8c1e-0000-4000-8000-00000000000{number}")
            xml = build_domain(spec, GuestFiles("/tmp/switchover-valid", "sw0"), identity)
            domain = libvirtd.raw.defineXMLFlags(xml, libvirtd.module.VIR_DOMAIN_DEFINE_VALIDATE)
            domain.undefine()


_REPEAT = """
import sys
from pathlib import Path
from switchover.lab.lab import Lab
from switchover.record.log import set_up_logging
from switchover.record.rundir import RunDirectory
from switchover.run.pair import pair_of_lab
from switchover.run.repeat import run_repeat
from switchover.run.standard import PRE_COPY_ON
from switchover.scenarios.case import with_driver

set_up_logging(verbose=True)
case = with_driver(PRE_COPY_ON, "libvirt")
run_repeat(case, 1, pair_of_lab(Lab(Path(sys.argv[1]))), RunDirectory(Path(sys.argv[2])).repeat("case", 1), {})
"""


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
        return lab.hosts()[1].run(["virsh", "list", "--all", "--name"]).text.split() != []

    if step == "migrate":
        wait_until("the domain that libvirt makes at the destination", is_migrating, timeout=60, poll=0.2)
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    (dead,) = (found for found in undo_dead_journals() if f"process {process.pid}:" in found.owner)
    assert any("domain" in outcome.change.what for outcome in dead.outcomes)
    assert [str(outcome) for outcome in dead.outcomes if outcome.remains or outcome.how != "undone"] == []
    for host in lab.hosts():
        assert host.run(["virsh", "list", "--all", "--name"]).text.split() == []


@pytest.mark.parametrize("end", [0, 1], ids=["source", "destination"])
def test_a_libvirtd_that_dies(lab: Lab, pair: Pair, fingerprint: dict[str, Any], tmp_path: Path, end: int) -> None:
    """SIGKILL of one end's libvirtd while a device is in pre-copy: the connection is told as lost, both QEMUs are ended
    all the same (the fixture looks), and the next connection finds a libvirtd.
    """
    host = lab.hosts()[end]
    kill = ["sh", "-c", "kill -KILL $(cat /run/libvirtd.pid)"]
    killers: list[threading.Thread] = []

    def kill_once(sample: Sample) -> None:
        if not killers and sample.reply.get("vfio", {}).get("transferred"):
            killers.append(threading.Thread(target=host.run, args=[kill]))
            killers[0].start()

    case = with_driver(PRE_COPY_ON, "libvirt")
    directory = make_run_directory("test", tmp_path).repeat(case.id, 1)
    record = run_repeat(case, 1, pair, directory, fingerprint, Observer(sample=kill_once))
    killers[0].join()
    assert record.verdict.name is VerdictName.INFRASTRUCTURE_ERROR
    assert f"The connection to libvirtd of {host.name} broke." in record.verdict.reason
    with connect_libvirtd(host) as libvirtd:
        assert libvirtd.raw.listAllDomains() == []


@pytest.mark.parametrize("identity", CASES)
def test_contract(run_case: CaseRunner, identity: str) -> None:
    """The verdict is the expected one, by the expected side, for the expected reason; the guest runs where it must, is
    the same guest, and migrates again.
    """
    require_right(CASES[identity], run_case(CASES[identity]))
