# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases from scenarios by name, and cases put together in Python, with what the oracle expects of them. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from switchover.guests.spec import GuestSpec
from switchover.migration.settings import MigrationSettings
from switchover.record.errors import UsageError
from switchover.scenarios.case import (
    HEARTBEAT_US,
    AnyDevice,
    Case,
    DeviceSpec,
    Hop,
    IrqLoad,
    IrqPlacement,
    SideSpec,
    VfioDeviceSpec,
    with_reboots,
)
from switchover.scenarios.chain_limits import find_chain_contradictions
from switchover.scenarios.expand import PlannedCase, expand, select
from switchover.scenarios.expectation import Expectation
from switchover.scenarios.fault_limits import find_fault_contradictions
from switchover.scenarios.faults import Fault
from switchover.scenarios.limits import find_problems
from switchover.scenarios.oracle import choose_chain_rule, choose_rule, make_traits
from switchover.scenarios.scenario import list_scenarios, load_scenario

Devices = AnyDevice | Sequence[AnyDevice]


def load_cases(scenario: str | Path, only: str = "") -> list[PlannedCase]:
    """Load the cases of a scenario, which is named as in the catalogue, or by its file.

    ``only``: only cases whose id contains this text; with ``*`` or ``?`` in it, it must match the whole id.

    :raises UsageError: there is no such scenario, its file is wrong, or no case is left
    """
    planned = [entry for path in list_scenarios(Path(scenario)) for entry in expand(load_scenario(path))]
    chosen = [entry for entry in planned if entry in select(planned, only) or entry.id == only] if only else planned
    if not chosen:
        raise UsageError(f"{scenario} has no case {only!r}.", why=", ".join(entry.id for entry in planned[:6]))
    return chosen


def build_case(
    identity: str,
    *,
    guest: GuestSpec | None = None,
    device: Devices | None = None,
    destination_guest: GuestSpec | None = None,
    destination_device: Devices | None = None,
    migration: MigrationSettings | None = None,
    faults: Sequence[Fault] = (),
    expectation: Expectation | None = None,
    heartbeat_us: int = HEARTBEAT_US,
    outside_needed: bool = False,
    login_after: bool = False,
    irq_seconds: float = 0,
    irq_load: IrqLoad = "none",
    irq_placement: IrqPlacement = "spread",
    irq_forbid_cpus: str = "",
    then: Sequence[Hop] = (),
) -> Case:
    """A case: a guest with its devices, what is otherwise at the destination, and how it migrates.

    ``device``: one or several; default: one reference device. ``destination_guest``, ``destination_device``: default:
    as at the source. ``expectation``: default: what the oracle expects of it. ``heartbeat_us``: period of heartbeats
    that tell the downtime from outside, microseconds; 0: none. ``outside_needed``: the case is not right without that
    downtime's check. ``irq_seconds``: so long, before and after, is recorded where IRQ threads run, seconds.
    ``irq_forbid_cpus``: CPUs of the guest on which they and their interrupts may not be, such as ``2-3``. ``then``: the
    migrations after the first one, of a chain.

    :raises UsageError: a value is out of its range, or contradicts another one; all of them, a line each
    """
    source = SideSpec(guest or GuestSpec(), _list(device, (DeviceSpec(),)))
    destination = SideSpec(destination_guest or source.guest, _list(destination_device, source.devices))
    case = Case(
        identity,
        with_reboots(source, faults),
        with_reboots(destination, faults),
        migration or MigrationSettings(),
        tuple(faults),
        heartbeat_us=heartbeat_us,
        outside_needed=outside_needed,
        login_after=login_after,
        irq_seconds=irq_seconds,
        irq_load=irq_load,
        irq_placement=irq_placement,
        irq_forbid_cpus=irq_forbid_cpus,
        then=tuple(then),
    )
    case = replace(case, expectation=expectation or find_expectation(case))
    check_case(case)
    return case


def check_case(case: Case) -> None:
    """That a case which Python made holds what a scenario file could say.

    :raises UsageError: it does not; every value that is wrong, with what is allowed, a line each
    """
    of_faults = find_fault_contradictions(case.settings, case.faults, case.source)
    found = (*find_problems(case), *(find_chain_contradictions(case) if case.then else of_faults))
    problems = dict.fromkeys(f"{case.id}: {'.'.join(map(str, target))}: {text}" for target, text in found)
    if problems:
        raise UsageError("\n".join(problems))


def find_expectation(case: Case) -> Expectation:
    """What the oracle expects of a case (docs/oracle.md)."""
    return (choose_chain_rule(case) if case.then else choose_rule(make_traits(case))).expectation


def _list(given: Devices | None, otherwise: tuple[AnyDevice, ...]) -> tuple[AnyDevice, ...]:
    if given is None:
        return otherwise
    return (given,) if isinstance(given, VfioDeviceSpec) else tuple(given)
