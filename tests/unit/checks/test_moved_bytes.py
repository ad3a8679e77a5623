# SPDX-License-Identifier: GPL-2.0-or-later
"""Bytes that were moved: those that agree pass, and each that was counted elsewhere fails the check of its source."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.builders import make_moved, make_truth
from tests.unit.checks.evidences import failed

from switchover.checks.evidence import count_since
from switchover.checks.moved_bytes import compare_bytes
from switchover.devices.reference import Truth
from switchover.migration.bytes import RESIDUAL_BOUND, MigrationBytes
from switchover.migration.traces import DeviceBytes
from switchover.record.checks import CheckId

NAMES = ["dut"]


BEFORE = (
    (make_truth(precopy_bytes_read=1000, stop_copy_bytes_read=100, bytes_written=10),),
    (make_truth(precopy_bytes_read=7, bytes_written=3),),
)
AFTER = (
    (make_truth(precopy_bytes_read=1064, stop_copy_bytes_read=116, bytes_written=10),),
    (make_truth(precopy_bytes_read=7, bytes_written=83),),
)


def test_bytes_that_agree_pass() -> None:
    """Traces, query-migrate and both devices' counters agree on this migration, whatever was counted before it."""
    checks = compare_bytes(make_moved(64, 16), NAMES, BEFORE, AFTER)
    assert len(checks) == 5
    assert failed(checks) == []


def with_device(precopy: int, stop_copy: int) -> Callable[[MigrationBytes], MigrationBytes]:
    return lambda moved: replace(moved, devices=(DeviceBytes("dut", precopy, stop_copy, 1),))


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (with_device(63, 16), ["bytes.vfio.precopy, device 1"]),
        (with_device(64, 17), ["bytes.vfio.stop-copy, device 1"]),
        (
            lambda moved: replace(moved, devices=()),
            ["bytes.vfio.precopy, device 1", "bytes.vfio.stop-copy, device 1"],
        ),
        (
            lambda moved: replace(moved, vfio_transferred=79, wire=moved.wire - 1),
            ["bytes.vfio.transferred"],
        ),
        (
            lambda moved: replace(moved, vfio_transferred=None),
            [
                "bytes.vfio.transferred",
                "bytes.residual",
            ],
        ),
        (
            lambda moved: replace(moved, wire=moved.wire - 51),
            ["bytes.residual"],
        ),
        (
            lambda moved: replace(moved, wire=moved.wire + RESIDUAL_BOUND),
            ["bytes.residual"],
        ),
    ],
)
def test_bytes_that_disagree_fail(change: Callable[[MigrationBytes], MigrationBytes], names: list[str]) -> None:
    """A byte that was counted elsewhere, or is missing, fails the check of its source."""
    assert failed(compare_bytes(change(make_moved(64, 16)), NAMES, BEFORE, AFTER)) == names


def over_multifd(moved: MigrationBytes, **changes: Any) -> MigrationBytes:
    """The stop-copy bytes and 20 of headers went over multifd, RAM too."""
    assert moved.wire is not None
    whole = {"devices": (DeviceBytes("dut", 64, None, 1),), "vfio_transferred": 100, "multifd": 1036}
    return replace(moved, wire=moved.wire + 1020, **{**whole, **changes})


def test_bytes_over_multifd_are_compared_as_far_as_they_are_told() -> None:
    """Stop-copy blocks are not traced there: that check is not made, and QEMU's counter has headers in it."""
    assert len(checks := compare_bytes(over_multifd(make_moved(64, 16)), NAMES, BEFORE, AFTER)) == 4
    assert failed(checks) == []


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"vfio_transferred": 79}, "bytes.vfio.transferred"),
        ({"vfio_transferred": 81 + RESIDUAL_BOUND}, "bytes.vfio.transferred"),
        ({"multifd": 0, "wire": RESIDUAL_BOUND * 9}, "bytes.residual"),
        ({"devices": (DeviceBytes("dut", 63, None, 1),)}, "bytes.vfio.precopy, device 1"),
    ],
)
def test_bytes_over_multifd_that_disagree_fail(changes: dict[str, Any], name: str) -> None:
    """What is told is compared as without multifd."""
    moved = replace(over_multifd(make_moved(64, 16)), **changes)
    assert failed(compare_bytes(moved, NAMES, BEFORE, AFTER)) == [name]


def test_bytes_of_a_function_are_those_of_its_traces() -> None:
    """A function has no counters: what was traced of it is in QEMU's counter, beside what the other devices counted."""
    plain = make_moved(64, 16)
    assert plain.wire is not None
    devices = (*plain.devices, DeviceBytes("0000:3b:00.2", 7, 3, 1))
    moved = replace(plain, devices=devices, vfio_transferred=90, wire=plain.wire + 10)
    assert failed(compare_bytes(moved, NAMES, BEFORE, AFTER, ["0000:3b:00.2"], 10)) == []
    assert failed(compare_bytes(moved, NAMES, BEFORE, AFTER)) == ["bytes.vfio.transferred"]


@pytest.mark.parametrize("loaded", [0, 9, 11])
def test_bytes_without_counters_arrive_by_the_traces_of_both_sides(loaded: int) -> None:
    """What the source's traces read of a device that counts nothing has to be what the destination's traces loaded."""
    moved = replace(make_moved(0, 0), devices=(DeviceBytes("uuid", 7, 3, 1),), vfio_transferred=10)
    none: tuple[tuple[Truth, ...], tuple[Truth, ...]] = ((), ())
    assert "bytes.vfio.loaded" in failed(compare_bytes(moved, [], none, none, ["uuid"], loaded))
    assert "bytes.vfio.loaded" not in failed(compare_bytes(moved, [], none, none, ["uuid"], 10))


def test_bytes_of_a_function_that_is_saved_by_threads() -> None:
    """How many they are is told by nobody: they are compared with nothing, and those of the others still are."""
    moved = over_multifd(make_moved(64, 16))
    with_function = replace(moved, devices=(*moved.devices, DeviceBytes("0000:3b:00.2", 7, None, 1)))
    checks = compare_bytes(with_function, NAMES, BEFORE, AFTER, ["0000:3b:00.2"])
    assert [check for check in checks if check.id == CheckId.BYTES_VFIO_TRANSFERRED] == []
    assert failed(compare_bytes(with_function, NAMES, BEFORE, AFTER)) == []
    less = replace(with_function, devices=(DeviceBytes("dut", 63, None, 1), *with_function.devices[1:]))
    told = failed(compare_bytes(less, NAMES, BEFORE, AFTER, ["0000:3b:00.2"]))
    assert told == ["bytes.vfio.precopy, device 1"]


def test_no_residual_is_claimed_where_nothing_was_traced() -> None:
    """An untraced guest over multifd: there is nothing to compare, and no failed check either."""
    moved = over_multifd(make_moved(64, 16), devices=(), vfio_transferred=80)
    assert failed(compare_bytes(moved, [], BEFORE, AFTER)) == []


def test_the_residuals_edges_pass() -> None:
    """Nothing left over, and just as much as the bound, are both in order."""
    moved = make_moved(64, 16)
    assert moved.wire is not None
    for wire in (moved.wire - 50, moved.wire - 50 + RESIDUAL_BOUND):
        assert failed(compare_bytes(replace(moved, wire=wire), NAMES, BEFORE, AFTER)) == []


def test_bytes_that_did_not_arrive_fail() -> None:
    """A destination's device that took fewer bytes than were read is found out."""
    lossy = (AFTER[0], (make_truth(precopy_bytes_read=7, bytes_written=82),))
    assert failed(compare_bytes(make_moved(64, 16), NAMES, BEFORE, lossy)) == ["bytes.vfio.loaded"]


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=3), st.lists(st.integers(0, 1000), min_size=3, max_size=3))
def test_counting_since(before: list[int], more: list[int]) -> None:
    """What counters grew by is summed over the devices; one that a device had not before counts from 0."""
    old = tuple(make_truth(loads=count) for count in before)
    new = tuple(make_truth(loads=count + add, resets=1) for count, add in zip(before, more, strict=False))
    assert count_since(old, new) == {"loads": sum(more[: len(before)]), "resets": len(before)}
