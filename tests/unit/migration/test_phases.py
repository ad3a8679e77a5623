# SPDX-License-Identifier: GPL-2.0-or-later
"""Phases of a migration, from its source's events and the bytes it moved."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.hosts.qmp import Event
from switchover.migration.phases import TERMINAL, Phase, is_in, last_status, list_device_states


def status(name: str) -> Event:
    return Event("MIGRATION", {"status": name}, 0, 0)


def device(state: str) -> Event:
    return Event("VFIO_MIGRATION", {"device-id": "dut", "device-state": state}, 0, 0)


OTHERS = (Event("STOP", {}, 0, 0), Event("RESUME", {}, 0, 0), Event("MIGRATION_PASS", {"pass": 1}, 0, 0))
STATUSES = ("setup", "active", "pre-switchover", "device", "cancelling", *TERMINAL, "one to come")
EVENTS = st.lists(
    st.one_of(
        st.sampled_from(STATUSES).map(status),
        st.sampled_from(["pre-copy", "pre-copy-p2p", "running-p2p", "stop-copy", "stop"]).map(device),
        st.sampled_from(OTHERS),
    )
)


def find_phases(*events: Event, moved: int = 0) -> set[Phase]:
    return {phase for phase in Phase if is_in(phase, events, moved)}


@pytest.mark.parametrize(
    ("events", "moved", "phases"),
    [
        ((), 0, {Phase.BEFORE}),
        (OTHERS, 0, {Phase.BEFORE}),
        ((status("setup"),), 0, {Phase.SETUP}),
        ((status("setup"), status("active")), 0, {Phase.ACTIVE}),
        ((status("setup"), status("active"), device("pre-copy")), 0, {Phase.ACTIVE}),
        ((status("setup"), status("active")), 1, {Phase.ACTIVE, Phase.DEVICE_PRE_COPY}),
        ((status("active"), status("pre-switchover")), 1, {Phase.PRE_SWITCHOVER}),
        ((status("active"), status("device")), 1, set()),
        ((status("active"), device("stop-copy"), *OTHERS), 0, {Phase.ACTIVE, Phase.DEVICE_STOP_COPY}),
        ((status("active"), device("stop-copy"), status("device")), 1, {Phase.DEVICE_STOP_COPY}),
        ((status("active"), device("stop-copy"), device("stop")), 0, {Phase.ACTIVE}),
        ((device("stop-copy"),), 0, {Phase.BEFORE}),
    ],
)
def test_each_phase(events: tuple[Event, ...], moved: int, phases: set[Phase]) -> None:
    """A migration goes from phase to phase; the device's own lie within those of the status."""
    assert find_phases(*events, moved=moved) == phases


@given(EVENTS, st.sampled_from(TERMINAL), st.lists(st.sampled_from(OTHERS)), st.integers(0, 10))
def test_after_its_end_a_migration_is_in_no_phase(
    events: list[Event], last: str, others: list[Event], moved: int
) -> None:
    """Once the status is terminal nothing is to be done any more, whatever was moved and whatever comes after it."""
    assert find_phases(*events, status(last), *others, moved=moved) == set()


@given(EVENTS, st.integers(0, 10))
def test_a_migration_is_in_one_status(events: list[Event], moved: int) -> None:
    """The phases that are statuses exclude each other; the device's pre-copy is a part of ``active``."""
    phases = find_phases(*events, moved=moved)
    assert len(phases & {Phase.BEFORE, Phase.SETUP, Phase.ACTIVE, Phase.PRE_SWITCHOVER}) <= 1
    assert Phase.DEVICE_PRE_COPY not in phases or Phase.ACTIVE in phases
    assert not phases & {Phase.BEFORE} or not any(event.name == "MIGRATION" for event in events)


@given(EVENTS)
def test_the_last_status(events: list[Event]) -> None:
    """The status is the one that MIGRATION told last; other events tell none."""
    told = [event.data["status"] for event in events if event.name == "MIGRATION"]
    assert last_status(events) == (told[-1] if told else None)


def test_device_states() -> None:
    """Only VFIO_MIGRATION events count, in their order."""
    events = [device("stop"), status("active"), *OTHERS, device("running")]
    assert list_device_states(events) == ["stop", "running"]
