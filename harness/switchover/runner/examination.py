# SPDX-License-Identifier: GPL-2.0-or-later
"""After a migration: the guest, its devices and both QEMUs are asked, and what they say is measured and checked."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace

from switchover.checks.bounds import check_bounds
from switchover.checks.evidence import (
    Asked,
    DeviceEvidence,
    Evidence,
    OtherEvidence,
    SideEvidence,
    Truths,
    Whereabouts,
    count_since,
)
from switchover.checks.faults import is_shown_by_devices
from switchover.checks.table import make_checks
from switchover.devices.guest_driver import InterruptCounts
from switchover.devices.reference import Truth
from switchover.guests.capabilities import CANARY, Need
from switchover.guests.connection import GuestConnection
from switchover.guests.questions import (
    GuestAnswers,
    GuestReply,
    ask_guest,
    fire_interrupt,
    reinitialise,
    stop_interrupts,
    wait_for_functions,
    wait_until_taken,
)
from switchover.hosts.clock import ClockOffset
from switchover.hosts.host import Host
from switchover.hosts.parallel import do_both
from switchover.hosts.questions import Answer
from switchover.hosts.waiting import wait_until
from switchover.migration.bytes import account_bytes
from switchover.migration.downtime import PAUSED, ExplainedDowntime, UnexplainedDowntime, explain_downtime
from switchover.migration.drivers import DRIVERS
from switchover.migration.limits import find_in_force
from switchover.migration.phases import Action, Intervened
from switchover.migration.traces import TraceEvent, count_device_bytes, parse_trace, take_last_migration
from switchover.migration.transports import TRANSPORTS
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
    Refused,
)
from switchover.runner.attempt import Attempt, Migrated, make_failed
from switchover.runner.deaths import find_deaths
from switchover.runner.measurements import measure
from switchover.runner.side import Side
from switchover.scenarios.case import Case, list_others, name_references


@dataclass(frozen=True)
class Departure:
    """A guest that is about to migrate, and what it and its devices say of themselves: what comes after is compared
    with that. ``made``: gets the interventions that are made.
    """

    case: Case
    source: Side
    destination: Side
    before: GuestAnswers
    truths: Truths
    connection: GuestConnection
    """To the guest, from before the migration."""
    made: list[Intervened]


def examine(departure: Departure, migrated: Migrated, probes: RunningProbes) -> Attempt:
    """Measure a completed migration, ask the guest on the destination and compare with what it said before.

    ``probes``: are finished.
    """
    source, destination, case = departure.source, departure.destination, departure.case
    seen_first = probes.finish(destination.guest, beside=False)
    with ThreadPoolExecutor(2, "guest") as aside:
        ending = aside.submit(probes.finish, destination.guest, beside=True)
        asking = aside.submit(_ask_arrived, departure)
        told_by_hosts = do_both(source.read_truths_and_log, destination.read_truths_and_log)
        asked, seen_beside = asking.result(), ending.result()
    result, driver = migrated.migration, DRIVERS[case.source.guest.driver]
    (source_truths, source_log), (destination_truths, destination_log) = told_by_hosts
    logs = (parse_trace(source_log), parse_trace(destination_log))
    traces = [take_last_migration(log) for log in logs]
    clocks = [result.clocks[name] for name in ("source", "destination")]
    if source.guest.host is destination.guest.host:
        clocks = [ClockOffset(clocks[0].offset_ns, 0, 0)] * 2  # one clock: whatever its offset, spans are exact
    paused = result.arrived in ("paused", "suspended") or case.pauses or case.does(Action.SUSPEND_GUEST)
    untimed = TRANSPORTS[case.settings.transport].has_no_downtime
    explained: ExplainedDowntime | UnexplainedDowntime = UnexplainedDowntime(PAUSED if paused else untimed)
    if not paused and not untimed:
        explained = explain_downtime(traces[0], traces[1], clocks[0], clocks[1])
    beside, first = (find_all(seen, Ended(case, explained, paused)) for seen in (seen_beside, seen_first))
    moved = account_bytes(count_device_bytes(traces[0]), result.source)
    evidence = _gather(
        departure, Whereabouts.ARRIVED, asked, (source_truths, destination_truths), migrated=migrated, logs=logs
    )
    checks = [
        *make_checks(replace(evidence, moved=moved)),
        *driver.check(result, case.settings),
        *beside.checks,
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
            in_force=find_in_force(result.limits, result.statuses.get("source", ())),
            own=driver.measure(result.driver),
            note=f"of the saving alone: {untimed}" if untimed else driver.not_in_downtime,
        ),
        *beside.measurements,
        *first.measurements,
    ]
    bounds = check_bounds(case.expectation, measurements)
    return Attempt(
        result,
        migrated.states,
        asdict(explained),
        tuple(measurements),
        (*checks, *bounds.checks),
        properties=migrated.properties,
        not_checked=(*beside.not_checked, *first.not_checked, *bounds.not_checked),
        interventions=evidence.interventions,
        deaths=evidence.deaths,
    )


def examine_stayed(
    departure: Departure, migrated: Migrated | None = None, error: Refused | GuestCrashed | None = None
) -> Attempt:
    """After a migration that did not complete: the guest runs where it was, and nowhere else; or its QEMU ended.

    A device that QEMU had to reset has lost its state: then the guest's driver initialises it again, and what is
    checked is that it works. ``error``: the migration was rejected, or a QEMU ended.
    """
    ended = _find_ended(departure) if error is not None else ""
    guest = Whereabouts.ENDED if ended == "source" else Whereabouts.STAYED
    asked = Asked() if guest is Whereabouts.ENDED else _ask_stayed(departure)
    blocked = isinstance(error, Refused)
    truths: Truths = ((), ())
    if not blocked and is_shown_by_devices(departure.case):  # the devices outlive their QEMU
        truths = do_both(departure.source.read_truths, departure.destination.read_truths)
    evidence = _gather(departure, guest, asked, truths, migrated=migrated, blocked=blocked)
    return make_failed(
        migrated.migration if migrated else None,
        migrated.states if migrated else {},
        checks=tuple(make_checks(evidence)),
        error=error,
        ended=ended,
        properties=migrated.properties if migrated else {},
        interventions=evidence.interventions,
        deaths=evidence.deaths,
    )


def _find_ended(departure: Departure) -> str:
    """The side whose QEMU ended, the source's first; empty if both live."""
    for name, side in (("source", departure.source), ("destination", departure.destination)):
        if side.guest.is_dead():
            return name
    return ""


def _gather(
    departure: Departure,
    guest: Whereabouts,
    asked: Asked,
    truths: Truths,
    *,
    migrated: Migrated | None = None,
    logs: tuple[list[TraceEvent], list[TraceEvent]] = ([], []),
    blocked: bool = False,
) -> Evidence:
    """``truths``: what the devices say now; none if they were not asked."""
    source, destination = departure.source, departure.destination
    result = migrated.migration if migrated else None
    hung = result is not None and result.hang is not None
    completed = guest is Whereabouts.ARRIVED
    now_at = destination if completed else source
    return Evidence(
        departure.case,
        guest,
        _gather_side("source", source, departure.truths[0], truths[0], logs[0], migrated, departure.case.unplugged),
        _gather_side(
            "destination", destination, departure.truths[1], truths[1], logs[1], migrated, departure.case.unplugged
        ),
        before=departure.before,
        asked=asked,
        function_numbers=tuple(now_at.function_numbers),
        result=result,
        late_properties=migrated.late_properties if migrated else {},
        properties=migrated.properties if migrated else {},
        interventions=tuple(departure.made),
        deaths=find_deaths(source, destination, departure.made, completed=completed, hung=hung),
        blocked=blocked,
    )


def _gather_side(
    name: str,
    side: Side,
    before: tuple[Truth, ...],
    after: tuple[Truth, ...],
    log: list[TraceEvent],
    migrated: Migrated | None,
    unplugged: frozenset[str],
) -> SideEvidence:
    """``after``: what its reference devices say now; none if they were not asked. ``unplugged``: ids of those that did
    not take part.
    """
    traced = side.guest.spec.traced
    states = migrated.states if migrated else {}
    properties = migrated.properties if migrated else {}
    devices = [
        DeviceEvidence(
            place,
            spec,
            old,
            new,
            device.mediated.uuid if traced else "",
            states.get(place, ()),
            log,
            properties.get(place, {}),
        )
        for place, spec, device, old, new in zip(
            name_references(name, side.spec), side.spec.references, side.devices, before, after, strict=False
        )
        if spec.id not in unplugged
    ]
    names = {identity: function.function.address for identity, function in side.functions.items()}
    names |= {identity: device.uuid for identity, device in side.mediated.items()}
    others = [
        OtherEvidence(
            place,
            spec,
            names.get(spec.id, "") if traced else "",
            states.get(place, ()),
            log,
            properties.get(place, {}),
        )
        for place, spec in list_others(name, side.spec)
        if spec.id not in unplugged and not spec.is_primary
    ]
    return SideEvidence(name, _runs(side), side.guest.console.text(), tuple(devices), tuple(others))


def _ask_arrived(departure: Departure) -> Asked:
    """:raises HostLost: the guest's host is lost; :raises GuestCrashed: its QEMU ended"""
    side, login, case = departure.destination, departure.connection, departure.case
    asked = _begin_asking(side, case)
    if not case.does(Action.REBOOT_GUEST):  # the connection from before ends with the boot
        try:
            with login.ending_with(side.guest):
                asked = replace(asked, reply=_mend_and_ask(side, departure, mend=case.does(Action.SUSPEND_GUEST)))
        except (HostLost, CommandFailed) as error:
            asked = replace(asked, broken=str(error))
    if asked.reply is None or case.login_after:
        try:
            login.open(side.guest)
            with _answering(side):
                asked = replace(asked, reply=asked.reply or _mend_and_ask(side, departure), login="")
        except (GuestSilent, CommandFailed) as error:
            return replace(asked, reply=None, login=str(error))
    return _stop_rates(side, login.host, asked)


def _begin_asking(side: Side, case: Case) -> Asked:
    """With which devices the guest has now, and which of them have another state than before."""
    numbered = list(enumerate(side.spec.references))
    present = tuple(number for number, spec in numbered if spec.id not in side.absent)
    return Asked(present=present, renewed=frozenset(number for number, spec in numbered if spec.id in case.renewed))


def _ask_stayed(departure: Departure) -> Asked:
    """Once the guest goes on. :raises HostLost: its host is lost"""
    side, login, case = departure.source, departure.connection, departure.case
    with contextlib.suppress(GuestCrashed, Refused):  # it ended, which the checks find
        if case.pauses:
            side.guest.resume()
        if case.does(Action.SUSPEND_GUEST):
            side.guest.wake()
    asked = _begin_asking(side, case)
    try:
        wait_until(
            CheckId.GUEST_ON_SOURCE.claim,
            lambda: _runs(side) == "yes",
            timeout=15,
            invariants=[side.guest.require_alive],
        )
        login.open(side.guest) if case.does(Action.REBOOT_GUEST) else login.require(side.guest)
        resets = count_since(departure.truths[0], side.read_truths()).get("resets", 0)
        asked = replace(asked, was_reset=resets > 0)
        try:
            asked = replace(asked, reply=_mend_and_ask(side, departure, mend=asked.was_reset))
        except HostLost as error:
            asked = replace(asked, broken=str(error))
            login.open(side.guest)
            with _answering(side):
                asked = replace(asked, reply=_mend_and_ask(side, departure, mend=asked.was_reset))
    except (Deadline, GuestSilent, GuestCrashed, CommandFailed) as error:
        return replace(asked, reply=None, stuck=str(error))
    return _stop_rates(side, login.host, asked)


def _mend_and_ask(side: Side, departure: Departure, *, mend: bool = False) -> GuestReply:
    """``mend``: its driver sets the devices up again, which were reset. It has to have those that were plugged in."""
    login, capabilities = departure.connection, departure.before.capabilities
    if capabilities.has_device and departure.case.does(Action.PLUG_DEVICE):
        wait_until_taken(login.host, len(side.present))
    if Need.PCI in capabilities.has and any(device.is_primary for device in side.spec.devices):
        with contextlib.suppress(Deadline):  # a check says what the guest sees
            wait_for_functions(login.host, side.function_numbers, [side.guest.require_alive])
    numbers = range(len(side.present) if mend and capabilities.has_device else 0)
    failed = {number: why for number in numbers if (why := reinitialise(login.host, number))}
    return replace(_ask(side, departure), not_mended=failed)


def _ask(side: Side, departure: Departure) -> GuestReply:
    """A device that raises interrupts at a rate is not asked for one: which is which could not be told."""
    specs = [(number, spec) for number, (spec, _) in enumerate(side.present)]
    dma = [number for number, spec in specs if spec.knobs.dma_pages_per_sec]
    fire = [number for number, spec in specs if not spec.knobs.irq_rates]
    capabilities = departure.before.capabilities
    if departure.case.does(Action.REBOOT_GUEST):
        capabilities = capabilities.without(*CANARY)  # it was in the memory of the boot before
    return ask_guest(departure.connection.host, len(specs), capabilities, side.function_numbers, fire=fire, dma=dma)


def _stop_rates(side: Side, guest: Host, asked: Asked) -> Asked:
    """Devices that raise interrupts at a rate do not for a moment, in which they are counted, and raise one."""
    if asked.reply is None or not asked.reply.answers.capabilities.has_device:
        return asked
    counts: dict[int, InterruptCounts] = {}
    fired: dict[int, Answer] = {}
    for number, (spec, device) in enumerate(side.present):
        if spec.knobs.irq_rates:
            counts[number] = stop_interrupts(guest, device, [side.guest.require_alive], number)
            fired[number] = fire_interrupt(guest, number)
            device.set_knob("irq_rates", spec.knobs.irq_rates)
    return replace(asked, reply=replace(asked.reply, at_a_rate=counts, fired={**asked.reply.fired, **fired}))


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
