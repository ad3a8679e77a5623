# SPDX-License-Identifier: GPL-2.0-or-later
"""A bare Debian becomes a host by the role of ansible/, its packages through the controller; then guests migrate there.

Takes many minutes under emulation, hence not in CI: ``tox -e provision``.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.lab.case_runner import CaseRunner
from tests.provision.bare import BareMachine
from tests.provision.conftest import NAME, NIC, Applied, Playbook, count

import switchover
from switchover.guests.qemu import GuestKeys
from switchover.hosts import processes
from switchover.hosts.host import Host
from switchover.lab.keys import generate_key_pair
from switchover.lab.release import list_leftovers
from switchover.record.record import VerdictName
from switchover.run.fingerprint import describe_host
from switchover.run.pair import End, Pair
from switchover.run.standard import KNOBS, PRE_COPY_ON

pytestmark = pytest.mark.timeout(3600)


def test_the_machine_was_bare(lacked: Sequence[str]) -> None:
    """Before the role came there was no QEMU, no libvirt, no socat and no VFIO: all that is found later is its work."""
    assert lacked == ["qemu-system-x86_64", "virsh", "socat", "vfio"]


def test_the_second_time_changes_nothing(applied: Applied) -> None:
    """The role makes changes when it is applied first, and none when it is applied again."""
    assert count(applied.first, "changed") > 10
    assert count(applied.second, "changed") == 0, applied.second.text
    assert count(applied.second, "ok") > 20


def test_the_doctor_is_content(applied: Applied, playbook: Playbook) -> None:
    """Every check that the harness makes of a host passes, its KVM and its device among them."""
    package = Path(switchover.__file__).parent.parent
    words = ["doctor", "--for", "host", NAME, "--json", "--inventory", str(playbook.directory / "inventory.toml")]
    env = {**os.environ, "PYTHONPATH": str(package)}
    done = processes.run([sys.executable, "-m", "switchover", *words], timeout=400, env=env, check=False)
    results = json.loads(done.text)
    assert [result for result in results if result["outcome"] != "passed"] == []
    assert {f"{NAME}: KVM", f"{NAME}: VFIO", f"{NAME}: locked memory"} <= {result["name"] for result in results}


def test_what_was_asked_for_is_there(host: Host) -> None:
    """A PCI function has the VFIO driver, huge pages are reserved, libvirt answers and is set up as the role says."""
    assert os.path.basename(host.run(["readlink", f"/sys/bus/pci/devices/{NIC}/driver"]).text.strip()) == "vfio-pci"
    assert host.run(["cat", "/proc/sys/vm/nr_hugepages"]).text.strip() == "16"
    assert "Running hypervisor: QEMU" in host.run(["virsh", "--connect", "qemu:///system", "version"]).text
    assert 'security_driver = "none"' in host.run(["cat", "/etc/libvirt/qemu.conf"]).text.splitlines()


def test_a_guest_migrates_there(host: Host, machine: BareMachine, tmp_path: Path) -> None:
    """The standard case with the reference device, both sides on the host that the role made: all checks pass."""
    login, guest = generate_key_pair(), generate_key_pair()
    end = End(host, machine.entry.migration_address)
    keys = GuestKeys(login.public, login.private, guest.private, guest.public)
    facts = describe_host(host, "qemu-system-x86_64")
    run_case = CaseRunner(Pair(end, end, keys), {"source": facts, "destination": facts}, tmp_path)
    record = run_case(PRE_COPY_ON)
    assert record.verdict.name is VerdictName.COMPLETED, record.verdict
    assert record.measured("bytes.vfio.precopy") == KNOBS.initial_bytes
    assert record.measured("bytes.vfio.stop_copy") == KNOBS.stop_copy_bytes
    assert all(check.passed for check in record.checks)
    assert list_leftovers(host) == []


def test_what_drifts_is_told_and_repaired(host: Host, playbook: Playbook) -> None:
    """Without the bridge the check fails and changes nothing; the role makes it again."""
    host.run(["ip", "link", "del", "br0"])
    told = playbook.apply("--tags", "check", check=False)
    assert (told.returncode != 0, "bridge br0" in told.text) == (True, True)
    assert host.run(["test", "-e", "/sys/class/net/br0"], check=False).returncode != 0
    assert count(playbook.apply("--tags", "devices,check"), "changed") == 1
    assert "10.77.0.1/24" in host.run(["ip", "-o", "address", "show", "dev", "br0"]).text
