# SPDX-License-Identifier: GPL-2.0-or-later
"""What measuring costs: pairs of arms, and the ratio of their medians."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.run.overhead import alternate, compare_medians, without_probes
from switchover.run.standard import PRE_COPY_ON

SECONDS = st.lists(st.floats(0.05, 5), min_size=1, max_size=12)


def test_without_probes_nothing_is_measured() -> None:
    """Neither QEMU traces, and no heartbeats are sent; all else is the same case."""
    bare = without_probes(PRE_COPY_ON)
    assert (bare.source.guest.traced, bare.destination.guest.traced, bare.heartbeat_us) == (False, False, 0)
    assert (bare.source.devices, bare.settings) == (PRE_COPY_ON.source.devices, PRE_COPY_ON.settings)
    assert bare.id != PRE_COPY_ON.id


def test_arms_alternate() -> None:
    """Each pair has both arms, the other way round than the pair before: drift favours none."""
    order = [case.source.guest.traced for case in alternate(PRE_COPY_ON, 4)]
    assert order == [True, False, False, True] * 2


@given(SECONDS, SECONDS)
def test_the_interval_holds_the_ratio(on: list[float], off: list[float]) -> None:
    """The ratio of the medians lies within the extremes of both arms, and so does its interval."""
    found = compare_medians(on, off)
    lowest, highest = min(on) / max(off), max(on) / min(off)
    for value in (found.ratio, found.low, found.high):
        assert lowest * 0.999 <= value <= highest * 1.001
    assert found.low <= found.high
    assert found.pairs == min(len(on), len(off))


def test_arms_that_are_the_same() -> None:
    """Equal values have a ratio of 1 and an interval without width."""
    found = compare_medians([0.2] * 5, [0.2] * 5)
    assert (found.ratio, found.low, found.high) == (1, 1, 1)


def test_an_empty_arm_is_no_ratio() -> None:
    """Without a completed repeat in an arm there is nothing to compare."""
    with pytest.raises(ValueError, match="no value"):
        compare_medians([], [1.0])
