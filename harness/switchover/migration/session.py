# SPDX-License-Identifier: GPL-2.0-or-later
"""The one place that knows the order of a migration."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict

from qemu.qmp import QMPError
from qemu.qmp.error import ProtocolError
from qemu.qmp.qmp_client import ExecuteError

from switchover.guests.qemu import QemuGuest
from switchover.hosts.clock import ClockOffset, combine_offsets, measure_offset
from switchover.hosts.host import Host
from switchover.hosts.loop import LoopThread
from switchover.hosts.parallel import do_both
from switchover.hosts.qmp import Event, QmpSession
from switchover.hosts.waiting import pace, wait_until
from switchover.migration.limits import DowntimeLimit, Limits
from switchover.migration.phases import (
    RESTORED,
    TERMINAL,
    Intervened,
    Intervention,
    NotMade,
    Phase,
    Rejected,
    Said,
    find_begin,
    is_in,
    last_status,
    list_statuses,
)
from switchover.migration.progress import Hang, HangKind
from switchover.migration.settings import MigrationSettings, apply_settings
from switchover.migration.tls import start_tls
from switchover.migration.transport import Stream
from switchover.migration.transports import TRANSPORTS
from switchover.migration.watch import HangWatch
from switchover.record.errors import Deadline, GuestCrashed, NotReady, Refused
from switchover.record.log import say
from switchover.record.units import MIB

SAMPLE_INTERVAL_S = 0.1
SETTLED_SAMPLES = 5
"""Half a second: longer than a device takes for one block of 1 MiB, down to 2 MiB/s."""
SETTLED_RAM = 4 * MIB
_CANCEL_TIMEOUT_S = 20
_PUT_AWAY_S = 10.0


@dataclass(frozen=True)
class Sample:
    """A whole ``query-migrate`` reply. ``at_ns``: the controller's CLOCK_MONOTONIC when it arrived."""

    at_ns: int
    reply: Mapping[str, Any]


class Watchers(TypedDict):
    """What is done to a migration on its way, and who is told of it: see :func:`migrate`."""

    interventions: Sequence[Intervention]
    on_sample: Callable[[Sample], None]
    on_hang: Callable[[], None]
    on_intervened: Callable[[Intervened], None]
    on_arrived: Callable[[], None]


@dataclass(frozen=True)
class MigrationResult:
    """What a migration that was started came to.

    ``status`` is QEMU's own word; ``None`` if there was no terminal one when it was given up: then ``hang`` says why.
    ``error``: error-desc; ``destination_error`` also what a destination that ended wrote to its standard error.
    ``failed_first``: the side whose status failed before the other's; empty if that cannot be told. ``clocks``: by
    side, the host's real-time clock against the controller's over the time of the migration.
    """

    status: str | None
    error: str
    destination_status: str | None
    destination_error: str
    samples: tuple[Sample, ...]
    source: Mapping[str, Any]
    destination: Mapping[str, Any]
    clocks: Mapping[str, ClockOffset]
    wall_seconds: float
    hang: Hang | None = None
    failed_first: str = ""
    interventions: tuple[Intervened, ...] = ()
    statuses: Mapping[str, tuple[Said, ...]] = field(default_factory=dict)
    """By side, all statuses of this migration that its QEMU told by events, in order."""
    arrived: str = ""
    """The destination's run state when the migration had completed, ``running``, ``paused`` or ``suspended``; empty: it
    did not."""
    driver: Mapping[str, Any] = field(default_factory=dict)
    """What a driver between the harness and QEMU was told, what it set by itself, and what it counted."""
    limits: tuple[DowntimeLimit, ...] = ()
    """The downtime limits that it was given, in their order."""
    job_samples: tuple[Sample, ...] = ()
    """What that driver said on the way of how far it was, in its own words."""


def migrate(
    source: QemuGuest,
    destination: QemuGuest,
    listen: str,
    settings: MigrationSettings,
    loop: LoopThread,
    *,
    interventions: Sequence[Intervention] = (),
    on_sample: Callable[[Sample], None] = lambda sample: None,
    on_hang: Callable[[], None] = lambda: None,
    on_intervened: Callable[[Intervened], None] = lambda made: None,
    on_arrived: Callable[[], None] = lambda: None,
) -> MigrationResult:
    """Migrate ``source`` into ``destination``, which was started with ``-incoming defer`` and listens on ``listen``.

    Settings go to both sides, the destination first; the destination listens before the source is told to start, or is
    restored from what the source has saved, as the transport of the settings has it;
    events are kept from before the start; the last sample is kept whatever happens. A guest that was paused and arrives
    so is let run. A migration that hangs is
    cancelled before this returns, and its result says that it hung; ``on_hang`` is called before, to take away what
    would keep a QEMU from noticing. ``on_intervened`` is told each intervention that was made, also where this raises.
    ``on_arrived`` is called once the guest runs on the destination, before anything more is asked of that host.

    :raises Refused: a setting or the command itself was rejected
    :raises GuestCrashed: the source's QEMU or its guest ended, or the destination's after the migration completed
    """
    settings = settings.stretched(pace())
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(TRANSPORTS[settings.transport].start(source, destination, listen, settings))
        for side, guest in (("destination", destination), ("source", source)):
            guest.told = apply_settings(guest.qmp, settings, side, guest.told)
        stack.enter_context(start_tls(source, destination, listen, settings))
        watchers: Watchers = {
            "interventions": interventions,
            "on_sample": on_sample,
            "on_hang": on_hang,
            "on_intervened": on_intervened,
            "on_arrived": on_arrived,
        }
        return _migrate_over(stream, source, destination, settings, loop, **watchers)


def _wait_until_put_away(source: QemuGuest) -> None:
    """QEMU says that a migration has failed before it has put it away, and rejects another one until then (duplicate
    yank instance). One that is never put away is rejected.
    """
    if not any(event.name == "MIGRATION" for event in source.qmp.events):
        return

    def is_put_away() -> bool:
        return all(instance["type"] != "migration" for instance in source.qmp.execute("query-yank"))

    with contextlib.suppress(Deadline):
        wait_until("the migration before to be put away", is_put_away, timeout=_PUT_AWAY_S)


def _migrate_over(
    stream: Stream,
    source: QemuGuest,
    destination: QemuGuest,
    settings: MigrationSettings,
    loop: LoopThread,
    *,
    interventions: Sequence[Intervention],
    on_sample: Callable[[Sample], None],
    on_hang: Callable[[], None],
    on_intervened: Callable[[Intervened], None],
    on_arrived: Callable[[], None],
) -> MigrationResult:
    """Both sides have their settings."""
    sides = {"source": source, "destination": destination}
    clocks_before = measure_clocks(source.host, destination.host)
    stream.listen()
    _wait_until_put_away(source)
    seen = {side: len(guest.qmp.events) for side, guest in sides.items()}
    sampler = Sampler(source.qmp, loop, on_sample)
    course = Course(source, destination, settings, sampler, interventions, seen["source"], on_intervened)
    start = time.monotonic()
    try:
        course.intervene()
        source.qmp.execute("migrate", {"uri": stream.outgoing})
        hang = course.follow(start + settings.timeout_s)
        wall = time.monotonic() - start
        if hang:
            on_hang()
            _end_hung(source, destination, course)
            if hang.kind is HangKind.NO_PROGRESS and course.status() != "completed":
                destination.kill()  # it may be stuck in its device, and would answer nothing that it is asked
        arrived = lost = ""
        if course.status() == "completed" and (lost := _deliver(stream, source)):
            hang = None
        elif course.status() == "completed":
            arrived = wait_until_arrived(destination)
            hang, wall = None, time.monotonic() - start  # also if it completed just before it was cancelled
            if arrived == "running":
                on_arrived()
    finally:
        samples = sampler.stop()
        course.close()
    try:
        source_reply = source.qmp.execute("query-migrate")
    except GuestCrashed:  # a QEMU that ends with its guest fails the migration first
        source.explain_silence()
        raise
    destination_reply = _ask_destination(destination)
    clocks_after = measure_clocks(source.host, destination.host)
    clocks = {side: combine_offsets(clocks_before[side], clocks_after[side]) for side in sides}
    events = {side: guest.qmp.events[seen[side] :] for side, guest in sides.items()}
    return MigrationResult(
        status=None if hang else "failed" if lost else source_reply.get("status"),
        error=source_reply.get("error-desc", ""),
        destination_status="failed" if lost else destination_reply.get("status"),
        destination_error=lost or destination_reply.get("error-desc", "") or destination.last_words(),
        samples=samples,
        source=source_reply,
        destination=destination_reply,
        clocks=clocks,
        wall_seconds=wall,
        hang=hang,
        failed_first="destination"
        if lost
        else find_failed_first(events, clocks, ended=destination.exit_status() is not None),
        interventions=tuple(course.made),
        statuses={side: list_statuses(told) for side, told in events.items()},
        arrived=arrived,
        limits=course.limits.told,
    )


def _deliver(stream: Stream, source: QemuGuest) -> str:
    """As :meth:`Stream.deliver`; a source that has completed for nothing goes on."""
    lost = "it was not tried"
    try:
        lost = stream.deliver()
    finally:
        if lost:
            source.resume()
    return lost


def measure_clocks(source: Host, destination: Host) -> dict[str, ClockOffset]:
    """Both hosts' clocks against the controller's, by side; each host for itself, so that neither waits."""
    if source is destination:
        offset = measure_offset(source)
        return {"source": offset, "destination": offset}
    offsets = do_both(lambda: measure_offset(source), lambda: measure_offset(destination))
    return {"source": offsets[0], "destination": offsets[1]}


def find_failed_first(
    events: Mapping[str, Sequence[Event]], clocks: Mapping[str, ClockOffset], *, ended: bool = False
) -> str:
    """The side whose status became ``failed`` first, by QEMU's stamps on the controller's clock; pure.

    A side that fails closes the stream, and then the other one fails too, with words about the stream. Empty if none
    failed, or if the clocks' bounds leave it open. ``ended``: the destination's QEMU has.
    """
    times = {
        side: next(
            (
                event.qemu_ns - clocks[side].offset_ns
                for event in seen
                if event.name == "MIGRATION" and event.data.get("status") == "failed"
            ),
            None,
        )
        for side, seen in events.items()
    }
    failed = {side: at for side, at in times.items() if at is not None}
    if len(failed) < 2:
        # a destination that ends may take its event along
        return "" if ended else next(iter(failed), "")
    (first, at), (_, later) = sorted(failed.items(), key=lambda item: item[1])
    return first if later - at > sum(clock.bound_ns for clock in clocks.values()) else ""


class Course:
    """A migration under way: interventions made in their phase, the switchover let go, a hang seen.

    What is said to QEMU on the way is said by methods that a driver of another kind overrides.
    """

    def __init__(
        self,
        source: QemuGuest,
        destination: QemuGuest,
        settings: MigrationSettings,
        sampler: "Sampler",
        interventions: Sequence[Intervention],
        first_event: int,
        on_intervened: Callable[[Intervened], None],
    ) -> None:
        self.source = source
        self.destination = destination
        self._settings = settings
        self._sampler = sampler
        self._first = first_event
        self.due = list(interventions)
        self._ending: list[tuple[int, Intervention]] = []
        self._held = settings.settle
        self._continued = False
        self._submitted: list[tuple[str, Future[Any]]] = []
        self.limits = Limits(settings)
        self.made: list[Intervened] = []
        self._on_intervened = on_intervened
        self._watch = HangWatch(source, destination, settings)

    def close(self) -> None:
        self._watch.close()

    def events(self) -> Sequence[Event]:
        """Events of the source since the start; they come even while QEMU answers no command."""
        return self.source.qmp.events[self._first :]

    def status(self) -> str | None:
        return last_status(self.events())

    def follow(self, end: float) -> Hang | None:
        """Until the source's status is terminal (None), the migration hangs, or it is ``end`` (s, monotonic)."""
        settle_end = time.monotonic() + min(self._settings.settle_timeout_s, self._settings.timeout_s)
        watch = self._watch

        def advance() -> Hang | bool:
            self.require_accepted()
            before = self.status()
            self.intervene()
            status = self.status()
            if self.has_ended():
                return True
            # only if it was there before the interventions: none that is due in this phase is passed over
            if before == status == Phase.PRE_SWITCHOVER and not self._continued:
                self._continued = True
                self.let_pass()
            samples = self._sampler.samples
            if self._held and (is_settled(samples, self._settings.settle_vfio_bytes) or time.monotonic() >= settle_end):
                self._held = False
                self._give_limit(self._settings.downtime_limit_ms)
            if status == "active" and not self._held:
                self.limits.begin()
                if (limit := self.limits.find_due()) is not None:
                    self._give_limit(limit)
            if not self.is_under_way():
                return False
            last = samples[-1].reply if samples else {}
            held = self._held or self.limits.to_come
            return watch.find_hang(status, last, len(self.events()), held=held) or False

        try:
            ended = wait_until(
                "the migration to end",
                advance,
                timeout=max(0.0, end - time.monotonic()),
                invariants=[self.require_source],
                poll=0.02,
                exact=True,
            )
        except Deadline as error:
            last = self._sampler.samples[-1].reply if self._sampler.samples else {}
            reason = watch.find_reason(self.status(), last, self._settings.timeout_s, held=self._held)
            return replace(reason, seen_s=error.at_s)
        return replace(ended, seen_s=time.monotonic()) if isinstance(ended, Hang) else None

    def has_ended(self) -> bool:
        return self.status() in TERMINAL

    def is_under_way(self) -> bool:
        """Whether there is something that could hang."""
        return True

    def require_source(self) -> None:
        """:raises GuestCrashed: its QEMU ended, or its guest crashed"""
        self.source.require_alive()

    def let_pass(self) -> None:
        """Out of ``pre-switchover``, where QEMU waits for it."""
        self._submit("migrate-continue", {"state": str(Phase.PRE_SWITCHOVER)})

    def _give_limit(self, downtime_limit_ms: int) -> None:
        # nobody waits for the answer: QEMU may take its lock for the downtime before it gives one
        self.limits.give(downtime_limit_ms, self.limit_downtime)
        self._watch.limit_ms = downtime_limit_ms

    def limit_downtime(self, limit_ms: int) -> "Future[Any]":
        """Tell another downtime limit."""
        return self._submit("migrate-set-parameters", {"downtime-limit": limit_ms})

    def _submit(self, command: str, arguments: Mapping[str, object]) -> "Future[Any]":
        answer = self.source.qmp.submit(command, arguments)
        self._submitted.append((command, answer))
        return answer

    def require_accepted(self) -> None:
        """:raises Refused: QEMU rejected what was submitted"""
        for command, answer in self._submitted:
            if answer.done() and isinstance(error := answer.exception(), ExecuteError):
                raise Refused(f"{self.source.qmp.name} rejected {command}.", why=str(error), command=command)

    def intervene(self) -> None:
        """Make the interventions that are due now, each once, and end those whose time is over."""
        for end_ns, intervention in [one for one in self._ending if one[0] <= time.monotonic_ns()]:
            self._ending.remove((end_ns, intervention))
            self._make(replace(intervention, name=RESTORED, act=intervention.end, seconds=None))
        if not self.due:
            return
        for intervention in [one for one in self.due if self._is_due(one)]:
            self.due.remove(intervention)
            if self._make(intervention) and intervention.seconds is not None:
                self._ending.append((time.monotonic_ns() + round(intervention.seconds * 1e9), intervention))

    def _is_due(self, intervention: Intervention) -> bool:
        events = self.events()
        if intervention.phase is not None:
            samples = self._sampler.samples
            moved = samples[-1].reply.get("vfio", {}).get("transferred", 0) if samples else 0
            return is_in(intervention.phase, events, moved)
        began = find_begin(events)
        if began is None or intervention.at_s is None or last_status(events) in TERMINAL:
            return False
        return time.monotonic_ns() - began >= intervention.at_s * 1e9

    def _make(self, intervention: Intervention) -> bool:
        """Whether it was made, or rejected."""
        status = self.status()
        if (made := carry_out(intervention, status)) is None:
            return False
        self.made.append(made)
        self._on_intervened(made)
        return not made.rejected


def carry_out(intervention: Intervention, status: str | None) -> Intervened | None:
    """Make an intervention now; ``status``: QEMU's. None: it could not be made."""
    began, rejected = time.monotonic_ns(), ""
    try:
        intervention.act()
    except Rejected as error:
        rejected = error.why or error.what
    except NotMade as error:
        say(f"{intervention.label}: {error}")
        return None
    return Intervened(
        intervention.name, intervention.phase, status, began, time.monotonic_ns(), intervention.at_s, rejected
    )


def _end_hung(source: QemuGuest, destination: QemuGuest, course: Course) -> None:
    """Cancel; a source that does not answer, since it waits for the destination with its lock held, by ending that one.

    :raises GuestCrashed: the source ends meanwhile
    """

    def is_over() -> bool:
        return course.status() in TERMINAL

    with contextlib.suppress(NotReady, Deadline):
        source.qmp.execute("migrate_cancel", timeout=_CANCEL_TIMEOUT_S)
        wait_until(
            "the hung migration to be cancelled", is_over, timeout=_CANCEL_TIMEOUT_S, invariants=[source.require_alive]
        )
        return
    destination.kill()
    with contextlib.suppress(Deadline):
        wait_until(
            "the hung migration to fail without its destination", is_over, timeout=60, invariants=[source.require_alive]
        )


def _ask_destination(destination: QemuGuest) -> Mapping[str, Any]:
    """Its ``query-migrate``; empty if it ended, as a QEMU does whose incoming migration failed."""
    try:
        reply: Mapping[str, Any] = destination.qmp.execute("query-migrate")
    except (GuestCrashed, NotReady):
        return {}
    return reply


def is_settled(samples: Sequence[Sample], vfio_bytes: int = 0) -> bool:
    """Whether RAM is drained, and VFIO moved nothing over the last samples, or at least ``vfio_bytes`` in all. Pure."""
    last = samples[-SETTLED_SAMPLES:]
    if len(last) < SETTLED_SAMPLES or any(sample.reply.get("status") != "active" for sample in last):
        return False
    if any(sample.reply["ram"]["remaining"] > SETTLED_RAM for sample in last):
        return False
    moved = [sample.reply.get("vfio", {}).get("transferred") for sample in last]
    return len(set(moved)) == 1 or (vfio_bytes > 0 and moved[0] is not None and moved[0] >= vfio_bytes)


def wait_until_arrived(destination: QemuGuest) -> str:
    """Until the guest runs; one that arrives paused is let run, one that arrives suspended is woken. Returns the run
    state that it arrived in.
    """

    def status() -> str:
        return str(destination.qmp.execute("query-status")["status"])

    def arrived() -> str | None:
        return found if (found := status()) in ("running", "paused", "suspended") else None

    state = wait_until("the destination's guest to run", arrived, timeout=60, invariants=[destination.require_alive])
    if state != "running":
        destination.resume() if state == "paused" else destination.wake()
        wait_until(
            f"the guest that arrived {state} to run",
            lambda: status() == "running",
            timeout=60,
            invariants=[destination.require_alive],
        )
    return state


class Sampler:
    """Asks a QEMU for its migration counters at an interval, on the loop; every reply is kept."""

    def __init__(self, qmp: QmpSession, loop: LoopThread, on_sample: Callable[[Sample], None]) -> None:
        self._qmp = qmp
        self._on_sample = on_sample
        self.samples: list[Sample] = []
        self._task: Future[None] = loop.spawn(self._run())

    async def _run(self) -> None:
        while True:
            try:
                reply = await self._qmp.execute_async("query-migrate")
            except (QMPError, ProtocolError, EOFError, OSError):
                return
            sample = Sample(time.monotonic_ns(), reply)
            self.samples.append(sample)
            self._on_sample(sample)
            await asyncio.sleep(SAMPLE_INTERVAL_S)

    def stop(self) -> tuple[Sample, ...]:
        self._task.cancel()
        return tuple(self.samples)
