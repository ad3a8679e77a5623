# SPDX-License-Identifier: GPL-2.0-or-later
"""Chains of migrations from the catalogue: each hop is checked, and the one that fails is the failed one."""

import pytest

from switchover import PlannedCase, Testbed, load_cases

NAMES = ("hops", "hops-settings", "hops-faults")
LEFT_OUT = ("hops.way-new-old-new", "hops-faults.end-cancelled")
"""They are like their neighbours."""
CASES = [pytest.param(case, id=case.id) for name in NAMES for case in load_cases(name) if case.id not in LEFT_OUT]


@pytest.mark.toolchains("qemu-11.1")
@pytest.mark.parametrize("case", CASES)
def test_each_chain(testbed: Testbed, case: PlannedCase) -> None:
    """It comes to what is expected, in the hop that is expected, and each hop that completed has its numbers."""
    record = testbed.run(case)
    assert record.mismatch == "", f"{record.verdict}: {record.verdict.reason}"
    wanted = len(record.hops) if record.verdict.name == "completed" else record.verdict.hop
    assert [hop.number for hop in record.hops] == list(range(1, wanted + 1))
    for hop in record.hops:
        if hop.verdict.name == "completed":
            assert record.at_hop(hop.number).measured("downtime.explained") is not None
            assert all(check.passed for check in hop.checks)
