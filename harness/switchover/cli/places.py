# SPDX-License-Identifier: GPL-2.0-or-later
"""Arguments of verbs that run cases: on which hosts, if not in a lab."""

import argparse
from pathlib import Path

from switchover.hosts.inventory import Inventory
from switchover.record.errors import UsageError
from switchover.runner.leased_hosts import HostNames


def add_place_arguments(parser: argparse.ArgumentParser) -> None:
    """Read by :func:`parse_pair`."""
    parser.add_argument(
        "--hosts",
        metavar="SOURCE,DESTINATION",
        help="run on these hosts of the inventory instead of in a lab; one name: that host is source and destination",
    )
    parser.add_argument(
        "--inventory", type=Path, metavar="FILE", help="the inventory; default: ~/.config/switchover/inventory.toml"
    )


def parse_pair(arguments: argparse.Namespace, inventory: Inventory) -> HostNames | None:
    """Source and destination that were asked for; None: none were.

    :raises UsageError: they are no hosts of the inventory, or no pair, or a lab was asked for, too
    """
    if not arguments.hosts:
        return None
    names = [name.strip() for name in arguments.hosts.split(",")]
    if len(names) > 2:
        raise UsageError(
            f"--hosts {arguments.hosts} is not a pair of hosts.", fix="--hosts SOURCE,DESTINATION, or one name"
        )
    for name in names:
        inventory.require(name)
    if getattr(arguments, "lab", None) or getattr(arguments, "keep_lab", False):
        raise UsageError(
            "--hosts cannot be combined with --lab or --keep-lab.",
            why="with --hosts the cases run on hosts of the inventory, and no lab is used",
            fix="leave out --hosts, or the option about the lab",
        )
    return names[0], names[-1]
