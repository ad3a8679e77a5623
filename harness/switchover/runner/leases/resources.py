# SPDX-License-Identifier: GPL-2.0-or-later
"""What a pair of hosts needs for itself while a case runs on it, as names. Pure.

A resource is a word, the same in every process that may want it: a host by its machine (``10.0.0.11``,
``127.0.0.1:2201``), not by its name in an inventory, a device of it as ``MACHINE/0000:3b:00.2``, and anything else that
cannot be shared by a name that people choose (``guest-address/10.77.0.101``, ``switch-1/port-7``). Pairs overlap when
they have a resource in common: of A-B and B-C only one is leased at a time.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from switchover.hosts.inventory import DeviceEntry, Inventory, PciAddress
from switchover.record.errors import UsageError
from switchover.record.toml import suggest

_PCI = TypeAdapter(PciAddress)


@dataclass(frozen=True)
class Choice:
    """A pair of hosts that a case may run on, and all that nobody else may use meanwhile.

    ``pair``: names of source and destination, which may be one host.
    """

    pair: tuple[str, str]
    resources: frozenset[str]

    @property
    def name(self) -> str:
        source, destination = self.pair
        return source if source == destination else f"{source}-{destination}"

    def overlaps(self, other: "Choice") -> bool:
        return not self.resources.isdisjoint(other.resources)


def make_choice(
    inventory: Inventory, pair: tuple[str, str], devices: Iterable[str] = (), others: Iterable[str] = ()
) -> Choice:
    """A pair of hosts of an inventory as something to lease.

    Both hosts are taken whole: bridges, traces and the kernel log of a host are those of one case at a time.
    ``devices``: ``HOST/0000:3b:00.2`` or ``HOST/NAME`` of a function that has a name in the inventory: worth naming
    where something else than its host may ask for it. ``others``: names of whatever else cannot be shared.

    :raises UsageError: there is no such host or device, or a name is none
    """
    hosts = {inventory.require(name).machine for name in pair}
    named = {name_device(inventory, word) for word in devices}
    return Choice(pair, frozenset(hosts | named | {check_resource(word) for word in others}))


def name_device(inventory: Inventory, word: str) -> str:
    """The resource of a device, from ``HOST/ADDRESS`` or ``HOST/NAME``. :raises UsageError: there is none"""
    host, slash, which = word.partition("/")
    if not slash or not which:
        raise UsageError(
            f"{word!r} does not name a device.", fix="write HOST/0000:3b:00.2, or HOST/NAME as in the inventory"
        )
    entry = inventory.require(host)
    named = {device.name: device for device in entry.device if device.name}
    if which in named:
        return f"{entry.machine}/{_name_function(named[which], word)}"
    try:
        return f"{entry.machine}/{_PCI.validate_python(which)}"
    except ValidationError:
        raise UsageError(f"{host} has no device {which!r}{suggest(which, list(named))}.") from None


def _name_function(device: DeviceEntry, word: str) -> str:
    if device.pci is None:
        raise UsageError(
            f"{word} is a type of mediated device, and cannot be leased: each case makes its own device.",
            fix="leave it out",
        )
    return device.pci if device.vf is None else f"{device.pci}/vf{device.vf}"


def check_resource(word: str) -> str:
    """A name as it is. :raises UsageError: it is empty, or would not be read as one word"""
    if not word or word.split() != [word] or not word.isprintable():
        raise UsageError(f"{word!r} cannot be the name of a resource; it must be one printable word.")
    return word


def list_resources(choices: Iterable[Choice]) -> list[str]:
    """All of them, sorted."""
    return sorted(frozenset[str]().union(*(choice.resources for choice in choices)))
