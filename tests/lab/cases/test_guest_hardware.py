# SPDX-License-Identifier: GPL-2.0-or-later
"""Hardware of the guest, alike on both sides or on one only, by QMP and through libvirt; a device behind an IOMMU.

Of the catalogue's scenarios ``guest-hardware`` and ``viommu``, one of each outcome. None boots OVMF, which may end the
emulator of a lab host (docs/lab.md, Known traps).
"""

import pytest
from tests.lab.case_runner import CaseRunner
from tests.lab.standard import load_quiet, take_one_of_each
from tests.lab.verdicts import require_right

from switchover import GuestSpec, VerdictName, build_case

MORE = (
    "viommu: driver=qmp,qemu=qemu-11.1,iommu=migration-on",
    "guest-hardware: driver=libvirt,hardware=devices-alike",
    "viommu: driver=libvirt,qemu=qemu-system-x86_64,iommu=migration-auto",
)
CASES = take_one_of_each(load_quiet("guest-hardware", "viommu"), *MORE)
pytestmark = pytest.mark.toolchains("qemu-11.1")


@pytest.mark.parametrize("identity", CASES)
def test_case(run_case: CaseRunner, identity: str) -> None:
    """The verdict is the expected one for the expected reason."""
    require_right(CASES[identity], run_case(CASES[identity]))


def test_a_disk_that_lab_hosts_do_not_share(run_case: CaseRunner) -> None:
    """A file of each lab host is on a file system of its own: what stands in the way is told, with what to use."""
    case = build_case("disk", guest=GuestSpec(disk="/etc/hostname"), device=())
    record = run_case(case)
    assert record.verdict.name is VerdictName.NOT_SUPPORTED
    assert "storage that is not shared is not supported: use a path" in record.verdict.reason


def test_guests_that_were_saved_have_their_hardware(run_case: CaseRunner) -> None:
    """A guest is restored with the NIC and the vCPUs that it was saved with; with a device more it is booted, and why
    is told.
    """
    saved = GuestSpec(nic={"host_uso": "off"}, nic_queues=2, vcpus=2, topology={"cores": 2})
    record = run_case(build_case("saved", guest=saved))
    assert record.verdict.name is VerdictName.COMPLETED, record.verdict
    assert record.fingerprint["guest"]["start"] == "warm"
    record = run_case.alone(build_case("booted", guest=GuestSpec(qemu_devices=("virtio-balloon-pci",))))
    assert record.verdict.name is VerdictName.COMPLETED, record.verdict
    assert record.fingerprint["guest"]["start"] == "cold"
    assert "devices or objects of its own" in record.fingerprint["guest"]["reason"]
