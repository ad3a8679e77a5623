# SPDX-License-Identifier: GPL-2.0-or-later
"""When a migration ended, from the events of its source."""

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from switchover.report.moments import Moment, find_moment, read_moment


def event(seconds: float, name: str, **data: str) -> dict[str, Any]:
    return {"arrived_ns": int(seconds * 1e9), "event": name, "data": {k.replace("_", "-"): v for k, v in data.items()}}


EVENTS = [
    event(5, "RESUME"),
    event(10, "MIGRATION", status="setup"),
    event(11, "MIGRATION", status="active"),
    event(11.5, "VFIO_MIGRATION", device_state="pre-copy"),
    event(12, "MIGRATION", status="device"),
    event(12.5, "VFIO_MIGRATION", device_state="stop-copy"),
    event(14, "MIGRATION", status="failed"),
    event(20, "MIGRATION", status="setup"),
    event(30, "MIGRATION", status="completed"),
]


def test_a_failure() -> None:
    """Seconds from setup to the end of the first migration, its last status, and where the device was."""
    moment = find_moment(EVENTS)
    assert moment == Moment(4.0, "device", "failed", "stop-copy")
    assert str(moment) == "4.0 s after migrate, failed after device, the source's device in stop-copy"


def test_one_that_was_given_up() -> None:
    """What cancelled it is where it ended."""
    moment = find_moment([*EVENTS[:3], event(41, "MIGRATION", status="cancelling")])
    assert moment == Moment(31.0, "active", "cancelling")


def test_one_without_an_end() -> None:
    """A source that died says nothing of its end: the last event counts."""
    assert find_moment(EVENTS[:4]) == Moment(1.5, "active", "", "pre-copy")
    assert str(find_moment(EVENTS[:3])) == "1.0 s after migrate, last event in active"


def test_no_migration(tmp_path: Path) -> None:
    """None began, or there is no file."""
    assert find_moment(EVENTS[:1]) is None
    assert read_moment(tmp_path) is None


def test_a_damaged_file(tmp_path: Path) -> None:
    """Lines that cannot be read are passed over."""
    lines = ['{"arrived_ns": 1, "event": "MIGRATION", "data": {"status": "setup"}}', "{", "[]", "null", '{"event": 3}']
    (tmp_path / "source.events.jsonl").write_text("\n".join(lines))
    assert read_moment(tmp_path) == Moment(0.0, "setup")


KEYS = st.sampled_from(["arrived_ns", "event", "data", "status", "device-state"]) | st.text()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda part: st.lists(part) | st.dictionaries(KEYS, part)
)


@given(st.lists(st.dictionaries(st.sampled_from(["arrived_ns", "event", "data"]), JSON)))
def test_whatever_is_in_the_file(events: list[dict[str, Any]]) -> None:
    """No event breaks it."""
    find_moment(events)
