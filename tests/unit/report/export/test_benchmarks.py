# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers for Bencher and github-action-benchmark, by what their documentation says of their JSON."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
from tests.unit.builders import make_record
from tests.unit.runs import make_run

from switchover.report.export.benchmarks import render_bencher, render_bigger, render_smaller
from switchover.report.rundata import RunData, read_run

METRIC = {
    "type": "object",
    "properties": {name: {"type": "number"} for name in ("value", "lower_value", "upper_value")},
    "required": ["value"],
    "additionalProperties": False,
}
BENCHER = {
    "type": "object",
    "propertyNames": {"minLength": 1, "maxLength": 1024},
    "additionalProperties": {
        "type": "object",
        "propertyNames": {"minLength": 1, "maxLength": 64},
        "additionalProperties": METRIC,
    },
}


class Entry(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(min_length=1)]
    unit: str
    value: float
    range: str = ""
    extra: str = ""


def test_bencher_takes_any_run(any_run: RunData) -> None:
    """A benchmark for each case or hop, by Bencher's schema, which has no infinite numbers."""
    found = json.loads(render_bencher(any_run).text, parse_constant=pytest.fail)
    jsonschema.validate(found, BENCHER)
    for measures in found.values():
        for one in measures.values():
            assert one.get("lower_value", one["value"]) <= one["value"] <= one.get("upper_value", one["value"])


def test_bencher(planned: RunData) -> None:
    """The median of the repeats with the smallest and the largest; what has no place is told."""
    made = render_bencher(planned)
    found = json.loads(made.text)
    assert list(found) == ["device.pre_copy=on"]
    assert found["device.pre_copy=on"]["downtime.explained"] == {
        "value": 0.25,
        "lower_value": 0.1,
        "upper_value": 0.3,
    }
    assert "3 numbers that are missing: bytes.wire (3)" in made.left_out
    assert any(text.startswith("units (bytes, s)") for text in made.left_out)
    assert "vcpus=2: it has no number" in made.left_out


def test_bencher_takes_hops(chained: RunData) -> None:
    """A hop is a benchmark; numbers of a repeat that was not as expected are left out, and told."""
    made = render_bencher(chained)
    found = json.loads(made.text)
    assert list(found) == ["chain, hop 1", "chain, hop 2"]
    assert found["chain, hop 1"]["downtime.explained"] == {"value": 0.25}
    assert any("of repeats that were not as expected: downtime.explained (1)" in text for text in made.left_out)


@pytest.mark.parametrize("case", ["x" * 1025, "a-bencher-ignore", "0190f3a2-1111-2222-3333-444455556666"])
def test_names_that_bencher_takes_for_something_else(tmp_path: Path, case: str) -> None:
    """They are left out, and told; a number of a single repeat has its bound."""
    first, *more = make_record(case).measurements
    records = [
        make_record(case),
        replace(make_record("b"), measurements=(replace(first, bound=0.05), *more)),
    ]
    made = render_bencher(read_run(make_run(tmp_path, records)))
    found = json.loads(made.text)
    assert list(found) == ["b"]
    assert found["b"]["downtime.explained"] == {"value": 0.25, "lower_value": 0.2, "upper_value": 0.3}
    assert f"downtime.explained of {case}: Bencher takes no such name" in made.left_out


def test_action_takes_any_run(any_run: RunData) -> None:
    """A list of entries with exactly the members that the action knows; names are unique."""
    for render in (render_smaller, render_bigger):
        found = msgspec.json.decode(render(any_run).text, type=list[Entry])
        assert len({one.name for one in found}) == len(found)


def test_action_by_direction(odd: RunData) -> None:
    """Numbers of which more is better are for the other tool; in either, the others are told."""
    smaller, bigger = render_smaller(odd), render_bigger(odd)
    assert [one["name"].rpartition(": ")[2] for one in json.loads(smaller.text)] == ["time.total"]
    (rate,) = json.loads(bigger.text)
    assert (rate["unit"], rate["value"], rate["range"]) == ("bytes/s", 2.5, "2 … 3")
    assert any("of which more is better" in text and "rate (1)" in text for text in smaller.left_out)
    assert any("of which less is better" in text and "time.total (1)" in text for text in bigger.left_out)
    for made in (smaller, bigger):
        assert any("neither direction" in text and "bytes.ram.precopy (1)" in text for text in made.left_out)
        assert any("missing: downtime.explained (1)" in text for text in made.left_out)


def test_what_a_number_was_measured_on(tmp_path: Path) -> None:
    """Of how many repeats, and what all of these have alike."""
    records = [
        replace(make_record("a", number), fingerprint={"switchover": "0.1.0", "commit": str(number)})
        for number in (1, 2)
    ]
    found = json.loads(render_smaller(read_run(make_run(tmp_path, records))).text)
    words = [line.partition(": ")[::2] for line in found[0]["extra"].splitlines()]
    assert words[:2] == [("repeats", "2"), ("guest_kernel", "of the image")]
    assert ("switchover", "0.1.0") in words
    assert "commit" not in dict(words)
