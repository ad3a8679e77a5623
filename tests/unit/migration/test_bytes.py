# SPDX-License-Identifier: GPL-2.0-or-later
"""Bytes of a migration: sums, the residual, and what QEMU did not tell."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.builders import make_moved

from switchover.migration.bytes import MigrationBytes, account_bytes
from switchover.migration.traces import DeviceBytes

COUNTS = st.integers(0, 1 << 50)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_residual_is_the_wire_without_ram_and_vfio(precopy: int, downtime: int, vfio: int, rest: int) -> None:
    """Wire = RAM in both phases + VFIO + residual, exactly."""
    moved = MigrationBytes((), vfio, precopy, downtime, precopy + downtime + vfio + rest)
    assert moved.residual == rest


@pytest.mark.parametrize("name", ["vfio_transferred", "ram_precopy", "ram_downtime", "wire", "multifd"])
def test_a_missing_part_makes_the_residual_missing(name: str) -> None:
    """What QEMU did not tell does not count as 0."""
    assert make_moved().residual is not None
    assert replace(make_moved(), **{name: None}).residual is None  # type: ignore[arg-type]


def test_devices_are_summed() -> None:
    """VFIO bytes are those of all devices; without a traced device they are missing."""
    devices = (DeviceBytes("a", 10, 1, 2), DeviceBytes("b", 20, 2, 3))
    moved = replace(make_moved(), devices=devices)
    assert (moved.vfio_precopy, moved.vfio_stop_copy) == (30, 3)
    untraced = replace(moved, devices=())
    assert (untraced.vfio_precopy, untraced.vfio_stop_copy) == (None, None)


def test_what_multifd_took_is_in_the_residual_no_more() -> None:
    """RAM and a device's stop-copy state that went over multifd are taken off once; pre-copy went the usual way."""
    device = DeviceBytes("a", 100, None, 5)
    moved = MigrationBytes((device,), 140, 10, 0, 10 + 100 + 3000 + 7, 3000)
    assert moved.residual == 7
    assert (moved.vfio_precopy, moved.vfio_stop_copy) == (100, None)
    without_threads = replace(moved, devices=(replace(device, stop_copy=40),), wire=10 + 140 + 2960 + 7, multifd=2960)
    assert without_threads.residual == 7


def test_nothing_tells_what_an_untraced_device_sent_over_multifd() -> None:
    """Whether its bytes are among those of multifd is not known: no residual, rather than a wrong one."""
    assert MigrationBytes((), 140, 10, 0, 10_000, 3000).residual is None
    assert MigrationBytes((), None, 10, 0, 3017, 3000).residual == 7


def test_from_a_reply() -> None:
    """Each number comes from its own member of ``query-migrate``."""
    ram = {"precopy-bytes": 2, "downtime-bytes": 3, "transferred": 4, "multifd-bytes": 5}
    assert account_bytes([], {"vfio": {"transferred": 1}, "ram": ram}) == MigrationBytes((), 1, 2, 3, 4, 5)


def test_from_a_reply_that_tells_nothing() -> None:
    """Members that QEMU left out are missing."""
    assert account_bytes([], {"status": "setup"}) == MigrationBytes((), None, None, None, None, None)
