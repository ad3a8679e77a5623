# SPDX-License-Identifier: GPL-2.0-or-later
"""One passage of a guest from one side to the other: migrated, measured, and checked on arrival."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from switchover.devices.reference import Truth
from switchover.guests.qemu import GuestKeys
from switchover.hosts.clock import ClockOffset
from switchover.hosts.loop import LoopThread
from switchover.hosts.qmp import Event
from switchover.migration.bytes import account_bytes
from switchover.migration.downtime import explain_downtime
from switchover.migration.session import MigrationResult, Sample, migrate
from switchover.migration.settings import MigrationSettings
from switchover.migration.traces import count_device_bytes, parse_trace, take_last_migration
from switchover.record.errors import GuestSilent
from switchover.record.measurement import Check, Measurement, check_equal
from switchover.run.measurements import measure
from switchover.run.probes import (
    GuestAnswers,
    ask_guest,
    check_console,
    compare_bytes,
    compare_guest,
    compare_states,
    fire_interrupt,
)
from switchover.run.side import Side


@dataclass(frozen=True)
class Passage:
    """What a passage came to. Without completion there are no measurements and no checks."""

    result: MigrationResult
    states: Mapping[str, list[str]]
    downtime: Mapping[str, Any]
    measurements: tuple[Measurement, ...] = ()
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True)
class Migrated:
    """A migration that was watched to its end, and what the devices said of themselves before it."""

    migration: MigrationResult
    states: Mapping[str, list[str]]
    truth_before: tuple[Truth, Truth]


def migrate_sides(
    source: Side,
    destination: Side,
    address: str,
    settings: MigrationSettings,
    loop: LoopThread,
    on_sample: Callable[[Sample], None] = lambda sample: None,
) -> Migrated:
    """``address``: where the destination's QEMU listens for the stream. Raises what :func:`migrate` raises."""
    truth_before = (source.device.read_truth(), destination.device.read_truth())
    seen = {side.guest.side: len(side.guest.qmp.events) for side in (source, destination)}
    result = migrate(source.guest, destination.guest, address, settings, loop, on_sample=on_sample)
    states = {
        side.guest.side: list_states(side.guest.qmp.events[seen[side.guest.side] :]) for side in (source, destination)
    }
    return Migrated(result, states, truth_before)


def examine(
    source: Side,
    destination: Side,
    migrated: Migrated,
    before: GuestAnswers,
    settings: MigrationSettings,
    keys: GuestKeys,
) -> Passage:
    """Measure a migration, ask the guest on the destination and compare with what it said ``before``."""
    result = migrated.migration
    states = migrated.states
    if result.status != "completed":
        return Passage(result, states, {"reason": "the migration did not complete"})
    truth_after = (source.device.read_truth(), destination.device.read_truth())
    traces = [
        take_last_migration(parse_trace(side.guest.host.read_file(side.guest.files.log).decode(errors="replace")))
        for side in (source, destination)
    ]
    clocks = [result.clocks[side.guest.side] for side in (source, destination)]
    if source.guest.host is destination.guest.host:
        clocks = [ClockOffset(clocks[0].offset_ns, 0, 0)] * 2  # one clock: whatever its offset, spans are exact
    explained = explain_downtime(traces[0], traces[1], clocks[0], clocks[1])
    moved = account_bytes(count_device_bytes(traces[0]), result.source)
    checks = [
        *compare_bytes(moved, migrated.truth_before, truth_after),
        *_check_states(states, migrated.truth_before, truth_after),
        *_check_guest(destination, before, keys),
        *(check_console(side.guest.side, side.guest.console.text()) for side in (source, destination)),
    ]
    measurements = measure(explained, moved, result.source, settings)
    return Passage(result, states, asdict(explained), tuple(measurements), tuple(checks))


def _check_states(
    states: Mapping[str, list[str]], before: tuple[Truth, Truth], after: tuple[Truth, Truth]
) -> list[Check]:
    return [
        compare_states(events, new, old, side)
        for (side, events), new, old in zip(states.items(), after, before, strict=True)
    ]


def _check_guest(destination: Side, before: GuestAnswers, keys: GuestKeys) -> list[Check]:
    answers = "guest answers over SSH on the destination"
    try:
        guest = destination.guest.open_ssh(keys)
    except GuestSilent as error:
        return [Check(answers, passed=False, expected="yes", observed=str(error))]
    with guest:
        after = ask_guest(guest)
        return [
            check_equal(answers, "yes", "yes"),
            *compare_guest(before, after),
            fire_interrupt(guest, [destination.guest.require_alive]),
        ]


def list_states(events: Sequence[Event]) -> list[str]:
    """The device's states in order, from VFIO_MIGRATION events (needs the device property ``migration-events=on``)."""
    return [str(event.data["device-state"]) for event in events if event.name == "VFIO_MIGRATION"]
