# SPDX-License-Identifier: GPL-2.0-or-later
"""Leases on the controller: a locked file for each resource, which the kernel frees when its holder ends.

Nothing has to be set up, and nothing has to be cleaned after a holder that was killed. It is between the processes that
have one state directory; between controllers, and users of one, the host's own lock refuses
(:func:`switchover.hosts.host_lock.lock_host`).

All looking and taking is done in turns, by a lock that is held for some milliseconds: two that take at once never get
in each other's way, and what is free is had. Who has to wait queues, by a file too. Those behind may overtake while
nobody has waited for :data:`PATIENCE_S`, so that hosts are not idle for the sake of order; then nothing that the one
in front wants is given to anybody who came later. So nobody starves: after that time one waits at most for those who
have a lease by then, and for those who have waited longer.
"""

import contextlib
import hashlib
import itertools
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from switchover.hosts.ownership import OwnedFile, describe_process, find_owner, take_file
from switchover.record.paths import leases_directory
from switchover.runner.leases.protocol import Holder, Lease, Waiting, keep_silent, never, wait_for_lease
from switchover.runner.leases.resources import Choice, list_resources

PATIENCE_S = 60.0
"""Who has waited longer is not overtaken any more."""
_TURN_S = 2.0
"""A turn takes milliseconds; longer only if who has it was stopped, and then it is waited for as a host is."""
_COUNTER = itertools.count()


@dataclass(frozen=True)
class Ticket:
    """Somebody who waits. ``since_s``: CLOCK_MONOTONIC, which all processes of a machine share."""

    name: str
    since_s: float
    resources: frozenset[str]


def list_blocked(tickets: Iterable[Ticket], mine: str | None, now_s: float, patience_s: float) -> dict[str, str]:
    """What may not be taken, though it may be free, with the name of the ticket that it is kept for.

    ``mine``: name of one's own ticket; None: one has just come.
    """
    blocked: dict[str, str] = {}
    for ticket in sorted(tickets, key=lambda ticket: ticket.name):
        if ticket.name == mine:
            break
        if now_s - ticket.since_s >= patience_s:
            for resource in ticket.resources:
                blocked.setdefault(resource, ticket.name)
    return blocked


class FlockBackend:
    """Leases by files in a directory; satisfies :class:`switchover.runner.leases.protocol.LeaseBackend`.

    ``who``: this process or run, for those who wait. ``poll_s``: how often who waits looks again.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        who: str = "",
        poll_s: float = 0.2,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._directory = directory or leases_directory()
        self._who = who or describe_process()
        self._poll_s = poll_s
        self._patience_s = patience_s
        self._threads = threading.Lock()
        self._own: dict[str, Holder] = {}
        """What is leased by way of this object: known without looking at files."""

    def acquire(
        self,
        choices: Sequence[Choice],
        timeout_s: float,
        waiting: Waiting = keep_silent,
        unwanted: Callable[[], bool] = never,
    ) -> Lease:
        """As :meth:`LeaseBackend.acquire`."""
        with contextlib.ExitStack() as stack:
            ticket: str | None = None

            def attempt() -> Lease | Sequence[Holder]:
                nonlocal ticket
                with self._turn() as other:
                    if other:
                        return [Holder("the list of leases", other)]
                    found = self._take_first(choices, ticket)
                    if not isinstance(found, Lease) and ticket is None:
                        owned = self._queue(list_resources(choices))
                        stack.callback(owned.release)
                        ticket = owned.path.name
                    return found

            return wait_for_lease(choices, attempt, timeout_s, waiting, unwanted, poll_s=self._poll_s)

    def list_holders(self) -> list[Holder]:
        """All that is leased at this moment, by resource."""
        with self._turn():
            paths = sorted(self._directory.glob("*~*"))
            return [holder for path in paths if (holder := self._read_holder(path, "")) is not None]

    @contextlib.contextmanager
    def _turn(self) -> Iterator[str]:
        """The right to look and take, for a ``with`` block; or who has it and does not give it back."""
        with self._threads:
            path = self._directory / "turn"
            owned = take_file(path, note=self._who, grace_s=_TURN_S)
            if owned is None:
                yield find_owner(path) or "another process"
                return
            try:
                yield ""
            finally:
                owned.release()  # removed: to write into a file that has been written is slow on ext4

    def _take_first(self, choices: Sequence[Choice], ticket: str | None) -> Lease | Sequence[Holder]:
        """Only in one's turn."""
        blocked = list_blocked(self._tickets(), ticket, time.monotonic(), self._patience_s)
        busy = dict(self._own)
        for choice in choices:
            for resource in sorted(choice.resources & blocked.keys() - busy.keys()):
                busy[resource] = Holder(
                    resource, f"nobody, but kept for one who has waited longer ({blocked[resource]})"
                )
            if busy.keys().isdisjoint(choice.resources):
                taken = self._take(choice, busy)
                if taken is not None:
                    return Lease(choice, taken.close)
        wanted = frozenset[str]().union(*(choice.resources for choice in choices))
        return [busy[resource] for resource in sorted(wanted & busy.keys())]

    def _take(self, choice: Choice, busy: dict[str, Holder]) -> contextlib.ExitStack | None:
        """All resources, or none; adds who has the one that is not to be had."""
        since = datetime.now(UTC).isoformat(timespec="seconds")
        note = {"who": self._who, "pid": os.getpid(), "since": since}
        with contextlib.ExitStack() as stack:
            for resource in sorted(choice.resources):
                path = self._path(resource)
                owned = take_file(path, note=json.dumps({"resource": resource, **note}), grace_s=0)
                if owned is None:
                    busy[resource] = self._read_holder(path, resource) or Holder(
                        resource, "one who has just given it back", news=False
                    )
                    return None
                # undone in reverse order: known as ours until the file is free
                stack.callback(self._own.pop, resource, None)
                stack.callback(owned.release)
                self._own[resource] = Holder(resource, self._who, since, news=False)
            return stack.pop_all()

    def _read_holder(self, path: Path, resource: str) -> Holder | None:
        """Who has it; None: nobody has, by now."""
        text = find_owner(path)
        if text is None:
            return None
        try:
            note = json.loads(text)
            ours = (note["who"], note["pid"]) == (self._who, os.getpid())
            return Holder(str(note["resource"]), str(note["who"]), str(note["since"]), not ours)
        except (ValueError, KeyError, TypeError):
            return Holder(resource or path.name, text)

    def _path(self, resource: str) -> Path:
        """Readable, and never the same for two: ``10.0.0.11_0000_3b_00.2~0123456789abcdef``."""
        readable = re.sub(r"[^\w.-]", "_", resource)[:80]
        return self._directory / f"{readable}~{hashlib.sha256(resource.encode()).hexdigest()[:16]}"

    def _queue(self, resources: Sequence[str]) -> OwnedFile:
        name = f"{time.monotonic_ns():020}-{os.getpid()}-{next(_COUNTER)}"
        owned = take_file(self._directory / "waiting" / name, note=json.dumps(resources), grace_s=0)
        assert owned is not None, "nobody else makes a file of this name"
        return owned

    def _tickets(self) -> list[Ticket]:
        """Of those who wait, and have done so for long; what the dead left is removed."""
        found = []
        for path in (self._directory / "waiting").glob("*-*-*"):
            since_s = int(path.name.partition("-")[0]) / 1e9
            # one that is yet to come is from before a reboot
            if 0 <= time.monotonic() - since_s < self._patience_s:
                continue
            if find_owner(path) is None:
                path.unlink(missing_ok=True)
                continue
            with contextlib.suppress(OSError, ValueError):  # it has just got what it waited for
                found.append(Ticket(path.name, since_s, frozenset(json.loads(path.read_text()))))
        return found
