# SPDX-License-Identifier: GPL-2.0-or-later
"""The matrix of faults: each case of the catalogue's fault scenarios ends as expected, and the guest lives on.

The cases share a guest, and another one is restored only after a case that ended it. Those that take long and are like
their neighbours are left to ``switchover bench matrix``, which runs all.
"""

import pytest
from tests.lab.case_runner import CaseRunner
from tests.lab.standard import load_quiet
from tests.lab.verdicts import require_right

SCENARIOS = ("faults", "device-faults", "device-faults-never", "stream-versions", "hangs")
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
    "device-faults-never: failure=PRE_COPY_P2P-without-p2p",
    "stream-versions: drivers=new-to-old,made-of-it=refused",
    "stream-versions: drivers=new-to-old,made-of-it=misread",
)
CASES = {identity: case for identity, case in load_quiet(*SCENARIOS).items() if identity not in LEFT_OUT}


QUICK = (
    "faults: fault.action=cancel,phase=active",
    "faults: fault.action=kill-destination,phase=device-pre-copy",
    "hangs: hang=limit-too-small",
    "device-faults-never: failure=read-after-the-end",
    "stream-versions: drivers=old-to-new,made-of-it=misread",
)
"""A cancel, a death, a hang, a fault that never happens, and a state that is read wrong without a word."""


@pytest.mark.parametrize(
    "identity", [pytest.param(name, marks=[pytest.mark.quick] * (name in QUICK)) for name in CASES]
)
def test_fault(run_case: CaseRunner, identity: str) -> None:
    """The verdict is the expected one, by the expected side, for the expected reason; the guest runs where it must, is
    the same guest, and migrates again.
    """
    require_right(CASES[identity], run_case(CASES[identity]))
