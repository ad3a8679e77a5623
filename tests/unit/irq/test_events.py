# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines of the kernel's trace become events in the order of time, whatever the pieces they come in."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.irq.made import COLUMNS

from switchover.irq.events import HOLD_US, WAKES, Event, Kind, TraceReader

# as printed by a 6.12 guest
LINES = b"""\
              sh-316     [002] .....    75.587241: tracing_mark_write: switchover: begin
          <idle>-0       [000] d.h1.    75.590110: irq_handler_entry: irq=26 name=virtio0-output.0
          <idle>-0       [000] d.h1.    75.590302: irq_handler_exit: irq=26 ret=handled
          <idle>-0       [000] d.h3.    75.590323: sched_waking: comm=irq/26-virtio0- pid=176 prio=49 target_cpu=000
          <idle>-0       [000] dNh4.    75.590341: sched_wakeup: comm=irq/26-virtio0- pid=176 prio=49 target_cpu=003
     rcu_preempt-18      [000] d..2.    75.590368: sched_switch: prev_comm=rcu_preempt prev_pid=18 prev_prio=120 \
prev_state=R+ ==> next_comm=irq/26-virtio0- next_pid=176 next_prio=49
 irq/26-virtio0--176     [000] d..2.    75.592909: sched_switch: prev_comm=irq/26-virtio0- prev_pid=176 prev_prio=49 \
prev_state=S ==> next_comm=dropbear next_pid=192 next_prio=120
     migration/1-26      [001] d..3.   224.656077: sched_migrate_task: comm=irq/25-virtio0- pid=175 prio=49 \
orig_cpu=1 dest_cpu=2
"""
EVENTS: list[Event] = [
    (75587241, (2, False, 316, "sh"), (Kind.MARK, 0, 0)),
    (75590110, (0, True, 0, "<idle>"), (Kind.ENTRY, 26, 0)),
    (75590302, (0, True, 0, "<idle>"), (Kind.EXIT, 26, WAKES)),
    (75590323, (0, True, 0, "<idle>"), (Kind.WAKING, 176, 0)),
    (75590341, (0, True, 0, "<idle>"), (Kind.WAKEUP, 176, 3)),
    (75590368, (0, False, 18, "rcu_preempt"), (Kind.PREEMPT, 18, 176)),
    (75592909, (0, False, 176, "irq/26-virtio0-"), (Kind.SWITCH, 176, 192)),
    (224656077, (1, False, 26, "migration/1"), (Kind.MIGRATE, 175, 2)),
]


def read(*chunks: bytes) -> tuple[list[Event], TraceReader]:
    reader = TraceReader(COLUMNS)
    return [event for batch in reader.read(chunks) for event in batch], reader


def test_each_kind_of_line() -> None:
    """Every event that is recorded, as a kernel prints it: numbers, CPU, time, hard interrupt context."""
    events, reader = read(LINES)
    assert events == EVENTS
    assert reader.marks == ["switchover: begin"]
    assert (reader.reading.events, reader.reading.strange, reader.reading.lost) == (8, 0, 0)


def test_what_is_in_the_table_is_read_alike() -> None:
    """The second line of a kind, which is looked up, gives what the first gave."""
    later = LINES.replace(b"    75.", b"   375.").replace(b" 224.", b" 524.")
    events, reader = read(LINES, later)
    again = [(time + 300_000_000, place, event) for time, place, event in EVENTS]
    assert events[9:] == again[1:]
    assert (events[8][2], reader.marks) == ((Kind.MARK, 1, 0), ["switchover: begin"] * 2)


@given(st.lists(st.integers(1, len(LINES) - 1), max_size=12))
def test_pieces_may_end_anywhere(cuts: list[int]) -> None:
    """How the stream was cut changes nothing."""
    places = [0, *sorted(set(cuts)), len(LINES)]
    chunks = [LINES[first:last] for first, last in pairwise(places)]
    assert read(*chunks)[0] == EVENTS


def test_cpus_out_of_order() -> None:
    """trace_pipe may print one CPU's event before an earlier one of another CPU, across pieces too."""
    lines = LINES.splitlines(keepends=True)
    shuffled = [lines[4], lines[3], lines[1], lines[2], lines[0], *lines[5:]]
    found, reader = read(*shuffled)
    assert [event[:2] for event in found] == [event[:2] for event in EVENTS]
    assert reader.reading.disordered == 0


@pytest.mark.parametrize(
    ("flags", "hard"),
    [("d.h1.", True), ("dNH2.", True), ("d.Z1.", True), ("d.s3.", False), ("d..2.", False), (".....", False)],
)
def test_hard_interrupt_context(flags: str, hard: bool) -> None:
    """The third letter: h, H inside a softirq, Z with an NMI inside."""
    line = f"          <idle>-0       [113] {flags}    75.590302: irq_handler_exit: irq=26 ret=handled\n"
    assert read(line.encode())[0] == [(75590302, (113, hard, 0, "<idle>"), (Kind.EXIT, 26, WAKES))]


def test_names_with_anything_in_them() -> None:
    """Tasks may call themselves what they like: brackets, colons, what looks like fields."""
    line = (
        b"   a: [9] x=1: b-4194304 [001] d.h3.     1.000002: sched_waking: comm=x pid=7 prio=1 pid=176 prio=49 "
        b"target_cpu=000\n"
    )
    assert read(line)[0] == [(1000002, (1, True, 4194304, "a: [9] x=1: b"), (Kind.WAKING, 176, 0))]


def test_lost_events_are_counted() -> None:
    """The kernel says how many, or an old one only that there were some."""
    _, reader = read(b"CPU:2 [LOST 123 EVENTS]\n", LINES, b"CPU:0 [LOST EVENTS]\n")
    assert reader.reading.lost == 124


def test_what_is_no_event_is_told() -> None:
    """Foreign lines are counted, the first is shown, the others are read; half a line at the end is none of them."""
    events, reader = read(b"hello\nworld\n", LINES + LINES[:70])
    assert events == EVENTS
    assert (reader.reading.strange, reader.reading.strange_line) == (2, "hello")
    assert reader.reading.half_line == LINES[:70].decode()
