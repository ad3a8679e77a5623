# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts of an inventory as the place where cases run: real machines, reached by SSH, of which nothing is taken away."""

import contextlib
import itertools
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from switchover.devices.survey import survey_host
from switchover.guests.places import PLACES
from switchover.guests.qemu import GuestKeys
from switchover.guests.spec import GuestSpec
from switchover.hosts.host import Host
from switchover.hosts.host_lock import lock_host
from switchover.hosts.inventory import KIND, Inventory, open_inventory_host
from switchover.hosts.journal import DeadJournal
from switchover.hosts.ownership import describe_process
from switchover.lab.keys import generate_key_pair
from switchover.lab.release import clean_up_after_others
from switchover.migration.drivers import find_lacks
from switchover.record.errors import HostLost, NotReady, SwitchoverError, UsageError
from switchover.runner.absent import find_absent
from switchover.runner.fingerprint import describe_pair
from switchover.runner.host_pair import Endpoint, HostPair
from switchover.runner.leased_hosts import HostNames
from switchover.scenarios.case import Case
from switchover.scenarios.preflight import HostFacts, Known, list_places, make_facts


class LeasedInventory:
    """Some hosts of an inventory. ``pair``: those of cases that name none. Made by :func:`lease_inventory_hosts`."""

    def __init__(
        self,
        hosts: Mapping[str, Host],
        inventory: Inventory,
        pair: HostNames,
        file: Path | None = None,
        place: int = 1,
    ) -> None:
        self._file = file
        self.guest_place = PLACES[place - 1] if place > 1 else None
        self._hosts = hosts
        self._inventory = inventory
        self._pair = pair
        self._fingerprints: dict[tuple[object, ...], Mapping[str, Any]] = {}
        login, guest = generate_key_pair(), generate_key_pair()
        self._keys = GuestKeys(login.public, login.private, guest.private, guest.public)

    @property
    def address(self) -> Mapping[str, object]:
        return {
            "hosts": list(self._pair),
            "place": self.guest_place.number if self.guest_place else 1,
            **({"inventory": str(self._file.absolute())} if self._file else {}),
        }

    def ask(self, cases: Iterable[tuple[Case, HostNames]]) -> Known:
        """Nothing is brought to the hosts: what is not there is what they lack.

        :raises HostLost: a host does not answer
        """
        guests: dict[str, list[GuestSpec]] = {name: [] for name in self._hosts}
        for case, hosts in cases:
            for name, side in zip(itertools.cycle(self._fill(hosts)), case.sides, strict=False):
                guests.get(name, []).append(side.guest)
        facts = {name: ask_host(host, guests[name]) for name, host in self._hosts.items()}
        unknown = HostFacts("", asked=False)
        return Known((facts.get(self._pair[0], unknown), facts.get(self._pair[1], unknown)), facts)

    def pair(self, hosts: HostNames) -> HostPair:
        """:raises UsageError: a case names no host, and the run was given none, or another one"""
        source, destination = (self._end(name) for name in self._fill(hosts))
        return HostPair(source, destination, self._keys)

    def _fill(self, hosts: HostNames) -> HostNames:
        return (hosts[0] or self._pair[0], hosts[1] or self._pair[1])

    def _end(self, name: str) -> Endpoint:
        """Without a link that faults may disturb, and without an outlet: the network is not the harness's own."""
        if name not in self._hosts:
            raise UsageError(f"The run has no host {name!r}.", fix=f"it has: {', '.join(self._hosts)}")
        return Endpoint(self._hosts[name], self._inventory.require(name).migration_address)

    def fingerprint(self, case: Case, hosts: HostNames) -> Mapping[str, Any]:
        guests = (case.source.guest, case.destination.guest)
        every = [side.guest for side in case.sides]
        files = sorted({file for guest in every for file in (guest.kernel_file, guest.initramfs_file) if file})
        key = (*self._fill(hosts), *(guest.qemu for guest in guests), *files)
        if key not in self._fingerprints:
            pair = self.pair(hosts)
            sums = pair.source.host.run(["sha256sum", "--", *files], timeout=120).text if files else ""
            self._fingerprints[key] = {
                **describe_pair(pair, *(guest.qemu for guest in guests)),
                "guest files": {line[66:]: line[:64] for line in sums.splitlines()},
            }
        return self._fingerprints[key]

    def find_loss(self) -> str:
        try:
            for host in self._hosts.values():
                host.run(["true"])
        except SwitchoverError as error:
            return error.what
        return ""


def ask_host(host: Host, guests: Sequence[GuestSpec]) -> HostFacts:
    """What a host can do, and what of these guests it lacks. :raises HostLost: it does not answer"""
    survey = survey_host(host, KIND, sorted({guest.qemu for guest in guests}))
    if survey.machine is None:
        raise HostLost(f"{host.name} could not be examined.", why="; ".join(survey.problems.values()))
    if survey.machine.uid != 0:
        raise NotReady(
            f"{host.name} is not reached as root.",
            why="only root can make taps and mediated devices for guests",
            fix=f'user = "root" for {host.name} in the inventory',
        )
    lacks = find_lacks(host, guests)
    absent = find_absent(host, [place for guest in guests for place in list_places(guest)])
    return replace(make_facts(survey, link=False), absent=absent, drivers=lacks)


@contextlib.contextmanager
def lease_inventory_hosts(
    inventory: Inventory, names: Iterable[str], pair: HostNames, *, file: Path | None = None, place: int = 1
) -> Iterator[LeasedInventory]:
    """Connections to these hosts, and the exclusive right to them, for the time of a ``with`` block.

    ``file``: of the inventory, if it is not the usual one. What harnesses that were killed left on any host is undone
    first.

    :raises UsageError: the inventory has no such host
    :raises NotReady: one is in use, has leftovers that cannot be undone, or does not answer
    """
    remains = clean_up_after_others()
    hosts: dict[str, Host] = {}
    with contextlib.ExitStack() as stack:
        # in one order, whoever leases them: two runs never wait for each other's, they refuse
        for name in sorted(set(names)):
            entry = inventory.require(name)
            _require_clean(name, entry.address, remains)
            hosts[name] = host = stack.enter_context(open_inventory_host(name, entry))
            stack.enter_context(lock_host(host, f"{platform.node()}, {describe_process()}"))
        yield LeasedInventory(hosts, inventory, pair, file, place)


@contextlib.contextmanager
def reopen_inventory_hosts(inventory: Inventory, pair: HostNames, place: int = 1) -> Iterator[LeasedInventory]:
    """Connections to hosts that the parent of this process holds. :raises NotReady: one does not answer"""
    with contextlib.ExitStack() as stack:
        names = sorted(set(pair))
        hosts = {name: stack.enter_context(open_inventory_host(name, inventory.require(name))) for name in names}
        yield LeasedInventory(hosts, inventory, pair, place=place)


def _require_clean(name: str, address: str, remains: Iterable[DeadJournal]) -> None:
    for dead in remains:
        for outcome in dead.outcomes:
            on = outcome.change.address
            if outcome.remains and (on.get("kind"), on.get("address")) == (KIND, address):
                raise NotReady(
                    f"The host {name} cannot be used.",
                    why=f"{dead.owner} left something there that could not be undone: {outcome}",
                    fix="switchover clean",
                )
