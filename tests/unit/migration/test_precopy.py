# SPDX-License-Identifier: GPL-2.0-or-later
"""A device's pre-copy, read from QEMU's traces: real ones of 10.0, and lines as 11.1 and older ones have them."""

from collections.abc import Sequence

import pytest
from tests.unit.builders import golden_events

from switchover.migration.precopy import PreCopy, Sizes, count_bitmaps, list_traced_states, read_pre_copy
from switchover.migration.traces import TraceEvent
from switchover.record.units import MIB

SOURCE = "1fa7cadf-3694-49dc-af72-d202b30c70c9"


def events(*lines: str) -> list[TraceEvent]:
    """A microsecond apart."""
    return [TraceEvent(1000 * number, *line.partition(" ")[::2]) for number, line in enumerate(lines)]


def test_a_real_migration() -> None:
    """64 MiB of initial bytes are reported, drained in order, and 1 MiB is left for stop-copy."""
    found = read_pre_copy(golden_events("source"), SOURCE)
    assert (found.sizes[0], found.sizes[-1]) == (Sizes(64 * MIB, 0), Sizes(0, 0))
    assert found.exact[-1] == (MIB, Sizes(0, 0))
    assert found.empty == 1
    assert (found.find_disorder(), found.find_excess()) == ("", "")


def test_states_of_a_real_migration() -> None:
    """Each state once, in order, as the events spell them; what the device was put into before, too."""
    assert list_traced_states(golden_events("source"), SOURCE) == [
        "running-p2p",
        "running",
        "pre-copy",
        "pre-copy-p2p",
        "stop-copy",
        "stop",
    ]


def test_states_of_a_device_that_was_reset() -> None:
    """An ioctl that fails leaves no state; the reset after it does, without an ioctl."""
    failed = events(
        "vfio_migration_set_state (d) new state STOP_COPY, recover state ERROR",
        "vfio_migration_set_device_state (d) state STOP_COPY",
        "vfio_migration_set_state (d) new state STOP, recover state ERROR",
        "vfio_migration_set_device_state (d) state RUNNING",
    )
    assert list_traced_states(failed, "d") == ["stop-copy", "running"]


def test_another_device_is_another() -> None:
    """What is traced of one device says nothing about another one; nothing traced is nothing known."""
    found = read_pre_copy(golden_events("source"), "other")
    assert found == PreCopy((), (), None)
    assert list_traced_states(golden_events("source"), "other") == []


def test_lines_of_other_versions() -> None:
    """Hexadecimal before 10.0; other events in 11.1. Neither tells of an empty device if it has no event for that."""
    old = "vfio_state_pending_exact (d) precopy 0x30 postcopy 0x0 stopcopy size 0x30 precopy initial size 0x10 "
    found = read_pre_copy(events(f"{old}precopy dirty size 0x8"), "d")
    assert found == PreCopy((Sizes(16, 8),), ((48, Sizes(16, 8)),), None)
    new = (
        "vfio_query_precopy_size (d) init 24, dirty 8, reinit 0, ret 0",
        "vfio_query_stop_copy_size (d) stopcopy size 72 ret 0",
        "vfio_state_pending (d) stopcopy size 40, precopy initial size 24, precopy dirty size 8, "
        "request switchover ack 0, exact 1, final 0",
    )
    found = read_pre_copy(events(*new), "d")
    assert found == PreCopy((Sizes(24, 8), Sizes(24, 8)), ((72, Sizes(24, 8)),), None)
    again = read_pre_copy(events("vfio_query_precopy_size (d) init 64, dirty 0, reinit 1, ret 0"), "d")
    assert again.sizes == (Sizes(64, 0, reinit=True),)


def test_what_is_read_of_a_paused_guests_device() -> None:
    """In STOP_COPY, before the last size that was asked for, which has it no more. What is read after it is in it."""
    exact = "vfio_state_pending_exact (d) precopy 0 postcopy 0 stopcopy size"
    found = read_pre_copy(
        events(
            "vfio_save_block (d) data_size 1",
            "vfio_migration_set_device_state (d) state STOP_COPY",
            "vfio_save_block (d) data_size 2",
            "vfio_save_block (other) data_size 64",
            f"{exact} 12 precopy initial size 0 precopy dirty size 0",
            "vfio_save_block (d) data_size 4",
            f"{exact} 8 precopy initial size 0 precopy dirty size 0",
            "vfio_save_complete_precopy_start (d)",
            "vfio_save_block (d) data_size 8",
        ),
        "d",
    )
    assert (found.exact[-1][0], found.read_stopped) == (8, 6)


@pytest.mark.parametrize(
    ("sizes", "disorder"),
    [
        ([(64, 0), (32, 0), (32, 8), (0, 8), (0, 0), (0, 4)], ""),
        ([(64, 8), (32, 8), (0, 0)], ""),
        ([(64, 8), (32, 4)], "initial 64, dirty 8; then initial 32, dirty 4"),
        ([(32, 0), (64, 0)], "initial 32, dirty 0; then initial 64, dirty 0"),
    ],
)
def test_disorder(sizes: Sequence[tuple[int, int]], disorder: str) -> None:
    """Initial bytes only become fewer, and dirty ones do not while there are initial ones."""
    assert PreCopy(tuple(Sizes(*pair) for pair in sizes), (), 0).find_disorder() == disorder


def test_initial_data_that_comes_anew_is_no_disorder() -> None:
    """Where the device tells of it: initial bytes grow, and dirty ones begin from 0. What comes after is as ever."""
    told = (Sizes(0, 8), Sizes(64, 0, reinit=True), Sizes(32, 0))
    assert PreCopy(told, (), 0).find_disorder() == ""
    assert PreCopy((*told, Sizes(40, 0)), (), 0).find_disorder() == "initial 32, dirty 0; then initial 40, dirty 0"


def test_excess() -> None:
    """Pre-copy cannot have more left than there is."""
    assert PreCopy((), ((10, Sizes(8, 2)), (9, Sizes(0, 0))), 0).find_excess() == ""
    assert PreCopy((), ((10, Sizes(8, 2)), (9, Sizes(8, 2))), 0).find_excess() == "exact 9, initial 8, dirty 2"


def test_bitmaps_before_and_after_the_stop() -> None:
    """Under either name; without a stop all were asked for before it."""
    names = ("vfio_get_dirty_bitmap iova=0", "vfio_container_query_dirty_bitmap iova=0")
    stop = "vmstate_downtime_checkpoint src-downtime-start"
    assert count_bitmaps(events(*names, stop, names[0], "vfio_save_start x")) == (2, 1)
    assert count_bitmaps(events(*names)) == (2, 0)
    assert count_bitmaps(events(stop)) == (0, 0)
