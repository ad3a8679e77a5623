# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the faults of a case have happened, and which QEMUs died: by whoever made a fault, and by what it left."""

import re
import signal
from collections import Counter
from collections.abc import Iterator, Sequence

from switchover.hosts.host import UNKNOWN_SIGNAL
from switchover.migration.phases import Action, Intervened
from switchover.record.checks import CheckId
from switchover.record.measurement import Check, make_check
from switchover.record.record import Death
from switchover.runner.guest_checks import Truths, count_since
from switchover.runner.side import Side, name_references
from switchover.scenarios.case import Case, SideSpec
from switchover.scenarios.faults import asks_for_fault

_KILLED = {Action.KILL_SOURCE: "source", Action.KILL_DESTINATION: "destination"}
_KILLS = (-signal.SIGKILL, UNKNOWN_SIGNAL)
"""Exit statuses of a QEMU that was killed: over SSH and by libvirt nobody is told by which signal."""
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


def find_deaths(
    source: Side, destination: Side, made: Sequence[Intervened], *, completed: bool, hung: bool
) -> tuple[Death, ...]:
    """QEMUs that ended where no migration ends them.

    A destination whose migration did not complete ends by itself, with exit status 1, and libvirt ends the QEMU that a
    guest has left, with 0. ``hung``: the harness gave the migration up, and may have killed a QEMU to end it.
    """
    killed = {_KILLED[Action(one.name)] for one in made if one.name in _KILLED}
    deaths = []
    for name, side in (("source", source), ("destination", destination)):
        status = side.guest.exit_status() if side.guest.has_begun else None
        if status is None or _is_usual(name, status, completed=completed):
            continue
        by_fault = name in killed and side.guest.killed and status in _KILLS
        if by_fault or not (hung and side.guest.killed):
            deaths.append(Death(name, status, by_fault))
    return tuple(deaths)


def _is_usual(side: str, status: int, *, completed: bool) -> bool:
    if side == "source":
        return completed and status == 0
    return not completed and status >= 0


def check_faults(case: Case, made: Sequence[Intervened], deaths: Sequence[Death], source: Side) -> Iterator[Check]:
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
        elif action in _KILLED and not any(death.made and death.side == _KILLED[action] for death in deaths):
            observed = f"the {_KILLED[action]}'s QEMU did not end by it"
        elif action is Action.PANIC_GUEST and not _PANIC.search(source.guest.console.text()):
            observed = "the guest's kernel did not panic by it"
        yield make_check(CheckId.MIGRATION_FAULTS, observed == "made", "made", observed, label)


def check_device_faults(case: Case, before: Truths, after: Truths) -> list[Check]:
    """Of each device whose knobs the case wants to make a fault, by its own count of the faults that it made. A device
    that was put in order for a second migration has a case without faults.
    """
    checks = []
    for number, (name, spec) in enumerate((("source", case.source), ("destination", case.destination))):
        places = name_references(name, spec)
        for place, device, old, new in zip(places, spec.references, before[number], after[number], strict=True):
            if asks_for_fault(device.knobs, name):
                count = count_since([old], [new]).get("faults", 0)
                checks.append(make_check(CheckId.DEVICE_FAULT, count > 0, "at least once", f"{count} times", place))
    return checks
