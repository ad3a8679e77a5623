# SPDX-License-Identifier: GPL-2.0-or-later
"""Plans: which cases, how long, and with which commands."""

import pytest
from tests.unit.scenarios.samples import HEAD

from switchover.scenarios.plan import (
    CASE_S,
    SECOND_MIGRATION_S,
    WARM_CASE_S,
    decide_again,
    list_starts,
    make_plan,
)
from switchover.scenarios.preflight import HostFacts, Known
from switchover.scenarios.scenario import parse_scenario


@pytest.mark.parametrize(
    ("expect", "seconds"),
    [
        ('verdict = "completed"', WARM_CASE_S),
        ('verdict = "blocked"', WARM_CASE_S),
        ('verdict = "failed"\nside = "source"', WARM_CASE_S + SECOND_MIGRATION_S),
        ('verdict = "crashed"\nside = "source"', WARM_CASE_S),
        ('verdict = "crashed"\nside = "destination"', WARM_CASE_S + SECOND_MIGRATION_S),
        ('verdict = "hung"', WARM_CASE_S + SECOND_MIGRATION_S + 9),
    ],
)
def test_estimates(expect: str, seconds: float) -> None:
    """A case costs its measured time, a second migration where the guest stays, and a hang's bound; in all repeats."""
    scenario = parse_scenario(f'{HEAD}repeats = 3\n[bounds]\nhang_s = 9\n[expect]\n{expect}\nbecause = "x"\n')
    plan = make_plan(scenario)
    assert [entry.seconds for entry in plan.entries] == [seconds]
    assert plan.seconds == 3 * seconds


def test_a_warm_case_is_estimated_as_such() -> None:
    """An axis over both starts: the warm case costs less, and each case says how its guest starts."""
    plan = make_plan(parse_scenario(f'{HEAD}[axes]\nstart = ["cold", "warm", "auto"]\n'))
    assert [(entry.planned.case.id, entry.seconds) for entry in plan.entries] == [
        ("start=cold", CASE_S),
        ("start=warm", WARM_CASE_S),
        ("start=auto", WARM_CASE_S),
    ]
    assert [entry.planned.case.source.guest.start for entry in plan.entries] == ["cold", "warm", "auto"]


def test_a_case_that_is_not_run_takes_no_time() -> None:
    """What the preflight leaves out costs nothing."""
    pair = (HostFacts("a", {"qemu-system-x86_64": None}), HostFacts("b"))
    plan = decide_again(make_plan(parse_scenario(HEAD)), Known(pair))
    assert plan.seconds == 0
    assert plan.entries[0].decision.missing == ("a has no qemu-system-x86_64",)


def test_selected_cases() -> None:
    """Only what is selected is planned; how many there are in all is known."""
    plan = make_plan(parse_scenario(HEAD + "[axes]\nvcpus = [1, 2, 3]\n"), only="vcpus=2")
    assert [entry.planned.case.id for entry in plan.entries] == ["vcpus=2"]
    assert plan.of == 3


def test_commands() -> None:
    """Both command lines are those that a run builds, each with its own side's values."""
    text = """
[[devices]]
id = "one"
[[devices]]
id = "two"
[destination]
machine = "pc-q35-9.2"
[source.devices.two]
allow_pre_copy = "off"
"""
    (entry,) = make_plan(parse_scenario(HEAD + text)).entries
    starts = list_starts(entry.planned.case)
    source, destination = starts["source"], starts["destination"]
    assert isinstance(source, list)
    assert isinstance(destination, list)
    assert source[source.index("-machine") + 1] == "q35"
    assert destination[destination.index("-machine") + 1] == "pc-q35-9.2"
    assert destination[-2:] == ["-incoming", "defer"]
    assert "-incoming" not in source
    devices = [word for word in source if word.startswith("vfio-pci,")]
    assert devices[0].startswith("vfio-pci,id=one,sysfsdev=/sys/bus/mdev/devices/UUID_one,")
    assert ["x-allow-pre-copy=off" in word for word in devices] == [False, True]


@pytest.mark.parametrize("driver", ["qmp", "libvirt"])
def test_commands_of_functions(driver: str) -> None:
    """A function stands there by its address; that of a virtual one a run decides. Both drivers can show it."""
    managed = 'managed = "on"\n' if driver == "libvirt" else ""
    devices = (
        '[[devices]]\nid = "a"\npci = "0000:3b:00.0"\nvf = 2\n[[devices]]\nid = "b"\npci = "0000:01:00.1"\n' + managed
    )
    text = f'{devices}[axes]\ndriver = ["{driver}"]\n'
    (entry,) = make_plan(parse_scenario(HEAD + text)).entries
    case = entry.planned.case
    shown = list_starts(case)["source"]
    if isinstance(shown, str):
        assert driver == "libvirt"
        assert [word in shown for word in ('type="pci" managed="no"', 'type="pci" managed="yes"')] == [True, True]
        assert '<address domain="0x0000" bus="0x01" slot="0x00" function="0x1"' in shown
        assert '<address domain="0xVF_2_OF_0000" bus="0x3b" slot="0x00" function="0x0"' in shown
    else:
        assert "sysfsdev=/sys/bus/pci/devices/0000:01:00.1" in " ".join(shown)
        assert "sysfsdev=/sys/bus/pci/devices/VF_2_OF_0000:3b:00.0" in " ".join(shown)
