# SPDX-License-Identifier: GPL-2.0-or-later
"""A lab host that gets disks on paper: it runs commands, and its QEMU has a monitor."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from switchover.hosts.host import Completed
from switchover.lab import disks
from switchover.lab.lab import Lab
from switchover.lab.labhost import monitor_socket
from switchover.record.errors import Refused


class World:
    """A lab host that runs commands on paper, and the monitor of its QEMU."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mounted = False
        self.nodes: list[str] = []
        self.error: Exception | None = None
        self.commands: list[tuple[str, ...]] = []
        self.executed: list[tuple[str, dict[str, Any]]] = []
        self.looked = 0
        self.there = False
        """whether the kernel has the disk, to whoever looks first"""
        self.keeps = 0
        """how often QEMU says that a disk is still in use"""
        monkeypatch.setattr(disks, "QmpSession", self.open)
        host = SimpleNamespace(name="hosta", run=self.run)
        self.lab = cast(
            Lab, SimpleNamespace(host=lambda name: host, monitor=lambda name: monitor_socket(Path("/s"), name))
        )

    def run(self, argv: Sequence[str], *, check: bool = True, timeout: float = 30) -> Completed:
        self.commands.append(tuple(argv))
        if argv[0] == "test":
            return Completed(tuple(argv), 0 if self.mounted else 1, b"", b"")
        if "vpd_pg80" in " ".join(argv):
            self.looked += 1
            return Completed(tuple(argv), 0, b"/dev/sdb\n" if self.there or self.looked > 1 else b"", b"")
        return Completed(tuple(argv), 0, b"", b"")

    def open(self, name: str, host: object, path: str, loop: object) -> Any:
        assert path == "/s/hosta.qmp"
        return self

    def __enter__(self) -> "World":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def execute(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        if command == "query-named-block-nodes":
            return [{"node-name": node} for node in self.nodes]
        if self.error:
            raise self.error
        if command == "blockdev-del" and self.keeps:
            self.keeps -= 1
            raise Refused("rejected", why="Node is in use")
        self.executed.append((command, arguments or {}))
        return {}
