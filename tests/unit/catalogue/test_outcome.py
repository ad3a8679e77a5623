# SPDX-License-Identifier: GPL-2.0-or-later
"""What a record is to test runners."""

from dataclasses import replace

import pytest
from tests.unit.builders import make_record

from switchover.catalogue.outcome import Outcome, find_outcome
from switchover.record.ending import Ending
from switchover.record.record import Verdict, VerdictName

V = VerdictName


@pytest.mark.parametrize(
    ("verdict", "mismatch", "ending", "outcome"),
    [
        (V.COMPLETED, "", Ending.BY_ITSELF, Outcome.PASS),
        (V.NOT_SUPPORTED, "", Ending.BY_ITSELF, Outcome.SKIP),
        (V.HUNG, "expected completed, was hung", Ending.NO_PROGRESS, Outcome.FAIL),
        (V.INFRASTRUCTURE_ERROR, "x", Ending.INTERRUPTED, Outcome.INTERRUPTED),
        (V.INFRASTRUCTURE_ERROR, "x", Ending.CALLED_OFF, Outcome.INTERRUPTED),
        (V.INFRASTRUCTURE_ERROR, "x", Ending.NOT_RUN, Outcome.ERROR),
        (V.INFRASTRUCTURE_ERROR, "interrupted", Ending.BY_ITSELF, Outcome.ERROR),
    ],
)
def test_the_outcome_of_a_record(verdict: VerdictName, mismatch: str, ending: Ending, outcome: Outcome) -> None:
    """An interruption is told by the ending: a reason that only ends with that word is an error like others."""
    record = replace(make_record(), verdict=Verdict(verdict, reason=mismatch), mismatch=mismatch, ending=ending)
    assert find_outcome(record) is outcome
