# SPDX-License-Identifier: GPL-2.0-or-later
"""The matrix of faults: each case of the catalogue's fault scenarios ends as expected, and the guest lives on.

The cases run in a row with one guest, which is booted again only after a case that ended it.
"""

from collections.abc import Iterator

import pytest
from tests.lab.conftest import list_oopses

from switchover.lab.lab import Lab
from switchover.lab.release import list_leftovers
from switchover.run.pair import Pair
from switchover.run.series import Outcome, load_matrix, run_series

CASES = {case.id: case for case in load_matrix()}


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, lab: Lab, pair: Pair) -> Iterator[Iterator[Outcome]]:
    """Outcomes of the selected cases, each run when it is asked for."""
    calls = (getattr(item, "callspec", None) for item in request.session.items if item.path == request.path)
    wanted = [CASES[call.params["identity"]] for call in calls if call]
    series = run_series(wanted, pair)
    yield series
    series.close()
    for host in lab.hosts():
        assert list_leftovers(host) == [], f"left on {host.name}"
        assert list_oopses(host) == []


@pytest.fixture(autouse=True)
def clean() -> None:
    """The guest of the series lives on from test to test; ``outcomes`` looks at the end."""


@pytest.mark.parametrize("identity", CASES)
def test_fault(outcomes: Iterator[Outcome], identity: str) -> None:
    """The verdict is the expected one, by the expected side, for the expected reason; the guest runs where it must, is
    the same guest, and migrates again.
    """
    outcome = next(outcomes)
    assert outcome.case.id == identity
    assert not outcome.mismatch, f"{outcome.verdict}\n" + "\n".join(
        f"{check.name}: expected {check.expected}, observed {check.observed}"
        for check in outcome.checks
        if not check.passed
    )
