# SPDX-License-Identifier: GPL-2.0-or-later
"""Bounds that a case expects its downtimes to keep: passed, failed, or not made, and then the case is not right."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.builders import make_measurement

from switchover.checks.bounds import check_bounds
from switchover.record.measurement import Measurement
from switchover.record.record import Verdict, VerdictName
from switchover.scenarios.expectation import COMPLETES, find_mismatches

EXPLAINED = replace(COMPLETES, downtime_ms="≤ 300")


def make_downtime(seconds: float | None, error: float | None = 0.002, note: str = "") -> Measurement:
    return replace(make_measurement("downtime.explained", seconds), bound=error, note=note)


@given(seconds=st.floats(0, 1), error=st.floats(0, 0.1))
def test_a_case_is_right_only_if_the_bound_is_kept_for_sure(seconds: float, error: float) -> None:
    """With all of its error the number has to be within the bound: else a check failed, or was not made."""
    found = check_bounds(EXPLAINED, [make_downtime(seconds, error)])
    assert len(found.checks) + len(found.not_checked) == 1
    failed = any(not check.passed for check in found.checks)
    verdict = Verdict(VerdictName.CHECKS_FAILED if failed else VerdictName.COMPLETED)
    right = not find_mismatches(EXPLAINED, verdict, found.checks, not_checked=found.not_checked)
    assert right == (seconds + error <= 0.3)
    assert failed == (seconds - error > 0.3)


@pytest.mark.parametrize(
    ("measured", "why"),
    [
        ([make_downtime(0.299)], "299.000 ± 2.000 ms may be ≤ 300 ms or not"),
        ([make_downtime(None, None, "the guest was paused")], "the number is missing: the guest was paused"),
        ([], "the number is missing"),
    ],
)
def test_a_number_that_does_not_tell(measured: list[Measurement], why: str) -> None:
    """The check is not made, says why, and the case depends on it."""
    found = check_bounds(EXPLAINED, measured)
    assert found.checks == ()
    assert [(str(one.id), one.why, one.needed) for one in found.not_checked] == [("downtime.bound", why, True)]


def test_each_number_has_a_check_of_its_own() -> None:
    """With what was expected, and the number with its error; a number without a bound has none."""
    outside = replace(make_measurement("downtime.outside", 0.6), bound=0.01)
    both = check_bounds(replace(EXPLAINED, outside_downtime_ms="< 500"), [make_downtime(0.25), outside])
    assert [(str(one.id), one.passed, one.expected, one.observed) for one in both.checks] == [
        ("downtime.bound", True, "≤ 300 ms", "250.000 ± 2.000 ms"),
        ("downtime.outside-bound", False, "< 500 ms", "600.000 ± 10.000 ms"),
    ]
    assert check_bounds(COMPLETES, [make_downtime(0.25)]).checks == ()


def test_a_number_whose_error_is_not_known() -> None:
    """Is taken as it is."""
    (check,) = check_bounds(EXPLAINED, [make_downtime(0.299, None)]).checks
    assert (check.passed, check.observed) == (True, "299.000 ± 0.000 ms")
