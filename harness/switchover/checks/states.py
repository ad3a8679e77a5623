# SPDX-License-Identifier: GPL-2.0-or-later
"""States that devices went through: QEMU's events and traces against the history of the device, and the path taken."""

from collections.abc import Iterator, Mapping, Sequence

from switchover.checks.evidence import DeviceEvidence, OtherEvidence
from switchover.checks.rule import NO_HISTORY, make_device_rule
from switchover.migration.precopy import list_traced_states
from switchover.migration.traces import find_checkpoints, find_transitions
from switchover.record.checks import CheckId
from switchover.record.measurement import Check, check_equal, make_check
from switchover.scenarios.case import PRE_COPY_PROPERTY, Case


def check_states(device: DeviceEvidence, _case: Case) -> Iterator[Check]:
    """QEMU's VFIO_MIGRATION events against the device's own history, in QEMU's spelling.

    The device passes states on the way that QEMU did not ask for by name (STOP between RESUMING and RUNNING_P2P):
    QEMU's states must be a subsequence of the device's, which ends in the same one. That QEMU 11.1 gets ready for
    PRE_COPY_P2P is an event of the same kind (``pre-copy-p2p-prepare``) and no state of the device. That a QEMU which
    ended closed the device, as libvirt's source does, is none of its states either.
    """
    known = {change.sequence for change in device.before.history}
    history = [
        change.target.lower().replace("_", "-")
        for change in device.after.history
        if change.sequence not in known and change.cause != "close"
    ]
    remaining = iter(history)
    in_order = all(state in remaining for state in device.states if not state.endswith("-prepare"))
    passed = in_order and history[-1:] == list(device.states[-1:])
    yield make_check(CheckId.DEVICE_STATES, passed, " ".join(history), " ".join(device.states), device.place)


def check_traced_states(device: DeviceEvidence | OtherEvidence, case: Case) -> Iterator[Check]:
    """QEMU's traces against its events; what the device's history says of these is a check of its own.

    A guest that is paused first changes its device's state before the trace of the migration begins. An event that QEMU
    11.1 gets ready for a state (``pre-copy-p2p-prepare``) is of no change.
    """
    if not device.name:
        return
    states = [state for state in device.states if not state.endswith("-prepare")]
    traced = list_traced_states(device.trace, device.name)
    if case.pauses_first:
        whole = list_traced_states(device.log, device.name)
        traced = whole[max(0, len(whole) - len(states)) :]
    yield check_equal(CheckId.DEVICE_STATES_TRACED, " ".join(states), " ".join(traced), device.place)


def went_through(device: DeviceEvidence | OtherEvidence) -> bool:
    """Whether pre-copy was used with the device."""
    return "pre-copy" in device.states


def allows_pre_copy(held: Mapping[str, str]) -> bool:
    """Whether QEMU may use pre-copy with a device that holds these properties."""
    return held.get(PRE_COPY_PROPERTY) != "off"


def check_path(device: DeviceEvidence | OtherEvidence, case: Case) -> Iterator[Check]:
    """Pre-copy is used where the device offers it and QEMU may use it, and as the case expects."""
    offers, path = device.offers_pre_copy, " ".join(device.states)
    if offers is not None:
        yield _check_use(device, case, path, offers=offers)
    wanted = case.expectation.pre_copy
    if wanted == "off" or (wanted == "on" and offers is not False):
        passed = went_through(device) is (wanted == "on")
        because = f": {case.expectation.because}" if case.expectation.because else ""
        claim = f"pre-copy is {wanted}, as expected of the case"
        yield make_check(CheckId.DEVICE_PRECOPY_EXPECTED, passed, f"{wanted}{because}", path, device.place, claim=claim)


def _check_use(device: DeviceEvidence | OtherEvidence, case: Case, path: str, *, offers: bool) -> Check:
    allowed, paused = allows_pre_copy(device.properties), case.pauses_first
    expected = "PRE_COPY" if offers and allowed and not paused else "no PRE_COPY"
    reasons = [
        *([] if offers else ["the device does not offer it"]),
        *([] if allowed else ["x-allow-pre-copy is off"]),
        *(["the guest was paused"] if paused else []),
    ]
    because = f" ({', '.join(reasons)})" if reasons else ""
    passed = went_through(device) is (expected == "PRE_COPY")
    return make_check(CheckId.DEVICE_PRECOPY_USED, passed, f"{expected}{because}", path, device.place)


def check_stop(device: DeviceEvidence, case: Case) -> Iterator[Check]:
    """A device is put into STOP_COPY once the guest does not run any more, and not before."""
    if not device.name:
        return
    known = {change.sequence for change in device.before.history}
    entered = [
        change.realtime_ns
        for change in device.after.history
        if change.sequence not in known and change.target == "STOP_COPY"
    ]
    yield from _compare_stop(device, case, entered)


def check_traced_stop(device: OtherEvidence, case: Case) -> Iterator[Check]:
    """The same by QEMU's traces alone."""
    transitions = [one for one in find_transitions(device.trace) if one.device == device.name]
    entered = [one.start_ns for one in transitions if one.state == "STOP_COPY"]
    yield from _compare_stop(device, case, entered)


def _compare_stop(device: DeviceEvidence | OtherEvidence, case: Case, entered: Sequence[int]) -> Iterator[Check]:
    """``entered``: when it was put into STOP_COPY, nanoseconds of its host's real-time clock."""
    start = find_checkpoints(device.trace).get("src-downtime-start")
    if start is None or not entered or case.pauses_on_the_way:
        return  # a guest that is paused on the way puts its device into STOP_COPY
    early = (start - entered[0]) / 1e9
    yield make_check(
        CheckId.DEVICE_STOP_COPY_IN_DOWNTIME,
        early <= 0,
        "after src-downtime-start",
        f"{abs(early):.6f} s {'before' if early > 0 else 'after'}",
        device.place,
    )


CHECKS = (
    make_device_rule(
        CheckId.DEVICE_STATES, make=check_states, sides="both", only_reference={CheckId.DEVICE_STATES: NO_HISTORY}
    ),
    make_device_rule(
        CheckId.DEVICE_STATES_TRACED, make=check_traced_states, make_of_others=check_traced_states, sides="both"
    ),
    make_device_rule(
        CheckId.DEVICE_PRECOPY_USED,
        CheckId.DEVICE_PRECOPY_EXPECTED,
        make=check_path,
        make_of_others=check_path,
        only_known=(CheckId.DEVICE_PRECOPY_USED,),
    ),
    make_device_rule(CheckId.DEVICE_STOP_COPY_IN_DOWNTIME, make=check_stop, make_of_others=check_traced_stop),
)
