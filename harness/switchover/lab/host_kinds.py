# SPDX-License-Identifier: GPL-2.0-or-later
"""The kinds of hosts that there are, and how one is reached by its address alone."""

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from switchover.hosts.host import Address, Host
from switchover.hosts.host_kind import HostKind
from switchover.hosts.inventory import InventoryKind
from switchover.hosts.local import LocalKind
from switchover.hosts.waiting import paced
from switchover.lab.boot import KIND, connect_labhost
from switchover.lab.labfile import LabFile, lab_processes, read_lab_file
from switchover.record.errors import NotReady


class LabKind:
    """Lab hosts; satisfies :class:`switchover.hosts.host_kind.HostKind`."""

    name = KIND
    keys = frozenset({"directory", "token", "host"})

    def reach(self, address: Address) -> AbstractContextManager[Host] | None:
        directory, name = Path(address["directory"]), address["host"]
        file = _find_lab(directory, address["token"])
        return None if file is None or not _runs(file, name) else _connect(directory, file, name)

    def build_login(self, address: Address) -> list[str]:
        return ["ssh", "-F", str(Path(address["directory"]) / "ssh_config"), address["host"]]


KINDS: Sequence[HostKind] = (LocalKind(), LabKind(), InventoryKind())


def find_kind(address: Address) -> HostKind | None:
    """None: this version knows no such kind, or the address is none of its."""
    return next((kind for kind in KINDS if kind.name == address.get("kind") and kind.keys <= address.keys()), None)


def reach_host(address: Address) -> AbstractContextManager[Host] | None:
    """The host with an address from a journal; None if it is a lab host that is gone, and its changes with it.

    :raises HostLost: it does not answer; :raises NotReady: an address of a kind that this version does not know
    """
    kind = find_kind(address)
    if kind is None:
        raise NotReady(f"This version of switchover cannot reach a host with the address {dict(address)}.")
    return kind.reach(address)


def _find_lab(directory: Path, token: str) -> LabFile | None:
    """The very lab, not a later one of its name."""
    if not (directory / "lab.json").exists():
        return None
    file = read_lab_file(directory)
    return file if file.token == token else None


def _runs(file: LabFile, name: str) -> bool:
    """A lab host that ended took all changes with it: its disk is never written."""
    return any(f"{file.token}-{name}" in process.info["cmdline"] for process in lab_processes(file))


@contextlib.contextmanager
def _connect(directory: Path, file: LabFile, name: str) -> Iterator[Host]:
    # deadlines are as long as those of the harness that made the changes
    with paced(file.pace), connect_labhost(directory, file, name) as host:
        yield host
