# SPDX-License-Identifier: GPL-2.0-or-later
"""Waits: each has a name, a deadline, and invariants that end it early."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from switchover.record.errors import Deadline

T = TypeVar("T")
Invariant = Callable[[], None]
"""Raises when what must hold during a wait (QEMU alive, guest not panicked) no longer does."""


def wait_until(
    name: str,
    condition: Callable[[], T | None],
    *,
    timeout: float,
    invariants: Sequence[Invariant] = (),
    poll: float = 0.05,
) -> T:
    """The first value of ``condition`` that is neither None nor False.

    :raises Deadline: after ``timeout`` seconds, naming the wait
    """
    end = time.monotonic() + timeout
    while True:
        for invariant in invariants:
            invariant()
        value = condition()
        if value is not None and value is not False:
            return value
        if time.monotonic() >= end:
            raise Deadline(f"Waited {timeout:g} s for {name}.")
        time.sleep(poll)
