# SPDX-License-Identifier: GPL-2.0-or-later
"""One attempt of a guest to migrate from one side to the other: what it comes to, and the migration itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from switchover.hosts.loop import LoopThread
from switchover.hosts.qmp import Event
from switchover.hosts.ssh import SshLogin
from switchover.migration.drivers import DRIVERS
from switchover.migration.phases import Intervened, Intervention, list_device_states
from switchover.migration.precopy import BITMAP_EVENTS
from switchover.migration.session import MigrationResult, Sample, Watchers
from switchover.migration.settings import MigrationSettings
from switchover.record.errors import SwitchoverError
from switchover.record.measurement import Check, Measurement, NotChecked
from switchover.record.record import Death
from switchover.runner.readback import read_back, read_back_late
from switchover.runner.side import Side
from switchover.scenarios.case import BITMAP_PROPERTY, name_devices


@dataclass(frozen=True)
class Attempt:
    """What an attempt came to. Without completion there are no measurements, and ``checks`` are about the guest that
    stayed. ``error``: the migration could not be started, or a QEMU ended; then there may be no ``result``.
    """

    result: MigrationResult | None
    states: Mapping[str, list[str]]
    downtime: Mapping[str, Any]
    measurements: tuple[Measurement, ...] = ()
    checks: tuple[Check, ...] = ()
    error: SwitchoverError | None = None
    ended: str = ""
    """With ``error``: the side whose QEMU ended."""
    properties: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Of the devices, as QEMU held them before the migration; see :func:`read_back`."""
    not_checked: tuple[NotChecked, ...] = ()
    interventions: tuple[Intervened, ...] = ()
    """All that were made, also where there is no ``result``."""
    deaths: tuple[Death, ...] = ()


@dataclass(frozen=True)
class Migrated:
    """A migration that was watched to its end."""

    migration: MigrationResult
    states: Mapping[str, list[str]]
    """By the place of a device, those that it went through by QEMU's events."""
    properties: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By the place of a device, what its QEMU held."""
    late_properties: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """The same, what it had to hold, of a QEMU that could be asked only after the migration."""


def migrate_sides(
    source: Side,
    destination: Side,
    address: str,
    settings: MigrationSettings,
    loop: LoopThread,
    interventions: Sequence[Intervention] = (),
    on_sample: Callable[[Sample], None] = lambda sample: None,
    on_hang: Callable[[], None] = lambda: None,
    login: SshLogin | None = None,
    on_intervened: Callable[[Intervened], None] = lambda made: None,
    on_arrived: Callable[[], None] = lambda: None,
) -> Migrated:
    """``address``: where the destination's QEMU listens for the stream; ``login``: how the source's host gets in there.
    Raises what :func:`switchover.migration.session.migrate` raises.

    :raises Refused: a QEMU holds another value of a device's property than it was given, too
    """
    properties = {**read_back(source, "source"), **read_back(destination, "destination")}
    if any(BITMAP_PROPERTY in device.properties for device in source.spec.devices):
        source.guest.qmp.execute(
            "trace-event-set-state", {"name": BITMAP_EVENTS, "enable": True, "ignore-unavailable": True}
        )
    asks_late = not destination.guest.has_begun or any(device.is_primary for device in destination.spec.devices)
    sides = {"source": source, "destination": destination}
    seen = {name: len(side.guest.qmp.events) for name, side in sides.items()}
    watchers: Watchers = {
        "interventions": interventions,
        "on_sample": on_sample,
        "on_hang": on_hang,
        "on_intervened": on_intervened,
        "on_arrived": on_arrived,
    }
    driver = DRIVERS[source.spec.guest.driver]
    result = driver.migrate(source.guest, destination.guest, address, settings, loop, login=login, **watchers)
    states: dict[str, list[str]] = {}
    for name, side in sides.items():
        states |= _states_by_device(name, side, side.guest.qmp.events[seen[name] :])
    wanted: Mapping[str, Mapping[str, str]] = {}
    if asks_late and result.status == "completed":
        found, wanted = read_back_late(destination, "destination", properties)
        properties |= found
    return Migrated(result, states, properties, wanted)


def _states_by_device(name: str, side: Side, events: Sequence[Event]) -> dict[str, list[str]]:
    return {
        place: list_device_states([event for event in events if event.data.get("device-id", called) == called])
        for place, device in zip(name_devices(name, side.spec), side.spec.devices, strict=True)
        for called in [side.guest.name_device(device.id)]
    }


def make_failed(result: MigrationResult | None, states: Mapping[str, list[str]], **others: Any) -> Attempt:
    """An attempt without completion. ``others``: fields of :class:`Attempt`."""
    return Attempt(result, states, {"reason": "the migration did not complete"}, **others)
