# SPDX-License-Identifier: GPL-2.0-or-later
"""The one place that knows the order of a migration through libvirt's API.

Managed direct: the library on the controller talks to the libvirtd of both hosts, and QEMU's stream goes from host to
host. libvirt starts the destination's QEMU, sets capabilities and parameters, lets it pass ``pre-switchover``, starts
the guest on the destination (``cont``) and ends the source's QEMU. What it decides by itself is read back from QEMU.
"""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from switchover.guests.libvirt import LibvirtGuest
from switchover.guests.qemu import condense_words
from switchover.hosts.clock import combine_offsets
from switchover.hosts.host import Host
from switchover.hosts.loop import LoopThread
from switchover.hosts.qmp import QmpSession
from switchover.hosts.ssh import SshLogin
from switchover.hosts.waiting import pace, wait_until
from switchover.migration.libvirt_report import Held, LibvirtReport, ask_held
from switchover.migration.libvirt_settings import list_flags, list_own, make_parameters
from switchover.migration.phases import TERMINAL, Intervened, Intervention, last_status, list_statuses
from switchover.migration.proxies import start_places, start_proxies
from switchover.migration.session import (
    Course,
    MigrationResult,
    Sample,
    Sampler,
    find_failed_first,
    measure_clocks,
    wait_until_arrived,
)
from switchover.migration.settings import HOLD_LIMIT_MS, MigrationSettings
from switchover.migration.transports import TRANSPORTS
from switchover.record.errors import Deadline, GuestCrashed, NotReady, NotSupported, Refused, SwitchoverError

_ABORT_TIMEOUT_S = 30
JOB_INTERVAL_S = 0.5
"""Between two looks at libvirt's job, for each of which libvirt asks QEMU's monitor."""


@contextlib.contextmanager
def start_peer(host: Host, parent: str, address: str, login: SshLogin | None) -> Iterator[str]:
    """URI at which ``host`` reaches the libvirtd of ``address``, over SSH and with checked host key.

    The key is below the directory ``parent`` of the host (mode 0700) for the time of the ``with`` block.

    :raises NotSupported: nobody knows how the one host gets into the other
    """
    if login is None:
        raise NotSupported(f"{host.name} has no way to log in to the destination's host by SSH.")
    directory = f"{parent}/peer"
    config = (
        f"IdentityFile {directory}/key\nIdentitiesOnly yes\nUserKnownHostsFile {directory}/known_hosts\n"
        "GlobalKnownHostsFile none\nStrictHostKeyChecking yes\nBatchMode yes\n"
    )
    known = f"{address} {' '.join(login.host_key.split()[:2])}\n"
    script = (
        'umask 077; mkdir "$1"; cat >"$1/key"; printf %s "$2" >"$1/config"; printf %s "$3" >"$1/known_hosts"; '
        'printf \'#!/bin/sh\\nexec ssh -F %s/config "$@"\\n\' "$1" >"$1/ssh"; chmod 700 "$1/ssh"'
    )
    try:
        host.run(["sh", "-euc", script, "sh", directory, config, known], stdin=login.private_key.encode())
        yield f"qemu+ssh://{login.user}@{address}/system?command={directory}/ssh&no_tty=1"
    finally:
        host.run(["rm", "-rf", directory], check=False)


@contextlib.contextmanager
def start_way(
    source: LibvirtGuest, destination: LibvirtGuest, listen: str, settings: MigrationSettings
) -> Iterator[str]:
    """Where libvirt lets QEMU listen and connect, for the time of a ``with`` block. A unix socket has one path on both
    hosts: the proxies are there before libvirt has anybody listen.
    """
    if not TRANSPORTS[settings.transport].has_proxies:
        yield f"tcp://{listen}"
        return
    path = settings.path or f"/run/switchover-{source.files.tap}.sock"
    with start_places((source, destination), path), contextlib.ExitStack() as stack:
        yield f"unix://{start_proxies(source, destination, listen, path, path, stack)}"


def migrate_domain(
    source: LibvirtGuest,
    destination: LibvirtGuest,
    listen: str,
    settings: MigrationSettings,
    loop: LoopThread,
    *,
    interventions: Sequence[Intervention] = (),
    on_sample: Callable[[Sample], None] = lambda sample: None,
    on_hang: Callable[[], None] = lambda: None,
    on_intervened: Callable[[Intervened], None] = lambda made: None,
    on_arrived: Callable[[], None] = lambda: None,
    login: SshLogin | None = None,
) -> MigrationResult:
    """Migrate ``source`` to the host of ``destination``, whose domain libvirt makes, as :func:`session.migrate` does.

    ``listen``: address of the destination's host at which its QEMU listens; ``login``: how the source's host gets in
    there, for a migration from peer to peer. Settings go to libvirt; a source whose
    QEMU libvirt has ended is asked no more, so its last reply is of the moment when it had completed.

    :raises Refused: libvirt or QEMU rejected the migration, or the destination's domain
    :raises NotSupported: there is no login, and peers need one
    :raises GuestCrashed: the source's QEMU or its guest ended before the migration did
    """
    if source.identity is None:
        raise AssertionError(f"{source.label} has no domain")
    settings = settings.stretched(pace())
    destination.identify(source.identity)
    sides = {"source": source, "destination": destination}
    clocks_before = measure_clocks(source.host, destination.host)
    remarks = source.list_remarks()
    seen = len(source.qmp.events)
    events_before = len(source.events)
    sampler = Sampler(source.qmp, loop, on_sample)
    start = time.monotonic()
    with ThreadPoolExecutor(5, "libvirt migration") as threads, contextlib.ExitStack() as stack:
        peer = ""
        if settings.peer_to_peer:  # the guest's directory is in the journal
            peer = stack.enter_context(start_peer(source.host, source.files.directory, listen, login))
        course = _Course(source, destination, settings, sampler, interventions, seen, on_intervened, threads)
        try:
            course.set_downtime(HOLD_LIMIT_MS if settings.settle else settings.downtime_limit_ms)
            uri = stack.enter_context(start_way(source, destination, listen, settings))
            course.intervene()
            course.begin(make_parameters(settings, uri, destination.xml), list_flags(settings), peer)
            hang = course.follow(start + settings.timeout_s)
            if hang:
                on_hang()
            error = course.finish()
            if error and not hang:  # libvirt's call may have ended before anybody saw that the source had
                course.require_source()
            arrived = "" if error else wait_until_arrived(destination)
            wall = time.monotonic() - start
            if arrived == "running":
                on_arrived()
        finally:
            course.give_up()
            samples = sampler.stop()
            course.close()
    status = course.judge(error)
    if status is None and not hang:
        raise _make_refusal(source, destination, error)
    if status == "completed":
        hang = None
    clocks_after = measure_clocks(source.host, destination.host)
    clocks = {side: combine_offsets(clocks_before[side], clocks_after[side]) for side in sides}
    events = {"source": source.qmp.events[seen:], "destination": destination.qmp.events}
    reply = course.final or _ask(source.qmp)
    return MigrationResult(
        status=None if hang else status,
        error="" if status == "completed" else error or reply.get("error-desc", ""),
        destination_status=_ask(destination.qmp).get("status"),
        destination_error="" if status == "completed" else join_words(destination.last_words(), course.failure),
        samples=samples,
        source=reply,
        destination=_ask(destination.qmp),
        clocks=clocks,
        wall_seconds=wall,
        hang=hang,
        failed_first=find_failed_first(events, clocks, ended=destination.exit_status() is not None),
        interventions=tuple(course.made),
        statuses={side: list_statuses(told) for side, told in events.items()},
        arrived=arrived,
        limits=course.limits.told,
        driver=asdict(
            _report(course, source, destination, settings, events_before, remarks, completed=status == "completed")
        ),
        job_samples=tuple(course.job.samples),
    )


class JobSampler:
    """Asks libvirt at an interval how far its job is, in a thread: no answer comes while a device is saved."""

    def __init__(self, guest: LibvirtGuest, threads: ThreadPoolExecutor) -> None:
        self.samples: list[Sample] = []
        self._guest = guest
        self._over = threading.Event()
        threads.submit(self._run)

    def _run(self) -> None:
        libvirt = self._guest.libvirtd.module
        with contextlib.suppress(libvirt.libvirtError, SwitchoverError):  # the domain is gone once it has migrated
            domain = self._guest.domain
            while not self._over.wait(JOB_INTERVAL_S):
                statistics = domain.jobStats()
                if statistics.get("type") != libvirt.VIR_DOMAIN_JOB_NONE:
                    self.samples.append(Sample(time.monotonic_ns(), statistics))

    def stop(self) -> None:
        self._over.set()


class _Course(Course):
    """The call of libvirt's API goes on in a thread; what QEMU says of it is followed meanwhile."""

    source: LibvirtGuest
    destination: LibvirtGuest

    def __init__(
        self,
        source: LibvirtGuest,
        destination: LibvirtGuest,
        settings: MigrationSettings,
        sampler: Sampler,
        interventions: Sequence[Intervention],
        first_event: int,
        on_intervened: Callable[[Intervened], None],
        threads: ThreadPoolExecutor,
    ) -> None:
        super().__init__(source, destination, settings, sampler, interventions, first_event, on_intervened)
        self._threads = threads
        self._call: Future[str] | None = None
        self._monitor: Future[None] | None = None
        self._set_limits: list[Future[None]] = []
        self._over = False
        self.final: Mapping[str, Any] = {}
        self.failure = ""
        self.held: dict[str, Held] = {}
        self.job = JobSampler(source, threads)

    def begin(self, parameters: Mapping[str, Any], flags: Sequence[str], peer: str) -> None:
        """Let libvirt migrate, and connect to the destination's QEMU as soon as libvirt has started it.

        ``peer``: URI at which the source's libvirtd reaches the other; empty: the library goes between them.
        """
        libvirt = self.source.libvirtd.module
        number = 0
        for flag in flags:
            number |= getattr(libvirt, flag)
        self._monitor = self._threads.submit(self.destination.open_monitor, [self._require_going_on])
        domain, there = self.source.domain, self.destination.libvirtd.raw

        def call() -> str:
            try:
                if peer:
                    domain.migrateToURI3(peer, dict(parameters), number)
                else:
                    domain.migrate3(there, dict(parameters), number)
            except libvirt.libvirtError as error:
                return str(error.get_error_message() or error)
            return ""

        self._call = self._threads.submit(call)

    def set_downtime(self, limit_ms: int) -> None:
        with self.source.libvirtd.calls(f"a downtime limit of {limit_ms} ms"):
            self.source.domain.migrateSetMaxDowntime(limit_ms)

    def let_pass(self) -> None:
        """libvirt does it."""

    def limit_downtime(self, limit_ms: int) -> "Future[Any]":
        self._set_limits.append(self._threads.submit(self.set_downtime, limit_ms))
        return self._set_limits[-1]

    def is_under_way(self) -> bool:
        """libvirt has things to do before QEMU migrates and after it: start the destination's, end the source's. Once
        it has started that one, it may wait for a connection that is never made.
        """
        status = self.status()
        return self.destination.has_begun if status is None else status not in TERMINAL

    def close(self) -> None:
        super().close()
        self.job.stop()

    def require_accepted(self) -> None:
        for limit in self._set_limits:
            if limit.done():
                limit.result()

    def require_source(self) -> None:
        if self.status() != "completed":
            self.source.require_alive()

    def has_ended(self) -> bool:
        if self.status() == "completed" and not self.final:
            # before libvirt has the guest started on the destination, and then ends this QEMU
            self.final = _ask(self.source.qmp)
        if not self.failure and last_status(self.destination.qmp.events) == "failed":
            self.failure = str(_ask(self.destination.qmp).get("error-desc", ""))  # before libvirt ends it
        if self.status() == "active":
            for name, guest in (("source", self.source), ("destination", self.destination)):
                if name not in self.held and guest.has_begun and (held := ask_held(guest.qmp, self._settings)):
                    self.held[name] = held
        return self._call is not None and self._call.done()

    def _require_going_on(self) -> None:
        """:raises NotReady: nobody will start the destination's QEMU any more"""
        if self._over or (self._call is not None and self._call.done()):
            raise NotReady(f"{self.destination.label} is gone.")
        self.destination.require_alive()

    def finish(self) -> str:
        """The end of libvirt's call, which is aborted if it goes on; libvirt's words, empty if it migrated."""
        if self._call is None:
            raise AssertionError("there was no migration")
        self._end(self._call)
        self.has_ended()
        if not self._call.done():
            raise NotReady(f"libvirt of {self.source.host.name} does not end the migration.")
        return self._call.result()

    def _end(self, call: "Future[str]") -> None:
        """Abort, and by what it takes: libvirt waits for a QEMU that does not answer, however long."""
        if call.done():
            return
        self._threads.submit(self._abort)  # a call like any other, it may not return
        for kill in (None, self.destination.kill, self.source.kill):
            with contextlib.suppress(Deadline, SwitchoverError):
                if kill is not None:
                    kill()
                wait_until("libvirt to end the migration", call.done, timeout=_ABORT_TIMEOUT_S)
                return

    def _abort(self) -> None:
        with contextlib.suppress(SwitchoverError):
            self.source.cancel_migration()

    def give_up(self) -> None:
        """After an error too: nothing of it goes on."""
        self._over = True
        if self._call is not None:
            self._end(self._call)
        if self._monitor is not None:
            with contextlib.suppress(SwitchoverError):
                self._monitor.result()

    def judge(self, error: str) -> str | None:
        """A status in QEMU's words; None if the migration was never started there."""
        status = self.status()
        if not error:
            return "completed"
        if status is None:
            return None
        return "cancelled" if status == "cancelled" else "failed"


def join_words(said: str, failure: str) -> str:
    """What the destination's QEMU wrote, and the error that it told its monitor. By libvirt it does not end with that
    error, and does not write it.

    >>> join_words("Features 0x7 unsupported", "load of migration failed: Operation not permitted")
    'Features 0x7 unsupported; load of migration failed: Operation not permitted'
    """
    return "; ".join(words for words in (said, failure if failure not in said else "") if words)


def _make_refusal(source: LibvirtGuest, destination: LibvirtGuest, error: str) -> Refused:
    """A destination whose QEMU did not start, or a migration that was not started."""
    if words := find_words_of_start(error):
        return Refused(f"{destination.label} did not start.", why=words)
    return Refused(f"libvirt of {source.host.name} rejected migrate.", why=error, command="migrate")


_ENDED = re.compile(
    r"(?:process exited while connecting to monitor|unexpectedly closed the monitor[^:]*): (.*)", re.DOTALL
)


def find_words_of_start(error: str) -> str:
    """What a QEMU that ended while libvirt started it said, as libvirt passes it on; empty if that was not it.

    >>> find_words_of_start("internal error: process exited while connecting to monitor: 2026Z qemu-kvm: no such x")
    'no such x'
    """
    found = _ENDED.search(error)
    return condense_words(found[1]) or error if found else ""


def _ask(qmp: QmpSession) -> Mapping[str, Any]:
    """``query-migrate``; empty if QEMU is not there."""
    try:
        reply: Mapping[str, Any] = qmp.execute("query-migrate", timeout=20)
    except (GuestCrashed, NotReady):
        return {}
    return reply


def _report(
    course: _Course,
    source: LibvirtGuest,
    destination: LibvirtGuest,
    settings: MigrationSettings,
    first_event: int,
    remarks: tuple[str, ...],
    *,
    completed: bool,
) -> LibvirtReport:
    libvirt = source.libvirtd.module
    counted = [dict(event.details) for event in source.events[first_event:] if event.name == "job-completed"]
    statistics = {"source": counted[-1] if counted else {}}
    if completed:
        with contextlib.suppress(libvirt.libvirtError, SwitchoverError):
            statistics["destination"] = destination.domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
    given = make_parameters(settings, "", "")
    return LibvirtReport(
        name="libvirt",
        versions={"source": source.libvirtd.version, "destination": destination.libvirtd.version},
        remarks=remarks,
        flags=tuple(list_flags(settings)),
        parameters={name: given[name] for name in given if name not in ("migrate_uri", "destination_xml")},
        capabilities={side: held.capabilities for side, held in course.held.items()},
        by_itself={side: list_own(settings, side, held.capabilities) for side, held in course.held.items()},
        held={side: held.parameters for side, held in course.held.items()},
        iterations=sum(event.name == "migration-iteration" for event in source.events[first_event:]),
        samples=len(course.job.samples),
        statistics=statistics,
    )
