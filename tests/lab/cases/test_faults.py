# SPDX-License-Identifier: GPL-2.0-or-later
"""The matrix of faults: each case of the catalogue's fault scenarios ends as expected, and the guest lives on.

The cases share a guest, and another one is restored only after a case that ended it. Those that take long and are like
their neighbours are left to ``switchover bench matrix``, which runs all.
"""

import pytest
from tests.lab.case_runner import CaseRunner
from tests.lab.standard import load_quiet
from tests.lab.verdicts import require_right

LEFT_OUT = (
    "faults: fault.action=kill-destination,phase=active",
    "faults: fault.action=kill-destination,phase=pre-switchover",
    "faults: fault.action=kill-source,phase=setup",
    "faults: fault.action=kill-source,phase=active",
    "faults: fault.action=kill-source,phase=pre-switchover",
    "faults: fault.action=panic-guest,phase=setup",
    "faults: fault.action=panic-guest,phase=active",
    "faults: fault.action=cut-link,phase=setup",
    "faults: fault.action=cut-link,phase=active",
    "faults: fault.action=cut-link,phase=device-pre-copy",
    "faults: fault.action=cut-link,phase=pre-switchover",
    "device-faults: failure=source-read-pre-copy-error",
    "device-faults: failure=source-read-stop-copy-error",
    "device-faults: failure=destination-RUNNING_P2P",
    "device-faults: failure=destination-write-stop-copy",
)
CASES = {
    identity: case
    for identity, case in load_quiet("faults", "device-faults", "hangs").items()
    if identity not in LEFT_OUT
}


QUICK = (
    "faults: fault.action=cancel,phase=active",
    "faults: fault.action=kill-destination,phase=device-pre-copy",
    "hangs: hang=limit-too-small",
)
"""A cancel, a death and a hang."""


@pytest.mark.parametrize(
    "identity", [pytest.param(name, marks=[pytest.mark.quick] * (name in QUICK)) for name in CASES]
)
def test_fault(run_case: CaseRunner, identity: str) -> None:
    """The verdict is the expected one, by the expected side, for the expected reason; the guest runs where it must, is
    the same guest, and migrates again.
    """
    require_right(CASES[identity], run_case(CASES[identity]))
