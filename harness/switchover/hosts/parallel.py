# SPDX-License-Identifier: GPL-2.0-or-later
"""Two hosts asked at the same time: each works for itself, and so does the waiting for it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def do_both(one: Callable[[], A], other: Callable[[], B]) -> tuple[A, B]:
    """The results of both, when both have ended. Raises what ``other`` raised, else what ``one`` did."""
    with ThreadPoolExecutor(1, "both") as aside:
        doing = aside.submit(one)
        second = other()
        return doing.result(), second
