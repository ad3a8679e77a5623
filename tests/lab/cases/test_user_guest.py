# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest of the user: keys, address and disk of its own, and not all that the probes need."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.lab.case_runner import CaseRunner
from tests.lab.standard import DEVICE

from switchover import GuestSpec, HostKey, Kernel, KeyFile, Testbed, VerdictName, build_case

INITRAMFS = "/tmp/test-user-guest.cpio"
DISK = "/tmp/test-user-guest.raw"
ADDRESS = "10.77.0.120"
RC = f"""#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
rm -f /usr/bin/switchover-heartbeat
modprobe virtio_net
ip link set lo up
ip address add {ADDRESS}/24 dev eth0
ip link set eth0 up
dropbearconvert openssh dropbear /root/host_key /run/dropbear_host_key 2>/dev/null
"""


NO_DRIVER = "the driver refdev_guest, with all devices taken"
NO_SENDER = "/usr/bin/switchover-heartbeat"
"""What checks that are not made lack."""


def generate_key_pair(path: Path) -> tuple[str, str]:
    """A private SSH key, which goes to ``path``, and its public one."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)
    return path.read_text(), path.with_suffix(".pub").read_text().strip()


def pack(entries: dict[str, tuple[int, str]]) -> bytes:
    """A cpio archive in the format newc. ``entries``: mode and contents by path, folders before what is in them."""
    archive = b""
    for number, (path, (mode, text)) in enumerate({**entries, "TRAILER!!!": (0, "")}.items(), start=721):
        data, name = text.encode(), path.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
        archive += head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)
    return archive


@pytest.fixture
def user_guest(testbed: Testbed, tmp_path: Path) -> Iterator[GuestSpec]:
    """The lab's guest without our driver and sender: a later archive of an initramfs overrides the earlier one."""
    key = tmp_path / "id_ed25519"
    _, public = generate_key_pair(key)
    host_private, host_public = generate_key_pair(tmp_path / "host_key")
    lab = GuestSpec()
    archive = pack(
        {
            "etc/rc": (0o100755, RC),
            "root": (0o040700, ""),
            "root/.ssh": (0o040700, ""),
            "root/.ssh/authorized_keys": (0o100600, public + "\n"),
            "root/host_key": (0o100600, host_private),
        }
    )
    script = (
        'cat "$1" >"$2" && size=$(stat -c %s "$2") && truncate -s $(((size + 3) / 4 * 4)) "$2" && cat >>"$2" && '
        'truncate -s 1M "$3"'
    )
    try:
        for machine in testbed.hosts:
            machine.run(["sh", "-euc", script, "sh", lab.initramfs_file, INITRAMFS, DISK], stdin=archive, timeout=60)
        yield replace(
            lab,
            kernel=Kernel(lab.kernel_file),
            initramfs=INITRAMFS,
            address=ADDRESS,
            disk=DISK,
            disk_readonly=True,
            ssh_key=KeyFile(str(key)),
            ssh_host_key=HostKey(host_public),
        )
    finally:
        for machine in testbed.hosts:
            machine.run(["rm", "-f", INITRAMFS, DISK])


@pytest.mark.quick
def test_a_guest_of_the_user_migrates(user_guest: GuestSpec, run_case: CaseRunner) -> None:
    """It completes; what could not be looked at is told with what the guest lacks, and all else was looked at."""
    record = run_case(build_case("user", guest=user_guest, device=DEVICE))
    assert record.verdict.name is VerdictName.COMPLETED, record.verdict
    assert not record.mismatch
    assert {
        "guest.boot-id",
        "guest.canary",
        "guest.console, source",
        "guest.console, destination",
        "bytes.vfio.stop-copy, device 1",
        "device.states, destination",
    } <= {check.label for check in record.checks}
    lacking = {str(entry.id): entry.lacking for entry in record.not_checked}
    assert not lacking.keys() & {check.id for check in record.checks}
    assert set(lacking.values()) == {NO_DRIVER, NO_SENDER}
    assert lacking["device.seed"] == lacking["device.interrupt"] == NO_DRIVER
    (outside,) = (entry for entry in record.measurements if entry.name == "downtime.outside")
    assert outside.value is None
    assert NO_SENDER in outside.note
    assert len(record.not_checked) == 7


def test_a_warm_guest_of_the_user(user_guest: GuestSpec, run_case: CaseRunner) -> None:
    """It is saved with its own keys, restored, and migrates; a guest without our driver is not waited for."""
    guest = replace(user_guest, disk="", disk_readonly=False, start="warm")
    record = run_case.alone(build_case("user", guest=guest, device=DEVICE))
    assert record.verdict.name is VerdictName.COMPLETED, record.verdict
    assert record.fingerprint["guest"]["start"] == "warm"
    assert {entry.lacking for entry in record.not_checked} == {NO_DRIVER, NO_SENDER}


def test_another_host_key_is_not_accepted(user_guest: GuestSpec, run_case: CaseRunner, tmp_path: Path) -> None:
    """A guest that presents another host key than the given one is not logged in to."""
    guest = replace(user_guest, ssh_host_key=HostKey(generate_key_pair(tmp_path / "another")[1]))
    record = run_case.alone(build_case("stranger", guest=guest, device=DEVICE))
    assert record.verdict.name is VerdictName.INFRASTRUCTURE_ERROR, record.verdict
    assert "another host key" in record.verdict.reason
