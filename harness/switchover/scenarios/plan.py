# SPDX-License-Identifier: GPL-2.0-or-later
"""What would happen if scenarios were run: cases, whether they can be, what is expected, how long it takes. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from switchover.guests.snapshot_images import find_obstacle
from switchover.guests.spec import GuestFiles, Launch
from switchover.migration.drivers import DRIVERS
from switchover.record.record import VerdictName
from switchover.scenarios.case import AnyDevice, Case, FunctionSpec, SideSpec
from switchover.scenarios.cover import Coverage, count_coverage
from switchover.scenarios.expand import PlannedCase, expand, select
from switchover.scenarios.forecast import Ending, Forecast
from switchover.scenarios.ids import Values
from switchover.scenarios.oracle import DEFAULT, find_rule
from switchover.scenarios.preflight import Decision, Known, decide, foresee
from switchover.scenarios.scenario import Scenario

CASE_S = 18.0
"""One more case in a running lab under TCG, guest booted cold; seconds, as ``switchover bench next`` measures."""
WARM_CASE_S = 10.0
"""The same without the boot, for a guest that is restored."""
HOP_S = 8.0
"""Each migration of a chain after the first: another destination, migration and checks."""
SECOND_MIGRATION_S = 10.0
"""A second migration of the guest that stayed, on top of that."""
_WENT_ON = (VerdictName.COMPLETED, VerdictName.CHECKS_FAILED, VerdictName.FAILED)
"""As long as all that the devices have to move takes, at most."""
_COMPLETES = (VerdictName.COMPLETED, VerdictName.CHECKS_FAILED)
_TRIED_AGAIN = (VerdictName.FAILED, VerdictName.HUNG, VerdictName.CANCELLED, VerdictName.CRASHED)


@dataclass(frozen=True)
class Entry:
    """A case of a plan. ``seconds``: an estimate for one repeat; 0 if the case is not run."""

    planned: PlannedCase
    decision: Decision
    seconds: float


@dataclass(frozen=True)
class Plan:
    """The selected cases of a scenario, of ``of`` in all. ``values``: of all of these, where they are a choice in which
    values of axes meet.
    """

    scenario: Scenario
    entries: tuple[Entry, ...]
    of: int
    values: tuple[Values, ...] = ()

    @property
    def seconds(self) -> float:
        """Of all repeats; the lab's boot is not in it."""
        return sum(entry.seconds for entry in self.entries) * self.scenario.repeats

    @property
    def coverage(self) -> Coverage | None:
        """What meets in the cases that are selected and can be run; None: the scenario has all combinations."""
        if self.scenario.cover is None:
            return None
        varied = [axis.name for axis in self.scenario.axes if len(axis.values) > 1]

        def pick(values: Values) -> Values:
            return {name: values[name] for name in varied}

        chosen = (
            (pick(entry.planned.values), entry.planned.case.expectation.verdict in _COMPLETES)
            for entry in self.entries
            if entry.decision.runs
        )
        return count_coverage(self.scenario.cover, map(pick, self.values), chosen)


def make_plan(scenario: Scenario, only: str = "") -> Plan:
    """``only``: a pattern for ids of cases; it may leave none. :raises UsageError: as :func:`expand`"""
    planned = expand(scenario)
    chosen = select(planned, only) if only else planned
    values = tuple(entry.values for entry in planned) if scenario.cover else ()
    return Plan(scenario, tuple(_make_entry(entry) for entry in chosen), len(planned), values)


def decide_again(plan: Plan, known: Known) -> Plan:
    """The same cases, now that hosts were asked."""
    return replace(plan, entries=tuple(_make_entry(entry.planned, known) for entry in plan.entries))


def _make_entry(planned: PlannedCase, known: Known | None = None) -> Entry:
    if known is not None and not planned.rule.place:
        case, name = foresee(planned.case, planned.rule.name, planned.hosts, known)
        planned = replace(planned, case=case, rule=find_rule(name) or DEFAULT)
    decision = decide(planned.case, planned.hosts, known)
    return Entry(planned, decision, estimate_seconds(planned.case, planned.outlook) if decision.runs else 0.0)


def estimate_seconds(case: Case, outlook: Forecast) -> float:
    """How long a repeat takes if it ends as expected. ``outlook``: of the case, by its sizes, rates and times."""
    expectation = case.expectation
    guest = case.source.guest
    is_warm = guest.start == "warm" or (
        guest.start == "auto" and not DRIVERS[guest.driver].cannot_restore and not find_obstacle(guest)
    )
    seconds = (WARM_CASE_S if is_warm else CASE_S) + HOP_S * len(case.then)
    if expectation.verdict in _TRIED_AGAIN and (expectation.verdict, expectation.side) != _ENDED:
        seconds += SECOND_MIGRATION_S
    if expectation.verdict is VerdictName.HUNG:
        return seconds + (case.settings.hang_s if outlook.ending is Ending.OPEN else outlook.seconds)
    return seconds + (outlook.seconds if expectation.verdict in _WENT_ON else 0.0)


_ENDED = (VerdictName.CRASHED, "source")
"""Then there is no guest left to migrate again."""


def list_programs(plans: Iterable[Plan]) -> list[str]:
    """What cases name which are run, each once: QEMUs, kernels that have a name, and modules of devices."""
    entries = [entry for plan in plans for entry in plan.entries]
    cases = [entry.planned.case for entry in entries if entry.decision.runs or entry.decision.by_name]
    return list(dict.fromkeys(name for case in cases for side in case.sides for name in side.programs))


def list_starts(case: Case) -> dict[str, list[str] | str]:
    """What starts QEMU, by side: the words of its command line, or what the driver has instead, as domain XML.

    What a run decides stands in capitals: directory, tap, UUIDs of devices, addresses of virtual functions.
    """
    driver = DRIVERS[case.source.guest.driver]
    starts = {"source": driver.render_start(*_launch(case.source, "source"), incoming=False)}
    for number, side in enumerate(case.sides[1:], start=1):
        name = f"destination of hop {number}" if case.then else "destination"
        starts[name] = driver.render_start(*_launch(side, "destination"), incoming=True)
    return starts


def _launch(side: SideSpec, name: str) -> tuple[Launch, GuestFiles]:
    devices = tuple(device.at(_render_sysfs(device)) for device in side.devices)
    return Launch(side.guest, devices), GuestFiles(f"DIRECTORY_{name}", f"TAP_{name}")


def _render_sysfs(device: AnyDevice) -> str:
    if isinstance(device, FunctionSpec):
        return f"/sys/bus/pci/devices/{device.pci if device.vf is None else f'VF_{device.vf}_OF_{device.pci}'}"
    return f"/sys/bus/mdev/devices/UUID_{device.id}"
