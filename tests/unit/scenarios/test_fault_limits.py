# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults that cannot be: what is told names the key and says what is allowed; the rest is taken."""

import pytest

from switchover.devices.reference import Knobs
from switchover.migration.phases import Action, Phase
from switchover.migration.settings import MigrationSettings
from switchover.record.errors import UsageError
from switchover.scenarios.building import build_case
from switchover.scenarios.case import AnyDevice, DeviceSpec, FunctionSpec, SideSpec, make_mediated
from switchover.scenarios.expand import expand
from switchover.scenarios.fault_limits import find_fault_contradictions
from switchover.scenarios.faults import Fault, list_phases
from switchover.scenarios.scenario import parse_scenario

A = Action
DEVICES = (DeviceSpec("dut"), DeviceSpec("other"))
UNPLUG = Fault(A.UNPLUG_DEVICE, Phase.BEFORE)
PLUG = Fault(A.PLUG_DEVICE, Phase.AFTER)


def find(
    *faults: Fault, devices: tuple[AnyDevice, ...] = DEVICES, settings: MigrationSettings | None = None
) -> list[str]:
    found = find_fault_contradictions(settings or MigrationSettings(), faults, SideSpec(devices=devices))
    return [f"{target[1]}.{target[2]}: {text}" for target, text in found]


@pytest.mark.parametrize(
    "faults",
    [
        [Fault(A.CUT_LINK, Phase.ACTIVE, seconds=10)],
        [Fault(A.SLOW_LINK, at_s=2.5, seconds=10)],
        [Fault(A.CANCEL, at_s=180)],
        [UNPLUG, PLUG],
        [UNPLUG, Fault(A.CANCEL, Phase.ACTIVE), PLUG],
        [UNPLUG, Fault(A.PLUG_DEVICE, Phase.ACTIVE)],
        [Fault(A.UNPLUG_DEVICE, Phase.BEFORE, device="other"), Fault(A.RESET_DEVICE, Phase.DEVICE_PRE_COPY)],
        [Fault(A.UNPLUG_DEVICE, Phase.ACTIVE), Fault(A.UNPLUG_DEVICE, Phase.DEVICE_STOP_COPY)],
        [Fault(A.REBOOT_GUEST, Phase.ACTIVE), Fault(A.SUSPEND_GUEST, Phase.SETUP)],
    ],
)
def test_what_can_be(faults: list[Fault]) -> None:
    """Nothing is said of it."""
    assert find(*faults) == []


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ([Fault(A.CANCEL)], '0.phase: is missing, and at_s too: one of them says when; phase is one of "before"'),
        ([Fault(A.CANCEL, Phase.ACTIVE, at_s=2)], '0.at_s: has no place beside phase = "active"'),
        ([Fault(A.CANCEL, at_s=181)], "0.at_s: 181 s is above timeout_s (180 s): it would never be made"),
        ([Fault(A.CANCEL, Phase.AFTER)], '0.phase: "cancel" makes no sense in the phase "after"; allowed: "before", '),
        ([Fault(A.REBOOT_GUEST, Phase.DEVICE_STOP_COPY)], '0.phase: "reboot guest" makes no sense in the phase '),
        ([Fault(A.REBOOT_GUEST, Phase.BEFORE)], '0.phase: "reboot guest" makes no sense in the phase "before"'),
        ([Fault(A.SUSPEND_GUEST, Phase.AFTER)], '0.phase: "suspend guest" makes no sense in the phase "after"'),
        ([Fault(A.UNPLUG_DEVICE, Phase.AFTER)], '0.phase: "unplug device" makes no sense in the phase "after"'),
        ([UNPLUG, Fault(A.PLUG_DEVICE, Phase.BEFORE)], '1.phase: "plug device" makes no sense in the phase "before"'),
        ([Fault(A.CANCEL, Phase.ACTIVE, seconds=2)], '0.seconds: has no effect with the action "cancel": only '),
        ([Fault(A.PAUSE_GUEST, Phase.ACTIVE, device="dut")], '0.device: has no effect with the action "pause guest"'),
        ([Fault(A.RESET_DEVICE, Phase.ACTIVE, device="dutt")], '0.device: there is no device \'dutt\'; there are: '),
        ([PLUG], '0.action: "plug device" needs a fault before it that unplugs dut, in the phase "before"'),
        ([PLUG, UNPLUG], '0.action: "plug device" needs a fault before it that unplugs dut'),
        ([Fault(A.UNPLUG_DEVICE, Phase.ACTIVE), PLUG], '1.action: "plug device" needs a fault before'),
        ([UNPLUG, Fault(A.PLUG_DEVICE, Phase.AFTER, device="other")], "1.action: "),
        ([UNPLUG, UNPLUG], '1.action: "unplug device": dut is unplugged already by a fault before this one'),
        ([UNPLUG, Fault(A.RESET_DEVICE, Phase.ACTIVE)], '1.action: "reset device": dut is unplugged already'),
        (
            [UNPLUG, Fault(A.UNPLUG_DEVICE, Phase.BEFORE, device="other"), Fault(A.CANCEL, Phase.DEVICE_PRE_COPY)],
            '2.phase: the phase "device pre-copy" exists only with a source device that has pre_copy = "on"',
        ),
        (
            [UNPLUG, Fault(A.UNPLUG_DEVICE, Phase.BEFORE, device="other"), Fault(A.CANCEL, Phase.DEVICE_STOP_COPY)],
            '2.phase: the phase "device stop-copy" exists only with a device that is not unplugged before',
        ),
        ([Fault(A.CANCEL, Phase.PRE_SWITCHOVER)], '0.phase: the phase "pre-switchover" exists only with '),
    ],
)  # fmt: skip
def test_what_cannot_be(faults: list[Fault], expected: str) -> None:
    """One thing is told, of the key that is wrong."""
    (told,) = find(*faults)
    assert told.startswith(expected)


def test_devices_of_other_kinds() -> None:
    """A guest without a device has none to lose, and only reference devices are reset by their driver."""
    assert find(UNPLUG, devices=()) == ["0.action: there is no device ''; there are: none"]
    for other in (FunctionSpec("nic", pci="0000:01:00.0"), make_mediated("mtty-2", "nic"), make_mediated("x-1", "nic")):
        assert find(Fault(A.UNPLUG_DEVICE, Phase.BEFORE), devices=(other,)) == []
        assert find(Fault(A.CANCEL, Phase.DEVICE_PRE_COPY), devices=(other,)) == []
        (told,) = find(Fault(A.RESET_DEVICE, Phase.ACTIVE), devices=(other,))
        assert told.startswith('0.action: "reset device": nic is no reference device')


def test_a_device_without_pre_copy() -> None:
    """Is not seen in it."""
    (told,) = find(Fault(A.CANCEL, Phase.DEVICE_PRE_COPY), devices=(DeviceSpec(knobs=Knobs(pre_copy=False)),))
    assert "device pre-copy" in told


def test_phases_of_actions() -> None:
    """Each action has some, and what needs a guest that runs is not offered where it is stopped."""
    assert all(list_phases(action) for action in Action)
    for action in (A.REBOOT_GUEST, A.SUSPEND_GUEST, A.RESET_DEVICE):
        assert not {Phase.PRE_SWITCHOVER, Phase.DEVICE_STOP_COPY, Phase.AFTER} & {*list_phases(action)}
    assert [action for action in Action if Phase.AFTER in list_phases(action)] == [A.PLUG_DEVICE]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('action = "cut link"\nphase = "active"\nseconds = -1', "7: faults[0].seconds: must be more than 0 to 604800"),
        ('action = "cancel"\nat_s = 0', "6: faults[0].at_s: must be more than 0 to 604800 seconds"),
        ('action = "cancel"\nat_s = "2"', "6: faults[0].at_s: "),
        ('action = "cancel"\nat_s = 2\nphase = "active"', "6: faults[0].at_s: x: has no place beside phase"),
        ('action = "cancel"\nat_s = 999', "6: faults[0].at_s: x: 999 s is above timeout_s (180 s)"),
        ('action = "plug device"\nphase = "after"', "5: faults[0].action: x: "),
        ('action = "cancel"', "4: faults[0].phase: is missing, and no axis sets it, nor at_s"),
        ('action = "reset"\nphase = "active"', "5: faults[0].action: "),
    ],
)
def test_mistakes_of_a_file(text: str, expected: str) -> None:
    """Are told with their line and key."""
    head = 'version = 1\n[scenario]\ntitle = "t"\n[[faults]]\n'
    with pytest.raises(UsageError) as caught:
        expand(parse_scenario(head + text + "\n", "x.toml"))
    assert f"x.toml:{expected}" in caught.value.what


def test_a_file_with_a_time() -> None:
    """A fault by time has no phase; an axis may vary the time."""
    head = 'version = 1\n[scenario]\ntitle = "t"\n[[faults]]\naction = "cut link"\nseconds = 3\n'
    (entry,) = expand(parse_scenario(f"{head}at_s = 2.5\n", "x.toml"))
    assert entry.case.faults == (Fault(A.CUT_LINK, at_s=2.5, seconds=3),)
    planned = expand(parse_scenario(f"{head}[axes]\nfault.at_s = [1, 2]\n", "x.toml"))
    assert [entry.case.faults[0].at_s for entry in planned] == [1, 2]
    assert entry.case.faults[0].label == "cut link at 2.5 s"


def test_a_case_of_python() -> None:
    """Is checked the same; QEMU boots its guest again where it is to reboot, unless that was said otherwise."""
    with pytest.raises(UsageError, match=r"x: faults\.1\.action: \"unplug device\": dut is unplugged already"):
        build_case("x", faults=[UNPLUG, UNPLUG])
    case = build_case("x", faults=[Fault(A.REBOOT_GUEST, Phase.ACTIVE)])
    assert {side.guest.on_reboot for side in (case.source, case.destination)} == {"reset"}
    head = 'version = 1\n[scenario]\ntitle = "t"\n[[faults]]\naction = "reboot guest"\nphase = "active"\n'
    (implied,) = expand(parse_scenario(head, "x.toml"))
    (said,) = expand(parse_scenario(f'{head}[guest]\non_reboot = "shutdown"\n', "x.toml"))
    assert (implied.case.source.guest.on_reboot, said.case.source.guest.on_reboot) == ("reset", "shutdown")
    assert build_case("x").source.guest.on_reboot == "auto"
