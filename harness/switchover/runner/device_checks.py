# SPDX-License-Identifier: GPL-2.0-or-later
"""The course of a migration that completed: what devices went through, and whether all who know of it say the same.

What QEMU's events, QEMU's traces and the devices' own counters and history say is compared. Pure.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from switchover.devices.reference import Truth
from switchover.migration.drivers import DRIVERS
from switchover.migration.phases import Action, Phase
from switchover.migration.precopy import PreCopy, count_bitmaps, list_traced_states, read_pre_copy
from switchover.migration.traces import TraceEvent, find_checkpoints, take_last_migration
from switchover.record.checks import CheckId
from switchover.record.measurement import Check, check_equal, make_check
from switchover.runner.guest_checks import count_since
from switchover.runner.readback import allows_pre_copy
from switchover.scenarios.case import Case, DeviceSpec

BITMAP_PROPERTY = "x-pre-copy-dirty-page-tracking"


@dataclass(frozen=True)
class DeviceEvidence:
    """One device of one side. ``name``: QEMU's, empty if nothing was traced. ``states``: by QEMU's events.

    ``log``: the whole one of its QEMU; ``properties``: those that QEMU held; ``place``: how checks call it.
    """

    place: str
    spec: DeviceSpec
    name: str
    states: Sequence[str]
    log: list[TraceEvent]
    properties: Mapping[str, str]
    before: Truth
    after: Truth

    @functools.cached_property
    def trace(self) -> list[TraceEvent]:
        """Of the last migration."""
        return take_last_migration(self.log)

    def grown(self, counter: str) -> int:
        return count_since([self.before], [self.after]).get(counter, 0)


def is_paused(case: Case) -> bool:
    """Whether the guest is paused before it is told to migrate."""
    return any(fault.action is Action.PAUSE_GUEST and fault.phase is Phase.BEFORE for fault in case.faults)


def pauses(case: Case) -> bool:
    """Whether the guest is paused, before or on the way."""
    return any(fault.action is Action.PAUSE_GUEST for fault in case.faults)


def check_arrival(case: Case, arrived: str) -> Check:
    """A guest that was paused at its source is so at its destination, unless its driver resumes it."""
    claim = DRIVERS[case.source.guest.driver].resumes
    if claim and pauses(case) and not is_paused(case):
        return check_equal(CheckId.GUEST_RUN_STATE, "running", arrived, claim=claim)
    return check_equal(CheckId.GUEST_RUN_STATE, "paused" if pauses(case) else "running", arrived)


def check_traced_states(device: DeviceEvidence, case: Case) -> Check:
    """QEMU's traces against its events; what the device's history says of these is a check of its own.

    A guest that is paused first changes its device's state before the trace of the migration begins. An event that QEMU
    11.1 gets ready for a state (``pre-copy-p2p-prepare``) is of no change.
    """
    states = [state for state in device.states if not state.endswith("-prepare")]
    traced = list_traced_states(take_last_migration(device.log), device.name)
    if is_paused(case):
        whole = list_traced_states(device.log, device.name)
        traced = whole[max(0, len(whole) - len(states)) :]
    return check_equal(CheckId.DEVICE_STATES_TRACED, " ".join(states), " ".join(traced), device.place)


def check_source(device: DeviceEvidence, case: Case) -> Iterator[Check]:
    """What a device of the source went through."""
    yield from _check_path(device, case)
    read = device.grown("precopy_bytes_read") + device.grown("stop_copy_bytes_read")
    knobs = device.spec.knobs
    whole = knobs.initial_bytes + knobs.stop_copy_bytes + device.grown("dirty_bytes_read")
    yield check_equal(CheckId.BYTES_VFIO_ADDS_UP, whole, read, device.place)
    if device.name:
        pre_copy = read_pre_copy(device.trace, device.name)
        yield from _check_sizes(device, pre_copy)
        if _went_through(device):
            yield from _check_pre_copy(device, pre_copy, case)
        yield from _check_stop(device, case)
    yield from _check_dma(device, case)


def _went_through(device: DeviceEvidence) -> bool:
    return "pre-copy" in device.states


def _check_path(device: DeviceEvidence, case: Case) -> Iterator[Check]:
    offers, allowed = device.spec.knobs.pre_copy, allows_pre_copy(device.properties)
    paused = is_paused(case)
    expected = "PRE_COPY" if offers and allowed and not paused else "no PRE_COPY"
    reasons = [
        *([] if offers else ["the device does not offer it"]),
        *([] if allowed else ["x-allow-pre-copy is off"]),
        *(["the guest was paused"] if paused else []),
    ]
    because = f" ({', '.join(reasons)})" if reasons else ""
    passed = _went_through(device) is (expected == "PRE_COPY")
    path = " ".join(device.states)
    yield make_check(CheckId.DEVICE_PRECOPY_USED, passed, f"{expected}{because}", path, device.place)
    wanted = case.expectation.pre_copy
    if wanted == "off" or (wanted == "on" and offers):
        passed = _went_through(device) is (wanted == "on")
        because = f": {case.expectation.because}" if case.expectation.because else ""
        claim = f"pre-copy is {wanted}, as expected of the case"
        yield make_check(CheckId.DEVICE_PRECOPY_EXPECTED, passed, f"{wanted}{because}", path, device.place, claim=claim)


def _check_sizes(device: DeviceEvidence, pre_copy: PreCopy) -> Iterator[Check]:
    """The exact size is what a stop at that moment would leave to read: all, whether pre-copy has it or not."""
    if not pre_copy.exact:
        return
    excess = pre_copy.find_excess()
    yield make_check(CheckId.DEVICE_PENDING_ESTIMATE, not excess, "never", excess or "never", device.place)
    if not device.spec.knobs.dirty_bytes_per_sec:
        yield check_equal(
            CheckId.DEVICE_PENDING_EXACT, device.grown("stop_copy_bytes_read"), pre_copy.exact[-1][0], device.place
        )


def _check_pre_copy(device: DeviceEvidence, pre_copy: PreCopy, case: Case) -> Iterator[Check]:
    knobs, settings = device.spec.knobs, case.settings
    if pre_copy.sizes:
        reported = pre_copy.sizes[0].initial
        yield check_equal(CheckId.DEVICE_PRECOPY_INITIAL_BYTES, knobs.initial_bytes, reported, device.place)
        disorder = pre_copy.find_disorder()
        yield make_check(CheckId.DEVICE_PRECOPY_INITIAL_FIRST, not disorder, "yes", disorder or "yes", device.place)
        if knobs.dirty_bytes_per_sec and settings.settle:
            reported, read = max(size.dirty for size in pre_copy.sizes), device.grown("dirty_bytes_read")
            yield make_check(
                CheckId.DEVICE_PRECOPY_DIRTY_BYTES,
                reported > 0 and read > 0,
                "some",
                f"reported {reported} at most, read {read}",
                device.place,
            )
    # what is left to read once pre-copy has read all: nothing, and the device says so
    drained = settings.settle and not knobs.dirty_bytes_per_sec
    drained = drained and device.grown("precopy_bytes_read") == knobs.initial_bytes
    said, heard = device.grown("enomsg"), pre_copy.empty
    passed = (said > 0 or not drained) and (heard is None or (heard <= said and (heard > 0) is (said > 0)))
    yield make_check(
        CheckId.DEVICE_PRECOPY_ENOMSG,
        passed,
        "at least once, and traced" if drained else "as often as traced, or oftener",
        f"{said} by the device, {'not told' if heard is None else heard} by traces",
        device.place,
    )


def _check_stop(device: DeviceEvidence, case: Case) -> Iterator[Check]:
    start = find_checkpoints(device.trace).get("src-downtime-start")
    known = {change.sequence for change in device.before.history}
    entered = [
        change.realtime_ns
        for change in device.after.history
        if change.sequence not in known and change.target == "STOP_COPY"
    ]
    if start is None or not entered or (pauses(case) and not is_paused(case)):
        return  # a guest that is paused on the way puts its device into STOP_COPY
    early = (start - entered[0]) / 1e9
    yield make_check(
        CheckId.DEVICE_STOP_COPY_IN_DOWNTIME,
        early <= 0,
        "after src-downtime-start",
        f"{abs(early):.6f} s {'before' if early > 0 else 'after'}",
        device.place,
    )


def _check_dma(device: DeviceEvidence, case: Case) -> Iterator[Check]:
    if device.spec.knobs.dma_pages_per_sec and not is_paused(case):
        pages = device.grown("dma_pages_written")
        yield make_check(CheckId.DEVICE_DMA_GOES_ON, pages > 0, "some pages", f"{pages} pages", device.place)
    word = device.properties.get(BITMAP_PROPERTY)
    if word is None or not device.name or is_paused(case):
        return
    running, stopped = count_bitmaps(device.trace)
    if word == "off":
        claim, passed = "dirty bitmaps are asked for only after the guest was stopped", not running and stopped > 0
    else:
        claim, passed = "dirty bitmaps are asked for while the guest runs", running > 0
    yield make_check(
        CheckId.DEVICE_DIRTY_BITMAPS,
        passed,
        f"{BITMAP_PROPERTY}={word}",
        f"{running} before, {stopped} after",
        device.place,
        claim=claim,
    )
