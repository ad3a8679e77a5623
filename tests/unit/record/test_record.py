# SPDX-License-Identifier: GPL-2.0-or-later
"""The record on disk: it comes back as it was, and its schema does not drift unseen."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.builders import make_record

from switchover.record.errors import UsageError
from switchover.record.measurement import Check, Measurement
from switchover.record.record import (
    SCHEMA_VERSION,
    Record,
    Verdict,
    VerdictName,
    exit_code_of,
    parse_record,
    read_record,
    render_record,
)
from switchover.record.units import Direction, Unit

SCHEMA = Path(__file__).parent.parent / "data" / "record-1.json"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=3)
NUMBERS = st.none() | st.integers() | st.floats(allow_nan=False)
RECORDS = st.builds(
    Record,
    case=st.text(),
    repeat=st.integers(),
    started=st.text(),
    verdict=st.builds(Verdict, st.sampled_from(VerdictName), st.text(), st.text()),
    settings=OBJECTS,
    fingerprint=OBJECTS,
    seconds=st.dictionaries(st.text(), st.floats(allow_nan=False), max_size=3),
    measurements=st.lists(
        st.builds(
            Measurement,
            st.text(),
            NUMBERS,
            st.sampled_from(Unit),
            st.sampled_from(Direction),
            st.text(),
            st.text(),
            st.none() | st.floats(allow_nan=False),
            st.text(),
        ),
        max_size=3,
    ).map(tuple),
    checks=st.lists(st.builds(Check, st.text(), st.booleans(), st.text(), st.text()), max_size=3).map(tuple),
    downtime=OBJECTS,
    states=st.dictionaries(st.text(), st.lists(st.text(), max_size=3), max_size=2),
    clocks=OBJECTS,
)


@given(RECORDS)
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    """Whatever a record holds, what is written is read back equal, with its verdict as the enumeration's."""
    back = parse_record(render_record(record))
    assert back == record
    assert isinstance(back.verdict.name, VerdictName)


def list_keys(value: object, path: str = "") -> list[str]:
    """Every key in a JSON text, with the type of what it holds."""
    match value:
        case dict():
            found = [f"{path} object"] if path else []
            return found + [line for key in sorted(value) for line in list_keys(value[key], f"{path}/{key}")]
        case list():
            return [f"{path} list", *(list_keys(value[0], f"{path}/0") if value else [])]
        case _:
            return [f"{path} {type(value).__name__}"]


def test_the_schema_is_the_golden_one() -> None:
    """Another key or type in ``record.json`` is a change that readers must know: raise the version, then this file."""
    golden = json.loads(SCHEMA.read_text())
    written = json.loads(render_record(make_record()))
    assert list_keys(written) == list_keys(golden)
    assert golden["schema_version"] == SCHEMA_VERSION


def test_the_golden_record_can_be_read() -> None:
    """A record that was written by version 1 is read for good."""
    record = read_record(SCHEMA)
    assert record == make_record()
    assert record.measured("downtime.qemu") == 0.256
    assert record.measured("bytes.wire") is None
    assert record.measured("no such") is None


def test_a_newer_record_is_refused() -> None:
    """A record of a version to come is not guessed at."""
    text = render_record(replace(make_record(), schema_version=SCHEMA_VERSION + 1))
    with pytest.raises(UsageError, match=rf"version {SCHEMA_VERSION + 1}; this switchover reads up to") as caught:
        parse_record(text)
    assert caught.value.fix == "update switchover"


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ([], 0),
        ([VerdictName.COMPLETED], 0),
        ([VerdictName.COMPLETED, VerdictName.INFRASTRUCTURE_ERROR], 3),
        ([VerdictName.INFRASTRUCTURE_ERROR, VerdictName.CHECKS_FAILED], 1),
        *(([name], 1) for name in VerdictName if name not in ("completed", "infrastructure-error")),
    ],
)
def test_the_exit_code_of_verdicts(verdicts: list[VerdictName], code: int) -> None:
    """A case that was not as expected comes before an environment that failed."""
    assert exit_code_of(verdicts) == code


def broken(**changes: Any) -> str:
    return json.dumps(json.loads(render_record(make_record())) | changes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        "null",
        "{}",
        broken(schema_version=None),
        broken(verdict={"name": "no such verdict"}),
        broken(verdict={}),
        broken(verdict=[]),
        broken(measurements=[{"name": "x"}]),
        broken(checks=[{"other": 1}]),
        broken(new_member=1),
    ],
)
def test_something_else_is_no_record(text: str) -> None:
    """Text that is no record of ours is the user's mistake, never a bug."""
    with pytest.raises(UsageError, match="not a record of switchover"):
        parse_record(text)


@pytest.mark.parametrize("verdict", ["completed", None])
def test_a_verdict_of_another_shape_is_no_record(verdict: object) -> None:
    """A verdict that is no object is the user's mistake as well."""
    with pytest.raises(UsageError):
        parse_record(broken(verdict=verdict))
