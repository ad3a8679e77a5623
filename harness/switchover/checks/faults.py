# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the faults of a case have happened: by whoever made a fault, and by what it left."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from switchover.checks.evidence import Evidence, SideEvidence, Whereabouts
from switchover.checks.rule import ANYWHERE, CheckRule
from switchover.migration.phases import RESTORED, Action, Intervened
from switchover.record.checks import CheckId
from switchover.record.measurement import Check, make_check
from switchover.record.record import Death
from switchover.scenarios.case import Case, SideSpec, name_references
from switchover.scenarios.faults import HOTPLUG, KILLED, asks_for_fault

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


def is_shown_by_devices(case: Case) -> bool:
    """Whether the devices have to be asked, whatever the migration came to, to show that faults have happened."""
    return bool(list_device_faults(case)) or case.does(Action.RESET_DEVICE)


def check_faults(
    case: Case,
    made: Sequence[Intervened],
    deaths: Sequence[Death],
    console: str,
    missing: Mapping[Action, str] | None = None,
) -> Iterator[Check]:
    """A case whose fault did not happen says nothing about it.

    A kill is shown by the exit that it causes, of that QEMU and after it; a panic by what a kernel writes that is told
    to panic; a link that comes back by having done so while the migration went on; a device that is to be plugged or
    unplugged meanwhile by the words that reject it; everything else by the answer of QEMU, libvirt, tc or the guest to
    whoever did it, and by what the guest or its device says afterwards (``missing``: by the action, what they do not).
    """
    wanted, done = Counter(fault.label for fault in case.faults), Counter(one.label for one in made)
    for label, fault in {fault.label: fault for fault in case.faults}.items():
        action, rejected = fault.action, [one.rejected for one in made if one.label == label and one.rejected]
        expected = "rejected" if action in HOTPLUG and fault.is_on_the_way else "made"
        observed = f"rejected: {rejected[0]}" if rejected else "made"
        passed = bool(rejected) is (expected == "rejected")
        if done[label] < wanted[label]:
            passed, observed = False, f"not made: {label}"
        elif action in KILLED and not any(death.made and death.side == KILLED[action] for death in deaths):
            passed, observed = False, f"the {KILLED[action]}'s QEMU did not end by it"
        elif action is Action.PANIC_GUEST and not _PANIC.search(console):
            passed, observed = False, "the guest's kernel did not panic by it"
        elif fault.seconds is not None and not any(one.name == RESTORED for one in made):
            passed, observed = False, "the link did not come back while the migration went on"
        elif text := (missing or {}).get(action, ""):
            passed, observed = False, text
        yield make_check(CheckId.MIGRATION_FAULTS, passed, expected, observed, label)


def _check_devices(evidence: Evidence) -> Iterator[Check]:
    if not evidence.blocked:
        for side, spec in zip(evidence.sides, (evidence.case.source, evidence.case.destination), strict=True):
            left = tuple(device for device in spec.devices if device.id not in evidence.case.unplugged)
            yield from check_device_faults(side, replace(spec, devices=left))


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
        made, deaths, console = evidence.interventions, evidence.deaths, evidence.source.console
        yield from check_faults(evidence.case, made, deaths, console, _find_missing(evidence))


def _find_missing(evidence: Evidence) -> dict[Action, str]:
    """What guest and device do not say of what was done to them, by the action; where nobody could be asked, either."""
    reply, missing = evidence.asked.reply, {}
    ended = evidence.guest is Whereabouts.ENDED  # a QEMU that ends with a guest that reboots
    if evidence.before.boot_id and not ended:
        after = reply.answers.boot_id if reply else ""
        if not after:
            missing[Action.REBOOT_GUEST] = "the guest could not be asked which boot it is"
        elif after == evidence.before.boot_id:
            missing[Action.REBOOT_GUEST] = "the guest is the same boot as before"
    for fault in evidence.case.faults:
        named = zip(evidence.source.devices, evidence.case.source.references, strict=False)
        reset = [device for device, spec in named if spec.id == evidence.case.find_device(fault)]
        if fault.action is Action.RESET_DEVICE and not any(device.grown("resets") for device in reset):
            missing[Action.RESET_DEVICE] = "the device counts no reset"
    return missing


CHECKS = (
    CheckRule((CheckId.DEVICE_FAULT,), _check_devices, ANYWHERE),
    CheckRule((CheckId.MIGRATION_FAULTS,), _check_made, ANYWHERE),
)
