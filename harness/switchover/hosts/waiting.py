# SPDX-License-Identifier: GPL-2.0-or-later
"""Waits: each has a name, a deadline, and invariants that end it early. On slow hosts deadlines are longer."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from switchover.record.errors import Deadline

T = TypeVar("T")
Invariant = Callable[[], None]
"""Raises when what must hold during a wait (QEMU alive, guest not panicked) no longer does."""

_PACES: list[float] = []


def pace() -> float:
    """How many times as slow the hosts in use are as the machine that deadlines were made on; 1: nobody measured it."""
    return max(_PACES, default=1.0)


@contextlib.contextmanager
def paced(factor: float) -> Iterator[None]:
    """Hosts that are ``factor`` times as slow are in use, in all threads of this process: for a ``with`` block all
    deadlines are that much longer. Of several that are in use at once, the slowest counts.
    """
    _PACES.append(factor)
    try:
        yield
    finally:
        _PACES.remove(factor)


def stretch(seconds: float) -> float:
    """A deadline as it is on the hosts in use."""
    return seconds * pace()


def wait_until(
    name: str,
    condition: Callable[[], T | None],
    *,
    timeout: float,
    invariants: Sequence[Invariant] = (),
    poll: float = 0.05,
    exact: bool = False,
) -> T:
    """The first value of ``condition`` that is neither None nor False.

    ``exact``: the timeout is a bound that holds whatever the hosts' pace, or has been stretched.

    :raises Deadline: after ``timeout`` seconds, stretched, naming the wait
    """
    if not exact:
        timeout = stretch(timeout)
    end = time.monotonic() + timeout
    while True:
        for invariant in invariants:
            invariant()
        value = condition()
        if value is not None and value is not False:
            return value
        if time.monotonic() >= end:
            raise Deadline(f"Waited {timeout:g} s for {name}.", waited_s=timeout)
        time.sleep(poll)
