# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover clean``: undo what harnesses that were killed left, on this machine and on hosts."""

import argparse

from switchover.hosts.inventory import load_inventory
from switchover.lab.release import find_dead_labs, render_remains, stop_dead_lab, undo_dead_journals
from switchover.record.errors import ExitCode, SwitchoverError, UsageError
from switchover.runner.leases.labgrid import find_coordinator, release_stale_places


def add_arguments(parser: argparse.ArgumentParser) -> None:
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--dry-run", action="store_true", help="show what would be undone, and undo nothing")
    either.add_argument(
        "--forget",
        action="store_true",
        help="undo what can be undone, and forget what was changed on hosts that do not answer: they are gone for good",
    )


def run(arguments: argparse.Namespace) -> int:
    """0: nothing is left, or was there; 3: something remains, or would have to be undone (``--dry-run``)."""
    dry_run: bool = arguments.dry_run
    left = 0
    # labs first: what was changed on the hosts of a dead lab goes with it
    labs = find_dead_labs()
    for directory in labs:
        if dry_run:
            print(f"lab {directory.name}: nobody will stop it")
            continue
        try:
            print(f"lab {directory.name}: {'; '.join(stop_dead_lab(directory))}")
        except SwitchoverError as error:
            left += 1
            print(f"lab {directory.name}: REMAINS: {error}")
    found = undo_dead_journals(dry_run=dry_run, forget=arguments.forget)
    for dead in found:
        print(f"{dead.owner}, which is gone:")
        for outcome in dead.outcomes:
            print(f"  {outcome}")
        if dead.damaged:
            print(f"  {render_remains(dead)[-1]}")
        left += dead.remains
    places, unknown = clean_places(dry_run=dry_run)
    left += unknown
    if not labs and not found and not places and not unknown:
        print("nothing was left")
    elif dry_run:
        return ExitCode.NOT_READY
    return ExitCode.NOT_READY if left else ExitCode.AS_EXPECTED


def clean_places(*, dry_run: bool) -> tuple[int, int]:
    """Of labgrid, if it is used: places of runs that are gone, and how often it could not be asked."""
    try:
        address = find_coordinator() or find_coordinator(load_inventory())
    except UsageError as error:
        print(f"labgrid: not asked, since the inventory cannot be read: {error}")
        return 0, 0
    try:
        places = release_stale_places(address, dry_run=dry_run) if address else []
    except SwitchoverError as error:
        print(f"labgrid: REMAINS: {error}")
        return 0, 1
    for place in places:
        print(f"labgrid: {place}{'' if dry_run else ': released'}")
    return len(places), 0
