# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest after a migration: the same one passes, and each difference fails its own check."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.builders import make_answers
from tests.unit.checks.evidences import failed, make_evidence, make_some

from switchover.checks import device, guest
from switchover.checks.evidence import Whereabouts
from switchover.checks.guest import check_arrival, check_console, compare_functions
from switchover.guests.capabilities import LAB_CAPABILITIES, Need
from switchover.guests.questions import GuestAnswers
from switchover.migration.phases import Action, Phase
from switchover.record.checks import CheckId
from switchover.record.measurement import Check
from switchover.scenarios.case import Case
from switchover.scenarios.faults import Fault

CASE = Case("x")
PAUSED = Case("x", faults=(Fault(Action.PAUSE_GUEST, Phase.BEFORE),))
SAID = (CheckId.GUEST_BOOT_ID, CheckId.GUEST_CANARY, *(check for rule in device.CHECKS for check in rule.ids))


def compare(before: GuestAnswers, after: GuestAnswers, *, loads: int) -> list[Check]:
    """What is claimed of what a guest says that has arrived, or, without a load of its devices, has stayed."""
    where = Whereabouts.ARRIVED if loads else Whereabouts.STAYED
    return make_some(make_evidence(before, after, where), *SAID, rules=(*guest.CHECKS, *device.CHECKS))


def change_view(**changes: object) -> Callable[[GuestAnswers], GuestAnswers]:
    def change(answers: GuestAnswers) -> GuestAnswers:
        changed = replace(answers.devices[-1], **changes)  # type: ignore[arg-type]
        return replace(answers, devices=(*answers.devices[:-1], changed))

    return change


@pytest.mark.parametrize(
    ("macs", "names"),
    [
        (("00:00:00:00:00:00", "52:54:00:53:67:01"), []),
        (("00:00:00:00:00:00", "52:54:00:53:67:02"), ["guest.mac"]),
    ],
)
def test_the_mac_address_is_that_of_the_source(macs: tuple[str, ...], names: list[str]) -> None:
    """Whatever the destination's NIC was given: the guest's address at the source is its address afterwards."""
    evidence = make_evidence(make_answers(1), replace(make_answers(2), macs=macs))
    here = replace(CASE.source, guest=replace(CASE.source.guest, mac="52:54:00:53:67:01"))
    there = replace(CASE.source, guest=replace(CASE.source.guest, mac="52:54:00:53:67:02"))
    evidence = replace(evidence, case=replace(CASE, source=here, destination=there))
    checks = make_some(evidence, CheckId.GUEST_MAC, rules=guest.CHECKS)
    assert len(checks) == 1
    assert failed(checks) == names


def test_the_same_guest_passes() -> None:
    """The same boot and device state, one generation later, passes every check."""
    checks = compare(make_answers(1), make_answers(2), loads=1)
    assert len(checks) == 7
    assert failed(checks) == []


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda answers: replace(answers, boot_id="other"), ["guest.boot-id"]),
        (lambda answers: replace(answers, canary="other"), ["guest.canary"]),
        (change_view(generation=1), ["device.generation, device 1"]),
        (change_view(generation=3), ["device.generation, device 1"]),
        (change_view(scratch=("1", "3")), ["device.scratch, device 1"]),
        (change_view(seed="8"), ["device.seed, device 1"]),
        (change_view(checksum="bad"), ["device.checksum, device 1", "device.checksum-by-guest, device 1"]),
        (change_view(checksum_expected="bad"), ["device.checksum-by-guest, device 1"]),
        (change_view(checksum="bad", checksum_expected="bad"), ["device.checksum, device 1"]),
    ],
)
def test_another_guest_fails(change: Callable[[GuestAnswers], GuestAnswers], names: list[str]) -> None:
    """Each difference fails its own check and no other."""
    assert failed(compare(make_answers(1), change(make_answers(2)), loads=1)) == names


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (change_view(generation=1), "device.generation"),
        (change_view(scratch=("1", "3")), "device.scratch"),
        (change_view(seed="8"), "device.seed"),
        (change_view(checksum_expected="bad"), "device.checksum-by-guest"),
    ],
)
def test_each_device_has_its_checks(change: Callable[[GuestAnswers], GuestAnswers], name: str) -> None:
    """Of two devices each has its own checks, and those of the second say so."""
    before, after = make_answers(1, devices=2), make_answers(2, devices=2)
    checks = compare(before, change(after), loads=1)
    assert len({check.label for check in checks}) == len(checks) == 2 + 2 * 5
    assert failed(checks) == [f"{name}, device 2"]
    assert [check.name.endswith(", device 2") for check in checks if not check.passed] == [True]


@given(st.integers(1, 9), st.integers(0, 1), st.integers(0, 9))
def test_the_generation_is_counted(before: int, loads: int, after: int) -> None:
    """The generation grows by one with each load of the device's state and not otherwise: a guest that stayed has 0."""
    found = failed(compare(make_answers(before), make_answers(after), loads=loads))
    assert found == ([] if after == before + loads else ["device.generation, device 1"])


def test_interrupts_may_go_on() -> None:
    """Interrupts that came meanwhile are no difference."""
    after = change_view(irq_hard=(5, 9))(make_answers(2))
    assert failed(compare(make_answers(1), after, loads=1)) == []


def test_functions_are_compared() -> None:
    """A guest must see as many as it was given, and after a migration with the drivers that they had before."""
    before = replace(make_answers(), functions=("8086:10d3 e1000e",))
    wanted = ["8086:10d3"]
    assert [check.passed for check in compare_functions(wanted, before, before)] == [True, True]
    lost = replace(before, functions=())
    assert [check.passed for check in compare_functions(wanted, before, lost)] == [False, False]
    assert [check.passed for check in compare_functions(wanted * 2, before, before)] == [False, True]
    without = replace(before, functions=("8086:10d3 none",))
    assert [check.passed for check in compare_functions(wanted, before, without)] == [True, False]
    assert compare_functions([], before, lost) == []
    unable = replace(before, capabilities=LAB_CAPABILITIES.without(Need.PCI))
    assert compare_functions(wanted, unable, unable) == []


def test_console_check() -> None:
    """A console with an oops fails with its lines, another one passes."""
    assert check_console("source", "switchover-guest: ready\n").passed
    check = check_console("source", "BUG: kernel NULL pointer dereference\nOops: 0000 [#1]\n")
    assert not check.passed
    assert check.observed == "BUG: kernel NULL pointer dereference; Oops: 0000 [#1]"


def test_the_state_that_a_guest_arrives_in() -> None:
    """A guest that was paused arrives paused, any other runs."""
    assert check_arrival(CASE, "running").passed
    assert not check_arrival(CASE, "paused").passed
    assert check_arrival(PAUSED, "paused").passed
    assert not check_arrival(PAUSED, "running").passed


def test_libvirt_resumes_a_guest_that_was_suspended_on_the_way() -> None:
    """Only that one: of a guest that was paused before, libvirt knows how it left."""
    guest = replace(CASE.source.guest, driver="libvirt")
    paused = replace(PAUSED, source=replace(PAUSED.source, guest=guest))
    on_the_way = replace(paused, faults=(Fault(Action.PAUSE_GUEST, Phase.ACTIVE),))
    for case, arrives in ((paused, "paused"), (on_the_way, "running")):
        assert check_arrival(case, arrives).passed
        assert not check_arrival(case, "paused" if arrives == "running" else "running").passed
