# SPDX-License-Identifier: GPL-2.0-or-later
"""Names that formats allow: no two ids become one."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.report.history.test_store import make_row

from switchover.report.export.table import EXPORTS
from switchover.report.export.views import clean, encode_name, render_number
from switchover.report.metrics import MetricRow
from switchover.report.rundata import RunData

TEXTS = st.one_of(st.text(min_size=1), st.text(alphabet="a._=5f-", min_size=1))


def decode_name(name: str) -> str:
    return re.sub("__|_([0-9a-f]+)_", lambda found: chr(int(found[1], 16)) if found[1] else "_", name)


@given(TEXTS)
def test_a_name_tells_its_text(text: str) -> None:
    """Whatever the text, its name is allowed by KCIDB, can be read back, and has no word of ours in it."""
    name = encode_name(text)
    assert re.fullmatch(r"[a-zA-Z0-9_-]+(\.[a-zA-Z0-9_-]+)*", name)
    assert decode_name(name) == text
    assert not any(re.match("_[g-z]", word) for word in name.split("."))


@given(st.text())
def test_what_is_clean(text: str) -> None:
    """What is left can be encoded, and has no control characters but tab and newline."""
    made = clean(text)
    made.encode()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", made)


@pytest.mark.parametrize("name", EXPORTS)
def test_any_run(name: str, any_run: RunData) -> None:
    """A run without a plan, with damage, with cases that were not run, with hops, and with odd ids is told in text
    that can be written, with no control characters.
    """
    made = EXPORTS[name].render(any_run).text
    made.encode()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", made)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (make_row(value=0.25, bound=0.0004), "0.25 s ± 0.0004"),
        (make_row(value=3, bound=None, unit="bytes", note="of two devices"), "3 bytes (of two devices)"),
        (make_row(value=None, note="no heartbeat arrived"), "missing: no heartbeat arrived"),
        (make_row(value=None), "missing"),
    ],
)
def test_a_number_in_words(row: MetricRow, told: str) -> None:
    """With its error and its note; one that is missing says why."""
    assert render_number(row) == told
