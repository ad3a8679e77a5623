# SPDX-License-Identifier: GPL-2.0-or-later
"""The numbers of a completed migration, each with unit, direction, definition and source. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from switchover.migration.bytes import MigrationBytes
from switchover.migration.downtime import PAUSED, ExplainedDowntime, UnexplainedDowntime
from switchover.migration.limits import InForce
from switchover.migration.settings import MigrationSettings
from switchover.record.measurement import Measurement
from switchover.record.units import Direction, Unit

_NOT_TOLD = "QEMU did not tell"


def measure(
    explained: ExplainedDowntime | UnexplainedDowntime,
    moved: MigrationBytes,
    reply: Mapping[str, Any],
    settings: MigrationSettings,
    *,
    wall_seconds: float | None = None,
    paused: bool = False,
    in_force: InForce | None = None,
    own: Sequence[Measurement] = (),
    note: str = "",
) -> Sequence[Measurement]:
    """Downtime as explained and as QEMU reports it, times and bytes. ``reply``: the source's last ``query-migrate``.
    ``wall_seconds``: from the call to its end. ``paused``: the guest was. ``in_force``: the downtime limit at the
    switchover. ``own``: the driver's, and its ``note`` on
    QEMU's downtime.
    """
    if not note and not settings.return_path:
        note = "without return-path: the destination's load and start are not in it"
    note = f"{PAUSED}, so that it lost no time" if paused else note
    return [
        _explained(explained),
        _reported(reply, note),
        *own,
        _total_time(reply),
        Measurement(
            "time.wall",
            wall_seconds,
            Unit.SECONDS,
            Direction.LOWER,
            "from migrate, or libvirt's call, until the guest runs on the destination and a call has returned",
            "monotonic clock of the controller",
        ),
        _limit(in_force),
        *_bytes(moved),
    ]


def _explained(explained: ExplainedDowntime | UnexplainedDowntime) -> Measurement:
    value, bound, note = None, None, ""
    match explained:
        case ExplainedDowntime():
            value, bound = explained.seconds, explained.bound_s
        case UnexplainedDowntime():
            note = explained.reason
    return Measurement(
        "downtime.explained",
        value,
        Unit.SECONDS,
        Direction.LOWER,
        "from src-downtime-start to the destination's first transition to running after its load",
        "vmstate_downtime_checkpoint traces of both sides, on one clock",
        bound,
        note,
    )


def _reported(reply: Mapping[str, Any], note: str) -> Measurement:
    milliseconds = reply.get("downtime")
    return Measurement(
        "downtime.qemu",
        None if milliseconds is None else milliseconds / 1000,
        Unit.SECONDS,
        Direction.LOWER,
        "as QEMU reports it: from before the vCPUs are paused to the end of the return path",
        "query-migrate downtime (whole milliseconds)",
        note=_NOT_TOLD if milliseconds is None else note,
    )


def _limit(in_force: InForce | None) -> Measurement:
    note = "no status told of the switchover"
    if in_force is not None:
        note = "taken just before: QEMU may have decided with the one before it" if in_force.is_fresh else ""
    return Measurement(
        "downtime.limit",
        None if in_force is None else in_force.limit_ms / 1000,
        Unit.SECONDS,
        Direction.NEITHER,
        "the downtime limit that was in force when QEMU decided to switch over",
        "the last that QEMU, or libvirt, had acknowledged before the source's status said so",
        note=note,
    )


def _total_time(reply: Mapping[str, Any]) -> Measurement:
    milliseconds = reply.get("total-time")
    return Measurement(
        "time.total",
        None if milliseconds is None else milliseconds / 1000,
        Unit.SECONDS,
        Direction.LOWER,
        "from migrate to completion, as QEMU reports it",
        "query-migrate total-time",
        note=_NOT_TOLD if milliseconds is None else "",
    )


def _bytes(moved: MigrationBytes) -> list[Measurement]:
    untraced = "saved by threads, over multifd: QEMU traces no blocks there" if moved.saves_by_threads else _NOT_TOLD
    rows = (
        ("bytes.vfio.precopy", moved.vfio_precopy, Direction.NEITHER, "device bytes read while the guest ran",
         "vfio_save_block traces before STOP_COPY or vfio_save_complete_precopy_start"),
        ("bytes.vfio.stop_copy", moved.vfio_stop_copy, Direction.LOWER, "device bytes read in the downtime",
         "vfio_save_block traces from STOP_COPY or vfio_save_complete_precopy_start on"),
        ("bytes.vfio.transferred", moved.vfio_transferred, Direction.LOWER, "device bytes of all devices and phases",
         "query-migrate vfio.transferred"),
        ("bytes.ram.precopy", moved.ram_precopy, Direction.NEITHER, "RAM bytes sent while the guest ran",
         "query-migrate ram.precopy-bytes"),
        ("bytes.ram.downtime", moved.ram_downtime, Direction.LOWER, "RAM bytes sent in the downtime",
         "query-migrate ram.downtime-bytes"),
        ("bytes.multifd", moved.multifd, Direction.NEITHER,
         "what multifd's channels took: RAM that is in neither of the two above, and device state saved by threads",
         "query-migrate ram.multifd-bytes"),
        ("bytes.wire", moved.wire, Direction.LOWER, "the whole stream, VFIO included",
         "query-migrate ram.transferred"),
        ("bytes.residual", moved.residual, Direction.NEITHER,
         "wire - RAM - VFIO - multifd's channels: headers and all other devices",
         "computed"),
    )  # fmt: skip
    return [
        Measurement(name, value, Unit.BYTES, direction, definition, source, note="" if value is not None else untraced)
        for name, value, direction, definition, source in rows
    ]
