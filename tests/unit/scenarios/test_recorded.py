# SPDX-License-Identifier: GPL-2.0-or-later
"""A record says all that is needed to make its case again."""

from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.builders import make_record

from switchover.devices.reference import Knobs
from switchover.guests.spec import GuestSpec
from switchover.migration.phases import Action, Phase
from switchover.migration.settings import MigrationSettings
from switchover.record.errors import UsageError
from switchover.record.record import Record, Verdict, VerdictName, parse_record, render_record
from switchover.runner.standard import PRE_COPY_ON
from switchover.scenarios.case import (
    DEVICE_PROPERTIES,
    Case,
    DeviceSpec,
    FunctionSpec,
    MediatedSpec,
    SideSpec,
    make_case,
)
from switchover.scenarios.expectation import Expectation
from switchover.scenarios.faults import Fault
from switchover.scenarios.recorded import parse_case, render_settings, select_case, select_record

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBER = st.integers(0, 1 << 60)
SECONDS = st.one_of(st.floats(0, 1e6), st.integers(0, 10**6).map(float))
BOOLS = st.dictionaries(TEXT, st.booleans(), max_size=2)
SIDES = st.builds(
    SideSpec,
    st.builds(
        GuestSpec,
        name=TEXT,
        qemu=TEXT,
        memory_mib=NUMBER,
        boot_timeout_s=SECONDS,
    ),
    st.lists(
        st.one_of(
            st.builds(
                DeviceSpec,
                TEXT,
                TEXT.map("refdev-{}".format),
                st.builds(
                    Knobs, pre_copy=st.booleans(), irq_rates=st.lists(NUMBER, max_size=3).map(tuple), fail_at=TEXT
                ),
                properties=st.dictionaries(TEXT, TEXT, max_size=2),
            ),
            st.builds(
                MediatedSpec,
                TEXT,
                type=TEXT.filter(lambda text: not text.startswith("refdev-")),
                properties=st.dictionaries(TEXT, TEXT, max_size=2),
            ),
            st.builds(
                FunctionSpec,
                TEXT,
                pci=TEXT.filter(bool),
                vf=st.one_of(st.none(), NUMBER),
                properties=st.dictionaries(TEXT, TEXT, max_size=2),
            ),
        ),
        max_size=2,
    ).map(tuple),
)
SETTINGS = st.builds(
    MigrationSettings,
    downtime_limit_ms=NUMBER,
    settle=st.booleans(),
    timeout_s=SECONDS,
    hang_s=SECONDS,
    parameters=st.dictionaries(TEXT, st.one_of(NUMBER, st.booleans(), TEXT), max_size=2),
    capabilities=BOOLS,
    destination_capabilities=BOOLS,
)
CASES = st.builds(
    Case,
    TEXT,
    SIDES,
    SIDES,
    SETTINGS,
    st.lists(st.builds(Fault, st.sampled_from(Action), st.sampled_from(Phase), NUMBER), max_size=2).map(tuple),
    st.builds(Expectation, st.sampled_from(VerdictName), TEXT, TEXT, TEXT),
    NUMBER,
)


def record_of(case: Case) -> Record:
    return Record(
        case=case.id,
        repeat=1,
        started="",
        verdict=Verdict(VerdictName.COMPLETED),
        settings=render_settings(case),
        fingerprint={},
        expectation=asdict(case.expectation),
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(CASES)
def test_a_case_survives_its_record(case: Case) -> None:
    """Whatever a case is, its record on disk gives the same case again; of parameters, in which any
    value may be, the types too.
    """
    again = parse_case(parse_record(render_record(record_of(case))))
    assert again == case
    assert repr(again.settings.parameters) == repr(case.settings.parameters)


def test_what_a_record_does_not_name_is_as_by_default() -> None:
    """A knob that came later, faults and heartbeats that were not recorded yet: as they are without being asked for."""
    record = record_of(PRE_COPY_ON)
    older = {key: value for key, value in record.settings.items() if key in ("source", "destination", "migration")}
    del older["source"]["devices"][0]["knobs"]["corrupt"]
    assert parse_case(replace(record, settings=older)) == PRE_COPY_ON


def test_a_record_has_all_fields_of_each_device() -> None:
    """In one order for all kinds, what a kind does not have as it is by default; the address tells which kind it is."""
    function = FunctionSpec("f", pci="0000:01:00.0", vf=2)
    settings = render_settings(make_case("x", SideSpec(devices=(DeviceSpec("r", "refdev-1vec"), function))))
    first, second = settings["source"]["devices"]
    names = "id type knobs properties allow_pre_copy pci vf vfs vfio_driver whole_group managed"
    assert [" ".join(device) for device in (first, second)] == [names, names]
    assert (first["type"], first["pci"], first["vf"]) == ("refdev-1vec", "", None)
    assert (second["knobs"], second["pci"], second["vf"]) == (asdict(Knobs()), "0000:01:00.0", 2)


def test_a_device_with_an_address_is_a_function_as_before() -> None:
    """``DeviceSpec`` stood for PCI functions too; with ``pci`` it gives one, its properties as they were by default."""
    make: Any = DeviceSpec
    wanted = FunctionSpec("f", pci="0000:01:00.0", vf=1, properties=DEVICE_PROPERTIES)
    assert make("f", pci="0000:01:00.0", vf=1) == wanted
    assert make(pci="0000:01:00.0", properties={}) == FunctionSpec(pci="0000:01:00.0", properties={})
    with pytest.raises(TypeError):
        make(pci="0000:01:00.0", knobs=Knobs())


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({}, "it was not run"),
        ({"migration": {"settle": True}, "knobs": {}}, "older version"),
        ({"source": {}, "destination": {}, "migration": {"timeout_s": "long"}}, "settings.timeout_s: "),
        ({"source": "none", "destination": {}, "migration": {}}, "source: "),
        ({"source": {"devices": [{"pci": "x", "vf": "y"}]}, "destination": {}, "migration": {}}, "function.vf: "),
    ],
)
def test_a_record_that_does_not_say_enough(changed: dict[str, object], why: str) -> None:
    """The reason is named, with the field where there is one."""
    with pytest.raises(UsageError) as caught:
        parse_case(replace(record_of(PRE_COPY_ON), settings=changed))
    assert why in caught.value.why


def test_a_case_is_named_by_its_id_or_the_only_one_that_has_a_part() -> None:
    """An id that is part of another one is still itself."""
    assert select_case("a=1", ["a=1", "a=12"]) == "a=1"
    assert select_case("12", ["a=1", "a=12"]) == "a=12"
    with pytest.raises(UsageError, match="matches 2 cases"):
        select_case("a", ["a=1", "a=12"])
    with pytest.raises(UsageError, match="no case 'b'") as caught:
        select_case("b", ["a=1", "a=12"])
    assert "a=1, a=12" in caught.value.why


def test_the_repeat_that_was_not_right_is_the_one_to_repeat() -> None:
    """Else the first."""
    first, second, other = make_record("x", 1), replace(make_record("x", 2), mismatch="was failed"), make_record("y", 1)
    assert select_record("x", [first, second, other]) is second
    assert select_record("y", [first, second, other]) is other


def test_a_record_tells_which_bounds_were_given() -> None:
    """So that it is repeated with the same ones; an older record has none, and what is not a default is as given."""
    guest = GuestSpec(given_bounds=("boot_timeout_s",))
    case = Case("x", SideSpec(guest), SideSpec(guest), MigrationSettings(given_bounds=("hang_s",)))
    again = parse_case(parse_record(render_record(record_of(case))))
    assert again.settings.given_bounds == ("hang_s",)
    assert again.source.guest.given_bounds == ("boot_timeout_s",)
    record = record_of(replace(case, settings=MigrationSettings(hang_s=9)))
    del record.settings["migration"]["given_bounds"]
    assert parse_case(record).settings.stretched(2).hang_s == 9
