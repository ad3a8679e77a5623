# SPDX-License-Identifier: GPL-2.0-or-later
"""Properties read back from QEMU: what it holds is what it was given, or what its machine type says."""

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.fakes import ScriptedQmp
from tests.unit.surveys import ABILITIES

from switchover.checks.properties import check_properties
from switchover.checks.states import allows_pre_copy
from switchover.devices.abilities import MachineType
from switchover.guests.spec import GuestSpec, Launch
from switchover.record.errors import Refused
from switchover.runner import readback
from switchover.runner.readback import normalise, read_back, read_back_late
from switchover.runner.side import Side
from switchover.scenarios.case import AllowPreCopy, DeviceSpec, SideSpec

PROPERTY = "x-allow-pre-copy"
COMPAT = (("vfio-pci", PROPERTY, "false"),)


def make_side(held: dict[str, Any], *devices: DeviceSpec, machine: str = "pc-q35-8.0,usb=off") -> Side:
    """A side whose QEMU answers ``qom-get`` for each of its devices with what it holds."""

    def get(arguments: dict[str, Any]) -> object:
        assert arguments["path"].startswith("/machine/peripheral/dut")
        if arguments["property"] not in held:
            raise Refused("the QEMU rejected qom-get.", why=f"Property 'vfio-pci.{arguments['property']}' not found")
        return held[arguments["property"]]

    guest = SimpleNamespace(
        label="the source QEMU",
        host=None,
        qmp=ScriptedQmp({"qom-get": get}),
        has_begun=True,
        name_device=lambda id: id,
        launch=Launch(GuestSpec()),
    )
    return Side(SideSpec(GuestSpec(machine=machine), devices), (), cast(Any, guest))


def device(allow: AllowPreCopy = "", id: str = "dut", properties: Mapping[str, str] | None = None) -> DeviceSpec:
    return DeviceSpec(id, properties=properties or {}, allow_pre_copy=allow)


@pytest.fixture(autouse=True)
def abilities(monkeypatch: pytest.MonkeyPatch) -> None:
    """A patched QEMU's: 8.0 sets the property, 8.1 leaves it, and of 7.2 it does not tell."""
    machines = (
        MachineType("pc-q35-8.0", None, False, COMPAT),
        MachineType("pc-q35-8.1", None, False, ()),
        MachineType("pc-q35-7.2", None, False, None),
    )
    monkeypatch.setattr(readback, "read_abilities", lambda host, qemu: replace(ABILITIES, machines=machines))


def test_what_is_held_is_told() -> None:
    """All that a device was given, and the property of patched QEMUs where there is one; each device by its name."""
    given = {"migration-events": "on", "x-size": "4K"}
    held = {"migration-events": True, "x-size": 4096, PROPERTY: True}
    side = make_side(held, device(properties=given), device(id="dut2", properties=given))
    told = {"migration-events": "on", "x-size": "4096", PROPERTY: "on"}
    assert read_back(side, "source") == {"source": told, "source dut2": told}
    del held[PROPERTY]
    assert PROPERTY not in read_back(side, "source")["source"]


@pytest.mark.parametrize("allow", ["on", "off"])
def test_a_value_that_is_not_held(allow: AllowPreCopy) -> None:
    """QEMU took the value and holds another: the case is not what it says, and is refused by name."""
    read_back(make_side({PROPERTY: allow == "on"}, device(allow)), "source")
    with pytest.raises(Refused, match=r"the source QEMU holds x-allow-pre-copy = o\w+ for the device dut") as caught:
        read_back(make_side({PROPERTY: allow == "off"}, device(allow)), "source")
    assert caught.value.why == f"it was set to {allow}, and QEMU did not object"


@pytest.mark.parametrize(("holds", "passes"), [(True, True), (False, False)])
def test_a_qemu_that_could_not_be_asked_before(holds: bool, passes: bool) -> None:
    """What it holds after the migration is told, and is a check of its own; before, nothing is asked."""
    side = make_side({PROPERTY: holds, "x-size": 4096}, device("on", properties={"x-size": "4K"}))
    found, wanted = read_back_late(side, "destination", ())
    check = check_properties(wanted["destination"], found["destination"], "destination")
    assert found == {"destination": {PROPERTY: "on" if holds else "off", "x-size": "4096"}}
    assert check.passed is passes
    assert check.label == "device.properties, destination"
    assert check.expected == f"{PROPERTY}=on"
    side.guest.has_begun = False  # type: ignore[misc]
    assert read_back(side, "destination") == {}


def test_a_primary_is_asked_where_the_guest_is() -> None:
    """Before a migration the destination has none to be asked, the source has; after it what was not asked is."""
    side = make_side({"failover_pair_id": "s", PROPERTY: True}, device(properties={"failover_pair_id": "s"}))
    told = {"failover_pair_id": "s", PROPERTY: "on"}
    assert (read_back(side, "destination"), read_back(side, "source")) == ({}, {"source": told})
    assert read_back_late(side, "destination", ())[0] == {"destination": told}
    assert read_back_late(side, "destination", {"destination": told}) == ({}, {})


def test_what_libvirt_plugs_in_has_no_overrides() -> None:
    """What it holds is told, whatever it is; of a device that the domain began with the same is refused."""
    given = device(properties={"migration-events": "on"})
    side = make_side({"migration-events": False}, given)
    with pytest.raises(Refused, match="holds migration-events = off"):
        read_back(side, "source")
    side.guest.launch = replace(side.guest.launch, bare=frozenset({"dut"}))
    assert read_back(side, "source") == {"source": {"migration-events": "off"}}


def test_a_property_that_is_needed_and_not_there() -> None:
    """Asked for in any way, a property that this QEMU lacks is an error in its own words."""
    with pytest.raises(Refused, match="rejected qom-get"):
        read_back(make_side({}, device("by-machine")), "source")


def test_by_machine_it_is_what_the_machine_type_says() -> None:
    """Where the binary's own list of compat properties names a value, another one is refused; else any is told."""
    assert read_back(make_side({PROPERTY: False}, device("by-machine")), "source")["source"] == {PROPERTY: "off"}
    with pytest.raises(Refused) as caught:
        read_back(make_side({PROPERTY: True}, device("by-machine")), "source")
    assert caught.value.why == "the machine type pc-q35-8.0 sets it to false"
    for machine in ("pc-q35-8.1", "pc-q35-7.2", "q35"):
        for value in (True, False):
            read_back(make_side({PROPERTY: value}, device("by-machine"), machine=machine), "source")


def test_a_value_that_is_set_overrides_the_machine_type() -> None:
    """With "on" or "off" the machine type does not matter, and is not asked for."""
    assert read_back(make_side({PROPERTY: True}, device("on")), "source")["source"] == {PROPERTY: "on"}


@pytest.mark.parametrize("value", [True, "true", "on", "yes", "True"])
def test_words_for_on(value: object) -> None:
    """QMP and the command line spell it in several ways."""
    assert normalise(value) == "on"
    assert allows_pre_copy({PROPERTY: normalise(value)})


def test_whether_pre_copy_is_allowed() -> None:
    """Only a property that is off forbids it; a QEMU without it does not."""
    assert allows_pre_copy({})
    assert not allows_pre_copy({PROPERTY: normalise(False)})
