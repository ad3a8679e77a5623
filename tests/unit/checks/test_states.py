# SPDX-License-Identifier: GPL-2.0-or-later
"""States by QEMU's events are those of the device's own history."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.unit.builders import make_change, make_truth

from switchover.checks.evidence import DeviceEvidence
from switchover.checks.states import check_states
from switchover.devices.reference import Truth
from switchover.record.checks import CheckId
from switchover.record.measurement import Check, make_check
from switchover.scenarios.case import Case, DeviceSpec


def compare(events: Sequence[str], truth: Truth, before: Truth, place: str) -> Check:
    (check,) = check_states(DeviceEvidence(place, DeviceSpec(), before, truth, states=events), Case("x"))
    return check


OLD = make_truth("RUNNING_P2P", "RUNNING")
NEW = make_truth("RUNNING_P2P", "RUNNING", "PRE_COPY", "PRE_COPY_P2P", "STOP_COPY", "STOP")
EVENTS = ["pre-copy", "pre-copy-p2p", "stop-copy", "stop"]


def test_states_that_agree_pass() -> None:
    """QEMU's states are the device's since the migration began; one that the device passed on its way may be more."""
    assert compare(EVENTS, NEW, OLD, "source").passed
    assert compare(["pre-copy", "stop-copy", "stop"], NEW, OLD, "source").passed


@pytest.mark.parametrize(
    "events",
    [
        [],
        EVENTS[:-1],
        [*EVENTS, "running"],
        ["running", *EVENTS],
        ["pre-copy-p2p", "pre-copy", "stop-copy", "stop"],
        ["pre-copy", "pre-copy", "stop-copy", "stop"],
        ["resuming", "stop"],
    ],
)
def test_states_that_disagree_fail(events: list[str]) -> None:
    """Another end, another order, a state twice or one that the device never was in: not the device's history."""
    assert not compare(events, NEW, OLD, "source").passed


def test_getting_ready_for_a_state_is_none() -> None:
    """What QEMU 11.1 says before PRE_COPY_P2P is no state that the device has to have been in."""
    truth = make_truth("PRE_COPY", "PRE_COPY_P2P", "STOP_COPY", "STOP")
    events = ["pre-copy", "pre-copy-p2p-prepare", "pre-copy-p2p", "stop-copy", "stop"]
    assert compare(events, truth, Truth("x", 0, {}, ()), "source").passed
    assert not compare(["pre-copy-p2p-prepare"], truth, Truth("x", 0, {}, ()), "source").passed


def test_a_device_that_did_not_change_has_no_events() -> None:
    """No event and no history agree; an event without a history does not."""
    assert compare([], OLD, OLD, "source").passed
    assert not compare(["stop"], OLD, OLD, "source").passed


def test_that_the_device_was_closed_is_no_change_of_state() -> None:
    """A QEMU that ended, as libvirt's source does, has closed the device; a reset is a change all the same."""
    for cause, passed in (("close", True), ("reset", False)):
        last = replace(make_change(9, "RUNNING"), sequence=99, cause=cause)
        truth = replace(NEW, history=(*NEW.history, last))
        assert compare(EVENTS, truth, OLD, "source").passed is passed


def test_the_check_of_states_shows_both() -> None:
    """The check names its side and shows both lists."""
    check = compare(["stop"], make_truth("STOP"), Truth("x", 0, {}, ()), "destination")
    assert check == make_check(CheckId.DEVICE_STATES, True, "stop", "stop", "destination")
    assert check.name == "destination: states by events are those of the device's history"
