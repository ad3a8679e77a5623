# SPDX-License-Identifier: GPL-2.0-or-later
"""What a host is found to lack of what a guest needs."""

from pathlib import Path

from switchover.hosts.local import LocalHost
from switchover.runner.absent import find_absent


def test_what_is_not_there(tmp_path: Path) -> None:
    """Files that cannot be read, bridges that are none, and files on storage that no other host sees. A block device
    may be seen by another one; what is not there is no storage.
    """
    (tmp_path / "a disk").write_text("")
    host = LocalHost()
    disk = f"shared:{tmp_path}/a disk"
    there = [f"file:{tmp_path}/a disk", f"shared:{tmp_path}/none", "shared:/dev/null"]
    lacking = [f"file:{tmp_path}/none", "bridge:no-such-br:10.77.0.101", disk]
    kind = host.run(["stat", "-f", "-c", "%T", str(tmp_path)]).text.strip()
    assert kind in ("ext2/ext3", "xfs", "btrfs", "tmpfs", "overlayfs", "zfs"), (
        "where these tests run is no shared storage"
    )
    assert find_absent(host, [*there, *lacking, *there]) == frozenset(lacking)
    assert find_absent(host, []) == frozenset()
