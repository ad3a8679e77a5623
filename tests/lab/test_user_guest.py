# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest of the user: keys, address and disk of its own, and not all that the probes need."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.lab.case_runner import CaseRunner

from switchover.guests.spec import LAB_INITRAMFS, LAB_KERNEL, GuestSpec, HostKey, KeyFile
from switchover.guests.warm import SavedGuests
from switchover.lab.keys import generate_key_pair
from switchover.record.record import VerdictName
from switchover.report.terminal import render_record
from switchover.run.needs import Need
from switchover.run.pair import Pair
from switchover.run.standard import PRE_COPY_ON
from switchover.scenarios.case import make_case, with_start

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
def user_guest(pair: Pair, tmp_path: Path) -> Iterator[GuestSpec]:
    """The lab's guest without our driver and sender: a later archive of an initramfs overrides the earlier one."""
    login, host = generate_key_pair(), generate_key_pair()
    key = tmp_path / "id_ed25519"
    key.write_text(login.private)
    archive = pack(
        {
            "etc/rc": (0o100755, RC),
            "root": (0o040700, ""),
            "root/.ssh": (0o040700, ""),
            "root/.ssh/authorized_keys": (0o100600, login.public.strip() + "\n"),
            "root/host_key": (0o100600, host.private),
        }
    )
    script = (
        'cat "$1" >"$2" && size=$(stat -c %s "$2") && truncate -s $(((size + 3) / 4 * 4)) "$2" && cat >>"$2" && '
        'truncate -s 1M "$3"'
    )
    hosts = [pair.source.host, pair.destination.host]
    try:
        for machine in hosts:
            machine.run(["sh", "-euc", script, "sh", LAB_INITRAMFS, INITRAMFS, DISK], stdin=archive, timeout=60)
        yield replace(
            GuestSpec(), kernel=LAB_KERNEL, initramfs=INITRAMFS, address=ADDRESS, disk=DISK, disk_readonly=True,
            ssh_key=KeyFile(str(key)), ssh_host_key=HostKey(host.public.strip()),
        )  # fmt: skip
    finally:
        for machine in hosts:
            machine.run(["rm", "-f", INITRAMFS, DISK])


@pytest.mark.quick
def test_a_guest_of_the_user_migrates(user_guest: GuestSpec, run_case: CaseRunner) -> None:
    """It completes; what could not be looked at is told with what the guest lacks, and all else was looked at."""
    record = run_case(make_case("user", replace(PRE_COPY_ON.source, guest=user_guest)))
    print(render_record(record))
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
    assert set(lacking.values()) == {Need.DRIVER, Need.SENDER}
    assert lacking["device.seed"] == lacking["device.interrupt"] == Need.DRIVER
    (outside,) = (entry for entry in record.measurements if entry.name == "downtime.outside")
    assert outside.value is None
    assert Need.SENDER in outside.note
    assert "7 checks not made" in render_record(record)


def test_a_warm_guest_of_the_user(user_guest: GuestSpec, run_case: CaseRunner) -> None:
    """It is saved with its own keys, restored, and migrates; a guest without our driver is not waited for."""
    guest = replace(user_guest, disk="", disk_readonly=False)
    case = with_start(make_case("user", replace(PRE_COPY_ON.source, guest=guest)), "warm")
    with SavedGuests() as of_this_run:
        record = run_case.alone(case, saved_guests=of_this_run)
    assert record.verdict.name is VerdictName.COMPLETED, record.verdict
    assert record.fingerprint["guest"]["start"] == "warm"
    assert {entry.lacking for entry in record.not_checked} == {Need.DRIVER, Need.SENDER}


def test_another_host_key_is_not_accepted(user_guest: GuestSpec, run_case: CaseRunner) -> None:
    """A guest that presents another host key than the given one is not logged in to."""
    guest = replace(user_guest, ssh_host_key=HostKey(generate_key_pair().public.strip()))
    record = run_case(make_case("stranger", replace(PRE_COPY_ON.source, guest=guest)))
    assert record.verdict.name is VerdictName.INFRASTRUCTURE_ERROR
    assert "another host key" in record.verdict.reason
