# SPDX-License-Identifier: GPL-2.0-or-later
"""When a migration counts as settled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.builders import make_sample
from tests.unit.migration.scripted import SETTLED

from switchover.migration.session import (
    SETTLED_RAM,
    SETTLED_SAMPLES,
    Sample,
    is_settled,
)


def test_settled() -> None:
    """RAM drained and VFIO bytes unchanged over the last samples is settled, whatever came before them."""
    assert is_settled(SETTLED)
    assert is_settled([make_sample("setup"), make_sample(remaining=1 << 30, vfio=5), *SETTLED])
    assert is_settled([make_sample(remaining=SETTLED_RAM)] * SETTLED_SAMPLES)


def test_settled_without_a_device() -> None:
    """A guest without a VFIO device settles by its RAM alone."""
    assert is_settled([make_sample(vfio=None)] * SETTLED_SAMPLES)


@pytest.mark.parametrize("position", range(SETTLED_SAMPLES))
@pytest.mark.parametrize(
    "other", [make_sample(remaining=SETTLED_RAM + 1), make_sample(vfio=99), make_sample("device"), make_sample("setup")]
)
def test_not_settled(other: Sample, position: int) -> None:
    """One of the last samples with RAM left, other VFIO bytes or another status is enough to be not settled."""
    samples = [*SETTLED]
    samples[position] = other
    assert not is_settled(samples)


@given(st.integers(0, SETTLED_SAMPLES - 1))
def test_few_samples_are_not_settled(count: int) -> None:
    """Nothing can be said before there are enough samples."""
    assert not is_settled(SETTLED[:count])
