# SPDX-License-Identifier: GPL-2.0-or-later
"""Bounds that a scenario sets for a downtime, in milliseconds, and whether a number with its error keeps one. Pure."""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

PATTERN = r"(≤|<=|<|≥|>=|>) *(\d{1,7}(?:\.\d{1,3})?)"
_SIGNS: Mapping[str, tuple[Callable[[float, float], bool], int]] = {
    "≤": (operator.le, 1),
    "<": (operator.lt, 1),
    "≥": (operator.ge, -1),
    ">": (operator.gt, -1),
}
"""What must hold, and on which side of the number its error counts against it."""
_LIMIT_MS = 3_600_000


@dataclass(frozen=True)
class Bound:
    """``sign``: ``≤``, ``<``, ``≥`` or ``>``."""

    sign: str
    limit_ms: float

    def __str__(self) -> str:
        return f"{self.sign} {self.limit_ms:.10g}"

    def judge(self, seconds: float, error_s: float) -> bool | None:
        """Whether a number keeps it wherever within its error it is; None: it may, or may not.

        >>> bound = parse_bound("≤ 300")
        >>> bound.judge(0.29, 0.002), bound.judge(0.31, 0.002), bound.judge(0.299, 0.002)
        (True, False, None)
        """
        holds, worse = _SIGNS[self.sign]
        limit = self.limit_ms / 1000
        if holds(seconds + worse * error_s, limit):
            return True
        return None if holds(seconds - worse * error_s, limit) else False


def parse_bound(text: str) -> Bound:
    """:raises ValueError: the text is no bound, or out of the range; says what is allowed"""
    found = re.fullmatch(PATTERN, text.strip(), re.ASCII)
    if not found or not 0 < float(found[2]) <= _LIMIT_MS:
        raise ValueError(
            f'must be ≤, <, ≥ or > (or <=, >=) with more than 0 to {_LIMIT_MS} milliseconds, such as "≤ 300"'
        )
    return Bound({"<=": "≤", ">=": "≥"}.get(found[1], found[1]), float(found[2]))
