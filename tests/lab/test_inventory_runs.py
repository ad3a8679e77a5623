# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover run --hosts``: lab hosts as hosts of an inventory, of which the harness knows no more than that says."""

import json
from pathlib import Path

import pytest

from switchover.cli.main import main
from switchover.hosts.host_lock import lock_host
from switchover.lab.lab import Lab

SCENARIO = """
version = 1
[scenario]
title = "On hosts of an inventory"
question = "Does a guest migrate there, and what has no way to be tried?"
[device]
initial_bytes = "4 MiB"
stop_copy_bytes = "1 MiB"
[[axes.case]]
name = "migrates"
set = {}
[[axes.case]]
name = "without-a-kernel"
set = { guest.kernel = "/boot/none" }
[[axes.case]]
name = "cut"
set = { fault.action = "cut link", fault.phase = "active" }
"""


@pytest.fixture
def words(lab: Lab, tmp_path: Path) -> list[str]:
    """Of the command, with an inventory that names the lab's hosts otherwise."""
    lines = ["version = 1"]
    for name, other in zip(lab.file.hosts, ("rack1", "rack2"), strict=True):
        fields = {
            "address": "127.0.0.1",
            "port": lab.file.ports[name],
            "key": str(lab.directory / "key"),
            "host_key": lab.host_key.strip(),
            "link": lab.link_address(name),
        }
        lines += [f"[host.{other}]", *(f"{key} = {json.dumps(value)}" for key, value in fields.items())]
    (tmp_path / "inventory.toml").write_text("\n".join(lines))
    (tmp_path / "there.toml").write_text(SCENARIO)
    return [
        *("run", str(tmp_path / "there.toml"), "--output", str(tmp_path / "runs"), "--history", "off"),
        *("--hosts", "rack1,rack2", "--inventory", str(tmp_path / "inventory.toml")),
    ]


@pytest.mark.quick
def test_a_run_there(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A guest with the device migrates with every check passed; what these hosts lack is told, and not tried."""
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "3 cases: 1 as expected, 2 not supported" in told
    assert "rack1 has no file /boot/none" in told
    assert "rack1 has no network interface that faults may disturb" in told
    (path,) = (tmp_path / "runs").glob("*/*migrates*/01/record.json")
    record = json.loads(path.read_text())
    assert record["verdict"]["name"] == "completed"
    assert all(check["passed"] for check in record["checks"])
    assert list(record["fingerprint"]["guest files"]) == [
        "/usr/lib/switchover/guest/initramfs.cpio",
        "/usr/lib/switchover/guest/vmlinuz",
    ]


def test_a_host_that_another_run_has(words: list[str], lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused, with who has it: the environment is not ready, and no case was run."""
    with lock_host(lab.host("hostb"), "rack9, process 1: switchover run"):
        assert main([*words, "--only", "migrates"]) == 3
    told = capsys.readouterr()
    assert "rack2 is in use by another run" in told.err
    assert "rack9, process 1: " in told.err
    assert "not run" in told.out
