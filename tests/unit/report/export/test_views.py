# SPDX-License-Identifier: GPL-2.0-or-later
"""Names that formats allow: no two ids become one."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.report.export.table import EXPORTS
from switchover.report.export.views import clean, encode_name
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
