# SPDX-License-Identifier: GPL-2.0-or-later
"""One attempt of a guest from one side to the other: migrated, measured, and checked where the guest then is."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from switchover.devices.reference import Truth
from switchover.guests.capabilities import GuestCapabilities
from switchover.guests.connection import GuestConnection
from switchover.guests.libvirt import LibvirtGuest
from switchover.hosts.clock import ClockOffset
from switchover.hosts.host import Host
from switchover.hosts.loop import LoopThread
from switchover.hosts.parallel import do_both
from switchover.hosts.qmp import Event
from switchover.hosts.ssh import SshLogin
from switchover.hosts.waiting import wait_until
from switchover.migration.bytes import account_bytes
from switchover.migration.downtime import PAUSED, ExplainedDowntime, UnexplainedDowntime, explain_downtime
from switchover.migration.libvirt_report import list_wanted
from switchover.migration.libvirt_session import migrate_domain
from switchover.migration.phases import Intervened, Intervention, list_device_states
from switchover.migration.precopy import BITMAP_EVENTS
from switchover.migration.session import MigrationResult, Sample, migrate
from switchover.migration.settings import MigrationSettings
from switchover.migration.traces import TraceEvent, count_device_bytes, parse_trace, take_last_migration
from switchover.probes.probe import Ended
from switchover.probes.table import RunningProbes, find_all
from switchover.record.checks import CheckId
from switchover.record.errors import (
    CommandFailed,
    Deadline,
    GuestCrashed,
    GuestSilent,
    HostLost,
    NotReady,
    SwitchoverError,
)
from switchover.record.measurement import Check, Measurement, NotChecked, check_equal, make_check
from switchover.record.record import Death
from switchover.runner.device_checks import (
    BITMAP_PROPERTY,
    DeviceEvidence,
    check_arrival,
    check_source,
    check_traced_states,
    pauses,
)
from switchover.runner.faults import check_device_faults
from switchover.runner.guest_checks import (
    GuestAnswers,
    GuestReply,
    Truths,
    ask_guest,
    check_console,
    check_dma,
    check_fired,
    check_interrupts,
    compare_bytes,
    compare_functions,
    compare_guest,
    compare_states,
    count_since,
    fire_interrupt,
    reinitialise,
)
from switchover.runner.measurements import measure
from switchover.runner.readback import read_back, read_back_late
from switchover.runner.side import Side, name_devices, name_references
from switchover.scenarios.case import Case


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
    """A migration that was watched to its end, and what the devices said of themselves before it; their properties as
    QEMU held them.
    """

    migration: MigrationResult
    states: Mapping[str, list[str]]
    truths_before: Truths
    properties: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    """Of the properties of a QEMU that could not be asked before."""


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
    truths_before: Truths = ((), ()),
    on_intervened: Callable[[Intervened], None] = lambda made: None,
) -> Migrated:
    """``address``: where the destination's QEMU listens for the stream; ``login``: how the source's host gets in there.
    ``truths_before``: what the devices said of themselves just now.
    Raises what :func:`migrate` raises.

    :raises Refused: a QEMU holds another value of a device's property than it was given, too
    """
    properties = {**read_back(source, "source"), **read_back(destination, "destination")}
    if any(BITMAP_PROPERTY in device.properties for device in source.spec.devices):
        source.guest.qmp.execute(
            "trace-event-set-state", {"name": BITMAP_EVENTS, "enable": True, "ignore-unavailable": True}
        )
    asks_late = not destination.guest.has_begun
    sides = {"source": source, "destination": destination}
    seen = {name: len(side.guest.qmp.events) for name, side in sides.items()}
    watchers: Any = {
        "interventions": interventions,
        "on_sample": on_sample,
        "on_hang": on_hang,
        "on_intervened": on_intervened,
    }
    if isinstance(source.guest, LibvirtGuest) and isinstance(destination.guest, LibvirtGuest):
        result = migrate_domain(source.guest, destination.guest, address, settings, loop, login=login, **watchers)
    else:
        result = migrate(source.guest, destination.guest, address, settings, loop, **watchers)
    states: dict[str, list[str]] = {}
    for name, side in sides.items():
        states |= _states_by_device(name, side, side.guest.qmp.events[seen[name] :])
    checks: list[Check] = []
    if asks_late and result.status == "completed":
        found, checks = read_back_late(destination, "destination")
        properties |= found
    return Migrated(result, states, truths_before, properties, tuple(checks))


def _states_by_device(name: str, side: Side, events: Sequence[Event]) -> dict[str, list[str]]:
    return {
        place: list_device_states([event for event in events if event.data.get("device-id", called) == called])
        for place, device in zip(name_devices(name, side.spec), side.spec.devices, strict=True)
        for called in [side.guest.name_device(device.id)]
    }


def examine(
    source: Side,
    destination: Side,
    migrated: Migrated,
    probes: RunningProbes,
    before: GuestAnswers,
    case: Case,
    login: GuestConnection,
) -> Attempt:
    """Measure a completed migration, ask the guest on the destination and compare with what it said ``before``.

    ``login``: the connection to the guest from before the migration; ``probes``: are finished.
    """
    seen_first = probes.finish(destination.guest, beside=False)
    with ThreadPoolExecutor(2, "guest") as aside:
        ending = aside.submit(probes.finish, destination.guest, beside=True)
        asking = aside.submit(_check_arrived, destination, before, login, case)
        told_by_hosts = do_both(source.read_truths_and_log, destination.read_truths_and_log)
        arrived, seen_beside = asking.result(), ending.result()
    result = migrated.migration
    states = migrated.states
    (source_truths, source_log), (destination_truths, destination_log) = told_by_hosts
    truths_after = (source_truths, destination_truths)
    logs = [parse_trace(source_log), parse_trace(destination_log)]
    traces = [take_last_migration(log) for log in logs]
    clocks = [result.clocks[name] for name in ("source", "destination")]
    if source.guest.host is destination.guest.host:
        clocks = [ClockOffset(clocks[0].offset_ns, 0, 0)] * 2  # one clock: whatever its offset, spans are exact
    paused = result.arrived == "paused" or pauses(case)
    explained: ExplainedDowntime | UnexplainedDowntime = UnexplainedDowntime(PAUSED)
    if not paused:
        explained = explain_downtime(traces[0], traces[1], clocks[0], clocks[1])
    beside, first = (find_all(seen, Ended(case, explained, paused)) for seen in (seen_beside, seen_first))
    moved = account_bytes(count_device_bytes(traces[0]), result.source)
    traced = source.guest.spec.traced
    names = [device.mediated.uuid for device in source.devices] if traced else []
    functions = [function.function.address for function in source.functions.values()] if traced else []
    checks = [
        *migrated.checks,
        *compare_bytes(moved, names, migrated.truths_before, truths_after, functions),
        *_check_states(_states_of_references(source, destination, states), migrated.truths_before, truths_after),
        *_check_course({"source": source, "destination": destination}, migrated, truths_after, logs, case),
        *_check_driver(result, case.settings),
        *([check_arrival(case, result.arrived)] if result.arrived else []),
        check_equal(CheckId.GUEST_NOT_ON_SOURCE, "no", _runs(source)),
        *arrived,
        *_check_consoles({"source": source, "destination": destination}, before.means),
        *beside.checks,
        *check_device_faults(case, migrated.truths_before, truths_after),
        *first.checks,
    ]
    measurements = [
        *measure(
            explained,
            moved,
            result.source,
            case.settings,
            wall_seconds=result.wall_seconds,
            paused=paused,
            driver=result.driver,
        ),
        *beside.measurements,
        *first.measurements,
    ]
    return Attempt(
        result,
        states,
        asdict(explained),
        tuple(measurements),
        tuple(checks),
        properties=migrated.properties,
        not_checked=(*beside.not_checked, *first.not_checked),
    )


def _states_of_references(source: Side, destination: Side, states: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """PCI functions have no history that these could be compared with."""
    names = [*name_references("source", source.spec), *name_references("destination", destination.spec)]
    return {name: states[name] for name in names}


def _check_driver(result: MigrationResult, settings: MigrationSettings) -> list[Check]:
    """libvirt takes no capabilities by name: those that the case wants must be among what it set by itself. And what it
    was told in its own units has to be what QEMU was to be told.
    """
    if not result.driver:
        return []
    held = result.driver["capabilities"].get("source", ())
    wanted = sorted(name for name, state in settings.all_capabilities("source").items() if state)
    parameters = result.driver["held"].get("source", {})
    return [
        make_check(
            CheckId.MIGRATION_CAPABILITIES, set(wanted) <= set(held), " ".join(wanted), " ".join(held), "source"
        ),
        check_equal(CheckId.MIGRATION_PARAMETERS, list_wanted(settings), dict(parameters), "source"),
    ]


def _check_states(states: Mapping[str, list[str]], before: Truths, after: Truths) -> list[Check]:
    flat_before = [truth for side in before for truth in side]
    flat_after = [truth for side in after for truth in side]
    return [
        compare_states(events, new, old, name)
        for (name, events), new, old in zip(states.items(), flat_after, flat_before, strict=True)
    ]


def _check_course(
    sides: Mapping[str, Side],
    migrated: Migrated,
    truths_after: Truths,
    logs: Sequence[list[TraceEvent]],
    case: Case,
) -> Iterator[Check]:
    for (name, side), log, old, new in zip(sides.items(), logs, migrated.truths_before, truths_after, strict=True):
        for place, device, spec, before, after in zip(
            name_references(name, side.spec), side.devices, side.spec.references, old, new, strict=True
        ):
            course = DeviceEvidence(
                place,
                spec,
                device.mediated.uuid if side.guest.spec.traced else "",
                migrated.states[place],
                log,
                migrated.properties.get(place, {}),
                before,
                after,
            )
            if course.name:
                yield check_traced_states(course, case)
            if name == "source":
                yield from check_source(course, case)


def _check_arrived(destination: Side, before: GuestAnswers, login: GuestConnection, case: Case) -> list[Check]:
    survives, lets_in = CheckId.GUEST_CONNECTION_SURVIVES, CheckId.GUEST_NEW_LOGIN
    try:
        reply = _ask(destination, before, login)
        checks = [check_equal(survives, "yes", "yes")]
    except (HostLost, CommandFailed) as error:
        checks = [make_check(survives, False, "yes", str(error))]
        reply = None
    if reply is None or case.login_after:
        try:
            login.open(destination.guest)
            with _answering(destination):
                reply = reply or _ask(destination, before, login)
            checks.append(check_equal(lets_in, "yes", "yes"))
        except (GuestSilent, CommandFailed) as error:
            return [*checks, make_check(lets_in, False, "yes", str(error))]
    return [
        *checks,
        *compare_guest(before, reply.answers, loads=1),
        *compare_functions(destination.function_numbers, before, reply.answers),
        *_check_devices(destination, login.host, reply),
    ]


def _ask(side: Side, before: GuestAnswers, login: GuestConnection) -> GuestReply:
    """A device that raises interrupts at a rate is not asked for one: which is which could not be told."""
    specs = list(enumerate(side.spec.references))
    dma = [number for number, spec in specs if spec.knobs.dma_pages_per_sec]
    fire = [number for number, spec in specs if not spec.knobs.irq_rates]
    numbers = side.function_numbers
    return ask_guest(login.host, len(side.devices), before.means, numbers, fire=fire, dma=dma)


@contextlib.contextmanager
def _answering(side: Side) -> Iterator[None]:
    """While a guest is asked that was logged in to just now: what is lost then is the guest, or its host.

    :raises GuestSilent: the guest does not answer any more; :raises HostLost: its host does not
    """
    try:
        yield
    except HostLost as error:
        side.guest.host.run(["true"])  # a host that is lost says so itself
        raise GuestSilent(f"The guest of {side.guest.label} does not answer any more.", why=str(error)) from error


def check_not_running(destination: Side) -> Check:
    """A guest must not run twice."""
    return check_equal(CheckId.GUEST_NOT_ON_DESTINATION, "no", _runs(destination))


def examine_stayed(
    source: Side, destination: Side, truths_before: Sequence[Truth], before: GuestAnswers, login: GuestConnection
) -> list[Check]:
    """After a migration that did not complete: the guest runs where it was, and nowhere else.

    A device that QEMU had to reset has lost its state: then the guest's driver initialises it again, and what is
    checked is that it works.
    """
    checks = [check_not_running(destination)]
    running = CheckId.GUEST_ON_SOURCE
    try:
        wait_until(running.claim, lambda: _runs(source) == "yes", timeout=15, invariants=[source.guest.require_alive])
        login.require(source.guest)
        grown = count_since(truths_before, source.read_truths())
        was_reset = grown.get("resets", 0) > 0
        try:
            mended, reply = _mend_and_ask(source, before, login, mend=was_reset)
        except HostLost as error:
            checks.append(make_check(CheckId.GUEST_CONNECTION_SURVIVES, False, "yes", str(error)))
            login.open(source.guest)
            with _answering(source):
                mended, reply = _mend_and_ask(source, before, login, mend=was_reset)
        checks += mended
    except (Deadline, GuestSilent, GuestCrashed, CommandFailed) as error:
        return [*checks, make_check(running, False, "yes", str(error))]
    compared = compare_guest(before, reply.answers, loads=0)
    kept = [check for check in compared if not was_reset or check.id not in _LOST_BY_RESET]
    return [
        *checks,
        check_equal(running, "yes", "yes"),
        *kept,
        *compare_functions(source.function_numbers, before, reply.answers),
        *_check_devices(source, login.host, reply),
        *_check_consoles({"source": source}, before.means),
    ]


_LOST_BY_RESET = (CheckId.DEVICE_GENERATION, CheckId.DEVICE_SCRATCH, CheckId.DEVICE_SEED, CheckId.DEVICE_CHECKSUM)
"""What is about the state that a device had; of a new one the guest can still tell whether its checksum is right."""


def _mend_and_ask(
    side: Side, before: GuestAnswers, login: GuestConnection, *, mend: bool
) -> tuple[list[Check], GuestReply]:
    """``mend``: its driver sets the devices up again, which were reset; with checks of what it could not."""
    numbers = range(len(side.devices) if mend and before.means.has_device else 0)
    mended = [check for number in numbers for check in reinitialise(login.host, number)]
    return mended, _ask(side, before, login)


def _check_consoles(sides: Mapping[str, Side], means: GuestCapabilities) -> list[Check]:
    """A kernel that does not write to the console is not free of oopses for that."""
    if not means.has_console:
        return []
    return [check_console(name, side.guest.console.text()) for name, side in sides.items()]


def _check_devices(side: Side, guest: Host, reply: GuestReply) -> list[Check]:
    """That each device works, and that what it did meanwhile by itself arrived whole."""
    if not reply.answers.means.has_device:
        return []
    checks = []
    for number, (device, spec) in enumerate(zip(side.devices, side.spec.references, strict=True)):
        if number in reply.fired:
            checks.append(check_fired(reply.fired[number], number))
        else:
            checks.append(check_interrupts(guest, device, [side.guest.require_alive], number))
            checks.append(fire_interrupt(guest, number))  # now that none comes at a rate
            device.set_knob("irq_rates", spec.knobs.irq_rates)
        if number in reply.dma:
            checks.append(check_dma(reply.dma[number], number))
    return checks


def _runs(side: Side) -> str:
    """Whether a side's guest runs, by its QEMU's word; a QEMU that ended runs none."""
    if not side.guest.has_begun or side.guest.exit_status() is not None:
        return "no"
    try:
        return "yes" if side.guest.qmp.execute("query-status")["running"] else "no"
    except (GuestCrashed, NotReady) as error:
        if isinstance(error, GuestCrashed):  # one that closes its monitor is about to end
            with contextlib.suppress(GuestCrashed):
                side.guest.explain_silence()
        return "no" if side.guest.exit_status() is not None else str(error)


def make_failed(result: MigrationResult | None, states: Mapping[str, list[str]], **others: Any) -> Attempt:
    """An attempt without completion. ``others``: fields of :class:`Attempt`."""
    return Attempt(result, states, {"reason": "the migration did not complete"}, **others)
