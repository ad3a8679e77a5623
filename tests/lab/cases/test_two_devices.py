# SPDX-License-Identifier: GPL-2.0-or-later
"""Several devices in one guest."""

from dataclasses import replace

import pytest
from tests.lab.case_runner import CaseRunner

from switchover import VerdictName, load_cases

TWO_DEVICES = {entry.case.id: entry.case for entry in load_cases("two-devices")}


@pytest.mark.parametrize(
    "identity", [pytest.param(name, marks=[pytest.mark.quick] * name.endswith("=on")) for name in TWO_DEVICES]
)
def test_two_devices_in_one_guest(run_case: CaseRunner, identity: str) -> None:
    """With P2P both devices migrate, each checked by itself; with one that lacks P2P, QEMU refuses."""
    record = run_case(replace(TWO_DEVICES[identity], heartbeat_us=0))
    assert not record.mismatch, record.verdict
    if record.verdict.name is VerdictName.COMPLETED:
        assert record.states["source second"] == record.states["source"]
        assert sum(check.subject == "device 2" for check in record.checks) >= 8
