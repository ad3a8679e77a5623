# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's trace logs: both prefixes, logs cut short, and what is read from them."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.builders import golden_events, read_golden

from switchover.migration.traces import (
    DeviceBytes,
    SectionTime,
    StateTransition,
    TraceEvent,
    count_device_bytes,
    find_checkpoints,
    find_running,
    find_sections,
    find_transitions,
    parse_trace,
    parse_trace_line,
    take_last_migration,
)
from switchover.record.units import MIB

SOURCE_DEVICE = "1fa7cadf-3694-49dc-af72-d202b30c70c9"
MICROSECONDS = st.integers(0, 4_000_000_000_000_000)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,30}", fullmatch=True)
TEXTS = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40)


def as_seconds(at_us: int, rest: str) -> str:
    """A line as QEMU 10.0 writes it."""
    return f"377@{at_us // 1_000_000}.{at_us % 1_000_000:06}:{rest}"


def as_iso(at_us: int, rest: str) -> str:
    """A line as QEMU 10.2 writes it: no fraction when it is zero."""
    stamp = datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{at_us % 1_000_000:06}" if at_us % 1_000_000 else ""
    return f"{stamp}{fraction}Z {rest}"


def convert_to_iso(text: str) -> str:
    """A log of QEMU 10.0 in the words of 10.2."""

    def convert(match: re.Match[str]) -> str:
        return as_iso(int(match[1]) * 1_000_000 + int(match[2]), "")

    return re.sub(r"^\d+@(\d+)\.(\d{6}):", convert, text, flags=re.MULTILINE)


@given(MICROSECONDS, NAMES, TEXTS)
def test_both_prefixes_give_the_same_event(at_us: int, name: str, text: str) -> None:
    """A line means the same in both prefixes, with the microsecond kept and any unknown event's text kept."""
    expected = TraceEvent(at_us * 1000, name, text)
    assert parse_trace_line(as_seconds(at_us, f"{name} {text}")) == expected
    assert parse_trace_line(as_iso(at_us, f"{name} {text}")) == expected


def test_a_short_fraction() -> None:
    """A fraction of fewer digits is still a fraction."""
    event = parse_trace_line("2026-11-21T10:00:01.5Z vfio_save_start x")
    assert event is not None
    assert event.at_ns % 10**9 == 500_000_000


@given(st.text())
def test_no_text_is_an_error(text: str) -> None:
    """Any text at all parses: to events or to nothing."""
    assert isinstance(parse_trace(text), list)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "qemu-system-x86_64: terminating on signal 15 from pid 1",
        "2026-11-21T10:00:01.5Zvfio_save_start x",
        "2026-02-30T10:00:01Z vfio_save_start x",
        "2026-11-21T10:00:01 vfio_save_start x",
        "7@1795301138.21418:migrate_set_state new state setup",
        "7@1795301138.214180",
    ],
)
def test_other_lines_are_no_events(line: str) -> None:
    """What QEMU says of itself, impossible dates and cut prefixes are left out."""
    assert parse_trace_line(line) is None


@pytest.mark.parametrize("side", ["source", "destination"])
def test_golden_log_in_both_prefixes(side: str) -> None:
    """Every line of a real log is an event, and converted to the newer prefix it gives the same events."""
    text = read_golden(side)
    events = parse_trace(text)
    assert len(events) == len(text.splitlines()) > 100
    assert "@" not in convert_to_iso(text)
    assert parse_trace(convert_to_iso(text)) == events


@pytest.mark.parametrize("converted", [False, True])
@given(cut=st.integers(0, 400))
def test_a_log_cut_short_keeps_all_whole_lines(cut: int, converted: bool) -> None:
    """A log that ends within a line has all events before that line, and never another one before them."""
    text = read_golden("source")
    if converted:
        text = convert_to_iso(text)
    whole = parse_trace(text)
    events = parse_trace(text[: len(text) - cut])
    complete = text[: len(text) - cut].count("\n")
    assert events[:complete] == whole[:complete]
    assert len(events) <= complete + 1


def test_a_last_line_cut_within_a_number_is_left_out() -> None:
    """A log without its last newline does not have a smaller number of bytes in its last line."""
    text = "7@1.000000:vfio_save_block  (dut) data_size 1048576\n"
    assert sum(device.precopy for device in count_device_bytes(parse_trace(text[:-4]))) in (0, 1048576)


def test_checkpoints_of_the_golden_logs() -> None:
    """Each side's checkpoints are found by name, at their time."""
    source = find_checkpoints(golden_events("source"))
    assert list(source) == [
        "src-downtime-start",
        "src-vm-stopped",
        "src-iterable-saved",
        "src-non-iterable-saved",
        "src-downtime-end",
    ]
    assert source["src-downtime-start"] == 1795301509068059000
    destination = find_checkpoints(golden_events("destination"))
    assert destination["dst-precopy-bh-vm-started"] == 1795301508419628000


def test_the_last_occurrence_of_a_checkpoint_counts() -> None:
    """After a migration there and back, a checkpoint is that of the last one."""
    events = [TraceEvent(at, "vmstate_downtime_checkpoint", "src-downtime-start") for at in (1, 2)]
    assert find_checkpoints(events) == {"src-downtime-start": 2}


def test_bytes_of_the_golden_log() -> None:
    """64 MiB of the device were read in pre-copy, the rest in stop-copy, and no block is lost or counted twice."""
    events = golden_events("source")
    (device,) = count_device_bytes(events)
    blocks = [event for event in events if event.name == "vfio_save_block"]
    assert device.device == SOURCE_DEVICE
    assert device.precopy == 64 * MIB
    assert device.stop_copy == MIB
    assert device.blocks == len(blocks) == 65


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 1 << 40)), max_size=30),
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 1 << 40)), max_size=30),
    st.permutations("ab"),
)
def test_bytes_split_at_each_devices_own_marker(
    before: list[tuple[str, int]], after: list[tuple[str, int]], order: list[str]
) -> None:
    """A block counts as stop-copy from its own device's marker on, whatever the other device does meanwhile."""

    def block(device: str, size: int) -> TraceEvent:
        return TraceEvent(0, "vfio_save_block", f"({device}) data_size {size}")

    markers = [TraceEvent(0, "vfio_save_complete_precopy_start", f"({device})") for device in order]
    first, second = markers
    early = [block(order[1], 5)]  # the second device saves on between the two markers
    events = [*(block(*one) for one in before), first, *early, second, *(block(*one) for one in after)]
    counted = {device.device: device for device in count_device_bytes(events)}
    for device in "ab":
        precopy = sum(size for name, size in before if name == device) + (5 if device == order[1] else 0)
        stop_copy = sum(size for name, size in after if name == device)
        blocks = sum(name == device for name, _ in [*before, *after]) + (device == order[1])
        assert counted.get(device, DeviceBytes(device, 0, 0, 0)) == DeviceBytes(device, precopy, stop_copy, blocks)


def test_a_paused_guests_device_is_no_more_in_pre_copy() -> None:
    """Its QEMU may be about to read of it in an iteration: what it reads then is read in STOP_COPY."""
    events = [
        TraceEvent(0, "vfio_migration_set_device_state", "(a) state PRE_COPY"),
        TraceEvent(1, "vfio_save_block", "(a) data_size 5"),
        TraceEvent(2, "vfio_migration_set_device_state", "(a) state PRE_COPY_P2P"),
        TraceEvent(3, "vfio_save_block", "(a) data_size 6"),
        TraceEvent(4, "vfio_migration_set_device_state", "(a) state STOP_COPY"),
        TraceEvent(5, "vfio_save_block", "(a) data_size 7"),
        TraceEvent(6, "vfio_save_complete_precopy_start", "(a)"),
        TraceEvent(7, "vfio_save_block", "(a) data_size 8"),
    ]
    assert count_device_bytes(events) == [DeviceBytes("a", 11, 15, 4)]


def test_stop_copy_over_multifd_is_missing() -> None:
    """A device that a thread saves has no blocks in stop-copy: they are missing, not 0, also without pre-copy."""
    events = [
        TraceEvent(0, "vfio_save_block", "(a) data_size 5"),
        TraceEvent(1, "vfio_save_complete_precopy_thread_start", "(a) idstr 0000:00:02.0/vfio instance 0"),
        TraceEvent(1, "vfio_save_complete_precopy_thread_start", "(b) idstr 0000:00:03.0/vfio instance 0"),
    ]
    assert count_device_bytes(events) == [DeviceBytes("a", 5, None, 1), DeviceBytes("b", 0, None, 0)]


def test_without_blocks_there_are_no_devices() -> None:
    """Bytes that QEMU does not trace are missing, not 0."""
    assert count_device_bytes([TraceEvent(0, "vfio_save_setup", "(dut) data buffer size 1048576")]) == []


def test_sections_of_the_golden_log() -> None:
    """The destination's VFIO sections are found with QEMU's own microseconds."""
    sections = find_sections(golden_events("destination"), "load")
    vfio = [section for section in sections if section.name.endswith("/vfio")]
    assert vfio == [
        SectionTime("iterable", "0000:00:03.0:00.0/vfio", 0.054606),
        SectionTime("non-iterable", "0000:00:03.0:00.0/vfio", 0.013309),
    ]
    assert len(find_sections(golden_events("source"), "save")) == 48
    assert find_sections(golden_events("source"), "load") == []


def test_transitions_of_the_golden_logs() -> None:
    """State changes are paired with their ends, in order; asking for the state it is in has no end of its own."""
    source = find_transitions(golden_events("source"))
    states = [transition.state for transition in source]
    assert states == ["RUNNING_P2P", "RUNNING", "PRE_COPY", "PRE_COPY_P2P", "STOP_COPY", "STOP_COPY", "STOP"]
    assert [transition.end_ns is None for transition in source] == [False] * 5 + [True, False]
    precopy = source[2]
    assert precopy == StateTransition(SOURCE_DEVICE, "PRE_COPY", 1795301499936133000, 1795301499938953000)
    destination = find_transitions(golden_events("destination"))
    assert [transition.state for transition in destination] == ["RESUMING", "RUNNING_P2P", "RUNNING"]


def test_transitions_of_two_devices_at_once() -> None:
    """An end belongs to its own device, though the other one's change is still open; a failed change has no end."""
    lines = (
        "1@1.000000:vfio_migration_set_state (a) new state STOP_COPY, recover state ERROR\n"
        "1@2.000000:vfio_migration_set_state (b) new state STOP_COPY, recover state ERROR\n"
        "1@3.000000:vfio_migration_set_device_state (a) state STOP_COPY\n"
        "1@4.000000:vfio_migration_set_device_state (b) state ERROR\n"
    )
    assert find_transitions(parse_trace(lines)) == [
        StateTransition("a", "STOP_COPY", 10**9, 3 * 10**9),
        StateTransition("b", "STOP_COPY", 2 * 10**9, None),
    ]


def test_a_change_that_never_ended_keeps_no_other_one_open() -> None:
    """When the same change is asked for twice, the end is that of the later one."""
    lines = (
        "1@1.000000:vfio_migration_set_state (a) new state STOP_COPY, recover state ERROR\n"
        "1@2.000000:vfio_migration_set_state (a) new state STOP_COPY, recover state ERROR\n"
        "1@3.000000:vfio_migration_set_device_state (a) state STOP_COPY\n"
    )
    assert [change.end_ns for change in find_transitions(parse_trace(lines))] == [None, 3 * 10**9]


def test_running_again() -> None:
    """Only a change to running counts, not a stop and not the preparation."""
    assert find_running(golden_events("destination"), 0) == 1795301508418904000
    assert find_running(golden_events("source"), 0) == 1795301480014718000
    assert find_running(golden_events("destination"), 1795301508418904001) is None


def test_only_the_last_migration_is_taken() -> None:
    """Of a guest that migrated before, the events from the last setup on; without one, all."""
    events = golden_events("source")
    last = take_last_migration(events)
    assert last[0] == TraceEvent(1795301499827755000, "migrate_set_state", "new state setup")
    assert last == events[events.index(last[0]) :]
    assert take_last_migration([*events, *last]) == last
    assert take_last_migration(events[:3]) == events[:3]
    assert take_last_migration([]) == []
