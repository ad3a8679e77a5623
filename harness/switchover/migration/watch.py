# SPDX-License-Identifier: GPL-2.0-or-later
"""Watches a migration for a hang: what the source says of itself, and what it still writes to its log."""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from switchover.guests.qemu import QemuGuest
from switchover.hosts.waiting import wait_until
from switchover.migration.progress import (
    PENDING_EVENTS,
    Hang,
    HangKind,
    Pending,
    Unchanged,
    find_progress,
    judge_pending,
    parse_pending,
)
from switchover.migration.settings import MigrationSettings
from switchover.migration.traces import parse_trace
from switchover.record.errors import Deadline, NotReady, Refused, SwitchoverError
from switchover.record.units import format_bytes

_TRACED_S = 0.3
"""Three times QEMU's interval for migrate_transferred (BUFFER_DELAY, migration/migration.c)."""
_LOOK_S = 5.0
"""How long a busy machine may take for that."""
_LAST_OF_EACH = """
tail -c +"$1" "$2" | awk '
    match(line, /migrate_(pending[a-z_]*|transferred)|qemu_savevm_query_pending exact=[01]/) {
        last[substr(line, RSTART, RLENGTH)] = line
    }
    { line = $0 }
    END { for (name in last) print last[name] }'
"""
"""The last whole line of each event, from a byte of the log on. Thousands of the others lie between two that tell the
threshold; the very last line of a log may be cut short."""


@dataclass(frozen=True)
class _Pass:
    """``passes``: ``dirty-sync-count``, of a pass; ``transferred``: bytes of the whole stream by then."""

    passes: int
    transferred: int


class HangWatch:
    """Asked again and again while a migration runs; looks closer only after it got nowhere for a part of the bound.

    What QEMU has to answer is asked by a thread of its own: QEMU may take its lock for the downtime before it does, and
    who asks this watch has phases to see meanwhile. Close it when the migration has ended.
    """

    def __init__(self, source: QemuGuest, destination: QemuGuest, settings: MigrationSettings) -> None:
        self._source = source
        self._destination = destination
        self._bound = settings.hang_s
        self.limit_ms = settings.downtime_limit_ms
        """The downtime limit in force, for evidence."""
        self._sent, self._logged = Unchanged(), Unchanged()
        self._silent: list[str] = []
        self._pendings: list[Pending] = []
        self._next_look = time.monotonic() + self._bound / 3
        self._thread = ThreadPoolExecutor(1, "hang watch")
        self._look: Future[Pending | None] | None = None
        self._latest = self._pass = self._looked_in = _Pass(0, 0)
        self._over = threading.Event()

    def close(self) -> None:
        """End a look that is under way; nothing is traced any more afterwards."""
        self._over.set()
        self._thread.shutdown()

    def find_hang(self, status: str | None, reply: Mapping[str, Any], events: int, *, held: bool) -> Hang | None:
        """A hang, if it is one by now. ``reply``: the last ``query-migrate``; ``events``: how many came so far.

        While the switchover is ``held`` back, or another downtime limit is to come, passes that do not get smaller are
        as intended.
        """
        now = time.monotonic()
        self._note_pass(reply)
        still = self._sent.note(now, _mark(status, reply, events))
        if self._look is not None and self._look.done() and (hang := self._judge_look(self._look)):
            return hang
        if now < self._next_look:
            return None
        self._next_look = now + max(1.0, self._bound / 6)
        if still >= self._bound / 3:
            # a device that is saved with QEMU's lock held moves the log, and nothing else that can be seen
            if self._logged.note(now, self._read_log_sizes()) < self._bound * 2 / 3:
                return None
            evidence = f"status {status}, nothing is sent, and neither QEMU writes to its log"
            if self._silent:
                evidence = f"status {status}, nothing is sent, and {' and '.join(self._silent)} said nothing when asked"
            if self._destination.exit_status() is not None:
                evidence = f"status {status}, although the destination's QEMU has ended"
            return Hang(HangKind.NO_PROGRESS, still, evidence)
        self._logged.forget()
        if status != "active" or held:
            return None
        if self._look is None:
            self._looked_in = self._pass
            self._look = self._thread.submit(self._look_at_pending)
        return self._judge_look(self._look) if self._look.done() else None

    def _note_pass(self, reply: Mapping[str, Any]) -> None:
        """Where the present pass began: at what had been sent when its count was last another one."""
        ram = reply.get("ram", {})
        latest = _Pass(ram.get("dirty-sync-count", 0), ram.get("transferred", 0))
        if latest.passes != self._pass.passes:
            self._pass = replace(latest, transferred=self._latest.transferred)
        self._latest = latest

    def _judge_look(self, look: "Future[Pending | None]") -> Hang | None:
        """:raises GuestCrashed: the source ended while it was looked at"""
        self._look = None
        pending = look.result()
        # of an estimate it is not known which pass it is of, if one began meanwhile
        if pending is not None and (pending.exact or self._looked_in == self._pass):
            sent = self._latest.transferred - self._pass.transferred
            self._pendings.append(replace(pending, passes=self._pass.passes, sent=sent))
        return judge_pending(self._pendings, self._bound, self.limit_ms)

    def find_reason(self, status: str | None, reply: Mapping[str, Any], seconds: float, *, held: bool) -> Hang:
        """Why a migration has not ended when its time is over, as far as can be told: one that still gets on, or whose
        switchover is ``held`` back, says nothing of its limit.
        """
        look = status == "active" and not held
        pending = self._thread.submit(self._look_at_pending).result() if look else None
        if pending is not None:
            pending = replace(pending, passes=self._pass.passes, sent=self._latest.transferred - self._pass.transferred)
            if self._pendings and find_progress([*self._pendings, pending]).converged is pending:
                evidence = f"status {status}, pending {format_bytes(pending.size)}, which still gets less"
                return Hang(HangKind.NO_END, seconds, evidence)
            hang = judge_pending([*self._pendings[:1], pending], 0, self.limit_ms)
            if hang is not None:
                return Hang(hang.kind, seconds, hang.evidence)
        remaining = reply.get("ram", {}).get("remaining")
        evidence = f"status {status}, RAM remaining {remaining} bytes"
        evidence += ", and the switchover still held back" if held else ""
        return Hang(HangKind.NO_END, seconds, evidence)

    def _look_at_pending(self) -> Pending | None:
        """Switch QEMU's trace events on until it told what is pending and the threshold.

        None if it has no such events, does not answer or did not tell both.
        """
        try:
            begin = int(self._source.host.run(["stat", "-c", "%s", self._source.files.log]).text) + 1
            for name in PENDING_EVENTS:
                self._trace(name, enable=True)
            try:
                return wait_until(
                    "the pending size and the threshold to be traced",
                    lambda: self._read_pending(begin),
                    timeout=_LOOK_S,
                    poll=_TRACED_S,
                    invariants=[self._require_open],
                )
            finally:
                for name in PENDING_EVENTS:
                    self._trace(name, enable=False)
        except (NotReady, Deadline, Refused):
            return None  # Refused: a QEMU older than 8.0 has not these events

    def _require_open(self) -> None:
        if self._over.is_set():
            raise Deadline("The migration has ended.")

    def _read_pending(self, begin: int) -> Pending | None:
        argv = ["sh", "-c", _LAST_OF_EACH, "switchover", str(begin), self._source.files.log]
        lines = self._source.host.run(argv).stdout.decode(errors="replace")
        pending = parse_pending(parse_trace(lines), time.monotonic())
        return None if pending is None or pending.threshold is None else pending

    def _trace(self, name: str, *, enable: bool) -> None:
        self._source.qmp.execute(
            "trace-event-set-state", {"name": name, "enable": enable, "ignore-unavailable": True}, timeout=10
        )

    def _read_log_sizes(self) -> tuple[str, ...]:
        sizes = []
        self._silent = []
        timeout = max(_LOOK_S, self._bound / 3)  # a host that answers nothing moves nothing
        for guest in (self._source, self._destination):
            try:
                argv = ["stat", "-c", "%s", guest.files.log]
                sizes.append(guest.host.run(argv, timeout=timeout, check=False).text.strip())
            except SwitchoverError as error:
                sizes.append(str(error))
                self._silent.append(guest.host.name)
        return tuple(sizes)


def _mark(status: str | None, reply: Mapping[str, Any], events: int) -> tuple[object, ...]:
    """What changes with any progress: status, events, and what was sent."""
    ram = reply.get("ram", {})
    moved = reply.get("vfio", {}).get("transferred")
    return status, events, ram.get("transferred"), ram.get("dirty-sync-count"), moved
