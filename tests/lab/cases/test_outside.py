# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest as the outside hears it, over a migration."""

import json

import pytest
from tests.lab.case_runner import CaseRunner
from tests.lab.standard import PRE_COPY_OFF

from switchover import Measurement, VerdictName


@pytest.mark.quick
def test_the_outside_sees_the_downtime(run_case: CaseRunner) -> None:
    """The silence covers the time in which no vCPU ran; the arrivals are kept, and the number follows from them."""
    record = run_case(PRE_COPY_OFF)
    assert record.verdict.name is VerdictName.COMPLETED, record.verdict
    numbers: dict[str, Measurement] = {number.name: number for number in record.measurements}
    outside, explained = numbers["downtime.outside"].value, numbers["downtime.explained"].value
    assert outside is not None
    assert explained is not None
    assert record.check("downtime.outside").passed
    assert numbers["downtime.outside.resume"].value == outside - explained
    assert numbers["outside.lost"].value == 0
    assert numbers["outside.duplicated"].value == 0
    head, *lines = [json.loads(line) for line in (run_case.directory / "outside.jsonl").read_text().splitlines()]
    assert head["period_us"] == PRE_COPY_OFF.heartbeat_us
    source = sorted((line for line in lines if line["side"] == "source"), key=lambda line: line["at_ns"])
    first = min(line["at_ns"] for line in lines if line["side"] == "destination")
    (begin,) = (number for number, line in enumerate(source) if (first - line["at_ns"]) / 1e9 == outside)
    # what the guest sent before it stopped may leave its QEMU in the silence: by its own clock that was before
    for late in source[begin + 1 :]:
        assert late["guest_ns"] - source[begin]["guest_ns"] <= source[begin + 1]["at_ns"] - source[begin]["at_ns"]
