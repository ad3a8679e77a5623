# SPDX-License-Identifier: GPL-2.0-or-later
"""A bare Debian becomes a host by the role of ansible/, its packages through the controller; then guests migrate from
it to a lab host, and from there to it.

Takes many minutes under emulation, hence not in CI: ``tox -e provision``. The order is that of the file: a night comes
last, since it changes the host.
"""

import json
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.provision.bare import BARE, PARTNER
from tests.provision.conftest import ANSIBLE, NIC, PHYSICAL, Ansible, Applied, count, outer_environment

from switchover.devices.functions import read_devices
from switchover.hosts import processes
from switchover.hosts.host import Completed, Host
from switchover.hosts.inventory import open_inventory_host
from switchover.lab.release import list_leftovers
from switchover.record.record import Record, VerdictName
from switchover.record.rundir import find_run
from switchover.scenarios.schema import SIDES

pytestmark = pytest.mark.timeout(3600)
HARNESS = ANSIBLE.parent / "switchover"
SCENARIO = """version = 1
[scenario]
title = "On hosts that the role made"
question = "Does a guest with the reference device migrate between them?"
[guest]
memory_mib = 192
[device]
initial_bytes = "16 MiB"
stop_copy_bytes = "1 MiB"
"""
BOTH_DRIVERS = '[axes]\ndriver = ["qmp", "libvirt"]\n'
WITH_VIRTUAL = f"""version = 1
[scenario]
title = "On a host that the role made"
question = "Does a guest get a virtual function?"
[guest]
memory_mib = 192
[device]
pci = "{PHYSICAL}"
vf = 0
vfio_driver = "vfio-pci"
[destination.device]
vf = 1
[probes]
heartbeat_us = 0
"""
BUILD = "/opt/switchover/qemu/tonight"


def run_harness(*words: str, check: bool = True) -> Completed:
    """As people call it."""
    done = processes.run([str(HARNESS), "--yes", *words], timeout=1200, env=outer_environment(), check=False)
    print(done.text, done.stderr.decode(), sep="\n")
    assert not check or done.returncode == 0
    return done


def require_completed(directory: Path, *hosts: str, count: int) -> list[Record]:
    """The records of the newest run below a directory, of so many cases that were as expected in every check.

    ``hosts``: names of source and destination, as the hosts themselves say.
    """
    records = find_run("last", directory).records()
    assert [record.verdict.name for record in records] == [VerdictName.COMPLETED] * count
    assert not any(record.failed_checks for record in records)
    assert all(record.measured("bytes.vfio.stop_copy") == 1 << 20 for record in records)
    assert {tuple(record.fingerprint[side]["host"] for side in SIDES) for record in records} == {hosts}
    return records


def test_the_machine_was_bare(lacked: Sequence[str]) -> None:
    """Before the role came there was no QEMU, no libvirt, no socat, no VFIO, and the kernel was not told anything: all
    that is found later is its work.
    """
    assert lacked == ["qemu-system-x86_64", "virsh", "socat", "vfio", "intel_iommu=on"]


def test_the_second_time_changes_nothing(applied: Applied) -> None:
    """The role makes changes when it is applied first, and none when it is applied again."""
    assert count(applied.first, "changed") > 10
    assert count(applied.second, "changed") == 0, applied.second.text
    assert count(applied.second, "ok") > 20


def test_the_kernel_was_told(applied: Applied, hosts: Sequence[Host]) -> None:
    """The boot loader's menu has the role's words, and the machine was rebooted into them, once: its IOMMU is on, a
    page of 1 GiB is reserved.
    """
    host = hosts[0]
    words = host.run(["cat", "/proc/cmdline"]).text.split()
    assert {"intel_iommu=on", "iommu=pt", "hugepagesz=1G", "hugepages=1"} <= set(words)
    assert host.run(["ls", "/sys/kernel/iommu_groups"]).text.split()
    assert host.run(["cat", "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"]).text.strip() == "1"
    told = [re.search(r"TASK \[.*: Reboot\].*\n(\w+)", one.text) for one in (applied.first, applied.second)]
    assert [match and match[1] for match in told] == ["changed", "skipping"]


def test_what_was_asked_for_is_there(hosts: Sequence[Host]) -> None:
    """A PCI function and virtual functions have the VFIO driver, huge pages are reserved, libvirt answers and is set up
    as the role says.
    """
    host = hosts[0]
    functions = {function.address: function for function in read_devices(host).functions}
    given = [functions[NIC], *(one for one in functions.values() if one.physical == PHYSICAL)]
    assert [function.driver for function in given] == ["vfio-pci"] * 3
    assert functions[PHYSICAL].driver == "igb"
    assert host.run(["cat", "/proc/sys/vm/nr_hugepages"]).text.strip() == "16"
    assert "Running hypervisor: QEMU" in host.run(["virsh", "--connect", "qemu:///system", "version"]).text
    assert 'security_driver = "none"' in host.run(["cat", "/etc/libvirt/qemu.conf"]).text.splitlines()


def test_guests_migrate_from_it(hosts: Sequence[Host], ansible: Ansible, tmp_path: Path) -> None:
    """``switchover run --hosts``, by QMP and through libvirt: all checks pass, and on either host there is what there
    was before, of which the function that the role has bound is a part.
    """
    before = [list_leftovers(host) for host in hosts]
    scenario = tmp_path / "there.toml"
    scenario.write_text(SCENARIO + BOTH_DRIVERS)
    run_harness(
        *("run", str(scenario), "--strict", "--output", str(tmp_path), "--history", "off"),
        *("--hosts", f"{BARE},{PARTNER}", "--inventory", str(ansible.inventory)),
    )
    records = require_completed(tmp_path, BARE, PARTNER, count=2)
    assert sorted(record.settings["source"]["guest"]["driver"] for record in records) == ["libvirt", "qmp"]
    assert [list_leftovers(host) for host in hosts] == before


def test_guests_get_its_virtual_functions(hosts: Sequence[Host], ansible: Ansible, tmp_path: Path) -> None:
    """A guest's kernel has a virtual function that the role made, and its migration ends as that of any function whose
    driver cannot migrate; the role's functions stay.
    """
    before = list_leftovers(hosts[0])
    scenario = tmp_path / "virtual.toml"
    scenario.write_text(WITH_VIRTUAL)
    run_harness(
        *("run", str(scenario), "--strict", "--output", str(tmp_path), "--history", "off"),
        *("--hosts", BARE, "--inventory", str(ansible.inventory)),
    )
    (record,) = find_run("last", tmp_path).records()
    assert record.verdict.name is VerdictName.BLOCKED
    assert "VFIO migration is not supported in kernel" in record.verdict.reason
    assert record.check("guest.pci-functions").observed == "8086:10ca igbvf"
    assert list_leftovers(hosts[0]) == before


def test_what_drifts_is_told_and_repaired(hosts: Sequence[Host], ansible: Ansible) -> None:
    """Without the bridge the check fails and changes nothing; the role makes it again."""
    host = hosts[0]
    host.run(["ip", "link", "del", "br0"])
    told = ansible.apply("--tags", "check", check=False)
    assert (told.returncode != 0, "bridge br0" in told.text) == (True, True)
    assert host.run(["test", "-e", "/sys/class/net/br0"], check=False).returncode != 0
    assert count(ansible.apply("--tags", "devices,check"), "changed") == 1
    assert "10.77.0.1/24" in host.run(["ip", "-o", "address", "show", "dev", "br0"]).text


def test_another_user(hosts: Sequence[Host], ansible: Ansible) -> None:
    """Another user than root is made and let in by the harness's key; it may use KVM, VFIO and libvirt, lock memory."""
    machine = ansible.machine
    public = processes.run(["ssh-keygen", "-y", "-f", machine.entry.key]).text.strip()
    ansible.play("hosts.yml", "--tags", "user", switchover_host_user="tester", switchover_host_keys=[public])
    with open_inventory_host("another user", machine.entry.model_copy(update={"user": "tester"})) as host:
        assert {"kvm", "libvirt"} <= set(host.run(["id", "-nG"]).text.split())
        assert host.run(["bash", "-c", "ulimit -l"]).text.strip() == "unlimited"
        host.run(["sh", "-ec", "test -w /dev/kvm; test -w /dev/vfio/vfio"])
        assert "QEMU" in host.run(["virsh", "--connect", "qemu:///system", "version"]).text


def test_a_night(hosts: Sequence[Host], ansible: Ansible, tmp_path: Path) -> None:
    """The nightly brings a build of QEMU to the host, the doctor finds nothing, a guest arrives in that build, and the
    night's folder has it all.
    """
    binary = tmp_path / "qemu-system-x86_64"
    binary.write_text('#!/bin/sh\nexec /usr/bin/qemu-system-x86_64 "$@"\n')
    binary.chmod(0o755)
    archive = tmp_path / "tonight.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(binary, "bin/qemu-system-x86_64")
    scenario = tmp_path / "tonight.toml"
    scenario.write_text(f'{SCENARIO}[destination]\nqemu = "{BUILD}/bin/qemu-system-x86_64"\n')
    nights = tmp_path / "nights"
    done = ansible.play(
        "nightly.yml",
        check=False,
        switchover_host_qemu_builds=[{"name": "tonight", "archive": str(archive)}],
        nightly_scenarios=[str(scenario)],
        nightly_tests=[],
        nightly_results=str(nights),
        nightly_hosts=f"{PARTNER},{BARE}",
        nightly_inventory=str(ansible.inventory),
    )
    (night,) = nights.iterdir()
    told = {name: (night / name).read_text() for name in ("doctor.txt", "report.txt", "run.log", "tests.txt")}
    print(json.dumps(told, indent=1))
    assert done.returncode == 0
    assert f"host {BARE}: ready" in told["doctor.txt"]
    assert " 0 failed, 0 could not be verified here" in told["doctor.txt"]
    assert "1 case: 1 as expected" in told["report.txt"]
    (record,) = require_completed(night, PARTNER, BARE, count=1)
    assert f"sha256 {BUILD}/bin/qemu-system-x86_64" in record.fingerprint["destination"]
    assert len(list(night.glob("*/junit.xml"))) == 1
