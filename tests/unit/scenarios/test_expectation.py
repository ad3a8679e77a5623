# SPDX-License-Identifier: GPL-2.0-or-later
"""Expectations: a case is right when what happened is what was to happen, for the expected reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.record.checks import CheckId
from switchover.record.measurement import Check
from switchover.record.record import Verdict, VerdictName
from switchover.scenarios.expectation import COMPLETES, Expectation, find_mismatch

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


def test_failed_checks_may_be_what_is_expected() -> None:
    """Where ``checks-failed`` is expected they are the verdict itself; which one it was is for the reason to say, in
    the words of its sentence or as its id. With another verdict ids of checks are no reason.
    """
    verdict = Verdict(VerdictName.CHECKS_FAILED, reason="device seed is kept: expected 1, observed 2")
    assert find_mismatch(Expectation(VerdictName.CHECKS_FAILED, reason="seed"), verdict, [FAILED]) == ""
    assert (
        find_mismatch(Expectation(VerdictName.CHECKS_FAILED, reason=r"device\.seed"), verdict, [PASSED, FAILED]) == ""
    )
    assert find_mismatch(Expectation(VerdictName.CHECKS_FAILED, reason=r"guest\."), verdict, [PASSED, FAILED]) != ""
    assert find_mismatch(Expectation(VerdictName.CHECKS_FAILED, reason="boot"), verdict, [FAILED]) != ""
    by_id = Expectation(VerdictName.FAILED, reason=r"device\.seed")
    assert find_mismatch(by_id, FAILURE, [FAILED]).startswith("expected a reason with")


@given(st.sampled_from(VerdictName), st.sampled_from(VerdictName))
def test_another_verdict_is_never_right(expected: VerdictName, was: VerdictName) -> None:
    """Without checks a case is right exactly if its verdict is the expected one."""
    assert (find_mismatch(Expectation(expected), Verdict(was), []) == "") is (expected is was)
