# SPDX-License-Identifier: GPL-2.0-or-later
"""Downtime limits that follow each other while a migration goes on, by both drivers."""

import pytest
from tests.lab.case_runner import CaseRunner
from tests.lab.standard import load_quiet
from tests.lab.verdicts import require_right

CASES = load_quiet("downtime-steps")
LIMITS = {"arm=pre-copy": 0.15, "arm=no-pre-copy": 1.05, "arm=no-pre-copy-by-libvirt": 1.05}
"""With which limit the switchover comes, in seconds."""
QUICK = ("arm=no-pre-copy",)


@pytest.mark.parametrize(
    "identity", [pytest.param(name, marks=[pytest.mark.quick] * (name.partition(": ")[2] in QUICK)) for name in CASES]
)
def test_steps(run_case: CaseRunner, identity: str) -> None:
    """The switchover comes with the first limit that lets it, which is told; where none does, with the last one it is a
    hang. Each limit was acknowledged, and comes as long after the one before as it is to.
    """
    record = run_case(CASES[identity])
    require_right(CASES[identity], record)
    assert record.measured("downtime.limit") == LIMITS.get(identity.partition(": ")[2])
    settings = CASES[identity].settings
    given = [settings.downtime_limit_ms, *settings.downtime_steps_ms]
    assert [entry["limit_ms"] for entry in record.limits] == given[: len(record.limits)]
    assert all(entry["taken_ns"] is not None for entry in record.limits)
    for before, after in zip(record.limits[1:], record.limits[2:], strict=False):
        assert (after["told_ns"] - before["told_ns"]) / 1e9 == pytest.approx(settings.downtime_step_s, abs=1)
