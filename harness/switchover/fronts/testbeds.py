# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts to migrate guests between, for people who write tests: a lab, or hosts of an inventory (docs/api.md)."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from switchover.hosts.inventory import load_inventory
from switchover.lab.acquire import acquire_lab
from switchover.lab.images import build_images
from switchover.lab.toolchains import find_toolchains
from switchover.record.paths import history_file
from switchover.record.rundir import RunDirectory
from switchover.report.history.keeping import keeping_numbers
from switchover.runner.leased_hosts import LeasedLab
from switchover.runner.leased_inventory import lease_inventory_hosts
from switchover.runner.testbed import Testbed, open_testbed


@contextlib.contextmanager
def open_lab(
    name: str | None = None,
    *,
    output: Path | None = None,
    title: str = "api",
    programs: Sequence[str] = (),
    share_guest: bool = True,
    stays: bool = False,
    history: Path | bool = True,
) -> Iterator[Testbed]:
    """A lab with two lab hosts: the one that is up, if nobody uses it, or one that is booted, and stopped afterwards.

    ``name``: that lab or none. ``output``: where the run directory goes. ``programs``: QEMUs and kernels that cases
    name; those that are not built yet are built before the lab starts. ``share_guest``: cases may go on with the guest
    of those before them. ``stays``: a lab that had to be booted is left running. ``history``: the file to which the
    numbers of the run are added at the end; True: the one beside the runs, False: none.

    :raises UsageError: there is no lab ``name``; :raises NotReady: it is in use, or cannot be had
    """
    build_images(find_toolchains(programs))
    with (
        acquire_lab(name, stays=stays) as lab,
        open_testbed(LeasedLab(lab), output, title, share_guest, lab) as testbed,
        _kept(testbed, history),
    ):
        yield testbed


@contextlib.contextmanager
def open_hosts(
    source: str,
    destination: str = "",
    *,
    inventory: Path | None = None,
    output: Path | None = None,
    title: str = "api",
    share_guest: bool = True,
    history: Path | bool = True,
) -> Iterator[Testbed]:
    """Two hosts of an inventory, or one that is both, exclusively; what runs that were killed left there is undone.

    ``inventory``: its file; default: ``~/.config/switchover/inventory.toml``. The rest as :func:`open_lab`.

    :raises UsageError: the inventory is wrong, or has no such host; :raises NotReady: a host is in use, or lost
    """
    pair = (source, destination or source)
    with (
        lease_inventory_hosts(load_inventory(inventory), pair, pair, file=inventory) as leased,
        open_testbed(leased, output, title, share_guest) as testbed,
        _kept(testbed, history),
    ):
        yield testbed


def _kept(testbed: Testbed, history: Path | bool) -> contextlib.AbstractContextManager[None]:
    file = (history_file() if history else None) if isinstance(history, bool) else history
    return keeping_numbers(RunDirectory(testbed.directory), file)
