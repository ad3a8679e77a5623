# SPDX-License-Identifier: GPL-2.0-or-later
"""The matrix of faults: each case of the catalogue's fault scenarios ends as expected, and the guest lives on.

The cases run in a row with one guest, which is booted again only after a case that ended it. Those that take long
and are like their neighbours are left to ``switchover bench matrix``, which runs all.
"""

from collections.abc import Iterator

import pytest
from tests.lab.series import require_right, run_selected

from switchover.lab.lab import Lab
from switchover.run.pair import Pair
from switchover.run.series import Outcome, load_matrix

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
CASES = {case.id: case for case in load_matrix() if case.id not in LEFT_OUT}


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, lab: Lab, pair: Pair) -> Iterator[Iterator[Outcome]]:
    yield from run_selected(request, CASES, lab, pair)


@pytest.fixture(autouse=True)
def clean() -> None:
    """The guest of the series lives on from test to test; ``outcomes`` looks at the end."""


@pytest.mark.parametrize("identity", CASES)
def test_fault(outcomes: Iterator[Outcome], identity: str) -> None:
    """The verdict is the expected one, by the expected side, for the expected reason; the guest runs where it must, is
    the same guest, and migrates again.
    """
    require_right(outcomes, identity)
