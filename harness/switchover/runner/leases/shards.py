# SPDX-License-Identifier: GPL-2.0-or-later
"""A part of the cases for each of several machines that know nothing of each other (``--shard 2/5``). Pure."""

import hashlib
import re
from collections.abc import Iterable

from switchover.record.errors import UsageError


def parse_shard(word: str) -> tuple[int, int]:
    """``2/5``: the second of five. :raises UsageError: it is not that, or there is no such part"""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", word)
    number, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(f"{word!r} is not a part of the cases.", fix="write I/N, such as 1/4 to 4/4 for four parts")
    return number, count


def select_shard(ids: Iterable[str], number: int, count: int) -> list[str]:
    """Those of the ids that are in part ``number`` (from 1) of ``count``, in their order.

    Each id is in one part and no other, and in which one depends on nothing but the id and ``count``: it stays there
    when cases are added or taken away. Parts are of about one size where there are many ids; one of few may be empty.
    """
    return [name for name in ids if _place(name) % count == number - 1]


def _place(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
