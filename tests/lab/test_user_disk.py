# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest of the user that is a real system: its own disk, boot loader, kernel, systemd and sshd, and a key for it.

It runs a case, in a lab that no public name makes: one host, with one more disk.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.lab.case_runner import CaseRunner
from tests.lab.standard import DEVICE

from switchover import GuestSpec, HostKey, KeyFile, VerdictName, build_case
from switchover.guests.capabilities import Need
from switchover.lab.images import build_images
from switchover.lab.lab import start_lab
from switchover.runner.leased_hosts import LeasedLab
from switchover.runner.testbed import open_testbed

IMAGE = "userdisk"


@pytest.fixture
def debian() -> GuestSpec:
    """The guest as the image makes it (images/userdisk). Both QEMUs have the same storage: there is one lab host."""
    image = build_images([IMAGE])[IMAGE]
    return replace(
        GuestSpec(),
        memory_mib=512,
        disk="/dev/vdb",
        address="10.77.0.130",
        ssh_key=KeyFile(str(image.artifact("id_ed25519"))),
        ssh_host_key=HostKey(str(image.artifact("ssh_host_ed25519_key.pub"))),
    )


@pytest.fixture
def run_on_disk(tmp_path: Path) -> Iterator[CaseRunner]:
    """A lab of one host that has the disk."""
    disk = build_images([IMAGE])[IMAGE].artifact("disk.raw")
    with (
        start_lab(f"disk-{os.getpid()}", hosts=1, disks=[disk]) as lab,
        open_testbed(LeasedLab(lab), tmp_path, share_guest=False) as testbed,
    ):
        yield CaseRunner(testbed)


def test_debian_boots_from_its_disk_and_migrates(debian: GuestSpec, run_on_disk: CaseRunner) -> None:
    """It boots by its own loader, lets us in by the key, and migrates with its disk and a device that it has no driver
    for; what needs nothing of it is checked.
    """
    record = run_on_disk(build_case("debian", guest=debian, device=DEVICE))
    print(record.seconds)
    assert record.verdict.name is VerdictName.COMPLETED, record.verdict
    assert not record.mismatch
    assert {
        "guest.boot-id",
        "guest.canary",
        "guest.console, source",
        "guest.console, destination",
        "bytes.vfio.stop-copy, device 1",
    } <= {check.label for check in record.checks}
    assert {entry.lacking for entry in record.not_checked} == {Need.DRIVER, Need.SENDER}
    consoles = [(run_on_disk.directory / f"{side}.console").read_text() for side in ("source", "destination")]
    # its login prompt may not be there yet: on a slow machine systemd gives up the wait for ttyS0
    assert "systemd" in "".join(consoles), "the system of the disk, and not the lab's guest"
