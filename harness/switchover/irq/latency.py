# SPDX-License-Identifier: GPL-2.0-or-later
"""Latencies counted in little memory: exact up to 2 ms, to a thousandth above. Pure."""

import math
from collections import Counter
from collections.abc import Iterator

_EXACT_BITS = 11


class Latencies:
    """Latencies in µs. However many are added, it takes the memory of some thousand distinct values."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.count = 0
        self.maximum: int | None = None
        """exact"""

    def add(self, value: int) -> None:
        self._counts[round_down(value)] += 1
        self.count += 1
        if self.maximum is None or value > self.maximum:
            self.maximum = value

    def merge(self, other: "Latencies") -> None:
        self._counts.update(other._counts)
        self.count += other.count
        if other.maximum is not None:
            self.maximum = max(other.maximum, self.maximum or 0)

    def quantile(self, part: float) -> int | None:
        """The smallest latency that at least this part (0 to 1) of all are not above; None if there are none."""
        if not self.count:
            return None
        left = max(1, math.ceil(self.count * part))
        for value in sorted(self._counts):
            left -= self._counts[value]
            if left <= 0:
                return value
        return self.maximum

    def octaves(self) -> dict[int, int]:
        """How many are in each octave: key N holds from 2^N µs to below 2^(N+1), key 0 also what is below 1 µs."""
        found: Counter[int] = Counter()
        for value, count in self._counts.items():
            found[max(value, 1).bit_length() - 1] += count
        return dict(sorted(found.items()))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Values and how often, in the order of size."""
        return iter(sorted(self._counts.items()))


def round_down(value: int) -> int:
    """To eleven binary digits.

    >>> round_down(2047), round_down(4097), round_down(1_000_000)
    (2047, 4096, 999936)
    """
    shift = value.bit_length() - _EXACT_BITS
    return value if shift <= 0 else value >> shift << shift
