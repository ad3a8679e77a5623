# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults are shown to have happened."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.builders import make_answers, make_truth
from tests.unit.checks.evidences import make_evidence, make_some

from switchover.checks import faults
from switchover.checks.evidence import DeviceEvidence, SideEvidence
from switchover.checks.faults import check_device_faults, check_faults, list_faults
from switchover.devices.reference import Knobs
from switchover.migration.phases import RESTORED, Action, Intervened, Phase
from switchover.migration.settings import MigrationSettings
from switchover.record.checks import CheckId
from switchover.record.measurement import Check
from switchover.scenarios.case import Case, DeviceSpec, SideSpec, in_order, with_one_device
from switchover.scenarios.faults import Fault

PANIC = "[ 23.6] Kernel panic - not syncing: sysrq triggered crash\n"


def make(action: Action) -> Intervened:
    return Intervened(action, Phase.ACTIVE, "active", 1, 2)


def make_device_side(name: str, count: int) -> SideEvidence:
    """With a device that has made so many faults, and had made three before."""
    device = DeviceEvidence(name, DeviceSpec(), make_truth(faults=3), make_truth(faults=3 + count))
    return SideEvidence(name, devices=(device,))


@pytest.mark.parametrize(("console", "shown"), [(PANIC, True), ("BUG: x\nKernel panic - not syncing: y\n", False)])
def test_a_panic_is_shown_by_the_kernels_words(console: str, shown: bool) -> None:
    """A kernel that panics for another reason did not do what it was told."""
    case = Case("x", faults=(Fault(Action.PANIC_GUEST, Phase.ACTIVE),))
    (check,) = check_faults(case, [make(Action.PANIC_GUEST)], (), console)
    assert check.passed is shown


def test_each_fault_of_a_case_is_shown() -> None:
    """Each that was not made is told, once; one of two that are alike is not enough."""
    cut, cancel = Fault(Action.CUT_LINK, Phase.ACTIVE), Fault(Action.CANCEL, Phase.SETUP)
    case = Case("x", faults=(cancel, cut, cut))

    def passed(made: list[Intervened]) -> dict[str, bool]:
        checks: list[Check] = list(check_faults(case, made, (), ""))
        assert set(list_faults(case)) == {check.label for check in checks}
        return {check.subject: check.passed for check in checks}

    assert passed([]) == {"cancel in setup": False, "cut link in active": False}
    assert passed([make(Action.CUT_LINK)]) == {"cancel in setup": False, "cut link in active": False}
    assert passed([make(Action.CUT_LINK)] * 2) == {"cancel in setup": False, "cut link in active": True}


@pytest.mark.parametrize(("rejected", "passed"), [("device_del not allowed while migrating", True), ("", False)])
def test_a_device_that_is_to_be_unplugged_meanwhile(rejected: str, passed: bool) -> None:
    """QEMU has to reject it; before the migration it must not."""
    meanwhile = Case("x", faults=(Fault(Action.UNPLUG_DEVICE, Phase.ACTIVE),))
    before = Case("x", faults=(Fault(Action.UNPLUG_DEVICE, Phase.BEFORE),))
    made = Intervened(Action.UNPLUG_DEVICE, Phase.ACTIVE, "active", 1, 2, rejected=rejected)
    (check,) = check_faults(meanwhile, [made], (), "")
    assert (check.passed, check.expected) == (passed, "rejected")
    (check,) = check_faults(before, [replace(made, phase=Phase.BEFORE)], (), "")
    assert (check.passed, check.expected) == (not passed, "made")


def test_a_link_that_has_to_come_back() -> None:
    """It did while the migration went on, or the case says nothing about it."""
    fault = Fault(Action.CUT_LINK, at_s=2, seconds=10)
    cut = Intervened(Action.CUT_LINK, None, "active", 1, 2, at_s=2)
    case = Case("x", faults=(fault,))
    (check,) = check_faults(case, [cut], (), "")
    assert (check.passed, check.subject) == (False, "cut link at 2 s")
    assert "did not come back" in check.observed
    (check,) = check_faults(case, [cut, replace(cut, name=RESTORED)], (), "")
    assert check.passed
    late = replace(case, settings=MigrationSettings(hang_s=5))
    (check,) = check_faults(late, [cut], (), "")
    assert check.passed, "the migration hangs before"


@pytest.mark.parametrize(("boot", "shown"), [("another", True), (make_answers(1).boot_id, False), ("", False)])
def test_a_reboot_is_shown_by_another_boot(boot: str, shown: bool) -> None:
    """A guest that says the same one, or cannot be asked, has not shown that it rebooted."""
    case = Case("x", faults=(Fault(Action.REBOOT_GUEST, Phase.ACTIVE),))
    evidence = make_evidence(case=case, after=replace(make_answers(2), boot_id=boot))
    (check,) = make_some(replace(evidence, interventions=(make(Action.REBOOT_GUEST),)), CheckId.MIGRATION_FAULTS)
    assert check.passed is shown


@pytest.mark.parametrize("resets", [0, 1])
def test_a_reset_is_shown_by_the_devices_count(resets: int) -> None:
    """Of the device that was to be reset."""
    case = Case("x", faults=(Fault(Action.RESET_DEVICE, Phase.ACTIVE),))
    device = DeviceEvidence("source", DeviceSpec(), make_truth(resets=3), make_truth(resets=3 + resets))
    source = SideEvidence("source", devices=(device,))
    evidence = replace(make_evidence(case=case), source=source, interventions=(make(Action.RESET_DEVICE),))
    (check,) = make_some(evidence, CheckId.MIGRATION_FAULTS)
    assert check.passed is bool(resets)


@pytest.mark.parametrize(
    ("side", "knobs", "asks"),
    [
        ("source", Knobs(fail_at="STOP_COPY"), True),
        ("source", Knobs(fail_at="read:4096"), True),
        ("source", Knobs(fail_at="write:4096"), False),
        ("source", Knobs(corrupt="stream"), True),
        ("source", Knobs(corrupt="state"), False),
        ("source", Knobs(), False),
        ("destination", Knobs(fail_at="load"), True),
        ("destination", Knobs(fail_at="STOP_COPY"), False),
        ("destination", Knobs(corrupt="state"), True),
        ("destination", Knobs(corrupt="stream"), False),
    ],
)
@pytest.mark.parametrize("count", [0, 1])
def test_a_devices_fault_is_shown_by_its_own_count(side: str, knobs: Knobs, asks: bool, count: int) -> None:
    """Of the faults that it made since before the migration; of a knob that is the other side's nothing is claimed."""
    spec = with_one_device(knobs)
    case = Case("x", source=spec) if side == "source" else Case("x", destination=spec)
    source, destination = (make_device_side(name, count * (name == side)) for name in ("source", "destination"))
    checks = make_some(replace(make_evidence(case=case), source=source, destination=destination), rules=faults.CHECKS)
    assert [(check.label, check.passed) for check in checks] == [(f"device.fault, {side}", count > 0)] * asks
    assert list_faults(case) == (f"device.fault, {side}",) * asks


def test_a_second_migration_asks_for_no_fault() -> None:
    """The devices were put in order before it: that they then make none is as it is to be."""
    failing = with_one_device(Knobs(fail_at="STOP_COPY"))
    healed = in_order(Case("x", source=failing))
    assert list(check_device_faults(make_device_side("source", 0), healed)) == []
    assert list(check_device_faults(make_device_side("source", 0), Case("x", source=failing))) != []


NEVER = [
    ("source", {"fail_at": "PRE_COPY", "pre_copy": False}),
    ("source", {"fail_at": f"read:{5 << 20}"}),
    ("source", {"fail_at": "RUNNING_P2P"}),
    ("destination", {"fail_at": f"write:{5 << 20}"}),
    ("destination", {"fail_at": "RUNNING_P2P", "p2p": False}),
]


@pytest.mark.parametrize(("side", "knobs"), NEVER)
@pytest.mark.parametrize("count", [0, 1])
def test_a_fault_that_never_happens_is_shown_not_to_have(side: str, knobs: dict[str, Any], count: int) -> None:
    """Where a migration does not come to the fault, the device's count says so: nothing else has to be shown."""
    spec = with_one_device(Knobs(**knobs))
    case = Case("x", source=spec) if side == "source" else Case("x", destination=spec)
    source, destination = (make_device_side(name, count * (name == side)) for name in ("source", "destination"))
    checks = make_some(replace(make_evidence(case=case), source=source, destination=destination), rules=faults.CHECKS)
    assert [(check.label, check.passed) for check in checks] == [(f"device.no-fault, {side}", count == 0)]
    assert list_faults(case) == ()


def test_of_a_fault_that_may_happen_nothing_is_claimed() -> None:
    """How much gets dirty decides whether the stream is so long."""
    case = Case("x", source=with_one_device(Knobs(fail_at=f"read:{5 << 20}", dirty_bytes_per_sec=1 << 20)))
    checks = make_some(replace(make_evidence(case=case), source=make_device_side("source", 1)), rules=faults.CHECKS)
    assert checks == []
    assert list_faults(case) == ()


@pytest.mark.parametrize("count", [0, 1])
def test_a_stream_of_another_version_is_shown_by_the_device_that_loads_it(count: int) -> None:
    """By its own count; of sides with one version nothing is claimed, nor where something else is done."""
    old, new = with_one_device(Knobs(stream_version=1)), with_one_device(Knobs())
    device = DeviceEvidence("destination", DeviceSpec(), make_truth(), make_truth(other_versions=count))
    side = SideEvidence("destination", devices=(device,))

    def check(case: Case) -> list[Check]:
        return make_some(replace(make_evidence(case=case), destination=side), rules=faults.CHECKS)

    case = Case("x", source=old, destination=new)
    assert [(check.label, check.passed) for check in check(case)] == [("device.other-version, destination", count > 0)]
    assert list_faults(case) == ("device.other-version, destination",)
    cut = replace(case, faults=(Fault(Action.CUT_LINK, Phase.ACTIVE),))
    for other in (Case("x", source=old, destination=old), cut):
        assert [one for one in check(other) if "version" in one.label] == []
        assert not any("version" in label for label in list_faults(other))


@pytest.mark.parametrize("count", [0, 1])
def test_initial_data_that_comes_anew_is_shown_by_the_device(count: int) -> None:
    """By its own count, where it is sure to come: not without pre-copy, nor where something else is done."""
    device = DeviceEvidence("source", DeviceSpec(), make_truth(), make_truth(reinits=count))
    side = SideEvidence("source", devices=(device,))
    knobs = Knobs(reinit_count=2)
    case = Case("x", source=with_one_device(knobs))
    found = make_some(replace(make_evidence(case=case), source=side), rules=faults.CHECKS)
    assert [(check.label, check.passed) for check in found] == [("device.reinit, source", count > 0)]
    assert list_faults(case) == ("device.reinit, source",)
    for changed in (
        replace(knobs, pre_copy=False),
        replace(knobs, reinit_after_bytes=8),
        replace(knobs, reinit_at="PRE_COPY_P2P", p2p=False),
    ):
        assert list_faults(Case("x", source=with_one_device(changed))) == ()
    cut = replace(case, faults=(Fault(Action.CUT_LINK, Phase.ACTIVE),))
    assert not any("reinit" in label for label in list_faults(cut))


@pytest.mark.parametrize(
    ("knobs", "counter", "shown"),
    [
        (Knobs(dirty_tracking=True, log_report="fail"), "faults", True),
        (Knobs(dirty_tracking=True, log_report="too-little", dma_pages_per_sec=9), "log_pages_left_out", True),
        (Knobs(dirty_tracking=True, log_report="too-little"), "", False),
        (Knobs(dirty_tracking=True), "", False),
    ],
)
def test_a_wrong_report_of_dirty_pages_is_shown_by_the_device(knobs: Knobs, counter: str, shown: bool) -> None:
    """Each migration asks for reports; to leave pages out, the device has to write some."""
    case = Case("x", source=with_one_device(knobs))
    assert list_faults(case) == (("device.fault, source",) if shown else ())
    for count in (0, 1) if shown else ():
        device = DeviceEvidence("source", DeviceSpec(knobs=knobs), make_truth(), make_truth(**{counter: count}))
        evidence = replace(make_evidence(case=case), source=SideEvidence("source", devices=(device,)))
        passed = [check.passed for check in make_some(evidence, rules=faults.CHECKS) if "fault" in check.label]
        assert passed == [count > 0]


def test_each_device_makes_its_own_fault() -> None:
    """Of two devices each that is to fail has to."""
    devices = (DeviceSpec(id="a"), DeviceSpec(id="b", knobs=Knobs(fail_at="STOP")))
    assert list_faults(Case("x", source=SideSpec(devices=devices))) == ("device.fault, source b",)
