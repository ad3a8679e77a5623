# SPDX-License-Identifier: GPL-2.0-or-later
"""Real recordings have the answers that they had when they were made; what is damaged or lossy has none."""

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from tests.unit.irq.made import COLUMNS, HEADER, IRQS, Made, render_trace
from tests.unit.irq.made import line as made_line
from tests.unit.irq.test_recording import AROUND

from switchover.irq.activations import Class, Joiner
from switchover.irq.analysis import Analysis, Placement, analyse, analyse_file
from switchover.irq.columns import parse_columns
from switchover.irq.events import TraceReader
from switchover.irq.recording import Around, Loss, RecordingEnd, RecordingReader, RecordingStart
from switchover.irq.state import Counters, Interrupt, IrqState, IrqThread
from switchover.record.errors import UsageError

DATA = Path(__file__).parents[1] / "data" / "irq"


def thread(irq: int, cpus: str = "0-3") -> IrqThread:
    return IrqThread(IRQS[irq], f"irq/{irq}-virtio0", irq, False, cpus, "FIFO", 50, 0, True)


def make_analysis(
    trace: str,
    *,
    effective: str = "1",
    cpus: str = "1",
    end: Callable[[RecordingEnd], RecordingEnd | None] = lambda x: x,
) -> Analysis:
    """Of a trace of interrupt 25, whose counters agree with it unless ``end`` changes them."""
    nothing = Counters({25: {1: 0}}, {IRQS[25]: 0})
    runs = trace.count(f"next_pid={IRQS[25]}")
    counted = Counters({25: {1: trace.count("irq_handler_entry")}}, {IRQS[25]: runs})
    interrupt = Interrupt(25, "MSI virtio0", {1: 0}, "0-3", effective, ("virtio0",), "PCI-MSIX")
    state = IrqState("6.12.0 #1", "threadirqs", "0-3", (interrupt,), (thread(25, cpus),), nothing)
    start = RecordingStart(
        "guest", "2026-01-01T00:00:00+00:00", 1.0, "mono", 1024, (25,), state, (), tuple(HEADER.splitlines())
    )
    around = end(RecordingEnd(state, Around(nothing, nothing), Around(counted, counted), (Loss(0, 0, 0, 0),)))
    lines = [json.dumps({"irq_recording": 1, "start": asdict(start)}), trace.rstrip("\n")]
    if around is not None:
        lines.append(json.dumps({"end": asdict(around)}))
    return analyse(RecordingReader(BytesIO("\n".join([*filter(None, lines), ""]).encode()), "made"), "made")


def local(count: int) -> list[Made]:
    return [Made(25, 1, 1, 1, 10 + number) for number in range(count)]


def remote(count: int) -> list[Made]:
    return [Made(25, 1, 2, 2, 100) for _ in range(count)]


@pytest.mark.parametrize(
    ("name", "verdict", "matrices"),
    [
        ("6.12-virtio", Placement.LOCAL, {25: {(3, 3): 303}, 26: {(0, 0): 295}}),
        (
            "6.12-virtio-mask-changes",
            Placement.MIXED,
            {25: {(1, 1): 26, (2, 2): 6, (0, 0): 5, (1, 2): 3, (2, 0): 3, (0, 1): 3}},
        ),
        ("6.12-one-effective-cpu-0", Placement.LOCAL, {4: {(1, 1): 20}}),
        (
            "6.12-mask-changes-0",
            Placement.MIXED,
            {4: {(0, 0): 3, (1, 1): 3, (2, 2): 3, (3, 3): 3, (0, 1): 1, (1, 2): 1, (2, 3): 1, (3, 0): 1}},
        ),
        ("6.12-fifo-40-on-the-only-cpu-0", Placement.LOCAL, {4: {(2, 2): 10}}),
        ("6.12-fifo-60-on-the-only-cpu-0", Placement.STARVED, {}),
        ("6.12-no-effective-cpu-0", Placement.REMOTE, {4: {(0, 2): 35}}),
        ("6.12-no-effective-cpu-1", Placement.LOCAL, {4: {(0, 0): 10}}),
        ("6.12-fifo-40-on-the-hard-cpu-1", Placement.REMOTE, {4: {(0, 1): 19}}),
        ("6.12-fifo-60-on-the-thread-0", Placement.LOCAL, {4: {(0, 0): 10}}),
        ("6.12-rt-one-effective-cpu-0", Placement.LOCAL, {4: {(1, 1): 20}}),
        (
            "6.12-rt-mask-changes-0",
            Placement.MIXED,
            {4: {(1, 1): 10, (2, 2): 5, (0, 0): 5, (0, 1): 1, (1, 2): 1, (2, 1): 1, (1, 0): 1}},
        ),
        ("6.12-rt-thread-affinity-1", Placement.REMOTE, {4: {(1, 2): 33}}),
        ("6.12-rt-no-effective-cpu-0", Placement.MIXED, {4: {(0, 2): 15, (0, 0): 13}}),
        ("6.12-rt-fifo-40-on-the-hard-cpu-1", Placement.REMOTE, {4: {(0, 1): 21, (0, 3): 12, (0, 2): 4}}),
        ("6.12-rt-fifo-60-on-the-only-cpu-0", Placement.STARVED, {}),
        ("7.x-one-effective-cpu-0", Placement.LOCAL, {4: {(1, 1): 20}}),
        (
            "7.x-mask-changes-0",
            Placement.MIXED,
            {4: {(1, 1): 10, (2, 2): 5, (0, 0): 5, (0, 1): 1, (1, 2): 1, (2, 1): 1, (1, 0): 1}},
        ),
        ("7.x-thread-affinity-3", Placement.LOCAL, {4: {(1, 1): 20}}),
        ("7.x-cpu-offline-0", Placement.LOCAL, {4: {(2, 2): 6, (0, 0): 6}}),
        ("7.x-fifo-60-on-the-only-cpu-0", Placement.STARVED, {}),
        ("7.x-no-effective-cpu-0", Placement.REMOTE, {4: {(0, 2): 35}}),
        ("7.x-fifo-40-on-the-hard-cpu-1", Placement.REMOTE, {4: {(0, 1): 27, (0, 2): 3}}),
        ("7.x-fifo-50-on-the-hard-cpu-1", Placement.MIXED, {4: {(0, 1): 16, (0, 0): 12}}),
        ("7.x-gpio-cpus-in-turn-0", Placement.MIXED, {29: {(0, 2): 10, (1, 2): 10, (2, 2): 10}}),
        ("7.x-gpio-fifo-40-1", Placement.REMOTE, {29: {(1, 2): 20}}),
    ],
)
def test_real_recordings(name: str, verdict: Placement, matrices: dict[int, dict[tuple[int, int], int]]) -> None:
    """Of guests under TCG with four vCPUs: every activation in its cell, counters and trace agree.

    ``virtio``: of the network; the others are windows of conditions (irq/conditions.py), by line of kernels, name and
    number.
    """
    analysis = analyse_file(DATA / f"{name}.trace.gz")
    assert analysis.problems == ()
    assert analysis.verdict is verdict
    found = {result.number: result.total.matrix for result in analysis.interrupts if result.total.ran}
    assert found == {irq: Counter(matrix) for irq, matrix in matrices.items()}
    for result in analysis.interrupts:
        assert [check.agrees for check in result.checks] == [True] * len(result.checks)


def test_changes_of_the_mask_are_the_reason() -> None:
    """Nine changes to another CPU in the recording, nine remote activations, and the report says that it is these."""
    analysis = analyse_file(DATA / "6.12-virtio-mask-changes.trace.gz")
    (result,) = analysis.interrupts
    assert (result.tally.follows, result.total.classes[Class.MOVED], result.tally.migrations) == (9, 9, 9)
    assert "change of the mask" in result.reason


def test_a_real_recording_cut_short(tmp_path: Path) -> None:
    """Invalid, whatever it has; the numbers of what is there are not more than the whole had."""
    data = (DATA / "6.12-virtio.trace.gz").read_bytes()
    path = tmp_path / "cut.gz"
    path.write_bytes(data[: len(data) * 2 // 3])
    analysis = analyse_file(path)
    assert (analysis.verdict, analysis.seconds) == (Placement.INVALID, None)
    assert "did not end" in analysis.reason
    assert {result.verdict for result in analysis.interrupts} == {Placement.INVALID}
    assert 0 < analysis.total.ran < 598


@pytest.mark.parametrize(
    ("drop", "words"),
    [("sched_wakeup", "do not fit together"), ("==> next_comm=irq", "do not fit together"), ("CPU", "")],
)
def test_a_real_recording_with_lines_lost(drop: str, words: str, tmp_path: Path) -> None:
    """Events that went missing unseen are found out by what does not fit; where none is missing, nothing is found."""
    lines = gzip.decompress((DATA / "6.12-virtio-mask-changes.trace.gz").read_bytes()).splitlines(keepends=True)
    path = tmp_path / "lossy"
    path.write_bytes(b"".join(line for line in lines if line.startswith(b"{") or drop.encode() not in line))
    analysis = analyse_file(path)
    assert (analysis.verdict is Placement.INVALID) == bool(words)
    assert words in analysis.reason


@pytest.mark.parametrize(
    ("made", "verdict", "part"),
    [
        (local(5), Placement.LOCAL, 1.0),
        (remote(4), Placement.REMOTE, 0.0),
        (local(3) + remote(1), Placement.MIXED, 0.75),
        ([], Placement.NO_ACTIVATIONS, None),
    ],
)
def test_verdicts(made: list[Made], verdict: Placement, part: float | None) -> None:
    """All, none, some; of nothing no part is said."""
    analysis = make_analysis(render_trace(made))
    assert (analysis.verdict, analysis.interrupts[0].local_part) == (verdict, part)


def test_starved() -> None:
    """Woken at the end and not run, nothing else: starved, with the wait and without a latency."""
    trace = "".join(line for line in render_trace(local(1)).splitlines(keepends=True) if "sched_switch" not in line)
    analysis = make_analysis(trace)
    assert analysis.verdict is Placement.STARVED
    assert analysis.total.all_latencies.quantile(0.5) is None


@pytest.mark.parametrize(
    ("effective", "cpus", "words"),
    [
        ("", "0-3", "no effective CPU"),
        ("1", "2", "own affinity"),
        ("1", "1-2", "several CPUs"),
        ("1", "1", "do not explain"),
    ],
)
def test_reasons(effective: str, cpus: str, words: str) -> None:
    """Remote activations are explained from the masks, as far as these do."""
    assert words in make_analysis(render_trace(remote(3)), effective=effective, cpus=cpus).interrupts[0].reason


def change_counts(end: RecordingEnd, interrupts: int, runs: int) -> RecordingEnd:
    counters = Counters({25: {1: interrupts}}, {IRQS[25]: runs})
    return replace(end, closed=Around(counters, counters))


def replace_counts(end: RecordingEnd, interrupts: dict[int, int]) -> Around:
    """The counters of the beginning, with other ones of interrupt 25."""
    assert end.opened is not None
    counters = Counters({25: interrupts}, end.opened.after.runs)
    return Around(counters, counters)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda end: replace(end, losses=(Loss(2, 7, 0, 1),)), "8 on CPU 2"),
        (lambda end: None, "did not end"),
        (lambda end: change_counts(end, 4, 5), "/proc/interrupts"),
        (lambda end: change_counts(end, 5, 6), f"runs of thread {IRQS[25]}"),
    ],
)
def test_what_makes_a_recording_invalid(change: Callable[[RecordingEnd], Any], words: str) -> None:
    """Loss, an end that is missing, counters of the kernel that disagree: no number counts, and the reason is told."""
    analysis = make_analysis(render_trace(local(5)), end=change)
    assert analysis.verdict is Placement.INVALID
    assert words in analysis.reason


@pytest.mark.parametrize(("name", "moves"), [("7.x-fifo-50-on-the-hard-cpu-1", 1), ("7.x-gpio-cpus-in-turn-0", 0)])
def test_a_thread_that_was_driven_away(name: str, moves: int) -> None:
    """A free thread that changes its CPU by itself is counted, one that is remote by turns is not."""
    (result,) = analyse_file(DATA / f"{name}.trace.gz").interrupts
    assert result.tally.moves == moves


def test_locks_that_are_handed_over_are_no_activations() -> None:
    """With PREEMPT_RT the thread waits for locks, too, and is woken by who had them: counted apart."""
    (result,) = analyse_file(DATA / "6.12-rt-one-effective-cpu-0.trace.gz").interrupts
    assert (result.total.ran, result.tally.other_wakeups) == (20, 12)


def test_a_cpu_that_goes_takes_its_counts_along() -> None:
    """/proc/interrupts has no column for it any more: handlers and counts of the other CPUs are compared."""

    def change(end: RecordingEnd) -> RecordingEnd:
        assert end.closed is not None
        counters = Counters({25: {2: 0}}, end.closed.after.runs)
        return replace(end, closed=Around(counters, counters))

    analysis = make_analysis(render_trace(local(5)), end=change)
    assert [check.what for check in analysis.interrupts[0].checks if check.agrees is False] == []


def test_interrupts_that_were_handled_as_one_are_no_loss() -> None:
    """Edges that come while the handler runs elsewhere may be handled once: more are counted than handled."""

    def change(end: RecordingEnd) -> RecordingEnd:
        counters = Counters({25: {1: 4, 2: 3}}, {IRQS[25]: 5})
        return replace(end, opened=replace_counts(end, {1: 0, 2: 0}), closed=Around(counters, counters))

    assert make_analysis(render_trace(local(5)), end=change).problems == ()


@pytest.mark.parametrize(("counts", "least"), [({1: 7}, 7), ({1: 400, 2: 0}, 400), ({1: 4, 2: 3}, 1)])
def test_interrupts_that_the_trace_has_not_seen_are_a_loss(counts: dict[int, int], least: int) -> None:
    """On one CPU each that was counted was handled; on several CPUs at least one was."""

    def change(end: RecordingEnd) -> RecordingEnd:
        counters = Counters({25: counts}, {IRQS[25]: 5})
        return replace(end, opened=replace_counts(end, dict.fromkeys(counts, 0)), closed=Around(counters, counters))

    analysis = make_analysis(render_trace(local(5)), end=change)
    check = analysis.interrupts[0].checks[0]
    assert (check.least, check.agrees) == (least, least <= 5)
    assert (analysis.verdict is Placement.INVALID) is (least > 5)


def test_counters_that_the_kernel_does_not_have() -> None:
    """Without schedstat there is nothing to compare runs with, which is told and no problem."""
    empty = Around(Counters({}, {}), Counters({}, {}))
    analysis = make_analysis(render_trace(local(5)), end=lambda end: replace(end, opened=empty, closed=AROUND))
    assert [check.agrees for check in analysis.interrupts[0].checks][1] is None


def test_what_changed_in_the_window_is_noted() -> None:
    """A CPU that went, a mask that is another one, a thread that came."""

    def change(end: RecordingEnd) -> RecordingEnd:
        interrupt = replace(end.after.interrupts[0], effective="2")
        late = replace(thread(25), pid=999)
        after = replace(end.after, online="0-2", interrupts=(interrupt,), threads=(*end.after.threads, late))
        return replace(end, after=after)

    notes = " ".join(make_analysis(render_trace(local(2)), end=change).notes)
    assert "0-3 before, 0-2 after" in notes
    assert "effective 1 before, 2 after" in notes
    assert "thread 999 came" in notes


RT_LAZY = "irqs-off,need-resched,need-resched-lazy,hardirq/softirq,preempt-depth"


@pytest.mark.parametrize(
    ("name", "columns", "like"),
    [
        ("lazy-letters", RT_LAZY, "6.12-rt-no-effective-cpu-0"),
        ("seven-letters", f"{RT_LAZY},preempt-lazy-depth,migrate-disable", "6.12-rt-one-effective-cpu-0"),
    ],
)
def test_recordings_without_a_header(name: str, columns: str, like: str) -> None:
    """Not read by guesswork; with the columns that somebody says, all is as in the same trace of another kernel."""
    path = DATA / f"{name}.trace.gz"
    with pytest.raises(UsageError, match="does not say which latency columns") as caught:
        analyse_file(path)
    assert f"--columns {columns}  " in caught.value.fix
    found, same = analyse_file(path, columns=parse_columns(columns)), analyse_file(DATA / f"{like}.trace.gz")
    assert (found.verdict, found.reason) == (same.verdict, same.reason)
    assert found.total.matrix == same.total.matrix


def test_columns_that_are_others_than_the_traces() -> None:
    """Said wrong: the result is invalid, and the line that was not understood is what is told first."""
    analysis = analyse_file(DATA / "seven-letters.trace.gz", columns=parse_columns(RT_LAZY))
    assert analysis.verdict is Placement.INVALID
    assert analysis.reason.startswith("226 lines of the trace are not understood, first: '              sh-245 ")
    with pytest.raises(UsageError, match="--columns contradicts"):
        analyse_file(DATA / "6.12-virtio.trace.gz", columns=parse_columns(RT_LAZY))


@pytest.mark.parametrize("line", ["hello", "  <idle>-0 [001] d.h1. 12.: irq_handler_exit: irq=25 ret=handled"])
def test_a_line_that_is_not_understood_is_the_headline(line: str) -> None:
    """Whatever else is wrong with a trace."""
    analysis = make_analysis(f"{line}\n", end=lambda end: None)
    assert analysis.verdict is Placement.INVALID
    assert analysis.reason == f"1 lines of the trace are not understood, first: {line!r}"
    assert any("no beginning" in problem for problem in analysis.problems)


def test_no_sched_waking() -> None:
    """A recording whose threads run, and which has only sched_wakeup of them: joined by that, and said; without that,
    too, invalid, with the names of what is missing.
    """
    path = DATA / "no-waking.trace"
    analysis = analyse_file(path)
    assert (analysis.problems, analysis.verdict) == ((), Placement.REMOTE)
    assert analysis.interrupts[0].total.matrix == {(0, 3): 1}
    assert any("no sched_waking of 1 activations" in note for note in analysis.notes)


def test_no_wake_up_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.trace"
    path.write_text("".join(one for one in (DATA / "no-waking.trace").open() if "sched_wakeup" not in one))
    analysis = analyse_file(path)
    assert analysis.verdict is Placement.INVALID
    assert "the events sched_waking and sched_wakeup are missing" in analysis.reason


def starve(seconds: float, *, runs: bool = False, made: list[Made] | None = None) -> str:
    """Activations, then one of which the thread waits so long, at the end or until it runs."""
    text = render_trace(made if made is not None else local(1))
    *lines, end = text.splitlines(keepends=True)
    last = render_trace(local(1), marks=False).splitlines(keepends=True)
    at = 2_000_000
    parts = [*last[:4], last[4]] if runs else last[:4]
    for number, one in enumerate(parts):
        time = at + (int(seconds * 1_000_000) if number == 4 else number)
        lines.append(re.sub(r"\d+\.\d{6}", f"{time // 1_000_000}.{time % 1_000_000:06}", one, count=1))
    time = at + int(seconds * 1_000_000) + 5
    return "".join(lines) + re.sub(r"\d+\.\d{6}", f"{time // 1_000_000}.{time % 1_000_000:06}", end, count=1)


@pytest.mark.parametrize(
    ("trace", "verdict"),
    [
        (starve(10), Placement.STARVED),
        (starve(10, made=remote(3)), Placement.STARVED),
        (starve(10, made=[]), Placement.STARVED),
        (starve(0.0001), Placement.LOCAL),
        (starve(10, runs=True), Placement.STARVED),
        (starve(0.05, runs=True), Placement.LOCAL),
    ],
)
def test_starvation_is_never_local(trace: str, verdict: Placement) -> None:
    """A thread that ran once and then waits for ten seconds starves, wherever it ran; one under way does not."""
    analysis = make_analysis(trace)
    assert (analysis.problems, analysis.verdict) == ((), verdict)


def test_a_thread_that_was_replaced() -> None:
    """Of the new one nothing was traced: no number counts."""

    def change(end: RecordingEnd) -> RecordingEnd:
        return replace(end, after=replace(end.after, threads=(replace(thread(25), pid=999),)))

    analysis = make_analysis(render_trace(local(3)), end=change)
    assert analysis.verdict is Placement.INVALID
    assert f"its thread {IRQS[25]} was replaced by 999" in analysis.reason


def test_events_out_of_order() -> None:
    """One comes so late that others after it have been counted: invalid, with how much too late it came."""
    slow = [Made(25, 1, 1, 1, 5000) for _ in range(1000)]
    *lines, end = render_trace(slow).splitlines(keepends=True)
    late = made_line(1_000_000, 1, "d..3.", f"sched_migrate_task: comm=x pid={IRQS[25]} prio=49 orig_cpu=1 dest_cpu=1")
    assert make_analysis("".join([*lines, end])).problems == ()
    analysis = make_analysis("".join([*lines, late, end]))
    assert analysis.verdict is Placement.INVALID
    assert re.match(r"1 events came up to \d\.\d{3} s too late; beyond 0\.1 s they cannot", analysis.reason)


def test_an_interrupt_without_a_thread() -> None:
    """Its handlers are counted, and it is told that it has no thread."""
    joiner = Joiner({}, others=[9])
    reader = TraceReader(COLUMNS)
    text = render_trace(local(2)).replace("irq=25", "irq=9")
    for batch in reader.read([text.encode()]):
        joiner.consume(batch, reader.marks)
    assert joiner.tallies[9].handlers == {1: 2}


@pytest.mark.parametrize(
    ("event", "made", "words"),
    [
        ("irq_handler_exit", local(3), "the event irq_handler_exit is missing"),
        ("sched_wakeup:", remote(3), "the event sched_wakeup is missing"),
        ("sched_switch", local(3), "the event sched_switch is missing"),
        ("sched_switch", local(1), f"runs of thread {IRQS[25]}: 0 in the trace"),
        ("irq_handler_entry", local(3), "hard handlers against /proc/interrupts: 0 in the trace"),
    ],
)
def test_a_recording_that_lacks_an_event(event: str, made: list[Made], words: str) -> None:
    """Whatever is missing of a recording, no number of it counts, and the reason says what it is about."""
    whole = make_analysis(render_trace(made))
    assert whole.end is not None
    text = "".join(one for one in render_trace(made).splitlines(keepends=True) if event not in one)
    analysis = make_analysis(text, end=lambda _: whole.end)
    assert analysis.verdict is Placement.INVALID
    assert words in analysis.reason
