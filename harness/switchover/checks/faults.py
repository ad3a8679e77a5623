# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the faults of a case have happened: by whoever made a fault, and by what it left."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from switchover.checks.evidence import Evidence, SideEvidence
from switchover.checks.rule import ANYWHERE, CheckRule
from switchover.migration.phases import Action, Intervened
from switchover.record.checks import CheckId
from switchover.record.measurement import Check, make_check
from switchover.record.record import Death
from switchover.scenarios.case import Case, SideSpec, name_references
from switchover.scenarios.faults import KILLED, asks_for_fault

_PANIC = re.compile(r"sysrq.*trigger(ed)? (a )?crash", re.IGNORECASE)
"""What a kernel says that panics since it was told to (drivers/tty/sysrq.c: sysrq_handle_crash)."""


def list_faults(case: Case) -> tuple[str, ...]:
    """Labels of the checks without which the faults of a case are not shown to have happened."""
    actions = [f"{CheckId.MIGRATION_FAULTS}, {fault.label}" for fault in case.faults]
    return tuple(dict.fromkeys((*actions, *list_device_faults(case))))


def list_device_faults(case: Case) -> list[str]:
    """Those that are about faults of devices."""
    return [
        f"{CheckId.DEVICE_FAULT}, {place}"
        for side, spec in (("source", case.source), ("destination", case.destination))
        for place in _list_places(side, spec)
    ]


def _list_places(side: str, spec: SideSpec) -> list[str]:
    """Of the reference devices whose knobs ask for a fault."""
    named = zip(name_references(side, spec), spec.references, strict=True)
    return [place for place, device in named if asks_for_fault(device.knobs, side)]


def check_faults(case: Case, made: Sequence[Intervened], deaths: Sequence[Death], console: str) -> Iterator[Check]:
    """A case whose fault did not happen says nothing about it.

    A kill is shown by the exit that it causes, of that QEMU and after it; a panic by what a kernel writes that is told
    to panic; everything else by the answer of QEMU, libvirt or tc to whoever did it.
    """
    wanted, done = Counter(fault.label for fault in case.faults), Counter(f"{one.name} in {one.phase}" for one in made)
    actions = {fault.label: fault.action for fault in case.faults}
    for label, action in actions.items():
        observed = "made"
        if done[label] < wanted[label]:
            observed = f"not made: {label}"
        elif action in KILLED and not any(death.made and death.side == KILLED[action] for death in deaths):
            observed = f"the {KILLED[action]}'s QEMU did not end by it"
        elif action is Action.PANIC_GUEST and not _PANIC.search(console):
            observed = "the guest's kernel did not panic by it"
        yield make_check(CheckId.MIGRATION_FAULTS, observed == "made", "made", observed, label)


def _check_devices(evidence: Evidence) -> Iterator[Check]:
    if not evidence.blocked:
        for side, spec in zip(evidence.sides, (evidence.case.source, evidence.case.destination), strict=True):
            yield from check_device_faults(side, spec)


def check_device_faults(side: SideEvidence, spec: SideSpec) -> Iterator[Check]:
    """Of each device whose knobs the case wants to make a fault, by its own count of the faults that it made.

    ``spec``: the case's: a device that was put in order for a second migration has a case without faults.
    """
    for device, wanted in zip(side.devices, spec.references, strict=bool(side.devices)):
        if asks_for_fault(wanted.knobs, side.name):
            count = device.grown("faults")
            yield make_check(CheckId.DEVICE_FAULT, count > 0, "at least once", f"{count} times", device.place)


def _check_made(evidence: Evidence) -> Iterator[Check]:
    if not evidence.blocked:
        yield from check_faults(evidence.case, evidence.interventions, evidence.deaths, evidence.source.console)


CHECKS = (
    CheckRule((CheckId.DEVICE_FAULT,), _check_devices, ANYWHERE),
    CheckRule((CheckId.MIGRATION_FAULTS,), _check_made, ANYWHERE),
)
