# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of the oracle that no other test comes to: two kinds of switchover-ack, configuration that is loaded late or
differs, and what blocks a device that tracks its DMA itself.
"""

import pytest
from tests.lab.case_runner import CaseRunner
from tests.lab.standard import load_quiet
from tests.lab.verdicts import require_right

CASES = load_quiet(
    "ack-versions", "ack-versions-back", "multifd-late-config", "unlike-device", "mtty-blockers", "mtty-viommu"
)
pytestmark = pytest.mark.toolchains("mtty", "qemu-11.1")


@pytest.mark.parametrize("identity", CASES)
def test_case(run_case: CaseRunner, identity: str) -> None:
    """The verdict is the expected one for the expected reason, and a guest that stayed migrates again."""
    require_right(CASES[identity], run_case(CASES[identity]))
