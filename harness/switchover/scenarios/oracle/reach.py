# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a migration comes to the point at which a device is to fail. Pure.

States are those that QEMU takes a device through (hw/vfio/migration.c), and between two of them those that the kernel
passes (drivers/vfio/vfio_main.c: vfio_mig_get_next_state), each as the target of an arc.
"""

from dataclasses import dataclass
from enum import StrEnum

from switchover.devices.reference import Knobs
from switchover.scenarios.forecast import BLOCK, Ending, Stream


class Reach(StrEnum):
    """Whether a migration comes to a point."""

    UNASKED = ""
    """There is no such point on this side: the knob is about the other one, or is not set."""
    COMES = "comes to it"
    NEVER = "never comes to it"
    MAY = "may come to it"
    """Nobody can tell: it depends on how much gets dirty, or on what becomes of a migration without an end."""


@dataclass(frozen=True)
class Way:
    """What a device goes through on its side, if the migration is let go on."""

    side: str
    stream: Stream
    """Of the device of the source, and of that which loads it."""
    p2p: bool
    """The flag of this side's device."""
    paused_first: bool
    ending: Ending
    timeout_s: float

    @property
    def early(self) -> tuple[str, ...]:
        """States that come before anything is sent, in a migration with or without an end."""
        p2p = ("RUNNING_P2P",) if self.p2p else ()
        if self.side == "destination":
            return (*p2p, "STOP", "RESUMING")
        return ("PRE_COPY",) if self.stream.pre_copy else ()

    @property
    def late(self) -> tuple[str, ...]:
        """States that come with the switchover or after it. ``load``: the arc that leaves RESUMING."""
        if self.side == "destination":
            return ("load", "RUNNING")
        if self.stream.pre_copy:
            return (*(("PRE_COPY_P2P",) if self.p2p else ()), "STOP_COPY", "STOP")
        return (*(("RUNNING_P2P",) if self.p2p and not self.paused_first else ()), "STOP", "STOP_COPY")


_POINTS = {
    "source": ("PRE_COPY", "PRE_COPY_P2P", "RUNNING_P2P", "STOP_COPY", "STOP", "read"),
    "destination": ("RUNNING_P2P", "STOP", "RESUMING", "load", "RUNNING", "write"),
}
"""Places for ``fail_at`` that the device of a side may come to at all."""
_SPOILS = {"source": "stream", "destination": "state"}


def find_reach(knobs: Knobs, way: Way) -> tuple[str, str, Reach]:
    """The point of ``fail_at`` without its byte, and ``corrupt``, each ``none`` where a migration is not known to come
    to it; and what is to be said of both together.
    """
    point, _, byte = knobs.fail_at.partition(":")
    if point not in _POINTS[way.side]:
        of_point = Reach.UNASKED
    elif byte:
        of_point = _reach_byte(int(byte), way)
    else:
        of_point = _reach_state(point, way)
    of_corrupt = _reach_late(way) if knobs.corrupt == _SPOILS[way.side] else Reach.UNASKED
    both = {of_point, of_corrupt}
    reach = next(one for one in (Reach.COMES, Reach.MAY, Reach.NEVER, Reach.UNASKED) if one in both)
    comes = (Reach.COMES, Reach.UNASKED)
    return point if of_point in comes else "none", knobs.corrupt if of_corrupt in comes else "none", reach


def _reach_state(state: str, way: Way) -> Reach:
    if state == "STOP" and way.side == "source" and way.paused_first:
        return Reach.MAY  # when it is paused: the migration has not begun
    if state in way.early:
        return Reach.COMES
    return _reach_late(way) if state in way.late else Reach.NEVER


def _reach_late(way: Way) -> Reach:
    """Of what comes with the switchover."""
    match way.ending:
        case Ending.OPEN:
            return Reach.COMES
        case Ending.NOT_CONVERGING:
            return Reach.NEVER
        case _:
            return Reach.MAY


def _reach_byte(byte: int, way: Way) -> Reach:
    """Of a byte of the stream, counted from 0."""
    stream = way.stream
    if byte >= stream.all_bytes:
        return Reach.MAY if stream.dirty_rate else Reach.NEVER
    if way.ending is Ending.OPEN:
        return Reach.COMES
    if not stream.pre_copy or byte >= stream.initial_bytes:
        return Reach.MAY if stream.dirty_rate else _reach_late(way)
    if way.ending is Ending.STUCK:
        return Reach.MAY
    # a device that is read slowly may not come so far in time
    return Reach.COMES if (byte + BLOCK) / (stream.slowest_rate or BLOCK) < way.timeout_s else Reach.MAY
