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

from switchover.guests.capabilities import Need
from switchover.guests.places import number_of
from switchover.guests.qemu import GuestKeys, QemuGuest
from switchover.hosts.heartbeat import PORT, Arrival, Outlet
from switchover.hosts.host import Host
from switchover.hosts.receiver import Receiver, start_receiver
from switchover.hosts.waiting import Invariant, stretch, wait_until
from switchover.migration.downtime import PAUSED, ExplainedDowntime, UnexplainedDowntime
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
from switchover.migration.phases import Action
from switchover.probes.probe import Ended, Given, Probe, RunningProbe
from switchover.record.checks import CheckId
from switchover.record.errors import Deadline, NotReady
from switchover.record.log import LOG
from switchover.record.measurement import Check, Findings, Measurement, NotChecked, make_check
from switchover.record.units import Direction, Unit
from switchover.scenarios.case import Case

_SENDER = "/usr/bin/switchover-heartbeat"
_CONTROL_S = 1.0
_FIRST_TIMEOUT_S = 20
_SETTLE_TIMEOUT_S = 15
_LAST_WORDS_TIMEOUT_S = 5


@dataclass(frozen=True)
class Heard:
    """What was heard of a guest over its migration."""

    downtime: OutsideDowntime | UnseenDowntime

    def find(self, ended: Ended) -> Findings:
        """A guest that was paused was silent for as long as it was left so, which is no downtime."""
        heard, case = self.downtime, ended.case
        seen = UnseenDowntime(PAUSED, heard.control, heard.traffic) if ended.paused else heard
        checks: list[Check] = check_one_place(heard)
        not_checked: list[NotChecked] = []
        if (case.heartbeat_us or case.outside_needed) and not ended.paused:
            compared = compare_with_outside(ended.explained, seen, needed=case.outside_needed)
            if isinstance(compared, Check):
                checks.append(compared)
            else:
                not_checked.append(compared)
        return Findings(tuple(checks), tuple(measure_outside(seen, ended.explained)), tuple(not_checked))


@dataclass
class Heartbeats(RunningProbe):
    """Heartbeats under way; made by :class:`Outside`. ``missing``: why there are none."""

    period_us: int
    missing: str = ""
    receiver: Receiver | None = None
    sender: socket.socket | None = None
    migrate_ns: int = 0
    arrivals: Sequence[Arrival] = ()
    last_words: str = ""
    _ending: threading.Lock = field(default_factory=threading.Lock)

    def settle(self) -> None:
        """Until the guest is heard again, or should be: questions to its host would take the CPU that it needs."""
        with contextlib.suppress(Deadline, NotReady):
            if self.receiver is not None:
                what = "a heartbeat from the destination"
                wait_until(what, self._is_heard_there, timeout=RESUME_BOUND_S, poll=0.01)

    def finish(self, arrival: QemuGuest) -> Heard:
        """End the sender and the receiver, and say what was seen."""
        if self.receiver is None or self.sender is None:
            return Heard(UnseenDowntime(self.missing))
        if not self.receiver.count().get("destination"):
            with contextlib.suppress(Deadline):
                wait_until("a heartbeat from the destination", self._is_heard_there, timeout=_SETTLE_TIMEOUT_S)
        self.end()
        sent = parse_sent(self.last_words)
        return Heard(find_outside_downtime(self.arrivals, self.period_us / 1e6, self.migrate_ns, sent))

    def collect(self) -> Mapping[str, Iterator[Mapping[str, Any]]]:
        """Nothing of one that had no way to send."""
        if self.sender is None:
            return {}
        self.end()
        return {"outside.jsonl": self.render_lines()}

    def end(self) -> None:
        """End the sender, if it can be reached, and take what has arrived; never stands in the way of a repeat.

        One that an interruption asks for while a thread is about it waits for that.
        """
        with self._ending:
            self._end()

    def _end(self) -> None:
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


class Outside(Probe):
    """A guest that sends heartbeats, heard from both ends. Where it can send none, or they would tell nothing, it runs
    all the same, and says why.
    """

    name = "heartbeat_us"
    needs = (Need.SENDER, Need.ROOT)
    checks = (CheckId.DOWNTIME_OUTSIDE,)
    finishes_beside = True
    off = Heard(UnseenDowntime("the probe is off"))

    def is_wanted(self, case: Case) -> bool:
        """A guest that reboots sends nothing any more, and one that is suspended nothing that tells a downtime."""
        return bool(case.heartbeat_us) and not (case.does(Action.REBOOT_GUEST) or case.does(Action.SUSPEND_GUEST))

    def is_needed(self, case: Case) -> bool:
        return case.outside_needed

    @contextlib.contextmanager
    def start(self, given: Given) -> Iterator[Heartbeats]:
        """The block begins after the control interval."""
        given.step("control interval")
        guest, period_us = given.guest, given.case.heartbeat_us
        lacking = given.capabilities.lacks(self.needs)
        if missing := find_obstacle(given.outlets) or (f"the guest lacks {lacking}" if lacking else ""):
            yield Heartbeats(period_us, missing)
            return
        place = number_of(guest.spec)
        outlets = {side: outlet for side, outlet in given.outlets.items() if outlet is not None}
        with contextlib.ExitStack() as stack:
            token = secrets.randbits(63)
            sockets = {side: outlet.sockets[place] for side, outlet in outlets.items()}
            receiver = stack.enter_context(start_receiver(sockets, token))
            login = given.login or stack.enter_context(guest.open_ssh(given.keys))
            sender = stack.enter_context(_start_sender(login, period_us, outlets["source"], token))
            heartbeats = Heartbeats(period_us, receiver=receiver, sender=sender)
            try:
                wait_for_control(receiver, period_us, [guest.require_alive])
            except Deadline as error:
                heartbeats.missing = f"{error} {_stop_sender(sender)}".strip()
                heartbeats.receiver = None
            heartbeats.migrate_ns = time.monotonic_ns()
            yield heartbeats


OUTSIDE = Outside()


def find_obstacle(outlets: Mapping[str, Outlet | None]) -> str:
    """Why no heartbeat could be told from the other side's; empty if there is no obstacle."""
    if None in outlets.values():
        return "a host has no outlet to the controller"
    if outlets["source"] == outlets["destination"]:
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


def measure_outside(
    outside: OutsideDowntime | UnseenDowntime, explained: ExplainedDowntime | UnexplainedDowntime
) -> list[Measurement]:
    """The downtime that the outside saw, what it was made with, and its part after the explained downtime."""
    seen = outside if isinstance(outside, OutsideDowntime) else None
    reason = outside.reason if isinstance(outside, UnseenDowntime) else ""
    control, traffic = outside.control, outside.traffic
    heartbeats = "heartbeats of the guest, stamped on the controller's monotonic clock as they leave the lab host"
    note = reason
    if seen and seen.lost:
        note = f"{seen.lost} heartbeats were sent in it and lost: the guest was not silent all the time"
    elif seen and seen.late:
        note = f"{seen.late} heartbeats came in it that the guest had sent before: its QEMU held them back"
    rows = (
        ("downtime.outside", seen.seconds if seen else None, Unit.SECONDS, Direction.LOWER,
         "from the last heartbeat that came in time on the source's side to the first on the destination's", note),
        ("outside.period", control.median_s if control else None, Unit.SECONDS, Direction.NEITHER,
         "median time between heartbeats before the migration", reason if not control else ""),
        ("outside.resolution", control.longest_s if control else None, Unit.SECONDS, Direction.LOWER,
         "longest time between heartbeats before the migration", reason if not control else ""),
        ("outside.stall", traffic.stalls[0].seconds if traffic and traffic.stalls else 0 if traffic else None,
         Unit.SECONDS, Direction.LOWER,
         "longest time between heartbeats on one side, above the resolution", "" if traffic else reason),
        ("outside.lost", traffic.lost if traffic else None, Unit.HEARTBEATS, Direction.LOWER,
         "heartbeats sent that did not arrive", "" if traffic else reason),
        ("outside.reordered", traffic.reordered if traffic else None, Unit.HEARTBEATS, Direction.LOWER,
         "heartbeats that arrived after a later one", "" if traffic else reason),
        ("outside.duplicated", traffic.duplicated if traffic else None, Unit.HEARTBEATS, Direction.LOWER,
         "heartbeats that arrived again", "" if traffic else reason),
    )  # fmt: skip
    return [
        *(
            Measurement(name, value, unit, direction, definition, heartbeats,
                        seen.control.longest_s if seen and name == "downtime.outside" else None, note)
            for name, value, unit, direction, definition, note in rows
        ),
        _resume(seen, explained, reason),
    ]  # fmt: skip


def _resume(
    seen: OutsideDowntime | None, explained: ExplainedDowntime | UnexplainedDowntime, reason: str
) -> Measurement:
    value, bound, note = None, None, reason
    if isinstance(explained, UnexplainedDowntime):
        note = explained.reason
    elif seen:
        value, bound = seen.seconds - explained.seconds, tolerance(seen, explained)
        if value > stretch(RESUME_BOUND_S) + bound:
            note = f"more than the {stretch(RESUME_BOUND_S):g} s that a guest may take until it is heard again"
    return Measurement(
        "downtime.outside.resume", value, Unit.SECONDS, Direction.LOWER,
        "from the guest's start on the destination to its first heartbeat outside: downtime.outside - "
        "downtime.explained", "computed", bound, note,
    )  # fmt: skip
