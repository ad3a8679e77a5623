# SPDX-License-Identifier: GPL-2.0-or-later
"""The one place that knows the order of a migration."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from qemu.qmp import QMPError
from qemu.qmp.error import ProtocolError

from switchover.guests.qemu import QemuGuest
from switchover.hosts.clock import ClockOffset, combine_offsets, measure_offset
from switchover.hosts.loop import LoopThread
from switchover.hosts.qmp import QmpSession
from switchover.hosts.waiting import wait_until
from switchover.migration.settings import MigrationSettings, apply_settings, set_parameters
from switchover.record.errors import Deadline, GuestCrashed, NotReady
from switchover.record.units import MIB

SAMPLE_INTERVAL_S = 0.1
SETTLED_SAMPLES = 5
"""Half a second: longer than a device takes for one block of 1 MiB, down to 2 MiB/s."""
SETTLED_RAM = 4 * MIB
_TERMINAL = ("completed", "failed", "cancelled")


@dataclass(frozen=True)
class Sample:
    """A whole ``query-migrate`` reply. ``at_ns``: the controller's CLOCK_MONOTONIC when it arrived."""

    at_ns: int
    reply: Mapping[str, Any]


@dataclass(frozen=True)
class MigrationResult:
    """What a migration that was started came to.

    ``status`` is QEMU's own word; ``None`` if no terminal one came within the deadline. ``error``: error-desc;
    ``destination_error`` also what a destination that ended wrote to its standard error.
    ``clocks``: by side, the host's real-time clock against the controller's over the time of the migration.
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


def migrate(
    source: QemuGuest,
    destination: QemuGuest,
    listen: str,
    settings: MigrationSettings,
    loop: LoopThread,
    *,
    on_sample: Callable[[Sample], None] = lambda sample: None,
) -> MigrationResult:
    """Migrate ``source`` into ``destination``, which was started with ``-incoming defer`` and listens on ``listen``.

    Settings go to both sides, the destination first; the destination listens before the source is told to start;
    events are kept from before the start; the last sample is kept whatever happens.

    :raises Refused: a setting or the command itself was rejected
    :raises GuestCrashed: one of the QEMUs ended
    """
    apply_settings(destination.qmp, settings)
    apply_settings(source.qmp, settings)
    clocks_before = {guest.side: measure_offset(guest.host) for guest in (source, destination)}
    destination.qmp.execute("migrate-incoming", {"uri": f"tcp:{listen}:0"})
    port = _find_port(destination.qmp)
    watch = StatusWatch(source.qmp)
    sampler = Sampler(source.qmp, loop, on_sample)
    start = time.monotonic()
    try:
        source.qmp.execute("migrate", {"uri": f"tcp:{listen}:{port}"})
        if settings.settle:
            _wait_until_settled(source, watch, sampler, min(settings.settle_timeout_s, settings.timeout_s))
            set_parameters(source.qmp, {"downtime-limit": settings.downtime_limit_ms})
        ended = _wait_until_terminal(source, watch, start + settings.timeout_s)
        if watch.last() == "completed":
            _wait_until_running(destination)
    finally:
        samples = sampler.stop()
    wall = time.monotonic() - start
    source_reply = source.qmp.execute("query-migrate")
    destination_reply = _ask_destination(destination)
    clocks_after = {guest.side: measure_offset(guest.host) for guest in (source, destination)}
    return MigrationResult(
        status=source_reply.get("status") if ended else None,
        error=source_reply.get("error-desc", ""),
        destination_status=destination_reply.get("status"),
        destination_error=destination_reply.get("error-desc", "") or destination.last_words(),
        samples=samples,
        source=source_reply,
        destination=destination_reply,
        clocks={side: combine_offsets(clocks_before[side], clocks_after[side]) for side in clocks_before},
        wall_seconds=wall,
    )


def _ask_destination(destination: QemuGuest) -> Mapping[str, Any]:
    """Its ``query-migrate``; empty if it ended, as a QEMU does whose incoming migration failed."""
    try:
        reply: Mapping[str, Any] = destination.qmp.execute("query-migrate")
    except GuestCrashed:
        return {}
    return reply


def _find_port(destination: QmpSession) -> int:
    """The port that QEMU listens on, from its own ``socket-address``."""
    addresses = destination.execute("query-migrate").get("socket-address", [])
    for address in addresses:
        if address.get("type") == "inet":
            return int(address["port"])
    raise NotReady(f"{destination.name} does not tell where it listens.", why=str(addresses))


class StatusWatch:
    """The status of one migration as a QEMU's MIGRATION events tell it; earlier migrations of that QEMU do not count.

    Events come even while QEMU's big lock keeps it from answering commands.
    """

    def __init__(self, qmp: QmpSession) -> None:
        self._qmp = qmp
        self._first = len(qmp.events)

    def last(self) -> str | None:
        events = self._qmp.events[self._first :]
        statuses = [event.data.get("status") for event in events if event.name == "MIGRATION"]
        return statuses[-1] if statuses else None

    def is_terminal(self) -> bool:
        return self.last() in _TERMINAL


def is_settled(samples: Sequence[Sample]) -> bool:
    """Whether RAM is drained, and VFIO moved nothing over the last samples: the device's pre-copy is over. Pure."""
    last = samples[-SETTLED_SAMPLES:]
    if len(last) < SETTLED_SAMPLES or any(sample.reply.get("status") != "active" for sample in last):
        return False
    moved = {sample.reply.get("vfio", {}).get("transferred") for sample in last}
    return len(moved) == 1 and all(sample.reply["ram"]["remaining"] <= SETTLED_RAM for sample in last)


def _wait_until_settled(source: QemuGuest, watch: StatusWatch, sampler: "Sampler", timeout: float) -> None:
    """A migration that ends before it settled needs no more waiting; one that does not settle in time is let go."""
    with contextlib.suppress(Deadline):
        wait_until(
            "RAM and the device's pre-copy to be drained",
            lambda: is_settled(sampler.samples) or watch.is_terminal(),
            timeout=timeout,
            invariants=[source.require_alive],
        )


def _wait_until_terminal(source: QemuGuest, watch: StatusWatch, end: float) -> bool:
    """Whether the source reached a terminal status in time; QEMU's lock may be held meanwhile, so events decide."""
    try:
        wait_until(
            "the migration to end",
            watch.is_terminal,
            timeout=max(0.0, end - time.monotonic()),
            invariants=[source.require_alive],
            poll=0.02,
        )
    except Deadline:
        return False
    return True


def _wait_until_running(destination: QemuGuest) -> None:
    def running() -> bool:
        return bool(destination.qmp.execute("query-status")["running"])

    wait_until("the destination's guest to run", running, timeout=60, invariants=[destination.require_alive])


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
