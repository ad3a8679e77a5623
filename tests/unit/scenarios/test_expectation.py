# SPDX-License-Identifier: GPL-2.0-or-later
"""Expectations: a case is right when what happened is what was to happen, for the expected reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.record.checks import CheckId
from switchover.record.measurement import Check, NotChecked, make_check
from switchover.record.mismatch import Mismatch, MismatchKind
from switchover.record.record import Death, Verdict, VerdictName
from switchover.scenarios.expectation import COMPLETES, Expectation, find_mismatch, find_mismatches

PASSED = Check(CheckId.GUEST_ON_SOURCE, "guest runs on the source", True, "yes", "yes")
FAILED = Check(CheckId.DEVICE_SEED, "device seed is kept", False, "1", "2")
OTHER = Check(CheckId.GUEST_BOOT_ID, "guest is the same boot", False, "a", "b")
FAILURE = Verdict(VerdictName.FAILED, "destination", "failed: load of section 0000:00:03.0/vfio failed")


@pytest.mark.parametrize(
    "expectation",
    [
        Expectation(VerdictName.FAILED),
        Expectation(VerdictName.FAILED, side="destination"),
        Expectation(VerdictName.FAILED, reason="load of section .*vfio"),
        Expectation(VerdictName.FAILED, "destination", "^failed", "hw/vfio/migration.c"),
    ],
)
def test_as_expected(expectation: Expectation) -> None:
    """Verdict, side and reason agree as far as they matter; the reason is searched for as a regular expression."""
    assert find_mismatch(expectation, FAILURE, [PASSED]) == ""


@pytest.mark.parametrize(
    ("expectation", "text"),
    [
        (COMPLETES, "expected completed, was failed"),
        (Expectation(VerdictName.CRASHED, "destination"), "expected crashed, was failed"),
        (Expectation(VerdictName.FAILED, "source"), "expected failed by the source, was by the destination"),
        (
            Expectation(VerdictName.FAILED, reason="no space"),
            "expected a reason with 'no space', was: failed: load of section 0000:00:03.0/vfio failed",
        ),
    ],
)
def test_not_as_expected(expectation: Expectation, text: str) -> None:
    """What was expected and what was instead, in that order of importance."""
    assert find_mismatch(expectation, FAILURE, [FAILED]) == text


def test_what_is_not_known_is_not_as_expected() -> None:
    """A verdict without a side or a reason is not the one with them."""
    bare = Verdict(VerdictName.CRASHED)
    side = find_mismatch(Expectation(VerdictName.CRASHED, "source"), bare, [])
    assert side == "expected crashed by the source, was by no side in particular"
    reason = find_mismatch(Expectation(VerdictName.CRASHED, reason="panic"), bare, [])
    assert reason == "expected a reason with 'panic', was: none"


@given(st.sampled_from([name for name in VerdictName if name is not VerdictName.CHECKS_FAILED]))
def test_a_failed_check_counts_with_every_verdict(name: VerdictName) -> None:
    """The expected verdict is not enough: what was looked at after it has to be in order, and is named if it is not."""
    expectation = Expectation(name)
    assert find_mismatch(expectation, Verdict(name), [PASSED]) == ""
    assert find_mismatch(expectation, Verdict(name), [PASSED, FAILED, OTHER]) == (
        f"{name} as expected, but checks failed: device seed is kept; guest is the same boot"
    )


@pytest.mark.parametrize("needed", [False, True])
@pytest.mark.parametrize("entry", [{"lacking": "a sender"}, {"reason": "the guest lacks a sender"}])
def test_a_case_is_not_right_without_a_check_that_it_needs(needed: bool, entry: dict[str, str]) -> None:
    """A check that was not made has not passed: a case that depends on it is not right, any other one is."""
    missing = NotChecked(CheckId.DOWNTIME_OUTSIDE, "the silence", needed=needed, **entry)
    found = find_mismatch(COMPLETES, Verdict(VerdictName.COMPLETED), [PASSED], not_checked=[missing])
    words = "completed as expected, and a check that the case needs was not made: the silence: the guest lacks a sender"
    assert found == (words if needed else "")


CHECKS_FAILED = Verdict(VerdictName.CHECKS_FAILED, reason="device seed is kept: expected 1, observed 2")


def may_fail(*checks: str, reason: str = "") -> Expectation:
    return Expectation(VerdictName.CHECKS_FAILED, reason=reason, checks=checks)


@pytest.mark.parametrize("named", ["device.seed", "device.seed, device 2"])
def test_a_check_that_may_fail_is_named(named: str) -> None:
    """Where ``checks-failed`` is expected, by id whatever its subject, or with it; any other that fails is told."""
    seed = make_check(CheckId.DEVICE_SEED, False, "1", "2", "device 2")
    assert find_mismatch(may_fail(named), CHECKS_FAILED, [PASSED, seed]) == ""
    (found,) = find_mismatches(may_fail(named), CHECKS_FAILED, [PASSED, seed, OTHER])
    assert (found.kind, found.members) == (MismatchKind.CHECKS, ("guest.boot-id",))
    assert find_mismatch(may_fail(named), CHECKS_FAILED, [OTHER]) != ""
    assert find_mismatch(may_fail("device.seed, device 1"), CHECKS_FAILED, [seed]) != ""


def test_checks_that_a_reason_is_found_in_may_fail() -> None:
    """An expectation without ``checks`` means those whose id or sentence has its reason, and no others; one with
    neither allows none.
    """
    for reason in ("seed", r"device\.seed", "observed 2"):
        assert find_mismatch(may_fail(reason=reason), CHECKS_FAILED, [PASSED, FAILED]) == ""
        assert find_mismatch(may_fail(reason=reason), CHECKS_FAILED, [FAILED, OTHER]) == (
            "checks-failed as expected, but checks failed: guest is the same boot"
        )
    for reason in (r"guest\.", "boot"):
        assert find_mismatch(may_fail(reason=reason), CHECKS_FAILED, [PASSED, FAILED]) != ""
    assert find_mismatch(may_fail(), CHECKS_FAILED, [FAILED]) != ""


def test_ids_of_checks_are_no_reason_of_another_verdict() -> None:
    by_id = Expectation(VerdictName.FAILED, reason=r"device\.seed")
    assert find_mismatch(by_id, FAILURE, [FAILED]).startswith("expected a reason with")


KILL = "migration.faults, kill destination in active"
CRASH = Verdict(VerdictName.CRASHED, "destination", "migrate: killed")
MADE = make_check(CheckId.MIGRATION_FAULTS, True, "made", "made", "kill destination in active")
UNMADE = make_check(CheckId.MIGRATION_FAULTS, False, "made", "not made", "kill destination in active")


@pytest.mark.parametrize("checks", [[], [PASSED], [UNMADE]])
def test_a_fault_that_is_not_shown(checks: list[Check]) -> None:
    """A case whose fault was not made is not right, though its verdict is the expected one, by the expected side."""
    expectation = Expectation(VerdictName.CRASHED, "destination")
    assert find_mismatch(expectation, CRASH, [MADE], [KILL]) == ""
    assert find_mismatches(expectation, CRASH, checks, [KILL]) == (Mismatch(MismatchKind.FAULT, members=(KILL,)),)


@pytest.mark.parametrize("id", [CheckId.MIGRATION_FAULTS, CheckId.DEVICE_FAULT])
def test_no_expectation_allows_a_fault_not_to_be_made(id: CheckId) -> None:
    """Neither the names of checks that may fail nor a reason that is found in everything."""
    unmade = make_check(id, False, "a", "b", "x")
    for expectation in (may_fail(id), may_fail(reason=".")):
        (found,) = find_mismatches(expectation, CHECKS_FAILED, [unmade])
        assert found == Mismatch(MismatchKind.FAULT, members=(f"{id}, x",))


@pytest.mark.parametrize("name", [VerdictName.REFUSED, VerdictName.BLOCKED])
def test_a_migration_that_was_not_started_needs_no_fault(name: VerdictName) -> None:
    """What was to be done to it explains nothing of it; one that could not be made in it is told all the same."""
    assert find_mismatch(Expectation(name), Verdict(name), [], [KILL]) == ""
    assert find_mismatch(Expectation(name), Verdict(name), [UNMADE], [KILL]) != ""


def test_another_verdict_is_told_without_faults_that_it_prevented() -> None:
    """What happened instead comes first, and where no check was made nothing more is known."""
    assert find_mismatch(COMPLETES, FAILURE, [], [KILL]) == "expected completed, was failed"
    (first, second) = find_mismatches(COMPLETES, FAILURE, [UNMADE], [KILL])
    assert (first.kind, second.kind) == (MismatchKind.VERDICT, MismatchKind.FAULT)


@pytest.mark.parametrize(
    ("found", "members"),
    [
        ([], ()),
        ([Death("destination", -9, made=True)], ()),
        ([Death("destination", -6)], ()),
        ([Death("destination", -9, made=True), Death("source", -11)], ("source",)),
        ([Death("destination", -6), Death("source", -11)], ("source",)),
    ],
)
def test_a_death_besides_the_expected_one(found: list[Death], members: tuple[str, ...]) -> None:
    """Where a crash is expected one death is what it is about; any other is a mismatch."""
    expected = (Mismatch(MismatchKind.DEATH, members=members),) if members else ()
    assert find_mismatches(Expectation(VerdictName.CRASHED), CRASH, [], deaths=found) == expected


def test_a_death_with_another_verdict() -> None:
    """It is no part of a cancel that is as expected otherwise."""
    cancelled = Verdict(VerdictName.CANCELLED, "source")
    (found,) = find_mismatches(Expectation(VerdictName.CANCELLED), cancelled, [], deaths=[Death("destination", -6)])
    assert found.kind is MismatchKind.DEATH


@given(st.sampled_from(VerdictName), st.sampled_from(VerdictName))
def test_another_verdict_is_never_right(expected: VerdictName, was: VerdictName) -> None:
    """Without checks a case is right exactly if its verdict is the expected one."""
    assert (find_mismatch(Expectation(expected), Verdict(was), []) == "") is (expected is was)
