# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices that are no reference devices, in scenarios: a known one needs its type, others type and properties."""

from dataclasses import replace

import pytest
from tests.unit.scenarios.samples import HEAD, plan
from tests.unit.scenarios.test_preflight import GOOD, PAIR
from tests.unit.scenarios.test_recorded import record_of

from switchover.devices.known_types import KNOWN_TYPES
from switchover.devices.reference import TYPE
from switchover.record.errors import UsageError
from switchover.scenarios.building import check_case, load_cases
from switchover.scenarios.case import DeviceSpec, MediatedSpec, SideSpec, make_case, make_mediated
from switchover.scenarios.plan import list_programs, make_plan
from switchover.scenarios.preflight import Known, decide
from switchover.scenarios.recorded import parse_case
from switchover.scenarios.scenario import parse_scenario

MTTY = '[device]\ntype = "mtty-2"\n'


def test_a_known_type_is_enough() -> None:
    """It has the properties of the table, and its module is among what a lab host is given."""
    (planned,) = plan(MTTY)
    (device,) = planned.case.source.devices
    assert device == make_mediated("mtty-2")
    assert device.properties == KNOWN_TYPES["mtty-2"].properties
    assert "mtty" in list_programs([make_plan(parse_scenario(HEAD + MTTY))])
    assert planned.case.expectation.verdict == "completed"


def test_a_property_of_the_table_can_be_said_otherwise() -> None:
    """Or be left out, as of every device."""
    (planned,) = plan(MTTY + 'properties.enable-migration = "auto"\nproperties.migration-events = ""\n')
    (device,) = planned.case.source.devices
    assert device.properties == {"enable-migration": "auto", "x-device-dirty-page-tracking": "off"}


def test_an_unknown_type_has_what_its_scenario_says() -> None:
    """Nothing is expected of it but that it migrates, and nothing needs to be built."""
    text = '[device]\ntype = "nvidia-63"\nproperties.enable-migration = "on"\n'
    (planned,) = plan(text)
    (device,) = planned.case.source.devices
    assert isinstance(device, MediatedSpec)
    assert (device.known, device.properties) == (None, {"migration-events": "on", "enable-migration": "on"})
    assert list_programs([make_plan(parse_scenario(HEAD + text))]) == ["qemu-system-x86_64"]
    assert (planned.rule.name, planned.case.expectation.verdict) == ("", "completed")


def test_knobs_have_no_effect_on_it() -> None:
    """A key that would be left alone is told, unless an axis has the reference device too."""
    with pytest.raises(UsageError, match="has no effect on a device of type mtty-2: only reference devices have it"):
        plan(MTTY + 'pre_copy = "off"\n')
    both = plan(f'[device]\npre_copy = "off"\n[axes]\ndevice.type = ["mtty-2", "{TYPE}"]\n')
    assert [type(entry.case.source.devices[0]) for entry in both] == [MediatedSpec, DeviceSpec]


def test_one_of_ours_beside_it() -> None:
    """Two devices of different kinds, each with what it is given."""
    (planned,) = plan('[[devices]]\nid = "ours"\n[[devices]]\nid = "theirs"\ntype = "mtty-1"\n')
    assert [device.id for device in planned.case.source.references] == ["ours"]
    assert [device.id for device in planned.case.source.mediated] == ["theirs"]
    assert planned.case.expectation.verdict == "completed"


@pytest.mark.parametrize("device", [make_mediated("mtty-1"), make_mediated("nobody-1", properties={"x": "y"})])
def test_a_record_gives_it_back(device: MediatedSpec) -> None:
    """As what it is, by its type alone."""
    case = make_case("x", SideSpec(devices=(device,)))
    assert parse_case(record_of(case)) == case


def test_a_host_without_its_module() -> None:
    """The type that a host cannot make is what is missing."""
    (planned,) = plan(MTTY)
    text = "can make no mediated device of the type 'mtty-2'"
    assert [text in one for one in decide(planned.case, planned.hosts, PAIR).missing][:2] == [True, True]
    able = replace(GOOD, device_types=frozenset({"mtty-2"}))
    found = decide(planned.case, planned.hosts, Known((able, able))).missing
    assert not any(text in one for one in found)


def test_a_reference_device_of_another_type() -> None:
    """In Python the class says what a device is, and a type that contradicts it is told."""
    with pytest.raises(UsageError, match=r"type: must begin with refdev-"):
        check_case(make_case("x", SideSpec(devices=(DeviceSpec(type="mtty-2"),))))


P2P = '[[devices]]\nid = "ours"\np2p = "off"\n[[devices]]\nid = "theirs"\ntype = "mtty-2"\n'


@pytest.mark.parametrize(
    ("properties", "rule"),
    [
        ("", "several-devices-one-without-p2p"),
        ('properties.enable-migration = "auto"\n', "no-dirty-tracking"),
        (
            'properties.enable-migration = "auto"\nproperties.x-device-dirty-page-tracking = "on"\n',
            "several-devices-one-without-p2p-blocks",
        ),
    ],
)
def test_a_device_without_p2p_beside_it(properties: str, rule: str) -> None:
    """What QEMU makes of two of which one has no P2P depends on the property of the second."""
    (planned,) = plan(P2P + properties)
    assert planned.rule.name == rule
    (right,) = plan(P2P.replace('"off"', '"on"') + properties)
    assert right.rule.name in ("", "no-dirty-tracking")


EXPECTED = {
    "pre-copy": ("", "completed"),
    "no-pre-copy": ("paused-before", "completed"),
    "ack-at-source-only": ("ack-at-source-only", "failed"),
    "fewer-ports": ("other-device-type", "failed"),
    "more-ports": ("other-device-type", "failed"),
    "fewer-ports-no-pre-copy": ("other-device-type", "failed"),
    "enable-migration-auto": ("no-dirty-tracking", "blocked"),
    "enable-migration-off": ("enable-migration-off", "blocked"),
}


def test_what_the_oracle_expects_of_mtty() -> None:
    """Rules that are about devices in general are about it too; one that tracks its DMA itself is not blocked."""
    found = {entry.id.partition("question-")[2]: entry for entry in load_cases("mtty")}
    for name, (rule, verdict) in EXPECTED.items():
        assert (found[name].rule.name, found[name].case.expectation.verdict) == (rule, verdict), name
    (own,) = plan(MTTY + 'properties.enable-migration = "auto"\nproperties.x-device-dirty-page-tracking = "on"\n')
    assert own.rule.name == "", "QEMU takes its word for it"
