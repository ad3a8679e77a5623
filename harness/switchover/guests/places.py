# SPDX-License-Identifier: GPL-2.0-or-later
"""Places of guests on a network: a MAC address and an IPv4 address that no other guest has at the time.

Two guests in one place would take frames from each other, wherever their hosts are on the network. So a place is for
one guest at a time, by its name among what is leased.
"""

from dataclasses import dataclass, replace
from typing import Any

from switchover.guests.spec import GuestSpec
from switchover.lab.labhost import GUEST_PLACES


@dataclass(frozen=True)
class GuestPlace:
    """``number``: from 1."""

    number: int
    mac: str
    address: str


PLACES = tuple(
    GuestPlace(number, f"52:54:00:53:67:{number:02x}", f"10.77.0.{100 + number}")
    for number in range(1, GUEST_PLACES + 1)
)
"""Of a lab, in the order of their numbers. The first one is where a guest is that nobody gave another."""


def put_in_place(spec: GuestSpec, place: GuestPlace) -> GuestSpec:
    """With the addresses of the place, where the guest names none of its own. One that boots from a disk has its IPv4
    address by itself.

    >>> put_in_place(GuestSpec(address="10.77.0.120"), PLACES[1]).mac
    '52:54:00:53:67:02'
    """
    given = ("mac",) if spec.boots_from_disk else ("mac", "address")
    fields: dict[str, Any] = {
        name: getattr(place, name) for name in given if getattr(spec, name) == getattr(GuestSpec, name)
    }
    return replace(spec, **fields)


def number_of(spec: GuestSpec) -> int:
    """Of the place whose MAC address a guest has, else of that whose address it has; 0: it is in none."""
    for place in PLACES:
        if place.mac == spec.mac:
            return place.number
    return next((place.number for place in PLACES if place.address == spec.address), 0)


def list_resources(spec: GuestSpec, network: str) -> tuple[str, ...]:
    """What a guest needs for itself on a network, such as a lab by its name: names of what is to be leased.

    Those of places, ``guest-place:LAB/1``, also where a guest names such addresses itself; others of its own as they
    are. A guest without a network needs none.

    >>> list_resources(GuestSpec(address="10.77.0.120"), "LAB")
    ('guest-address:LAB/10.77.0.120', 'guest-place:LAB/1')
    """
    if not spec.bridge:
        return ()
    named = set()
    for kind in ("mac", "address"):
        value = getattr(spec, kind)
        place = next((place for place in PLACES if getattr(place, kind) == value), None)
        named.add(f"guest-place:{network}/{place.number}" if place else f"guest-{kind}:{network}/{value}")
    return tuple(sorted(named))
