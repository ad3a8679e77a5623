# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs on several pairs of hosts at the same time (``run --pair``): of a lab, or of an inventory."""

import argparse
import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial

from switchover.cli.selection import Selection
from switchover.hosts.inventory import Inventory, load_inventory
from switchover.lab.borrow import borrow_lab
from switchover.lab.images import build_images
from switchover.lab.lab import LAB_HOSTS
from switchover.lab.toolchains import find_toolchains
from switchover.record.errors import UsageError
from switchover.record.paths import runs_directory
from switchover.record.rundir import RunDirectory
from switchover.record.toml import suggest
from switchover.run.execution import Turn, Watcher
from switchover.run.inventory_stage import lease_inventory_hosts
from switchover.run.leases import Choice, FlockBackend, LeaseBackend, make_choice, read_durations
from switchover.run.leases.labgrid import LabgridBackend, find_coordinator
from switchover.run.several import PairPlace, execute_on_pairs
from switchover.run.stage import LabStage, Stage
from switchover.scenarios.plan import list_programs

Names = tuple[str, str]


def run_on_pairs(
    turns: Sequence[Turn],
    directory: RunDirectory,
    selection: Selection,
    arguments: argparse.Namespace,
    watcher: Watcher,
) -> None:
    """:raises UsageError: a pair is none; all pairs must be of a lab, or all of the inventory"""
    inventory = load_inventory(arguments.inventory)
    pairs = [_parse_pair(word, inventory) for word in dict.fromkeys(arguments.pair)]
    in_lab = {all(name in LAB_HOSTS for name in pair) for pair in pairs}
    if len(in_lab) > 1:
        raise UsageError("Some pairs are of a lab, and some of the inventory.", fix="a run for each")
    if any(turn.apart is None and any(turn.hosts) for turn in turns):
        raise UsageError("A case names its hosts itself, and with --pair it cannot.", fix="run it without --pair")
    if not in_lab.pop():
        places = [
            PairPlace(
                make_choice(inventory, pair),
                partial(lease_inventory_hosts, inventory, pair, pair, file=arguments.inventory, guest_place=number),
            )
            for number, pair in enumerate(pairs, start=1)
        ]
        _execute(turns, directory, places, watcher, arguments, find_coordinator(inventory))
        return
    programs = [*list_programs(selection.plans), *(name for case in selection.python for name in case.needs.programs)]
    build_images(find_toolchains(programs))
    hosts = max(LAB_HOSTS.index(name) for pair in pairs for name in pair) + 1
    with borrow_lab(stays=arguments.keep_lab, hosts=hosts) as lab:

        def open_pair(pair: Names, number: int) -> Callable[[], AbstractContextManager[Stage]]:
            @contextlib.contextmanager
            def opened() -> Iterator[Stage]:
                yield LabStage(lab, pair, number)

            return opened

        places = [
            PairPlace(Choice(pair, frozenset(f"lab/{lab.name}/{name}" for name in pair)), open_pair(pair, number))
            for number, pair in enumerate(pairs, start=1)
        ]
        _execute(turns, directory, places, watcher, arguments)


def _execute(
    turns: Sequence[Turn],
    directory: RunDirectory,
    places: Sequence[PairPlace],
    watcher: Watcher,
    arguments: argparse.Namespace,
    coordinator: str = "",
) -> None:
    """``coordinator``: of labgrid, which has the pairs as its places; empty: none has them."""
    name = directory.path.name
    with contextlib.ExitStack() as stack:
        backend: LeaseBackend = FlockBackend(who=f"run {name}")
        if coordinator:
            backend = stack.enter_context(LabgridBackend(coordinator, name))
        execute_on_pairs(
            turns, directory, places, backend, watcher,
            durations=read_durations(arguments.output or runs_directory()), retries=arguments.retry_infra,
        )  # fmt: skip


def _parse_pair(word: str, inventory: Inventory) -> Names:
    names = [name.strip() for name in word.split(",")]
    if len(names) > 2 or not all(names):
        raise UsageError(f"--pair {word} is no pair.", fix="--pair SOURCE,DESTINATION, or one name")
    known = [*LAB_HOSTS, *inventory.host]
    for name in names:
        if name not in known:
            raise UsageError(f"There is no host {name!r}{suggest(name, known)}.", fix="switchover hosts")
    return names[0], names[-1]
