# SPDX-License-Identifier: GPL-2.0-or-later
"""The probe from outside: a guest that sends heartbeats, and a receiver that sees both hosts of a pair."""

import contextlib
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from switchover.guests.places import number_of
from switchover.guests.qemu import GuestKeys, QemuGuest
from switchover.hosts.heartbeat import PORT, Arrival, Outlet
from switchover.hosts.host import Host
from switchover.hosts.receiver import Receiver, start_receiver
from switchover.hosts.waiting import Invariant, stretch, wait_until
from switchover.migration.downtime import ExplainedDowntime, UnexplainedDowntime
from switchover.migration.outside import (
    MIN_CONTROL,
    RESUME_BOUND_S,
    Control,
    OutsideDowntime,
    UnseenDowntime,
    find_control,
    find_noise,
    find_outside_downtime,
    find_silence,
    tolerance,
)
from switchover.record.checks import CheckId
from switchover.record.errors import Deadline, NotReady
from switchover.record.log import LOG
from switchover.record.measurement import Check, NotChecked, make_check
from switchover.runner.host_pair import HostPair

_SENDER = "/usr/bin/switchover-heartbeat"
_CONTROL_S = 1.0
_FIRST_TIMEOUT_S = 20
_SETTLE_TIMEOUT_S = 15
_LAST_WORDS_TIMEOUT_S = 5


@dataclass
class OutsideProbe:
    """Heartbeats under way; made by :func:`start_outside`. ``missing``: why there are none."""

    period_us: int
    missing: str = ""
    receiver: Receiver | None = None
    sender: socket.socket | None = None
    migrate_ns: int = 0
    arrivals: Sequence[Arrival] = ()
    last_words: str = ""
    _ending: threading.Lock = field(default_factory=threading.Lock)

    def finish(self) -> OutsideDowntime | UnseenDowntime:
        """End the sender and the receiver, and say what was seen. Once, after a migration that completed."""
        if self.receiver is None or self.sender is None:
            return UnseenDowntime(self.missing)
        if not self.receiver.count().get("destination"):
            with contextlib.suppress(Deadline):
                wait_until("a heartbeat from the destination", self._is_heard_there, timeout=_SETTLE_TIMEOUT_S)
        self.collect()
        return find_outside_downtime(self.arrivals, self.period_us / 1e6, self.migrate_ns, parse_sent(self.last_words))

    def collect(self) -> None:
        """End the sender, if it can be reached, and take what has arrived; never stands in the way of a repeat.

        One that an interruption asks for while a thread is about it waits for that.
        """
        with self._ending:
            self._collect()

    def _collect(self) -> None:
        if self.receiver is None or self.sender is None:
            return
        self.last_words = _stop_sender(self.sender)
        receiver, self.receiver = self.receiver, None
        try:
            self.arrivals = receiver.finish()
        except NotReady as error:
            LOG.debug("receiver: %s", error)
            self.missing = f"the receiver did not answer: {error.why}"

    def render_lines(self) -> Iterator[Mapping[str, Any]]:
        """The evidence: what was set, then each arrival."""
        yield {
            "period_us": self.period_us,
            "migrate_ns": self.migrate_ns,
            "sender": self.last_words.strip(),
            "missing": self.missing,
        }
        for arrival in self.arrivals:
            yield asdict(arrival)

    def _is_heard_there(self) -> bool:
        return self.receiver is not None and bool(self.receiver.count().get("destination"))


@contextlib.contextmanager
def start_outside(
    pair: HostPair, guest: QemuGuest, period_us: int, login: Host | None = None, lacking: str = ""
) -> Iterator[OutsideProbe]:
    """Heartbeats of a guest that runs on the pair's source, for a ``with`` block around its migration.

    The block begins after the control interval. Where there can be no heartbeats (no outlet, one host as both ends,
    ``period_us`` 0, a guest without the sender), it is entered all the same, and the probe says why. ``login``: to the
    guest; None: one of its own. ``lacking``: why the guest cannot send, if that is known.
    """
    missing = find_obstacle(pair, period_us) or lacking
    if missing:
        yield OutsideProbe(period_us, missing)
        return
    assert pair.source.outlet is not None
    assert pair.destination.outlet is not None
    outlets = {"source": pair.source.outlet, "destination": pair.destination.outlet}
    place = number_of(guest.spec)
    with contextlib.ExitStack() as stack:
        token = secrets.randbits(63)
        sockets = {side: outlet.sockets[place] for side, outlet in outlets.items()}
        receiver = stack.enter_context(start_receiver(sockets, token))
        login = login or stack.enter_context(guest.open_ssh(pair.keys))
        sender = stack.enter_context(_start_sender(login, period_us, outlets["source"], token))
        probe = OutsideProbe(period_us, receiver=receiver, sender=sender)
        try:
            wait_for_control(receiver, period_us, [guest.require_alive])
        except Deadline as error:
            probe.missing = f"{error} {_stop_sender(sender)}".strip()
            probe.receiver = None
        probe.migrate_ns = time.monotonic_ns()
        yield probe


def find_obstacle(pair: HostPair, period_us: int) -> str:
    """Why no heartbeat could be told from the other side's, or none is wanted; empty if there is no obstacle."""
    if not period_us:
        return "the probe is off"
    if pair.source.outlet is None or pair.destination.outlet is None:
        return "a host has no outlet to the controller"
    if pair.source.outlet == pair.destination.outlet:
        return "source and destination are one host: heartbeats do not tell the sides apart"
    return ""


def wait_for_control(receiver: Receiver, period_us: int, invariants: Sequence[Invariant]) -> None:
    """Until the control interval is long enough: a second, and enough heartbeats in it. It begins with the first.

    :raises Deadline: they do not come
    """
    wait_until(
        "heartbeats from the source",
        lambda: bool(receiver.count().get("source")),
        timeout=_FIRST_TIMEOUT_S,
        invariants=invariants,
    )
    end = time.monotonic() + max(_CONTROL_S, 2 * MIN_CONTROL * period_us / 1e6)
    wait_until(
        "the control interval",
        lambda: time.monotonic() >= end,
        timeout=_FIRST_TIMEOUT_S + end,
        invariants=invariants,
        poll=0.02,
    )


def measure_control(
    outlet: Outlet, guest: QemuGuest, keys: GuestKeys, period_us: int, seconds: float
) -> tuple[Control | None, str]:
    """Heartbeats at one period of a guest that runs and does not migrate, and the sender's last words."""
    token = secrets.randbits(63)
    with (
        start_receiver({"source": outlet.sockets[number_of(guest.spec)]}, token) as receiver,
        guest.open_ssh(keys) as login,
        _start_sender(login, period_us, outlet, token) as sender,
    ):
        end = time.monotonic() + seconds
        wait_until(
            "the control interval",
            lambda: time.monotonic() >= end,
            timeout=seconds + 30,
            invariants=[guest.require_alive],
            poll=0.2,
        )
        words = _stop_sender(sender)
        return find_control(receiver.finish(), period_us / 1e6), words.strip()


@contextlib.contextmanager
def _start_sender(login: Host, period_us: int, outlet: Outlet, token: int) -> Iterator[socket.socket]:
    argv = [_SENDER, str(period_us), outlet.address, str(PORT), f"{token:x}", outlet.mac]
    sender = login.open_stream(argv)
    try:
        yield sender
    finally:
        sender.close()


def _stop_sender(sender: socket.socket) -> str:
    """What the sender says when it is told to stop; empty if it is not reached, with the guest that is gone."""
    words = b""
    with contextlib.suppress(OSError):
        sender.settimeout(_LAST_WORDS_TIMEOUT_S)
        sender.sendall(b"\n")
        while piece := sender.recv(4096):
            words += piece
    return words.decode(errors="replace")


def parse_sent(words: str) -> int | None:
    """How many heartbeats the sender says it sent.

    >>> parse_sent("sent 964 skipped 33 failed 0")
    964
    """
    fields = words.split()
    return int(fields[1]) if len(fields) == 6 and fields[0] == "sent" and fields[1].isdigit() else None


def check_one_place(outside: OutsideDowntime | UnseenDowntime) -> list[Check]:
    """A guest that was heard from its destination runs at its source no more. No check if nobody listened to both."""
    if outside.traffic is None:
        return []
    overlap = outside.overlap_s if isinstance(outside, UnseenDowntime) else None
    observed = f"heard from both sides for {overlap:.6f} s" if overlap is not None else "one at a time"
    return [make_check(CheckId.GUEST_ONE_PLACE, overlap is None, "one at a time", observed)]


def compare_with_outside(
    explained: ExplainedDowntime | UnexplainedDowntime, outside: OutsideDowntime | UnseenDowntime, *, needed: bool
) -> Check | NotChecked:
    """The silence must last as long as no vCPU ran, and not longer than until the guest had time to be heard again.

    Not made without one of the two numbers, or where the control interval was too noisy for it. ``needed``: the case
    asked for it.
    """
    which = CheckId.DOWNTIME_OUTSIDE
    if isinstance(explained, UnexplainedDowntime):
        return NotChecked(which, which.claim, reason=explained.reason, needed=needed)
    reason = outside.reason if isinstance(outside, UnseenDowntime) else find_noise(outside, explained)
    if reason or isinstance(outside, UnseenDowntime):
        return NotChecked(which, which.claim, reason=reason, needed=needed)
    error = tolerance(outside, explained)
    least, most = find_silence(explained) - error, explained.seconds + stretch(RESUME_BOUND_S) + error
    expected = f"silence of {least:.6f} … {most:.6f} s"
    return make_check(which, least <= outside.seconds <= most, expected, f"{outside.seconds:.6f} s")
