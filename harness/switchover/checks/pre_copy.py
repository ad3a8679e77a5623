# SPDX-License-Identifier: GPL-2.0-or-later
"""What a device reported in pre-copy, and what was read of it, by QEMU's traces."""

from collections.abc import Iterator

from switchover.checks.evidence import DeviceEvidence, OtherEvidence
from switchover.checks.rule import NO_COUNTERS, make_device_rule
from switchover.checks.states import went_through
from switchover.migration.precopy import read_pre_copy
from switchover.record.checks import CheckId
from switchover.record.measurement import Check, check_equal, make_check
from switchover.scenarios.case import Case


def check_sizes(device: DeviceEvidence, _case: Case) -> Iterator[Check]:
    """The exact size is what a stop at that moment would leave to read: all, whether pre-copy has it or not."""
    pre_copy = read_pre_copy(device.trace, device.name)
    if not device.name or not pre_copy.exact:
        return
    excess = pre_copy.find_excess()
    yield make_check(CheckId.DEVICE_PENDING_ESTIMATE, not excess, "never", excess or "never", device.place)
    knobs = device.spec.knobs
    # what comes with PRE_COPY_P2P comes after that
    if not knobs.dirty_bytes_per_sec and not (knobs.reinit_count and knobs.reinit_at == "PRE_COPY_P2P"):
        read = device.grown("stop_copy_bytes_read") - pre_copy.read_stopped
        yield check_equal(CheckId.DEVICE_PENDING_EXACT, read, pre_copy.exact[-1][0], device.place)


def check_traced_sizes(device: OtherEvidence, _case: Case) -> Iterator[Check]:
    """The same of a device that counts nothing, by what was read of it."""
    pre_copy = read_pre_copy(device.trace, device.name)
    if not device.name or not pre_copy.exact:
        return
    excess = pre_copy.find_excess()
    yield make_check(CheckId.DEVICE_PENDING_ESTIMATE, not excess, "never", excess or "never", device.place)
    moved = device.moved
    if device.known is None or moved is None or moved.stop_copy is None:
        return
    if device.known.pending_shrinks:
        read = moved.stop_copy - pre_copy.read_stopped
        yield check_equal(CheckId.DEVICE_PENDING_EXACT, read, pre_copy.exact[-1][0], device.place)
    else:
        claim = "the last exact pending size is all that is read, as this type always says"
        whole = moved.precopy + moved.stop_copy
        yield check_equal(CheckId.DEVICE_PENDING_EXACT, whole, pre_copy.exact[-1][0], device.place, claim=claim)


def check_traced_pre_copy(device: OtherEvidence, _case: Case) -> Iterator[Check]:
    """Initial bytes come first, and are all that the device has, as far as that is known of its type."""
    if not device.name or not went_through(device):
        return
    pre_copy = read_pre_copy(device.trace, device.name)
    if not pre_copy.sizes:
        return
    if device.known is not None:
        wanted, reported = device.known.model.initial_bytes, pre_copy.sizes[0].initial
        yield check_equal(CheckId.DEVICE_PRECOPY_INITIAL_BYTES, wanted, reported, device.place)
    disorder = pre_copy.find_disorder()
    yield make_check(CheckId.DEVICE_PRECOPY_INITIAL_FIRST, not disorder, "yes", disorder or "yes", device.place)


def check_pre_copy(device: DeviceEvidence, case: Case) -> Iterator[Check]:
    """Initial bytes come first and are all that the device has; pre-copy is read until the device is empty."""
    if not device.name or not went_through(device):
        return
    pre_copy = read_pre_copy(device.trace, device.name)
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
    initial = knobs.initial_bytes + device.grown("reinit_bytes_read")
    drained = drained and device.grown("precopy_bytes_read") == initial
    said, heard = device.grown("enomsg"), pre_copy.empty
    passed = (said > 0 or not drained) and (heard is None or (heard <= said and (heard > 0) is (said > 0)))
    yield make_check(
        CheckId.DEVICE_PRECOPY_ENOMSG,
        passed,
        "at least once, and traced" if drained else "as often as traced, or oftener",
        f"{said} by the device, {'not told' if heard is None else heard} by traces",
        device.place,
    )


CHECKS = (
    make_device_rule(
        CheckId.DEVICE_PENDING_ESTIMATE,
        CheckId.DEVICE_PENDING_EXACT,
        make=check_sizes,
        make_of_others=check_traced_sizes,
        only_known=(CheckId.DEVICE_PENDING_EXACT,),
    ),
    make_device_rule(
        CheckId.DEVICE_PRECOPY_INITIAL_BYTES,
        CheckId.DEVICE_PRECOPY_INITIAL_FIRST,
        CheckId.DEVICE_PRECOPY_DIRTY_BYTES,
        CheckId.DEVICE_PRECOPY_ENOMSG,
        make=check_pre_copy,
        make_of_others=check_traced_pre_copy,
        only_reference={CheckId.DEVICE_PRECOPY_ENOMSG: NO_COUNTERS},
        only_known=(CheckId.DEVICE_PRECOPY_INITIAL_BYTES,),
    ),
)
