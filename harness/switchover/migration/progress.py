# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a migration still gets anywhere, and if not, in which of three ways it hangs. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

from switchover.migration.traces import TraceEvent
from switchover.record.units import format_bytes

PENDING_EVENTS = ("migrate_pending*", "qemu_savevm_query_pending*", "migrate_transferred")
"""Trace events (migration/trace-events) that tell what is pending and the threshold, as patterns: a name that a QEMU
does not have would be an error. Several thousand a second while a migration spins, so they are switched on for a moment
only."""
_SMALLER = 0.99
_PASSES = 2
"""So many passes have to begin without an improvement: one that is larger may be a burst of the guest's."""


class HangKind(StrEnum):
    """``ack-starved``: pending below the threshold, and no switchover. ``not converging``: pending above it, in
    passes that do not get smaller. ``no progress``: nothing moves at all, neither bytes nor QEMU's own log. ``no end``:
    it did not end in its time, and more cannot be told.
    """

    ACK_STARVED = "ack-starved"
    NOT_CONVERGING = "not converging"
    NO_PROGRESS = "no progress at the destination"
    NO_END = "no end"


@dataclass(frozen=True)
class Pending:
    """What QEMU still had to send, and the threshold below which it switches over; bytes.

    ``bandwidth``: what it reckons with, bytes per millisecond. None: the log did not tell. ``exact``: QEMU had just
    looked for what the guest dirtied, and so had just begun a pass. ``passes``: how often it had (``dirty-sync-count``
    of query-migrate); ``sent``: bytes that it had sent since the last time.
    """

    at_s: float
    size: int
    threshold: int | None
    bandwidth: int | None
    exact: bool = False
    passes: int = 0
    sent: int = 0

    @property
    def pass_size(self) -> int:
        """Bytes that were pending when the pass began. Within a pass what is pending only gets less, by what is sent:
        at which moment of it QEMU was asked makes no difference.
        """
        return self.size if self.exact else self.size + self.sent


@dataclass(frozen=True)
class Hang:
    """A migration without an end. ``seconds``: how long it had got nowhere, until ``seen_s`` (CLOCK_MONOTONIC of the
    controller; None: not known).
    """

    kind: HangKind
    seconds: float
    evidence: str
    seen_s: float | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.kind}: {self.evidence}, for {self.seconds:.0f} s"


def parse_pending(events: Sequence[TraceEvent], at_s: float) -> Pending | None:
    """The last exact size pending, else the last estimate; None if neither was traced.

    Texts of QEMU 10.0: ``exact pending size N (pre = N post=N)``, ``estimate pending size N (…)``,
    ``transferred N time_spent N bandwidth N switchover_bw N max_size N``. QEMU 7.2 has one event ``migrate_pending``,
    ``pending size N max N (…)``, and no ``switchover_bw``. QEMU 11.1 has ``qemu_savevm_query_pending``, ``exact=0|1,
    final=N, precopy=N, stopcopy=N, postcopy=N, total=N, …``.
    """
    last = {_name_look(event): event.text for event in events}
    name = next((name for name in (*_EXACT, *_ESTIMATES) if name in last), "")
    size = re.search(r"(?:pending size |total=)(\d+)", last.get(name, ""))
    if size is None:
        return None
    limits = re.search(r"(?:switchover_bw|bandwidth) (\d+) max_size (-?\d+)", last.get("migrate_transferred", ""))
    threshold, bandwidth = (int(limits[2]), int(limits[1])) if limits else (None, None)
    return Pending(at_s, int(size[1]), threshold, bandwidth, exact=name in _EXACT)


_EXACT = ("migrate_pending_exact", "qemu_savevm_query_pending exact=1")
_ESTIMATES = ("migrate_pending_estimate", "migrate_pending", "qemu_savevm_query_pending exact=0")


def _name_look(event: TraceEvent) -> str:
    """11.1 has one event for both."""
    first = event.text.partition(",")[0]
    return f"{event.name} {first}" if event.name == "qemu_savevm_query_pending" else event.name


@dataclass(frozen=True)
class Progress:
    """Where a migration last got on. ``sent``: the last look that saw less pending than all before it in its pass;
    ``converged``: the last such look in a pass that itself began with clearly less than every pass before it.
    """

    converged: Pending
    sent: Pending


def find_progress(pendings: Sequence[Pending]) -> Progress:
    """What is pending is a sawtooth: it jumps up at the beginning of each pass, by what the guest dirtied in the one
    before, and then goes down to nearly nothing. So only what passes begin with tells whether they get smaller; and a
    pass that is one of the smallest may take as long as it likes, while it goes down.
    """
    first = pendings[0]
    converged = sent = lowest = first
    smallest, improves = first.pass_size, True
    for earlier, pending in pairwise(pendings):
        if pending.exact or pending.passes != earlier.passes:
            improves = pending.pass_size < smallest * _SMALLER
            if improves:
                smallest, converged = pending.pass_size, pending
            lowest = pending
        elif pending.size < lowest.size:
            lowest = sent = pending
            converged = pending if improves else converged
    return Progress(converged, sent)


def judge_pending(pendings: Sequence[Pending], bound_s: float, downtime_limit_ms: int) -> Hang | None:
    """A hang, once passes did not get smaller for ``bound_s`` seconds, and either some began without it or nothing of
    the present one is sent; which hang, only the threshold can tell.
    """
    if not pendings:
        return None
    progress, last = find_progress(pendings), pendings[-1]
    seconds = last.at_s - progress.converged.at_s
    if seconds < bound_s or last.threshold is None:
        return None
    if last.passes - progress.converged.passes < _PASSES and last.at_s - progress.sent.at_s < bound_s:
        return None
    limit = f"the threshold {format_bytes(last.threshold)} ({downtime_limit_ms} ms"
    limit += f" at {format_bytes(last.bandwidth * 1000)}/s)" if last.bandwidth else ")"
    size = last.pass_size
    if size == 0 or size < last.threshold:
        evidence = f"pending {format_bytes(size)} is below {limit} and the switchover does not come"
        return Hang(HangKind.ACK_STARVED, seconds, evidence)
    evidence = f"pending {format_bytes(size)} stays above {limit}"
    return Hang(HangKind.NOT_CONVERGING, seconds, evidence)


class Unchanged:
    """How long something has been the same."""

    def __init__(self) -> None:
        self._mark: object = None
        self._since: float | None = None

    def note(self, now: float, mark: object) -> float:
        """Seconds for which ``mark`` has been what it is, at the time ``now`` (s)."""
        if self._since is None or mark != self._mark:
            self._mark, self._since = mark, now
        return now - self._since

    def forget(self) -> None:
        self._since = None
