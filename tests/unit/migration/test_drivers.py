# SPDX-License-Identifier: GPL-2.0-or-later
"""The drivers: all are in the table, and each answers for itself."""

import typing

import pytest
from tests.unit.fakes import FaultyHost

from switchover.guests.spec import DriverName, GuestSpec
from switchover.migration import libvirt_driver
from switchover.migration.drivers import DRIVERS, find_lacks


def test_names_of_scenarios_are_those_of_the_table() -> None:
    """What a scenario may name is there, in the same order, each under its own name, the default first."""
    assert list(DRIVERS) == list(typing.get_args(DriverName))
    assert [driver.name for driver in DRIVERS.values()] == list(DRIVERS)
    assert next(iter(DRIVERS)) == GuestSpec.driver


def test_a_host_is_asked_for_the_drivers_of_its_guests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for each that is used, and told is what lacks; QMP lacks nothing, and asks nothing."""
    host, asked = FaultyHost(lambda method, argument: argument, ""), []

    def find_lack(where: object) -> str:
        asked.append(where)
        return "no libvirtd"

    monkeypatch.setattr(libvirt_driver, "find_lack", find_lack)
    assert find_lacks(host, [GuestSpec()]) == {}
    assert not asked
    guests = [GuestSpec(), *[GuestSpec(driver="libvirt")] * 2]
    assert find_lacks(host, guests) == {"libvirt": "no libvirtd"}
    assert asked == [host]
    monkeypatch.setattr(libvirt_driver, "find_lack", lambda where: "")
    assert find_lacks(host, guests) == {}


def test_libvirts_downtime_is_the_one_of_one_clock() -> None:
    """Its other figure has the difference of two hosts' clocks in it; without libvirt there is no such number."""
    counted = {"statistics": {"source": {"downtime": 1026, "downtime_net": 296}}}
    numbers = DRIVERS["libvirt"].measure(counted)
    assert [(number.name, number.value, number.note) for number in numbers] == [("downtime.libvirt", 0.296, "")]
    assert DRIVERS["qmp"].measure(counted) == []


@pytest.mark.parametrize(("told", "why"), [({"downtime": 259}, "is behind"), ({}, "libvirt did not tell")])
def test_why_there_is_no_downtime_of_libvirt(told: dict[str, int], why: str) -> None:
    """libvirt leaves it out where the destination's clock is behind the source's: that is told, and no number."""
    (number,) = DRIVERS["libvirt"].measure({"statistics": {"source": told}})
    assert number.value is None
    assert why in number.note
