# SPDX-License-Identifier: GPL-2.0-or-later
"""Bytes that were moved: QEMU's traces and counters against the counters of the devices."""

from collections.abc import Iterator, Sequence

from switchover.checks.evidence import DeviceEvidence, Evidence, OtherEvidence, SideEvidence, Truths, count_since
from switchover.checks.rule import NO_COUNTERS, CheckRule, make_device_rule
from switchover.devices.reference import Truth
from switchover.migration.bytes import RESIDUAL_BOUND, MigrationBytes
from switchover.record.checks import CheckId, name_device
from switchover.record.measurement import Check, check_equal, make_check
from switchover.scenarios.case import Case


def compare_bytes(
    moved: MigrationBytes,
    names: Sequence[str],
    before: Truths,
    after: Truths,
    others: Sequence[str] = (),
    loaded: int = 0,
) -> list[Check]:
    """QEMU's traces and counters against the counters of the devices.

    ``names``: QEMU's of the source's reference devices; none if nothing was traced. ``others``: those of its other
    devices, which count nothing that could be asked for: of them QEMU's traces are taken, and ``loaded`` is what the
    destination's traced of them.
    """
    traced = {device.device: device for device in moved.devices}
    checks = []
    for number, (name, old, new) in enumerate(zip(names, before[0], after[0], strict=False)):
        grown, seen = count_since([old], [new]), traced.get(name)
        checks += [
            check_equal(which, grown[counter], found, name_device(number))
            for which, counter, found in (
                (CheckId.BYTES_VFIO_PRECOPY, "precopy_bytes_read", seen and seen.precopy),
                (CheckId.BYTES_VFIO_STOP_COPY, "stop_copy_bytes_read", seen and seen.stop_copy),
            )
            if which is CheckId.BYTES_VFIO_PRECOPY or not (seen and seen.stop_copy is None)
        ]
    source, destination = (count_since(old, new) for old, new in zip(before, after, strict=True))
    read = source.get("precopy_bytes_read", 0) + source.get("stop_copy_bytes_read", 0)
    saved = _count_others(moved, others)
    residual = moved.residual
    return [
        *checks,
        *_compare_loaded(read, destination.get("bytes_written", 0), saved, loaded),
        *_compare_transferred(moved, read, saved),
        *([] if residual is None and moved.multifd else [_check_residual(residual)]),
    ]


def _check_residual(residual: int | None) -> Check:
    passed = residual is not None and 0 <= residual <= RESIDUAL_BOUND
    return make_check(CheckId.BYTES_RESIDUAL, passed, f"0 … {RESIDUAL_BOUND} bytes", str(residual))


def _count_others(moved: MigrationBytes, others: Sequence[str]) -> int | None:
    """What was read of other devices by traces; None: one is saved by threads, and nobody knows how much that is."""
    parts = [(device.precopy, device.stop_copy) for device in moved.devices if device.device in others]
    if any(stop_copy is None for _, stop_copy in parts):
        return None
    return sum(precopy + (stop_copy or 0) for precopy, stop_copy in parts)


def _compare_loaded(read: int, written: int, saved: int | None, loaded: int) -> Iterator[Check]:
    """``read`` and ``written``: of reference devices, by their counters; ``saved`` and ``loaded``: of others, by the
    traces of both sides.
    """
    if saved is None:
        if read or written:
            yield check_equal(CheckId.BYTES_VFIO_LOADED, read, written)
    elif saved or loaded:
        claim = "destination's devices took every byte, by the traces of both sides"
        yield check_equal(CheckId.BYTES_VFIO_LOADED, read + saved, written + loaded, claim=claim)
    else:
        yield check_equal(CheckId.BYTES_VFIO_LOADED, read, written)


def _compare_transferred(moved: MigrationBytes, read: int, saved: int | None) -> Iterator[Check]:
    """``read``: from the reference devices; ``saved``: from others.

    Over multifd QEMU counts the headers of its packets too, and the device's configuration.
    """
    if saved is None:
        return
    counted = moved.vfio_transferred or 0
    read += saved
    which = CheckId.BYTES_VFIO_TRANSFERRED
    if moved.saves_by_threads:
        claim = "query-migrate's vfio.transferred is the bytes read and what headers take"
        passed, expected = 0 <= counted - read <= RESIDUAL_BOUND, f"{read} … {read + RESIDUAL_BOUND}"
        yield make_check(which, passed, expected, str(counted), claim=claim)
    else:
        yield check_equal(which, read, counted)


def check_sum(device: DeviceEvidence, _case: Case) -> Iterator[Check]:
    """What was read of a device is all that it had, and what became dirty or came anew meanwhile."""
    read = device.grown("precopy_bytes_read") + device.grown("stop_copy_bytes_read")
    knobs = device.spec.knobs
    whole = knobs.initial_bytes + knobs.stop_copy_bytes
    whole += device.grown("dirty_bytes_read") + device.grown("reinit_bytes_read")
    yield check_equal(CheckId.BYTES_VFIO_ADDS_UP, whole, read, device.place)


def check_traced_sum(device: OtherEvidence, _case: Case) -> Iterator[Check]:
    """What was read of a device whose type is known is as much as such a device has."""
    moved = device.moved
    if device.known is None or moved is None or moved.stop_copy is None:
        return
    whole = device.known.model.initial_bytes + device.known.model.stop_copy_bytes
    claim = "bytes read by traces are all that a device of this type has"
    yield check_equal(CheckId.BYTES_VFIO_ADDS_UP, whole, moved.precopy + moved.stop_copy, device.place, claim=claim)


def _make(evidence: Evidence) -> Iterator[Check]:
    if evidence.moved is None:
        return
    names = [device.name for device in evidence.source.devices if device.name]
    before = (_list_before(evidence.source), _list_before(evidence.destination))
    after = (_list_after(evidence.source), _list_after(evidence.destination))
    others = [device.name for device in evidence.source.others if device.name]
    loaded = sum(device.loaded for device in evidence.destination.others)
    yield from compare_bytes(evidence.moved, names, before, after, others, loaded)


def _list_before(side: SideEvidence) -> tuple[Truth, ...]:
    return tuple(device.before for device in side.devices)


def _list_after(side: SideEvidence) -> tuple[Truth, ...]:
    return tuple(device.after for device in side.devices)


CHECKS = (
    CheckRule(
        (
            CheckId.BYTES_VFIO_PRECOPY,
            CheckId.BYTES_VFIO_STOP_COPY,
            CheckId.BYTES_VFIO_LOADED,
            CheckId.BYTES_VFIO_TRANSFERRED,
            CheckId.BYTES_RESIDUAL,
        ),
        _make,
        only_reference=dict.fromkeys((CheckId.BYTES_VFIO_PRECOPY, CheckId.BYTES_VFIO_STOP_COPY), NO_COUNTERS),
    ),
    make_device_rule(
        CheckId.BYTES_VFIO_ADDS_UP,
        make=check_sum,
        make_of_others=check_traced_sum,
        only_known=(CheckId.BYTES_VFIO_ADDS_UP,),
    ),
)
