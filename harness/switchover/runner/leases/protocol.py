# SPDX-License-Identifier: GPL-2.0-or-later
"""What a lease is, and what a backend has to do. :func:`wait_for_lease` does the waiting for it.

A backend for another resource manager (LAVA, Jenkins, Beaker) is two functions around its client: try to take the first
free one of several pairs at once, and say who has them (docs/leases.md has one).
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from switchover.hosts.waiting import wait_until
from switchover.record.errors import Deadline, NotReady, UsageError
from switchover.runner.leases.resources import Choice

Waiting = Callable[[str], None]
"""Is told, in words, what is waited for: who has what, and since when."""
TELL_EVERY_S = 5.0
"""Who waits is told at most this often, and again only what has changed."""
REMIND_EVERY_S = 60.0
"""... or what has not changed, this often."""


def keep_silent(_text: str) -> None:
    """For who is not interested."""


def never() -> bool:
    """For who wants it as long as it takes."""
    return False


class Abandoned(NotReady):
    """Who waited for a lease does not want it any more."""


class NothingFree(NotReady):
    """No pair became free in time. ``holders``: who had what was wanted when that was looked at for the last time."""

    def __init__(self, what: str, holders: "Sequence[Holder]", *, why: str, fix: str) -> None:
        super().__init__(what, why=why, fix=fix)
        self.holders = tuple(holders)


class Lease:
    """The exclusive right to a pair of hosts until :meth:`release`, or the end of a ``with`` block.

    ``waited_s``: how long it took to get it, seconds: no time of the case that runs on it.
    """

    def __init__(
        self,
        choice: Choice,
        give_back: Callable[[], None],
        *,
        waited_s: float = 0.0,
        find_loss: Callable[[], str] = str,
    ) -> None:
        self.choice = choice
        self.waited_s = waited_s
        self._give_back = give_back
        self._find_loss = find_loss
        self._lock = threading.Lock()
        self._held = True

    @property
    def pair(self) -> tuple[str, str]:
        """Names of source and destination."""
        return self.choice.pair

    def release(self) -> None:
        """Give it back; again: nothing. A manager that is not there is its backend's to put up with."""
        with self._lock:
            held, self._held = self._held, False
        if held:
            self._give_back()

    def find_loss(self) -> str:
        """Why it is no longer ours, in words; empty: it is. Locks of this machine are not lost while we live."""
        return self._find_loss() if self._held else "it was given back"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class LeaseBackend(Protocol):
    """Whoever knows which hosts are free. Its methods are called from several threads."""

    def acquire(
        self,
        choices: Sequence[Choice],
        timeout_s: float,
        waiting: Waiting = keep_silent,
        unwanted: Callable[[], bool] = never,
    ) -> Lease:
        """All resources of one of these pairs, or none: of several the first that is free.

        ``waiting`` is told when it has to wait, see :data:`TELL_EVERY_S`. ``unwanted``: whether to stop waiting.

        :raises Abandoned: it became unwanted
        :raises NotReady: nothing became free within ``timeout_s`` seconds, with who has what; or the manager is down
        :raises UsageError: there is nothing to choose from
        """


@dataclass(frozen=True)
class Holder:
    """Who has something that is waited for. ``since``: date and time, ISO 8601; empty: not known.

    ``news``: whether people want to be told: not of one's own cases, or of what has just been given back.
    """

    resource: str
    who: str
    since: str = ""
    news: bool = True

    def __str__(self) -> str:
        return f"{self.resource} is leased by {self.who}{f' since {self.since}' if self.since else ''}"


def describe_wait(choices: Sequence[Choice], holders: Sequence[Holder]) -> str:
    """``a-b or b-c: 10.0.0.11 is leased by process 7: switchover run since 2026-11-30T07:00:01+00:00``"""
    names = [choice.name for choice in choices]
    pairs = " or ".join(
        names if len(names) <= _MOST_NAMED else [*names[:_MOST_NAMED], f"{len(names) - _MOST_NAMED} more"]
    )
    lines = list(dict.fromkeys(str(holder) for holder in holders))
    if len(lines) > _MOST_NAMED:
        lines[_MOST_NAMED:] = [f"{len(lines) - _MOST_NAMED} more"]
    return f"{pairs}: {'; '.join(lines) or 'others were there first'}"


_MOST_NAMED = 6


def wait_for_lease(
    choices: Sequence[Choice],
    attempt: Callable[[], Lease | Sequence[Holder]],
    timeout_s: float,
    waiting: Waiting,
    unwanted: Callable[[], bool] = never,
    *,
    poll_s: float,
) -> Lease:
    """Attempts until one brings a lease; what it took is :attr:`Lease.waited_s`.

    ``attempt``: a lease, or who has what it wants; it waits for nothing itself. The rest is as the backend is asked.

    :raises Abandoned: it became unwanted
    :raises NothingFree: none did within ``timeout_s`` seconds, and who has what
    :raises UsageError: there is nothing to choose from
    """
    if not choices:
        raise UsageError("There is no pair of hosts to lease.")
    start = time.monotonic()
    teller = Teller(waiting)
    holders: list[Holder] = []

    def try_once() -> Lease | None:
        found = attempt()
        if isinstance(found, Lease):
            return found
        holders[:] = found
        if not found or any(holder.news for holder in found):
            teller.tell(describe_wait(choices, found), time.monotonic())
        return None

    def require_wanted() -> None:
        if unwanted():
            raise Abandoned("The wait for a pair of hosts was given up.")

    try:
        # a bound that a person has set, whatever the pace of hosts
        lease = wait_until(
            "a pair of hosts", try_once, timeout=timeout_s, invariants=[require_wanted], poll=poll_s, exact=True
        )
    except Deadline as error:
        raise NothingFree(
            f"No pair of hosts became free within {timeout_s:g} s.",
            holders,
            why=describe_wait(choices, holders),
            fix="wait until they are free, or allow more time",
        ) from error
    lease.waited_s = time.monotonic() - start
    return lease


class Teller:
    """Passes on what is new, but seldom."""

    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting
        self._told = ""
        self._at_s = 0.0

    def tell(self, text: str, now_s: float) -> None:
        quiet_s = REMIND_EVERY_S if text == self._told else TELL_EVERY_S
        if self._told and now_s - self._at_s < quiet_s:
            return
        self._told, self._at_s = text, now_s
        self._waiting(text)
