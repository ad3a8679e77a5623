# SPDX-License-Identifier: GPL-2.0-or-later
"""What hangs by itself is no doing of the machine that the lab is on (``test_slow_machine.py`` has the contrary)."""

from dataclasses import replace

import pytest
from tests.lab.case_runner import CaseRunner
from tests.lab.standard import DEVICE, KNOBS

from switchover import MIB, Expectation, MigrationSettings, VerdictName, build_case

SMALL = replace(KNOBS, initial_bytes=4 * MIB)


@pytest.mark.quick
def test_a_device_that_hangs_on_a_healthy_lab_hangs(run_case: CaseRunner) -> None:
    """A destination that is stuck in its device is hung, however long its idle lab host says nothing."""
    case = build_case(
        "stuck",
        device=replace(DEVICE, knobs=SMALL),
        destination_device=replace(DEVICE, knobs=replace(SMALL, load_initial_ms=600_000)),
        migration=MigrationSettings(hang_s=6),
        expectation=Expectation(VerdictName.HUNG, "destination"),
        heartbeat_us=0,
    )
    record = run_case(case)
    assert (record.verdict.name, record.verdict.side) == (VerdictName.HUNG, "destination"), record.verdict
    assert not record.mismatch
    assert "no progress" in record.verdict.reason
