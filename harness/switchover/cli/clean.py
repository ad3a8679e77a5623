# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover clean``: undo what harnesses that were killed left, on this machine and on hosts."""

import argparse

from switchover.lab.release import find_dead_labs, render_remains, stop_dead_lab, undo_dead_journals
from switchover.record.errors import ExitCode, SwitchoverError


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
    if not labs and not found:
        print("nothing was left")
    elif dry_run:
        return ExitCode.NOT_READY
    return ExitCode.NOT_READY if left else ExitCode.AS_EXPECTED
