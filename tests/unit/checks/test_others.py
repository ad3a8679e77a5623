# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices that are no reference devices: what QEMU's events and traces say of them is checked, all else is told as not
checked.
"""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.builders import golden_events
from tests.unit.checks.evidences import failed, make_evidence, make_some

from switchover.checks import moved_bytes, pre_copy, states
from switchover.checks.evidence import Evidence, OtherEvidence, SideEvidence
from switchover.checks.table import list_not_checked
from switchover.devices import known_types
from switchover.devices.known_types import KnownType
from switchover.devices.reference import Knobs
from switchover.guests.capabilities import LAB_CAPABILITIES
from switchover.migration.bytes import MigrationBytes
from switchover.migration.phases import Action, Phase
from switchover.migration.traces import count_device_bytes
from switchover.record.record import VerdictName
from switchover.record.units import MIB
from switchover.scenarios.case import Case, FunctionSpec, MediatedSpec, SideSpec, make_case
from switchover.scenarios.expectation import Expectation
from switchover.scenarios.faults import Fault

SAVED, LOADED = "1fa7cadf-3694-49dc-af72-d202b30c70c9", "0f2c5ed4-12a0-4b69-8c36-7f6a4e8a0d11"
PATH, THERE = ("pre-copy", "pre-copy-p2p", "stop-copy", "stop"), ("resuming", "running-p2p", "running")
TYPE = "theirs-1"
KNOWN = KnownType(TYPE, "theirs", {}, Knobs(initial_bytes=64 * MIB, stop_copy_bytes=MIB))
RULES = (*states.CHECKS, *moved_bytes.CHECKS, *pre_copy.CHECKS)
CASE = Case("x")


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> KnownType:
    """The golden migration's device, as if it were somebody else's whose type is in the table."""
    monkeypatch.setattr(known_types, "KNOWN_TYPES", {TYPE: KNOWN})
    return KNOWN


def make(case: Case = CASE, **changes: Any) -> Evidence:
    """The golden migration. ``changes``: of the source's device."""
    spec = MediatedSpec(type=TYPE)
    source = OtherEvidence("source", spec, SAVED, PATH, golden_events("source"))
    log = golden_events("destination")
    name = next(event.text[1:37] for event in log if event.name == "vfio_load_state_device_data")
    there = OtherEvidence("destination", spec, name, THERE, log)
    devices = tuple(count_device_bytes(source.trace))
    whole = 65 * MIB
    return replace(
        make_evidence(case=case),
        source=SideEvidence("source", others=(replace(source, **changes),)),
        destination=SideEvidence("destination", "yes", others=(there,)),
        moved=MigrationBytes(devices, whole, 1000, 200, 1200 + whole + 50),
    )


def test_a_device_of_a_known_type(known: KnownType) -> None:
    """All that can be said by traces and events holds for a real migration."""
    made = make_some(make(), rules=RULES)
    assert failed(made) == []
    assert {str(check.id) for check in made} == {
        "device.states-traced",
        "device.precopy.used",
        "device.stop-copy-in-downtime",
        "bytes.vfio.loaded",
        "bytes.vfio.transferred",
        "bytes.residual",
        "bytes.vfio.adds-up",
        "device.pending.estimate",
        "device.pending.exact",
        "device.precopy.initial-bytes",
        "device.precopy.initial-first",
    }


@pytest.mark.parametrize(
    ("model", "wrong"),
    [
        ({"initial_bytes": 63 * MIB}, ["bytes.vfio.adds-up, source", "device.precopy.initial-bytes, source"]),
        ({"stop_copy_bytes": 2 * MIB}, ["bytes.vfio.adds-up, source"]),
        ({"pre_copy": False}, ["device.precopy.used, source"]),
    ],
)
def test_a_device_that_is_not_as_the_table_says(
    monkeypatch: pytest.MonkeyPatch, model: dict[str, Any], wrong: list[str]
) -> None:
    """What the table says of a type is a claim, and found out where it is wrong."""
    table = {TYPE: replace(KNOWN, model=replace(KNOWN.model, **model))}
    monkeypatch.setattr(known_types, "KNOWN_TYPES", table)
    assert failed(make_some(make(), rules=RULES)) == wrong


def test_a_size_that_never_shrinks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A type that always names its whole state does not pass for one that names what is left, nor the other way."""
    monkeypatch.setattr(known_types, "KNOWN_TYPES", {TYPE: replace(KNOWN, pending_shrinks=False)})
    assert failed(make_some(make(), rules=RULES)) == ["device.pending.exact, source"]


def test_a_device_that_nobody_knows() -> None:
    """Nothing is claimed that would need to be known of it; what traces say by themselves still is."""
    made = make_some(make(), rules=RULES)
    assert failed(made) == []
    assert {"device.precopy.used", "bytes.vfio.adds-up", "device.pending.exact"}.isdisjoint(made_ids(made))
    assert {"device.states-traced", "bytes.vfio.loaded", "device.pending.estimate"} <= made_ids(made)


def made_ids(made: Any) -> set[str]:
    return {str(check.id) for check in made}


def test_events_that_no_trace_confirms(known: KnownType) -> None:
    """An event too many, or one that is missing, is found out."""
    for path in (PATH[1:], (*PATH, "running")):
        assert "device.states-traced, source" in failed(make_some(make(states=path), rules=RULES))


def test_pre_copy_as_the_case_expects_it() -> None:
    """Of a device that nobody knows a case may say itself whether pre-copy is to be used."""
    for wanted, wrong in (("on", []), ("off", ["device.precopy.expected, source"])):
        case = replace(CASE, expectation=Expectation(VerdictName.COMPLETED, pre_copy=wanted))  # type: ignore[arg-type]
        assert failed(make_some(make(case), rules=RULES)) == wrong


REGISTERS = {"device.generation", "device.scratch", "device.seed", "device.checksum", "device.checksum-by-guest"}
NEVER = {
    *REGISTERS,
    "device.interrupt",
    "device.states",
    "device.precopy.enomsg",
    "bytes.vfio.precopy",
    "bytes.vfio.stop-copy",
}
UNKNOWN = {"device.precopy.used", "device.precopy.initial-bytes", "device.pending.exact", "bytes.vfio.adds-up"}


@pytest.mark.parametrize(
    ("device", "missing"),
    [
        (MediatedSpec(type="mtty-2"), NEVER),
        (MediatedSpec(type="nobody-1"), NEVER | UNKNOWN),
        (FunctionSpec(pci="0000:3b:00.2"), NEVER | UNKNOWN),
    ],
    ids=["mtty", "unknown type", "function"],
)
def test_what_is_not_checked_is_told(device: MediatedSpec | FunctionSpec, missing: set[str]) -> None:
    """Each check that only the reference device, or a known type, can answer is not made with the reason why; none of
    them is one that such a device has.
    """
    told = list_not_checked(make_case("x", SideSpec(devices=(device,))), LAB_CAPABILITIES)
    assert {str(entry.id) for entry in told} == missing
    assert all(entry.reason.startswith("dut is ") and not entry.needed for entry in told)


def test_reference_devices_lack_nothing() -> None:
    """Nor does a guest without the other device when it migrates."""
    assert list_not_checked(CASE, LAB_CAPABILITIES) == []
    unplugged = (Fault(Action.UNPLUG_DEVICE, Phase.BEFORE),)
    gone = make_case("x", SideSpec(devices=(MediatedSpec(type="mtty-2"),)), faults=unplugged)
    assert list_not_checked(gone, LAB_CAPABILITIES) == []
