# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the faults of a case have happened: by whoever made a fault, and by what it left."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from switchover.checks.evidence import Evidence, SideEvidence, Whereabouts
from switchover.checks.rule import ANYWHERE, CheckRule
from switchover.devices.reference import Knobs
from switchover.migration.phases import RESTORED, Action, Intervened
from switchover.record.checks import CheckId
from switchover.record.measurement import Check, make_check
from switchover.record.record import Death
from switchover.scenarios.case import Case, name_references
from switchover.scenarios.faults import HOTPLUG, KILLED, Fault
from switchover.scenarios.forecast import Ending
from switchover.scenarios.oracle import Reach, make_traits

_PANIC = re.compile(r"sysrq.*trigger(ed)? (a )?crash", re.IGNORECASE)
"""What a kernel says that panics since it was told to (drivers/tty/sysrq.c: sysrq_handle_crash)."""


def list_faults(case: Case) -> tuple[str, ...]:
    """Labels of the checks without which the faults of a case are not shown to have happened."""
    actions = [f"{CheckId.MIGRATION_FAULTS}, {fault.label}" for fault in case.faults]
    return tuple(dict.fromkeys((*actions, *list_device_faults(case))))


def list_device_faults(case: Case) -> list[str]:
    """Those that are about faults of devices, streams of another version, and initial data that comes anew."""
    faults = [place for place, reach in find_device_faults(case).items() if reach is Reach.COMES]
    return [
        *(f"{CheckId.DEVICE_FAULT}, {place}" for place in faults),
        *(f"{CheckId.DEVICE_OTHER_VERSION}, {place}" for place in list_other_versions(case)),
        *(f"{CheckId.DEVICE_REINIT}, {place}" for place in list_reinits(case)),
    ]


def list_reinits(case: Case) -> list[str]:
    """Places of the source's devices whose initial data is sure to come anew: in a migration to which nothing else is
    done, and that may come to its end; by the bytes read only if the switchover waits for them.
    """
    if case.faults or not any(device.knobs.reinit_count for device in case.source.references):
        return []
    traits = make_traits(case)
    named = zip(name_references("source", case.source), case.source.references, traits.source.devices, strict=True)
    return [
        place
        for place, device, of_device in named
        if device.knobs.reinit_count
        and of_device.pre_copy
        and device.id not in case.unplugged
        and traits.ending is Ending.OPEN
        and (
            device.knobs.p2p
            if device.knobs.reinit_at == "PRE_COPY_P2P"
            else case.settings.settle and not device.knobs.reinit_after_bytes
        )
    ]


def list_other_versions(case: Case) -> list[str]:
    """Places of the destination's devices that get a stream of another version: in a migration to which nothing else is
    done, and that may come to its end.
    """
    saving = {device.id: device.knobs.stream_version for device in case.source.references}
    loading = zip(name_references("destination", case.destination), case.destination.references, strict=True)
    places = [
        place
        for place, device in loading
        if device.knobs.stream_version != saving.get(device.id, device.knobs.stream_version)
    ]
    if not places or case.faults or Reach.COMES in find_device_faults(case).values():
        return []
    return places if make_traits(case).ending is Ending.OPEN else []


def find_device_faults(case: Case) -> dict[str, Reach]:
    """By the place of a reference device, whether the migration comes to the fault that its knobs ask for."""
    reports = {
        place: Reach.COMES
        for place, device in zip(name_references("source", case.source), case.source.references, strict=True)
        if spoils_report(device.knobs) and device.id not in case.unplugged
    }
    if not any(
        device.knobs.fail_at != "none" or device.knobs.corrupt != "none"
        for spec in (case.source, case.destination)
        for device in spec.references
    ):
        return reports
    traits = make_traits(case)
    return reports | {
        place: device.reach
        for side, spec, of_side in (
            ("source", case.source, traits.source),
            ("destination", case.destination, traits.destination),
        )
        for place, wanted in zip(name_references(side, spec), spec.references, strict=True)
        for device in of_side.devices
        if device.id == wanted.id and wanted.id not in case.unplugged
        if not (side == "source" and spoils_report(wanted.knobs))
    }


def spoils_report(knobs: Knobs) -> bool:
    """Whether a device does not tell which pages it wrote: QEMU asks in each migration. To leave pages out it has to
    write some.
    """
    if not knobs.dirty_tracking:
        return False
    return knobs.log_report == "fail" or (knobs.log_report == "too-little" and knobs.dma_pages_per_sec > 0)


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
    to panic; a link that comes back before a migration hangs by having done so while it went on; a device that is to be
    plugged or unplugged meanwhile by the words that reject it; everything else by the answer of QEMU, libvirt, tc or
    the guest to whoever did it, and by what the guest or its device says afterwards (``missing``: by the action, what
    they do not).
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
        elif _comes_back(fault, case) and not any(one.name == RESTORED for one in made):
            passed, observed = False, "the link did not come back while the migration went on"
        elif text := (missing or {}).get(action, ""):
            passed, observed = False, text
        yield make_check(CheckId.MIGRATION_FAULTS, passed, expected, observed, label)


def _comes_back(fault: Fault, case: Case) -> bool:
    """Whether a link is whole again before nobody waits for it any more."""
    return fault.seconds is not None and fault.seconds <= case.settings.hang_s


def _check_devices(evidence: Evidence) -> Iterator[Check]:
    if not evidence.blocked:
        for side in evidence.sides:
            yield from check_device_faults(side, evidence.case)


def check_device_faults(side: SideEvidence, case: Case) -> Iterator[Check]:
    """Of each device whose knobs the case wants to make a fault, by its own count of the faults that it made.

    A device that was put in order for a second migration has a case without faults.
    """
    faults = find_device_faults(case)
    for device in side.devices:
        if faults.get(device.place) is Reach.COMES:
            count = device.grown("faults") + device.grown("log_pages_left_out")
            yield make_check(CheckId.DEVICE_FAULT, count > 0, "at least once", f"{count} times", device.place)


def _check_undisturbed(evidence: Evidence) -> Iterator[Check]:
    """What completed since it never came to a fault shows that by the same count."""
    faults = find_device_faults(evidence.case)
    for device in (device for side in evidence.sides for device in side.devices):
        if faults.get(device.place) is Reach.NEVER:
            count = device.grown("faults")
            yield make_check(CheckId.DEVICE_NO_FAULT, count == 0, "never", f"{count} times", device.place)


def _check_versions(evidence: Evidence) -> Iterator[Check]:
    """That the stream was of another version is what the destination's device counts, whatever it made of it."""
    places = [] if evidence.blocked else list_other_versions(evidence.case)
    for device in (device for device in evidence.destination.devices if device.place in places):
        count = device.grown("other_versions")
        yield make_check(CheckId.DEVICE_OTHER_VERSION, count > 0, "at least once", f"{count} times", device.place)


def _check_reinits(evidence: Evidence) -> Iterator[Check]:
    """That initial data came anew is what the source's device counts, whoever was told of it."""
    places = [] if evidence.blocked else list_reinits(evidence.case)
    for device in (device for device in evidence.source.devices if device.place in places):
        count = device.grown("reinits")
        yield make_check(CheckId.DEVICE_REINIT, count > 0, "at least once", f"{count} times", device.place)


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
    CheckRule((CheckId.DEVICE_NO_FAULT,), _check_undisturbed),
    CheckRule((CheckId.DEVICE_OTHER_VERSION,), _check_versions, ANYWHERE),
    CheckRule((CheckId.DEVICE_REINIT,), _check_reinits, ANYWHERE),
    CheckRule((CheckId.MIGRATION_FAULTS,), _check_made, ANYWHERE),
)
