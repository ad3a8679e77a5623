# SPDX-License-Identifier: GPL-2.0-or-later
"""Downtime, explained: parts, bounds, the end without a destination that starts by itself, and what is missing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.builders import EXACT, golden_events

from switchover.hosts.clock import ClockOffset
from switchover.migration.downtime import ExplainedDowntime, UnexplainedDowntime, explain_downtime
from switchover.migration.traces import TraceEvent

NEEDED = (
    "src-downtime-start",
    "src-vm-stopped",
    "src-iterable-saved",
    "src-non-iterable-saved",
    "dst-precopy-loadvm-completed",
)
STARTED = "dst-precopy-bh-vm-started"
OFFSETS = st.builds(ClockOffset, st.integers(-(10**12), 10**12), st.integers(0, 10**9), st.just(15))
START = 1_795_301_509 * 10**9


GOLDEN_CLOCKS = (EXACT, ClockOffset(-880_000_000, 20_000_000, 15))
"""The destination's was behind: the load ended between the last save and the source's src-downtime-end."""


def checkpoint(name: str, at_ns: int) -> TraceEvent:
    return TraceEvent(at_ns, "vmstate_downtime_checkpoint", name)


def traces_of(
    spans: list[int], source: ClockOffset, destination: ClockOffset
) -> tuple[list[TraceEvent], list[TraceEvent]]:
    """Both sides' traces of a downtime with the given spans (ns, on the controller's clock), each on its own clock."""
    at = START
    sides: tuple[list[TraceEvent], list[TraceEvent]] = ([], [])
    for name, span in zip((*NEEDED, STARTED), (0, *spans), strict=True):
        at += span
        side = 0 if name.startswith("src") else 1
        sides[side].append(checkpoint(name, at + (source, destination)[side].offset_ns))
    return sides


def explain(
    source: list[TraceEvent],
    destination: list[TraceEvent],
    clocks: tuple[ClockOffset, ClockOffset] = (EXACT, EXACT),
) -> ExplainedDowntime:
    explained = explain_downtime(source, destination, *clocks)
    assert isinstance(explained, ExplainedDowntime)
    return explained


@given(st.lists(st.integers(0, 10**12).map(lambda us: us * 1000), min_size=5, max_size=5), OFFSETS, OFFSETS)
def test_parts_add_up_to_the_whole(spans: list[int], source: ClockOffset, destination: ClockOffset) -> None:
    """For any clocks, each part is its span and all parts add up to the whole, to the nanosecond."""
    explained = explain(*traces_of(spans, source, destination), (source, destination))
    in_ns = [round(part.seconds * 1e9) for part in explained.parts]
    assert in_ns == spans
    assert sum(in_ns) == round(explained.seconds * 1e9) == explained.end_ns - explained.start_ns
    assert explained.start_ns == START
    assert explained.ends_at == STARTED


@given(OFFSETS, OFFSETS)
def test_only_what_crosses_hosts_has_a_bound(source: ClockOffset, destination: ClockOffset) -> None:
    """Spans within a host are exact; the one from host to host, and the whole, carry both clocks' bounds."""
    explained = explain(*traces_of([1000] * 5, source, destination), (source, destination))
    bound = (source.bound_ns + destination.bound_ns) / 1e9
    assert {part.name: part.bound_s for part in explained.parts} == {
        "stop": 0,
        "save iterable": 0,
        "save the rest": 0,
        "transfer and load": bound,
        "start": 0,
    }
    assert explained.bound_s == bound


def test_golden_migration() -> None:
    """A real migration: within the edges of QEMU's own downtime, with the device's state changes inside."""
    explained = explain(golden_events("source"), golden_events("destination"), GOLDEN_CLOCKS)
    assert explained.seconds == pytest.approx(0.231569, abs=1e-9)
    assert explained.seconds < 1795301509.324713 - 1795301509.068059
    assert all(part.seconds > 0 for part in explained.parts)
    assert [transition.state for transition in explained.transitions] == [
        "PRE_COPY_P2P",
        "STOP_COPY",
        "STOP_COPY",
        "RUNNING_P2P",
        "RUNNING",
    ]
    assert all(explained.start_ns <= change.start_ns <= explained.end_ns for change in explained.transitions)
    last = explained.transitions[-1]
    assert last.end_ns == 1795301508412514000 + 880_000_000


def test_sections_iterable_one_by_one_others_as_one() -> None:
    """Sections of the golden migration: each iterable one by name, all others in one sum; no time is lost."""
    explained = explain(golden_events("source"), golden_events("destination"), GOLDEN_CLOCKS)
    *iterable, others = explained.saving
    assert {section.kind for section in iterable} == {"iterable"}
    assert any(section.name.endswith("/vfio") for section in iterable)
    assert others.kind == "non-iterable"
    assert others.name == f"{48 - len(iterable)} other sections"
    assert explained.loading[-1].seconds > 0.013


def test_without_a_start_of_its_own_it_ends_with_running() -> None:
    """A destination that was started with ``-S`` ends the downtime when its guest first runs, with its last device.
    That it is stopped and let go on later is no part of it.
    """
    source, destination = traces_of([1000] * 5, EXACT, EXACT)
    destination = destination[:-1]
    for seconds, device, text in (
        (8, "dut", "running 1 reason running"),
        (9, "two", "running 1 reason running"),
        (12, "dut", "running 0 reason paused"),
        (20, "dut", "running 1 reason running"),
    ):
        event = TraceEvent(START + seconds * 10**9, "vfio_vmstate_change", f"({device}) {text} device state RUNNING")
        destination.append(event)
    explained = explain(source, destination)
    assert explained.ends_at == "vfio_vmstate_change running 1"
    assert explained.end_ns == START + 9 * 10**9
    assert round(sum(part.seconds for part in explained.parts), 9) == 9


@pytest.mark.parametrize("later", [1, 30])
def test_a_later_stop_and_cont_are_not_in_it(later: int) -> None:
    """A destination that starts by itself has ended the downtime with its checkpoint: what stops it afterwards does not
    stretch it.
    """
    source, destination = traces_of([1000] * 5, EXACT, EXACT)
    end = destination[-1].at_ns
    states = (("1", end - 500), ("0", end + later * 10**9), ("1", end + (later + 4) * 10**9))
    for running, at in states:
        text = f"(dut) running {running} reason running device state RUNNING"
        destination.append(TraceEvent(at, "vfio_vmstate_change", text))
    explained = explain(source, sorted(destination, key=lambda event: event.at_ns))
    assert (explained.ends_at, explained.end_ns) == (STARTED, end)


def test_what_ran_before_the_load_is_not_the_end() -> None:
    """A guest that lived at the destination before ran there too."""
    source, destination = traces_of([1000] * 5, EXACT, EXACT)
    before = TraceEvent(START - 10**9, "vfio_vmstate_change", "(dut) running 1 reason running device state RUNNING")
    assert isinstance(explain_downtime(source, [before, destination[0]], EXACT, EXACT), UnexplainedDowntime)


@pytest.mark.parametrize("index", range(5))
@pytest.mark.parametrize("bound_ns", [0, 1_000_000])
def test_a_span_that_ends_before_it_began_is_no_measurement(index: int, bound_ns: int) -> None:
    """A clock that is set back meanwhile makes a part negative: then there is no number, but the name of the part."""
    spans = [2_000_000_000] * 5
    spans[index] = -1_001_000_000
    clock = ClockOffset(0, bound_ns, 15)
    explained = explain_downtime(*traces_of(spans, clock, clock), clock, clock)
    assert isinstance(explained, UnexplainedDowntime)
    assert "a clock was set meanwhile" in explained.reason
    assert ("stop", "save iterable", "save the rest", "transfer and load", "start")[index] in explained.reason


def test_a_span_is_negative_within_its_bound() -> None:
    """By two hosts' clocks a load may end before the save, within their bound; the whole may not be negative."""
    clock = ClockOffset(0, 1_000_000, 15)
    spans = [10_000_000, 10_000_000, 10_000_000, -1_500_000, 10_000_000]
    explained = explain(*traces_of(spans, clock, clock), (clock, clock))
    assert explained.parts[3].seconds == pytest.approx(-0.0015)
    short = [0, 0, 0, -1_500_000, 0]
    missing = explain_downtime(*traces_of(short, clock, clock), clock, clock)
    assert isinstance(missing, UnexplainedDowntime)
    assert missing.reason.startswith("the downtime took -0.0015")


def test_waits_for_somebody_else_are_parts_of_their_own() -> None:
    """With pause-before-switchover and a destination that waits for cont (libvirt): QEMU's last checkpoint there comes
    before the guest runs and does not end the downtime, and what was waited for is no part of saving or starting.
    """
    spans = [1_000_000, 10_000_000, 2_000_000, 3_000_000, 4_000_000]
    source, destination = traces_of(spans, EXACT, EXACT)
    stopped, loaded = START + 1_000_000, START + 16_000_000
    source += [
        TraceEvent(stopped + 1000, "migrate_set_state", "new state pre-switchover"),
        TraceEvent(stopped + 7_000_000, "migrate_set_state", "new state device"),
    ]
    destination += [
        TraceEvent(loaded + 9_000_000, "vfio_vmstate_change_prepare", "(dut) running 1 reason running device state X"),
        TraceEvent(loaded + 10_000_000, "vfio_vmstate_change", "(dut) running 1 reason running device state RUNNING"),
    ]
    explained = explain(source, destination)
    assert explained.ends_at == "vfio_vmstate_change running 1"
    assert {part.name: round(part.seconds * 1000) for part in explained.parts} == {
        "stop": 1,
        "pre-switchover": 7,
        "save iterable": 3,
        "save the rest": 2,
        "transfer and load": 3,
        "wait for cont": 9,
        "start": 1,
    }
    assert round(sum(part.seconds for part in explained.parts), 9) == round(explained.seconds, 9) == 0.026


@pytest.mark.parametrize("missing", NEEDED)
def test_a_missing_checkpoint_is_named(missing: str) -> None:
    """Without a checkpoint there is no number, and the reason names that checkpoint."""
    source, destination = traces_of([1000] * 5, EXACT, EXACT)
    source = [event for event in source if event.text != missing]
    destination = [event for event in destination if event.text != missing]
    explained = explain_downtime(source, destination, EXACT, EXACT)
    assert isinstance(explained, UnexplainedDowntime)
    assert missing in explained.reason


def test_a_missing_end_is_named_in_qemus_words() -> None:
    """Without an end the reason names the checkpoint that is missing."""
    source, destination = traces_of([1000] * 5, EXACT, EXACT)
    explained = explain_downtime(source, destination[:-1], EXACT, EXACT)
    assert isinstance(explained, UnexplainedDowntime)
    assert STARTED in explained.reason


def test_the_other_sides_checkpoints_are_not_taken() -> None:
    """A source that was a destination before has dst- checkpoints in its log: they are of another migration."""
    source, destination = traces_of([1000] * 5, EXACT, EXACT)
    source.append(checkpoint(STARTED, START + 10**12))
    destination.append(checkpoint("src-downtime-start", START - 10**12))
    assert explain(source, destination).seconds == pytest.approx(5e-6)


def test_changes_outside_the_downtime_are_left_out() -> None:
    """The device's start, long before the migration, is no part of the downtime."""
    explained = explain(golden_events("source"), golden_events("destination"), GOLDEN_CLOCKS)
    states = [change.state for change in explained.transitions]
    assert "PRE_COPY" not in states
    assert "RESUMING" not in states
