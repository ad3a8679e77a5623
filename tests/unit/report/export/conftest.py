# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs that every export has to tell."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.builders import make_measurement, make_record
from tests.unit.report.test_chain import make_chain
from tests.unit.report.test_summary import HUNG, make_example
from tests.unit.runs import make_line, make_run

from switchover.record.ending import Ending
from switchover.record.record import Verdict, VerdictName
from switchover.record.units import Direction, Unit
from switchover.report.rundata import RunData, read_run

ODD = "a<b>&|`#1 \\ \x1b[1m\"'é😀_..x.\n# SKIP"
"""An id that most formats forbid, and that would be markup or a directive in many."""


def make_planned(parent: Path) -> RunData:
    return read_run(make_example(parent))


def make_planless(parent: Path) -> RunData:
    return read_run(make_run(parent, [make_record("b"), make_record("a", 1), make_record("a", 2, downtime=0.5)]))


def make_damaged(parent: Path) -> RunData:
    directory = make_run(parent, [make_record("a"), make_record("a", 2)], [make_line("a", 2)])
    (directory.repeat_path("a", 1) / "record.json").write_bytes(b'{"schema_version": 9')
    run = read_run(directory)
    assert run.unreadable
    return run


def make_chained(parent: Path) -> RunData:
    chains = [make_chain("chain", 0.25, 0.5), make_chain("chain", 0.3, repeat=2, failed="connection reset")]
    return read_run(make_run(parent, chains, [make_line("chain", 2)]))


def make_odd(parent: Path) -> RunData:
    """Ids and texts with characters that formats forbid; numbers of all directions, one of them missing."""
    numbers = (
        make_measurement("downtime.explained", None),
        replace(make_measurement("rate", 2.5, Unit.BYTES_PER_SECOND), direction=Direction.HIGHER, bound=0.5),
        replace(make_measurement("bytes.ram.precopy", 1 << 70, Unit.BYTES), direction=Direction.NEITHER),
        make_measurement("time.total", 1e-13),
    )
    fingerprint = {"source": {"host": "h<\x07"}, "lab": {"images": {}}}
    good = replace(make_record(ODD), measurements=numbers, fingerprint=fingerprint)
    wrong = replace(HUNG, case="odd/wrong", verdict=Verdict(VerdictName.HUNG, reason=ODD), mismatch=ODD)
    skipped = replace(
        HUNG, case="skip", verdict=Verdict(VerdictName.NOT_SUPPORTED, reason=ODD), mismatch="", started=""
    )
    off = replace(
        HUNG,
        case="off",
        verdict=Verdict(VerdictName.INFRASTRUCTURE_ERROR, reason="interrupted"),
        mismatch="interrupted",
        ending=Ending.INTERRUPTED,
    )
    run = read_run(make_run(parent, [good, wrong, skipped, off]))
    assert not run.unreadable
    return run


RUNS: dict[str, Callable[[Path], RunData]] = {
    "planned": make_planned,
    "planless": make_planless,
    "damaged": make_damaged,
    "chained": make_chained,
    "odd": make_odd,
}


@pytest.fixture(params=RUNS)
def any_run(request: pytest.FixtureRequest, tmp_path: Path) -> RunData:
    return RUNS[request.param](tmp_path)


@pytest.fixture
def planned(tmp_path: Path) -> RunData:
    return make_planned(tmp_path)


@pytest.fixture
def chained(tmp_path: Path) -> RunData:
    return make_chained(tmp_path)


@pytest.fixture
def odd(tmp_path: Path) -> RunData:
    return make_odd(tmp_path)
