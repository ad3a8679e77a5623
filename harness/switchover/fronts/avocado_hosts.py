# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts for tests that avocado runs, each in a process of its own, several at a time: taken once, used in turns."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from switchover.hosts.ownership import OwnedFile, find_owner, take_file
from switchover.record.errors import UsageError

LONGEST_WAIT_S = 7 * 86400.0
"""Until when a test waits for its turn: avocado's own timeouts end it before."""


@dataclass(frozen=True)
class Place:
    """What a job says of hosts. ``hosts``: ``SOURCE,DESTINATION`` of an inventory; empty: a lab."""

    hosts: str = ""
    inventory: str = ""

    @property
    def words(self) -> str:
        return f"the hosts {self.hosts}" if self.hosts else "the lab"

    @property
    def pair(self) -> tuple[str, str]:
        """:raises UsageError: it is not one name, or two"""
        names = [name.strip() for name in self.hosts.split(",")]
        if not 1 <= len(names) <= 2 or not all(names):
            raise UsageError(f"switchover.hosts is {self.hosts!r}.", fix="SOURCE,DESTINATION of the inventory")
        return names[0], names[-1]


@contextlib.contextmanager
def take_hosts(place: Place, programs: Sequence[str]) -> Iterator[Mapping[str, object]]:
    """Hosts that are ours for the time of a ``with`` block: how processes of ours find them.

    ``programs``: QEMUs and kernels that cases name, built before a lab is started.

    :raises UsageError: the inventory is wrong, or has no such host
    :raises NotReady: hosts are in use, lost, or cannot be had
    """
    from switchover.hosts.inventory import load_inventory
    from switchover.lab.acquire import acquire_lab
    from switchover.lab.images import build_images
    from switchover.lab.toolchains import find_toolchains
    from switchover.runner.leased_hosts import LeasedLab
    from switchover.runner.leased_inventory import lease_inventory_hosts

    if place.hosts:
        file = Path(place.inventory) if place.inventory else None
        with lease_inventory_hosts(load_inventory(file), place.pair, place.pair, file=file) as leased:
            yield leased.address
        return
    build_images(find_toolchains(sorted(programs)))
    with acquire_lab() as lab:
        yield LeasedLab(lab).address


class Turn:
    """The right to be the only one on hosts that several processes of a job use. ``lock``: its file."""

    def __init__(self, lock: Path) -> None:
        self._lock = lock
        self._owned: OwnedFile | None = None

    def take(self, words: str) -> bool:
        """Whether it is ours. ``words``: what the owner wants of the hosts, for others to see."""
        if self._owned is None:
            self._owned = take_file(self._lock, note=words)
        return self._owned is not None

    def find_owner(self) -> str:
        return find_owner(self._lock) or "nobody"

    def give_back(self) -> None:
        """The file stays: others wait for it."""
        if self._owned is not None:
            self._owned.release(remove=False)
            self._owned = None
