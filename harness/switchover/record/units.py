# SPDX-License-Identifier: GPL-2.0-or-later
"""Units of measured values, and how people read values and numbers of things."""

import statistics
from collections.abc import Callable, Sequence
from enum import StrEnum

MIB = 1 << 20


class Unit(StrEnum):
    BYTES = "bytes"
    SECONDS = "s"
    BYTES_PER_SECOND = "bytes/s"
    HEARTBEATS = "heartbeats"
    INTERRUPTS = "interrupts"
    PERCENT = "%"


class Direction(StrEnum):
    """Which direction of a number is better."""

    LOWER = "lower"
    HIGHER = "higher"
    NEITHER = "neither"


def format_bytes(value: float) -> str:
    """``1536`` -> ``1.5 KiB``; below one KiB the number, without a fraction."""
    value = round(value)
    amount = float(value)
    for suffix in ("B", "KiB", "MiB", "GiB"):
        if abs(amount) < 1024 or suffix == "GiB":
            return f"{value} B" if suffix == "B" else f"{amount:.1f} {suffix}"
        amount /= 1024
    raise AssertionError("unreachable")


def format_seconds(value: float) -> str:
    """``0.0123`` -> ``12.3 ms``; seconds from one second up, microseconds below one millisecond."""
    if abs(value) >= 1:
        return f"{value:.2f} s"
    if abs(value) >= 0.001:
        return f"{value * 1e3:.1f} ms"
    return f"{value * 1e6:.0f} µs"


def format_value(value: float, unit: str) -> str:
    """A number in its unit, as people read it; a plain one where the unit is not known."""
    match unit:
        case Unit.SECONDS:
            return format_seconds(value)
        case Unit.BYTES:
            return format_bytes(value)
        case Unit.BYTES_PER_SECOND:
            return f"{format_bytes(value)}/s"
    return f"{value:.6g} {unit}"


def format_duration(seconds: float) -> str:
    """``75.2`` -> ``1 min 15 s``; for estimates, to the second."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def format_count(count: int, word: str) -> str:
    """``1, "case"`` -> ``1 case``; ``4, "case"`` -> ``4 cases``."""
    return f"{count} {word}{'s' * (count != 1)}"


def format_median(values: Sequence[float], show: Callable[[float], str]) -> str:
    """The median as ``show`` has it; ``missing`` of no values."""
    return show(statistics.median(values)) if values else "missing"


def format_spread(values: Sequence[float], show: Callable[[float], str]) -> str:
    """The median, and of values that differ the smallest and the largest: ``2 s [1 s … 9 s]``."""
    middle = format_median(values, show)
    if not values or min(values) == max(values):
        return middle
    return f"{middle} [{show(min(values))} … {show(max(values))}]"
