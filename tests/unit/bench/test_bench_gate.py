# SPDX-License-Identifier: GPL-2.0-or-later
"""The gate on repeats that are dealt out by chance."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.builders import make_record
from tests.unit.runs import make_line, make_run

from switchover.bench import gate
from switchover.cli.main import main
from switchover.record.record import Record


def make_repeats(count: int) -> list[Record]:
    """The first has booted the guest that the others share."""
    generator = random.Random(1)
    records = [make_record("a", number, downtime=generator.uniform(0.24, 0.26)) for number in range(1, count + 1)]
    start = {"guest": {"start": "warm", "migration": 1}}
    return [replace(records[0], fingerprint=start), *records[1:]]


def test_alarms_and_misses_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a case with seventeen repeats that compare, by fives and eights: what is far from the bound is always found,
    and all else is never worse.
    """
    monkeypatch.setattr(gate, "_ROWS", 2000)
    monkeypatch.setattr(gate, "_CASES", 20)
    run = make_run(tmp_path, make_repeats(18), [make_line("a", 18)])
    assert main(["bench", "gate", str(run.path), "--count", "5", "--shift", "50%"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("a: 17 repeats, dealt out 5 times; bound 5%\n5 repeats against 5:\n")
    assert "8 repeats against 8:\n  false alarms: 0, " in told
    assert told.count("downtime.explained     50% worse: 5 found, 0 can't tell, 0 missed; ") == 2
    assert "15 repeats" not in told
    assert "two sets of 2,000 rows" in told


def test_too_few_repeats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing can be dealt out of them."""
    run = make_run(tmp_path, make_repeats(9), [make_line("a", 9)])
    assert main(["bench", "gate", str(run.path)]) == 2
    assert "a has 8 repeats that compare" in capsys.readouterr().err
