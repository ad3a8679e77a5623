# SPDX-License-Identifier: GPL-2.0-or-later
"""LAVA's signals, as its dispatcher finds them in a log."""

import re
from pathlib import Path

from tests.unit.builders import make_record
from tests.unit.runs import make_run

from switchover.report.export.lava import render_lava
from switchover.report.rundata import RunData, read_run


def list_signals(text: str) -> list[dict[str, str]]:
    found = re.findall(r"<LAVA_SIGNAL_(\S+) ([^>]+)>", text)
    assert all(name == "TESTCASE" for name, _ in found)
    return [dict(word.split("=", 1) for word in words.split(" ")) for _, words in found]


def test_lava_of_any_run(any_run: RunData) -> None:
    """A signal for each repeat and number, with the members that LAVA knows, and an id of its own."""
    signals = list_signals(render_lava(any_run).text)
    ids = [one["TEST_CASE_ID"] for one in signals]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[\w.-]+", one, re.ASCII) for one in ids)
    assert {frozenset(one) for one in signals} <= {
        frozenset({"TEST_CASE_ID", "RESULT"}),
        frozenset({"TEST_CASE_ID", "RESULT", "MEASUREMENT", "UNITS"}),
    }
    assert len([one for one in signals if "UNITS" not in one]) == len(any_run.records)
    assert all(re.fullmatch(r"-?\d+(\.\d{1,10})?", one["MEASUREMENT"]) for one in signals if "UNITS" in one)


def test_lava(planned: RunData) -> None:
    """Results by outcome; numbers with their units; what is missing is told."""
    made = render_lava(planned)
    signals = list_signals(made.text)
    assert [one["RESULT"] for one in signals if "UNITS" not in one] == [*["pass"] * 3, "fail", "skip", "unknown"]
    (first,) = [one for one in signals if one["TEST_CASE_ID"].endswith("downtime.explained._repeat1")]
    assert (first["MEASUREMENT"], first["UNITS"]) == ("0.25", "s")
    assert "# device.pre__copy_3d_on._repeat1 is device.pre_copy=on #1: completed" in made.text
    assert "3 numbers that are missing: bytes.wire (3)" in made.left_out


def test_other_endings(odd: RunData) -> None:
    """What somebody interrupted is no pass."""
    signals = list_signals(render_lava(odd).text)
    assert [one["RESULT"] for one in signals if "UNITS" not in one] == ["pass", "fail", "unknown", "skip"]


def test_an_id_is_no_signal(tmp_path: Path) -> None:
    """One that reads as a signal is not taken for a result."""
    record = make_record("<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=forged RESULT=pass>")
    signals = list_signals(render_lava(read_run(make_run(tmp_path, [record]))).text)
    assert "forged" not in {one["TEST_CASE_ID"] for one in signals}
