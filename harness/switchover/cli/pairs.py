# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs on several pairs of hosts at the same time (``run --pair``): of a lab, or of an inventory."""

import argparse
import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from switchover.cli.selection import Selection
from switchover.guests.places import PLACES, list_resources, put_in_place
from switchover.guests.spec import GuestSpec
from switchover.hosts.inventory import Inventory, load_inventory
from switchover.lab.acquire import acquire_lab
from switchover.lab.images import build_images
from switchover.lab.lab import LAB_HOSTS
from switchover.lab.toolchains import find_toolchains
from switchover.record.errors import UsageError
from switchover.record.paths import runs_directory
from switchover.record.rundir import RunDirectory
from switchover.record.toml import suggest
from switchover.runner.leased_hosts import LeasedHosts, LeasedLab
from switchover.runner.leased_inventory import lease_inventory_hosts
from switchover.runner.leases import Choice, FlockBackend, HealthWatch, LeaseBackend, make_choice, read_durations
from switchover.runner.leases.labgrid import LabgridBackend, find_coordinator
from switchover.runner.listener import RunListener
from switchover.runner.plan_runner import describe_end, report_unrun
from switchover.runner.several import PairPlace, execute_on_pairs, look_at_health
from switchover.runner.turns import Turn

Names = tuple[str, str]


@dataclass(frozen=True)
class Pairs:
    """What ``--pair`` says. ``in_lab``: all are of a lab; else all are of the inventory."""

    names: tuple[Names, ...]
    inventory: Inventory
    in_lab: bool


def parse_pairs(arguments: argparse.Namespace, selection: Selection) -> Pairs:
    """:raises UsageError: a pair is none; all pairs must be of a lab, or all of the inventory"""
    inventory = load_inventory(arguments.inventory)
    pairs = tuple(dict.fromkeys(_parse_pair(word, inventory) for word in arguments.pair))
    in_lab = {name in LAB_HOSTS for pair in pairs for name in pair}
    if len(in_lab) > 1:
        raise UsageError("--pair names hosts of a lab and hosts of the inventory.", fix="make a run for each")
    if any(any(entry.planned.hosts) for plan in selection.plans for entry in plan.entries):
        raise UsageError("--pair cannot be used with a case that names its hosts.", fix="run that case without --pair")
    if len(pairs) > len(PLACES):
        raise UsageError(f"{len(pairs)} pairs are too many: guests have {len(PLACES)} places.", fix="make several runs")
    return Pairs(pairs, inventory, in_lab.pop())


def run_on_pairs(
    pairs: Pairs,
    turns: Sequence[Turn],
    directory: RunDirectory,
    selection: Selection,
    arguments: argparse.Namespace,
    listener: RunListener,
) -> None:
    """Raises what :func:`execute_on_pairs` and :func:`acquire_lab` raise; all turns have records then."""
    try:
        _run_on_pairs(pairs, turns, directory, selection, arguments, listener)
    except BaseException as error:
        report_unrun(turns, directory, describe_end(error))
        raise


def _run_on_pairs(
    pairs: Pairs,
    turns: Sequence[Turn],
    directory: RunDirectory,
    selection: Selection,
    arguments: argparse.Namespace,
    listener: RunListener,
) -> None:
    inventory = pairs.inventory
    if not pairs.in_lab:
        places = [
            PairPlace(
                make_choice(inventory, pair),
                partial(lease_inventory_hosts, inventory, pair, pair, file=arguments.inventory, place=number),
            )
            for number, pair in enumerate(pairs.names, start=1)
        ]
        _execute(turns, directory, places, listener, arguments, find_coordinator(inventory))
        return
    build_images(find_toolchains(selection.programs))
    hosts = max(LAB_HOSTS.index(name) for pair in pairs.names for name in pair) + 1
    with acquire_lab(stays=arguments.keep_lab, hosts=hosts) as lab:

        def open_pair(pair: Names, number: int) -> Callable[[], AbstractContextManager[LeasedHosts]]:
            @contextlib.contextmanager
            def opened() -> Iterator[LeasedHosts]:
                yield LeasedLab(lab, pair, number)

            return opened

        places = [
            PairPlace(Choice(pair, _list_lab_resources(lab.name, pair, number)), open_pair(pair, number))
            for number, pair in enumerate(pairs.names, start=1)
        ]
        _execute(turns, directory, places, listener, arguments)


def _list_lab_resources(lab: str, pair: Names, number: int) -> frozenset[str]:
    """The hosts, and the place of the guests on their network."""
    guest = put_in_place(GuestSpec(), PLACES[number - 1])
    return frozenset({*(f"lab/{lab}/{name}" for name in pair), *list_resources(guest, lab)})


def _execute(
    turns: Sequence[Turn],
    directory: RunDirectory,
    places: Sequence[PairPlace],
    listener: RunListener,
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
            turns,
            directory,
            places,
            backend,
            listener,
            durations=read_durations(arguments.output or runs_directory()),
            retries=arguments.retry_infra,
            look=look_at_health(HealthWatch()),
        )


def _parse_pair(word: str, inventory: Inventory) -> Names:
    names = [name.strip() for name in word.split(",")]
    if len(names) > 2 or not all(names):
        raise UsageError(f"--pair {word} is not a pair of hosts.", fix="--pair SOURCE,DESTINATION, or one name")
    known = [*LAB_HOSTS, *inventory.host]
    for name in names:
        if name not in known:
            raise UsageError(f"There is no host {name!r}{suggest(name, known)}.", fix="switchover hosts")
    return names[0], names[-1]
