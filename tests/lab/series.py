# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases of the catalogue in a row with one guest, each the test that asks for its outcome."""

from collections.abc import Iterator, Mapping, Sequence

import pytest
from tests.lab.conftest import list_oopses

from switchover.lab.lab import Lab
from switchover.lab.release import list_leftovers
from switchover.migration.phases import Phase
from switchover.record.record import VerdictName
from switchover.run.pair import Pair
from switchover.run.series import Outcome, run_series
from switchover.run.verdict import FAILED_BY_CANCEL
from switchover.scenarios.case import Case
from switchover.scenarios.faults import Action


def run_selected(
    request: pytest.FixtureRequest, cases: Mapping[str, Case], lab: Lab, pair: Pair
) -> Iterator[Iterator[Outcome]]:
    """Outcomes of those ``cases`` whose tests (parametrized by ``identity``) are selected, each run when it is asked
    for; at the end the hosts are looked at.
    """
    calls = (getattr(item, "callspec", None) for item in request.session.items if item.path == request.path)
    wanted = [call.params["identity"] for call in calls if call and "identity" in call.params]
    series = run_series([cases[identity] for identity in wanted], pair)
    yield series
    series.close()
    for host in lab.hosts():
        assert list_leftovers(host) == [], f"left on {host.name}"
        assert list_oopses(host) == []


def require_right(outcomes: Iterator[Outcome], identity: str) -> Outcome:
    """The outcome of the next case, which must be as expected."""
    outcome = next(outcomes)
    assert outcome.case.id == identity
    if not is_told_race(outcome):
        assert not outcome.mismatch, f"{outcome.verdict}\n" + "\n".join(describe_failures(outcome))
    return outcome


def is_told_race(outcome: Outcome) -> bool:
    """Whether QEMU's own race decided what came of a cancel, and the harness told it (docs/concepts.md, Faults): a
    source that failed on its stream where it was cancelled, or, in stop-copy, a guest that runs at both ends, with one
    address. Nobody can set whether that happens.
    """
    in_stop_copy = any(
        fault.action is Action.CANCEL and fault.phase is Phase.DEVICE_STOP_COPY for fault in outcome.case.faults
    )
    failed = {check.name for check in outcome.checks if not check.passed}
    twice = in_stop_copy and "guest does not run on the destination" in failed
    verdict = outcome.verdict
    told = verdict.reason.startswith(FAILED_BY_CANCEL) or (verdict.name is VerdictName.CANCELLED and twice)
    # of two guests with one address, either answers
    excused = (
        {
            "guest does not run on the destination",
            "device generation is as before",
            "a second migration completes, with all its checks",
        }
        if twice
        else set()
    )
    return told and verdict.side == "source" and failed <= excused


def describe_failures(outcome: Outcome) -> Sequence[str]:
    return [
        f"{check.name}: expected {check.expected}, observed {check.observed}"
        for check in outcome.checks
        if not check.passed
    ]
