# SPDX-License-Identifier: GPL-2.0-or-later
"""Ways to guests that were kept."""

import json
import os
import shlex
from pathlib import Path
from typing import Any

import psutil
import pytest

from switchover.record.errors import NotReady, UsageError
from switchover.runner.attach import build_console_command, build_ssh_command, require_kept
from switchover.runner.hold_on_failure import KEPT, HeldSide

LAB = {"kind": "lab", "directory": "/labs/a b", "token": "t", "host": "hosta"}
SIDE: dict[str, Any] = {
    "host": "hosta",
    "address": LAB,
    "pid": 7,
    "monitor": "/tmp/g/qmp",
    "console": "/tmp/g/console.log",
    "log": "/tmp/g/qemu.log",
    "guest_address": "10.77.0.101",
    "key": "/runs/x/kept.key",
    "host_key": "ssh-ed25519 AAAA x",
}


def write_cached(directory: Path, **changes: Any) -> None:
    fields = {"schema_version": 1, "case": "a=1", "mismatch": "", "process": os.getpid(), "sides": {"source": SIDE}}
    (directory / KEPT).write_text(json.dumps(fields | changes))


def side_at(address: dict[str, str]) -> HeldSide:
    return HeldSide(
        "h", address, 7, "/m", "/tmp/g/console.log", "/tmp/g/qemu.log", "10.77.0.101", "/k", "ssh-ed25519 AAAA x"
    )


def test_a_side_that_is_kept(tmp_path: Path) -> None:
    """What is not needed to get there is passed over."""
    write_cached(tmp_path)
    side = require_kept(tmp_path, "source")
    assert (side.monitor, side.address, side.host_key) == ("/tmp/g/qmp", LAB, "ssh-ed25519 AAAA x")


def test_what_is_not_kept(tmp_path: Path) -> None:
    """Never kept, the other side's QEMU ended, or who kept it ended: each is told apart, with what to do."""
    with pytest.raises(UsageError, match="keeps no guest") as caught:
        require_kept(tmp_path, "source")
    assert "--keep-on-fail" in caught.value.fix
    write_cached(tmp_path)
    with pytest.raises(UsageError, match="destination of a=1 is not kept") as caught:
        require_kept(tmp_path, "destination")
    assert caught.value.fix == "kept: source"
    gone = next(number for number in range(2**22 - 1, 1, -1) if not psutil.pid_exists(number))
    write_cached(tmp_path, process=gone)
    with pytest.raises(NotReady, match="are gone"):
        require_kept(tmp_path, "source")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"schema_version": 2}, "newer version"),
        ({"sides": {"source": {}}}, "cannot be read"),
        ({"process": None}, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, changes: dict[str, Any], what: str) -> None:
    """Newer, damaged: a usage error, not a trace."""
    write_cached(tmp_path, **changes)
    with pytest.raises(UsageError, match=what):
        require_kept(tmp_path, "source")


def test_the_console_of_a_guest_in_a_lab() -> None:
    """OpenSSH with the lab's own configuration runs a command whose words its host's shell takes apart again."""
    command = build_console_command(side_at(LAB))
    assert command[:-1] == ["ssh", "-F", "/labs/a b/ssh_config", "hosta"]
    assert shlex.split(command[-1]) == ["tail", "-c", "+1", "-F", "--pid=7", "/tmp/g/console.log"]
    assert build_console_command(side_at({"kind": "local"})) == [
        "tail",
        "-c",
        "+1",
        "-F",
        "--pid=7",
        "/tmp/g/console.log",
    ]


def test_a_shell_in_a_guest() -> None:
    """Through its host, with its own host key and no other, and without the user's configuration."""
    command = build_ssh_command(side_at(LAB))
    (proxy,) = [word.partition("=")[2] for word in command if word.startswith("ProxyCommand=")]
    assert shlex.split(proxy) == ["ssh", "-F", "/labs/a b/ssh_config", "hosta", "-W", "%h:%p"]
    assert "StrictHostKeyChecking=yes" in command
    assert "KnownHostsCommand=/bin/echo kept-guest ssh-ed25519 AAAA" in command
    assert "HostKeyAlias=kept-guest" in command
    assert command[-1] == "root@10.77.0.101"
    assert not any(word.startswith("ProxyCommand") for word in build_ssh_command(side_at({"kind": "local"})))


def test_a_guest_on_a_host_of_an_inventory() -> None:
    """Its host is reached as the journal has it: port, user, key, and no other host key than the inventory's."""
    address = {
        "kind": "inventory",
        "name": "rack1",
        "address": "10.0.0.11",
        "port": "2222",
        "user": "root",
        "key": "~/.ssh/a b",
        "host_key": "ssh-ed25519 BBBB",
    }
    command = build_ssh_command(side_at(address))
    (proxy,) = [word.partition("=")[2] for word in command if word.startswith("ProxyCommand=")]
    way = shlex.split(proxy)
    assert way[-5:] == ["-p", "2222", "root@10.0.0.11", "-W", "%h:%p"]
    assert way[way.index("-i") + 1] == str(Path("~/.ssh/a b").expanduser())
    assert "KnownHostsCommand=/bin/echo its-host ssh-ed25519 BBBB" in way
    assert command[-1] == "root@10.77.0.101"


def test_a_host_that_cannot_be_reached_yet() -> None:
    """A kind of address that this version does not know is an error of its own."""
    with pytest.raises(NotReady, match="cannot be reached by this version"):
        build_ssh_command(side_at({"kind": "carrier pigeon"}))
