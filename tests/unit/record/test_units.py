# SPDX-License-Identifier: GPL-2.0-or-later
"""Units as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.record.units import format_bytes, format_count, format_median, format_seconds, format_spread

BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
SECONDS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (-2048, "-2.0 KiB"),
        (64 << 20, "64.0 MiB"),
        (3 << 40, "3072.0 GiB"),
    ],
)
def test_bytes(value: int, text: str) -> None:
    """Exact below one KiB, one digit above, and no unit larger than GiB."""
    assert format_bytes(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 µs"),
        (0.0000123, "12 µs"),
        (0.001, "1.0 ms"),
        (0.0123, "12.3 ms"),
        (-0.5, "-500.0 ms"),
        (1, "1.00 s"),
        (83.456, "83.46 s"),
    ],
)
def test_seconds(value: float, text: str) -> None:
    """Microseconds, milliseconds and seconds where each is read best."""
    assert format_seconds(value) == text


@given(st.integers(-(1 << 60), 1 << 60))
def test_bytes_are_right(value: int) -> None:
    """The text is the value, to half of its last digit."""
    number, unit = format_bytes(value).split()
    assert abs(float(number) * BYTES[unit] - value) <= 0.051 * BYTES[unit]


@given(st.floats(-1e6, 1e6))
def test_seconds_are_right(value: float) -> None:
    """The text is the value, to half of its last digit."""
    number, unit = format_seconds(value).split()
    assert abs(float(number) * SECONDS[unit] - value) <= 0.51 * SECONDS[unit]


def test_counts() -> None:
    """One thing, or so many things; none is several."""
    assert [format_count(number, "lab host") for number in (0, 1, 2)] == ["0 lab hosts", "1 lab host", "2 lab hosts"]


@given(st.lists(st.integers(0, 9), max_size=5))
def test_values_together(values: list[int]) -> None:
    """Extremes stand beside the median only if they differ, and no values are never a number."""
    text = format_spread(values, str)
    assert text.startswith(format_median(values, str))
    assert ("[" in text) == (len(set(values)) > 1)
    assert (text == "missing") == (not values)
    if len(set(values)) > 1:
        assert text.endswith(f" [{min(values)} … {max(values)}]")
