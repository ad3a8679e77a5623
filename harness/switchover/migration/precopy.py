# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU's traces say of a device's pre-copy: sizes that it reckons with, and how far it read. Pure.

Events and their words are those of QEMU's hw/vfio/trace-events. 10.x has ``vfio_state_pending_estimate``,
``vfio_state_pending_exact`` and ``vfio_save_iterate``, numbers in decimal, older ones in hexadecimal. 11.1 has
``vfio_query_precopy_size`` and ``vfio_query_stop_copy_size`` for what the device was asked, and ``vfio_state_pending``
for what QEMU makes of it.
"""

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from switchover.migration.traces import (
    TraceEvent,
    block_size,
    find_checkpoints,
    leaves_pre_copy,
    split_device,
)

_NUMBER = r"(0x[0-9a-fA-F]+|\d+)"
_INITIAL = re.compile(rf"\binit(?:ial size)? {_NUMBER}")
_DIRTY = re.compile(rf"\bdirty(?: size)? {_NUMBER}")
_REINIT = re.compile(r"\breinit [1-9]")
_STOP_COPY = re.compile(rf"\bstopcopy size {_NUMBER}")
_EXACT = ("vfio_state_pending_exact", "vfio_query_stop_copy_size")


@dataclass(frozen=True)
class Sizes:
    """What pre-copy has left to read, as QEMU has it at a moment; bytes."""

    initial: int
    dirty: int
    reinit: bool = False
    """Whether the device told that initial data came anew."""


@dataclass(frozen=True)
class PreCopy:
    """One device in one migration, as its source's QEMU tells.

    ``sizes``: whenever they were traced, in order. ``exact``: whenever what a stop now would leave to read was asked
    for, that, and what pre-copy had left of it. ``empty``: how often a read said that there is nothing for now, once
    for each time that something was read before; None: this QEMU does not tell. ``read_stopped``: bytes that were read
    in STOP_COPY before the last of ``exact``, of a guest that was paused while QEMU iterates.
    """

    sizes: tuple[Sizes, ...]
    exact: tuple[tuple[int, Sizes], ...]
    empty: int | None
    read_stopped: int = 0

    def find_disorder(self) -> str:
        """Where dirty bytes were sent while initial ones were left, or initial ones became more, and the device did not
        tell that initial data came anew; empty: nowhere.
        """
        for old, new in itertools.pairwise(self.sizes):
            if new.reinit:
                continue
            if new.initial > old.initial or (new.initial and new.dirty < old.dirty):
                return f"initial {old.initial}, dirty {old.dirty}; then initial {new.initial}, dirty {new.dirty}"
        return ""

    def find_excess(self) -> str:
        """Where pre-copy had more left than there was to read at all; empty: nowhere."""
        for whole, left in self.exact:
            if left.initial + left.dirty > whole:
                return f"exact {whole}, initial {left.initial}, dirty {left.dirty}"
        return ""


def read_pre_copy(events: Iterable[TraceEvent], device: str) -> PreCopy:
    """``device``: QEMU's name of it, of a mediated device its UUID."""
    sizes: list[Sizes] = []
    exact: list[tuple[int, Sizes]] = []
    empty = read_stopped = read_stopped_so_far = 0
    tells = stopped = False
    for event in events:
        name, text = split_device(event)
        if name != device:
            continue
        tells |= event.name == "vfio_save_iterate_start"  # both events came to be together, in 10.0
        stopped |= leaves_pre_copy(event.name, text)
        read_stopped_so_far += block_size(event.name, text) if stopped else 0
        empty += event.name == "vfio_save_block_precopy_empty_hit"
        if (initial := _INITIAL.search(text)) and (dirty := _DIRTY.search(text)):
            sizes.append(Sizes(int(initial[1], 0), int(dirty[1], 0), bool(_REINIT.search(text))))
        if event.name in _EXACT and (whole := _STOP_COPY.search(text)):
            exact.append((int(whole[1], 0), sizes[-1] if sizes else Sizes(0, 0)))
            read_stopped = read_stopped_so_far
    return PreCopy(tuple(sizes), tuple(exact), empty if tells else None, read_stopped)


def list_traced_states(events: Iterable[TraceEvent], device: str) -> list[str]:
    """The states that a device came to be in, spelled as in QEMU's VFIO_MIGRATION events.

    They are not those that it was asked to go to: after a state ioctl that failed QEMU resets it, and it is RUNNING.
    """
    split = [split_device(event) for event in events if event.name == "vfio_migration_set_device_state"]
    return [rest.removeprefix("state ").lower().replace("_", "-") for name, rest in split if name == device]


_BITMAP = re.compile(r"vfio_\w*dirty_bitmap")
BITMAP_EVENTS = "vfio_*dirty_bitmap"
"""``vfio_get_dirty_bitmap`` in 10.0, ``vfio_container_query_dirty_bitmap`` later: not always on, since each pass of the
migration asks for many."""


def count_bitmaps(events: Iterable[TraceEvent]) -> tuple[int, int]:
    """How often a dirty bitmap was asked for while the guest ran, and after it was stopped."""
    known = list(events)
    stop = find_checkpoints(known).get("src-downtime-start")
    asked = [event.at_ns for event in known if _BITMAP.fullmatch(event.name)]
    running = sum(stop is None or at < stop for at in asked)
    return running, len(asked) - running
