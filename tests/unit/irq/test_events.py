# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines of the kernel's trace become events in the order of time, whatever the pieces they come in."""

import gzip
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.irq.made import COLUMNS

from switchover.irq.columns import TRACE_CMD
from switchover.irq.events import HANDLED, HOLD_US, WAKES, Event, Kind, TraceReader
from switchover.record.errors import UsageError

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


@pytest.mark.parametrize("time", ["12.", "-1.0", "-1.000000", "12.3456", "1.2.345678", "12", "1_0.000000", "12.00000x"])
def test_what_is_no_time(time: str) -> None:
    """Also of a line whose other parts are known: it is never read as another time."""
    line = "          <idle>-0       [001] d.h1.   {}: irq_handler_exit: irq=26 ret=handled\n"
    events, reader = read(line.format("100.000001").encode(), line.format(time).encode())
    assert [event[0] for event in events] == [100_000_001]
    assert (reader.reading.strange, reader.reading.events) == (1, 1)


def test_letters_of_other_columns() -> None:
    """They are not understood, instead of understood wrong."""
    line = b"          <idle>-0       [001] d..h1    75.590302: irq_handler_exit: irq=26 ret=handled\n"
    events, reader = read(line)
    assert (events, reader.reading.strange, reader.reading.strange_line) == ([], 1, line[:-1].decode())


def test_nobody_knows_the_columns() -> None:
    """Asked for where they decide, which is at wake-ups; a trace without any is read."""
    reader = TraceReader(name="x.trace")
    with pytest.raises(UsageError, match=r"x\.trace does not say which latency columns") as caught:
        list(reader.read([LINES]))
    assert str(COLUMNS) in caught.value.fix
    rest = b"".join(line for line in LINES.splitlines(keepends=True) if b"sched_waking" not in line)
    assert [event[1][1] for batch in TraceReader().read([rest]) for event in batch] == [None] * 7


def late_lines(times: list[int]) -> bytes:
    text = "          <idle>-0       [00{}] d.h1.   {:5}.{:06}: irq_handler_exit: irq=26 ret=handled\n"
    return "".join(text.format(n % 4, time // 1_000_000, time % 1_000_000) for n, time in enumerate(times)).encode()


@given(st.lists(st.integers(0, 1_000_000), min_size=1, max_size=40))
def test_events_that_come_too_late(times: list[int]) -> None:
    """In the order of time, or told: how many, and by how much the latest came after what had been given away."""
    reader = TraceReader(COLUMNS)
    lines = late_lines(times).splitlines(keepends=True)
    found = [event[0] for batch in reader.read(lines) for event in batch]
    assert sorted(found) == sorted(times)
    assert (found == sorted(times)) == (reader.reading.disordered == 0)
    late = max(max(times[: n + 1]) - time for n, time in enumerate(times))
    assert reader.reading.latest_us <= late
    if late <= HOLD_US:
        assert reader.reading.disordered == 0


DATA = Path(__file__).parents[1] / "data" / "irq"


@pytest.mark.parametrize("name", ["report", "raw", "latency", "plugin"])
def test_what_trace_cmd_prints(name: str) -> None:
    """The same trace as ``report`` prints it, with -R -t, with -l, and with its plugin: the same events in all."""
    chunks = [gzip.decompress((DATA / f"trace-cmd-{name}.txt.gz").read_bytes())]
    reader = TraceReader(TRACE_CMD, foreign=True)
    events = [event for batch in reader.read(chunks) for event in batch]
    assert (reader.reading.strange, reader.reading.strange_line, len(events)) == (0, "", 55)
    returned = {event[2][2] for event in events if event[2][0] is Kind.EXIT}
    assert returned == {WAKES if name == "raw" else HANDLED}
    assert {event[1][1] for event in events} == ({True, False} if name == "latency" else {None})
    base = TraceReader(TRACE_CMD, foreign=True)
    text = gzip.decompress((DATA / "trace-cmd-report.txt.gz").read_bytes())
    for one, other in zip(events, (event for batch in base.read([text]) for event in batch), strict=True):
        assert abs(one[0] - other[0]) <= 1, "six digits are rounded, nine are cut"
        assert (one[1][0], one[1][2], one[2][:2]) == (other[1][0], other[1][2], other[2][:2])


def test_what_others_traced_besides() -> None:
    """Events that are none of ours, stacks, and headers are passed over; what has no shape of a trace is told."""
    lines = (
        b"# tracer: function\n"
        b"          <idle>-0       [001] d.h1.   100.000001: softirq_raise: vec=1 [action=TIMER]\n"
        b"          <idle>-0       [001] d.h1.   100.000001: vfs_read <-ksys_read\n"
        b"          <idle>-0       [001] d.h1.   100.000001: <stack trace>\n"
        b" => vfs_read\n"
        b"##### CPU 2 buffer started ####\n"
        b"CPU:2 [LOST 7 EVENTS]\n"
        b"          <idle>-0       [001] d.h1.   100.000002: irq_handler_exit: irq=26 ret=unhandled\r\n"
    )
    reader = TraceReader(COLUMNS, foreign=True)
    (event,) = (event for batch in reader.read([lines]) for event in batch)
    assert event[2] == (Kind.EXIT, 26, 0)
    assert (reader.reading.strange, reader.reading.lost) == (0, 7)
    assert not list(reader.read([b"hello\n", b"   <idle>-0 [001] d.h1. 1.000002: sched_waking: comm=x\n"]))
    assert reader.reading.strange == 2


def test_a_last_line_without_its_end() -> None:
    """Of a trace that somebody copied: whole, it counts; cut, it is told apart from what is not understood."""
    for cut, count in ((1, 8), (30, 7)):
        reader = TraceReader(COLUMNS, foreign=True)
        assert sum(map(len, reader.read([LINES[:-cut]]))) == count
        assert (reader.reading.strange, bool(reader.reading.half_line)) == (0, count == 7)
