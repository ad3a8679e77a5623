# SPDX-License-Identifier: GPL-2.0-or-later
"""Places of guests: no two are alike, the first one is the default, and a guest's own addresses stay."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from switchover.guests.places import PLACES, list_resources, number_of, put_in_place
from switchover.guests.spec import GuestSpec
from switchover.lab.boot import link_address
from switchover.lab.labhost import GUEST_PLACES, MOST_HOSTS, OUTLET_ADDRESS
from switchover.scenarios.case import DeviceSpec, SideSpec, in_place, make_case

OWN = GuestSpec(mac="52:54:00:77:00:65", address="10.77.0.120")
DISK = GuestSpec(disk="/d")


def test_places_of_a_lab() -> None:
    """Each has addresses that no other place, lab host or outlet has; the first has those of a guest by default."""
    assert [place.number for place in PLACES] == list(range(1, GUEST_PLACES + 1))
    assert (PLACES[0].mac, PLACES[0].address) == (GuestSpec.mac, GuestSpec.address)
    assert len({place.mac for place in PLACES}) == GUEST_PLACES
    taken = {link_address(index) for index in range(MOST_HOSTS)} | {OUTLET_ADDRESS}
    assert len({place.address for place in PLACES} | taken) == GUEST_PLACES + MOST_HOSTS + 1
    network = ip_network(f"10.77.0.0/{GuestSpec.prefix}")
    assert all(ip_address(place.address) in network for place in PLACES)


@pytest.mark.parametrize("place", PLACES)
def test_a_guest_that_names_no_addresses(place: object) -> None:
    """It has those of its place, and is otherwise as it was."""
    placed = put_in_place(GuestSpec(memory_mib=512), place)  # type: ignore[arg-type]
    assert (placed.mac, placed.address) == (vars(place)["mac"], vars(place)["address"])
    assert replace(placed, mac=GuestSpec.mac, address=GuestSpec.address) == GuestSpec(memory_mib=512)
    assert number_of(placed) == vars(place)["number"]


def test_addresses_of_its_own() -> None:
    """What a guest names stays, each for itself; one that boots from a disk has its IPv4 address by itself."""
    place = PLACES[2]
    assert put_in_place(OWN, place) == OWN
    assert put_in_place(replace(OWN, mac=GuestSpec.mac), place) == replace(OWN, mac=place.mac)
    assert put_in_place(replace(OWN, address=GuestSpec.address), place) == replace(OWN, address=place.address)
    assert put_in_place(DISK, place) == replace(DISK, mac=place.mac)


def test_both_sides_of_a_case() -> None:
    """A guest keeps its addresses when it migrates, whatever else its sides differ in."""
    case = make_case("x", SideSpec(GuestSpec(), (DeviceSpec(),)))
    case = replace(case, destination=replace(case.destination, guest=GuestSpec(machine="pc")))
    placed = in_place(case, PLACES[1])
    assert {side.guest.address for side in (placed.source, placed.destination)} == {"10.77.0.102"}
    assert {side.guest.mac for side in (placed.source, placed.destination)} == {"52:54:00:53:67:02"}
    assert placed.destination.guest.machine == "pc"
    assert placed.source.devices == case.source.devices
    assert in_place(case, PLACES[0]) == case


def test_which_place_a_guest_is_in() -> None:
    """That of its MAC address first: by it frames find it; none with addresses of its own."""
    assert number_of(GuestSpec()) == 1
    assert number_of(replace(OWN, mac=PLACES[3].mac)) == 4
    assert number_of(replace(OWN, address=PLACES[4].address)) == 5
    assert number_of(GuestSpec(mac=PLACES[1].mac)) == 2
    assert number_of(OWN) == 0


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        (GuestSpec(), ["guest-place:LAB/1"]),
        (put_in_place(GuestSpec(), PLACES[1]), ["guest-place:LAB/2"]),
        (put_in_place(DISK, PLACES[1]), ["guest-place:LAB/1", "guest-place:LAB/2"]),
        (OWN, ["guest-address:LAB/10.77.0.120", "guest-mac:LAB/52:54:00:77:00:65"]),
        (GuestSpec(bridge=""), []),
    ],
)
def test_what_is_leased(spec: GuestSpec, names: list[str]) -> None:
    """Whatever two guests on a network cannot both have, by one name each: a place also where its addresses are named
    by the guest.
    """
    assert list(list_resources(spec, "LAB")) == names
