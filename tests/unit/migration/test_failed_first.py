# SPDX-License-Identifier: GPL-2.0-or-later
"""Which side of a migration failed first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.builders import EXACT
from tests.unit.migration.scripted import NOW, HostPair

from switchover.hosts.clock import ClockOffset
from switchover.hosts.qmp import Event
from switchover.migration.session import (
    find_failed_first,
)


def failed_at(*times: int | None, base: int = 0) -> list[Event]:
    events = [Event("MIGRATION", {"status": "active"}, 0, base), Event("STOP", {}, 0, base)]
    return events + [Event("MIGRATION", {"status": "failed"}, 0, base + at) for at in times if at is not None]


@pytest.mark.parametrize(
    ("source", "destination", "first"),
    [(None, None, ""), (1_000, None, "source"), (None, 1_000, "destination")],
)
def test_one_side_that_failed(source: int | None, destination: int | None, first: str) -> None:
    """Where one side alone failed it was the first; where none did there is none."""
    events = {"source": failed_at(source), "destination": failed_at(destination)}
    assert find_failed_first(events, {"source": EXACT, "destination": EXACT}) == first


@given(
    st.integers(-(10**12), 10**12),
    st.integers(-(10**9), 10**9),
    st.integers(-(10**9), 10**9),
    st.integers(0, 10**8),
    st.integers(0, 10**8),
)
def test_who_failed_first(lead: int, here: int, there: int, bound_here: int, bound_there: int) -> None:
    """Whatever the clocks' offsets are, the first side is told if the time between is beyond their bounds, and only
    then. ``lead``: by how much the source was first.
    """
    clocks = {"source": ClockOffset(here, bound_here, 1), "destination": ClockOffset(there, bound_there, 1)}
    base = 10**15
    events = {"source": failed_at(here, base=base), "destination": failed_at(lead + there, base=base)}
    beyond = abs(lead) > bound_here + bound_there
    assert find_failed_first(events, clocks) == (("source" if lead > 0 else "destination") if beyond else "")


def test_the_first_failure_of_a_side_counts() -> None:
    """A side that tells its failure twice failed the first time."""
    events = {"source": failed_at(500, 5_000), "destination": failed_at(1_000)}
    assert find_failed_first(events, {"source": EXACT, "destination": EXACT}) == "source"


def test_who_failed_first_is_in_the_result() -> None:
    """The result of a failed migration tells it, from the events of both sides since this migration began."""
    pair = HostPair("active", "failed")
    pair.destination.emit("failed")  # of another migration, before this one
    assert pair.migrate(NOW).failed_first == "source"
