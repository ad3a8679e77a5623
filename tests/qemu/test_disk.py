# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that boots from a disk, which both QEMUs of a migration have open."""

from pathlib import Path
from typing import Any

import pytest
from tests.qemu.conftest import Guests
from tests.qemu.test_migration import LOOPBACK, PLAIN

from switchover.hosts.loop import LoopThread
from switchover.hosts.waiting import wait_until
from switchover.migration.session import migrate
from switchover.record.errors import Refused

# mov dx, 0x3f8; mov al, 'B'; out dx, al; then sti; hlt for ever
BOOT_SECTOR = bytes.fromhex("baf803 b042 ee fb f4 ebfc").ljust(510, b"\0") + b"\x55\xaa"


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "a disk, with a comma.raw"
    path.write_bytes(BOOT_SECTOR.ljust(1 << 20, b"\0"))
    return path


@pytest.mark.parametrize("readonly", [pytest.param(False, marks=pytest.mark.quick), True])
def test_a_guest_boots_from_its_disk_and_migrates(guests: Guests, loop: LoopThread, disk: Path, readonly: bool) -> None:
    """With a disk and no kernel what is on the disk runs; the destination takes the same disk over."""
    changes: dict[str, Any] = {"disk": str(disk), "disk_readonly": readonly, "kernel": "", "initramfs": ""}
    with (
        guests.start("source", **changes) as source,
        guests.start("destination", incoming=True, **changes) as destination,
    ):
        wait_until(
            "the boot sector", lambda: "B" in source.console.text(), timeout=30, invariants=[source.require_alive]
        )
        result = migrate(source, destination, LOOPBACK, PLAIN, loop)
        assert (result.status, result.error) == ("completed", "")
        assert destination.qmp.execute("query-status")["running"] is True
        (block,) = destination.qmp.execute("query-block")
        assert block["inserted"]["ro"] is readonly


@pytest.mark.quick
def test_a_disk_is_written_by_one_guest_only(guests: Guests, disk: Path) -> None:
    """A second guest, which is no destination, is refused the disk in QEMU's words; read-only, both have it."""
    changes: dict[str, Any] = {"disk": str(disk), "kernel": "", "initramfs": ""}
    with guests.start("source", **changes):
        with pytest.raises(Refused, match="did not start") as caught, guests.start("other", **changes):
            pass
        assert "lock" in caught.value.why
    with (
        guests.start("source", **changes, disk_readonly=True),
        guests.start("other", **changes, disk_readonly=True),
    ):
        pass
