# SPDX-License-Identifier: GPL-2.0-or-later
"""Why no number of a trace counts, and what else has to be known of it. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from switchover.irq.activations import Class, Joiner
from switchover.irq.crosschecks import CrossCheck
from switchover.irq.events import BEGIN, END, HOLD_US, Kind, Reading
from switchover.irq.opening import TraceSource
from switchover.irq.recording import RecordingEnd, RecordingStart
from switchover.irq.state import IrqState


def find_problems(
    source: TraceSource, reading: Reading, joiner: Joiner, checks: Mapping[int, tuple[CrossCheck, ...]]
) -> Iterator[str]:
    """Why no number counts; what explains most first."""
    if reading.strange:
        yield f"{reading.strange} lines of the trace are not understood, first: {reading.strange_line!r}"
    marks = [text for _, text in joiner.marks]
    if not source.foreign:
        if BEGIN not in marks:
            yield "the trace has no beginning"
        if END not in marks or source.end is None:
            yield f"the recording did not end{f' ({source.damage})' if source.damage else ''}"
    lost = {loss.cpu: loss.events for loss in (source.end.losses if source.end else ()) if loss.events}
    if lost:
        where = ", ".join(f"{count} on CPU {cpu}" for cpu, count in lost.items())
        yield f"the kernel lost events for want of room: {where}"
    elif reading.lost:
        yield f"the kernel says in the trace that it lost {reading.lost} events"
    if reading.disordered:
        late, most = f"{reading.latest_us / 1e6:.3f} s", f"{HOLD_US / 1e6:g} s"
        yield f"{reading.disordered} events came up to {late} too late; beyond {most} they cannot be put in order"
    if source.end:
        yield from _find_replaced(source.start.before, source.end.after, source.start.chosen)
    yield from _find_missing(source, reading, joiner)
    for irq, tally in joiner.tallies.items():
        if unmatched := tally.total().classes[Class.UNMATCHED]:
            yield f"interrupt {irq}: events of {unmatched} activations do not fit together"
    for irq, found in checks.items():
        for check in found:
            if check.agrees is False:
                counted = f"{check.least} to {check.most} counted"
                yield f"interrupt {irq}: {check.what}: {check.traced} in the trace, {counted}"


def _find_replaced(before: IrqState, after: IrqState, chosen: Sequence[int]) -> Iterator[str]:
    """Of an interrupt whose thread is another one afterwards nothing is known: the new one was not traced."""
    for irq in chosen:
        first, last = ({one.pid for one in state.threads_of(irq) if not one.secondary} for state in (before, after))
        if first - last and last - first:
            gone, new = (", ".join(map(str, sorted(pids))) for pids in (first - last, last - first))
            yield f"interrupt {irq}: its thread {gone} was replaced by {new} in the window, which was not traced"


_HANDLERS, _SWITCHES = {Kind.ENTRY, Kind.EXIT}, {Kind.SWITCH, Kind.PREEMPT}


def _find_missing(source: TraceSource, reading: Reading, joiner: Joiner) -> Iterator[str]:
    """Kinds of events without which threads and handlers cannot be joined, where the others show that it should be."""
    kinds, tallies = reading.kinds, joiner.tallies.values()
    ran = sum(tally.runs.total() for tally in tallies)
    unseen = sum(tally.unseen_wakeups for tally in tallies)
    if not kinds & {Kind.WAKING, Kind.WAKEUP} and unseen:
        yield (
            f"threads came to run {ran} times, and no wake-up of them is in the trace: "
            "the events sched_waking and sched_wakeup are missing"
        )
    if Kind.EXIT not in kinds and any(tally.hard_wakeups for tally in tallies):
        yield f"threads came to run {ran} times, and nothing tells where from: the event irq_handler_exit is missing"
    unmatched = any(tally.total().classes[Class.UNMATCHED] for tally in tallies)
    if Kind.WAKING in kinds and Kind.WAKEUP not in kinds and unmatched:
        yield "activations do not fit together: the event sched_wakeup is missing, which tells where threads were put"
    if not kinds & _SWITCHES and unmatched:
        yield "activations do not fit together: the event sched_switch is missing, which tells whether threads ran"
    if not source.foreign:
        return
    if not joiner.tallies:
        yield "no thread of an interrupt (irq/NUMBER-NAME) is in the trace"
        return
    woken = any(tally.other_wakeups or tally.total().classes for tally in tallies)
    if not kinds & _SWITCHES and not unmatched and (woken or kinds & _HANDLERS):
        yield "threads are woken, and nothing tells whether they ran: the event sched_switch is missing"
    elif ran and Kind.EXIT not in kinds and not any(tally.hard_wakeups for tally in tallies):
        yield f"threads came to run {ran} times, and nothing tells where from: the event irq_handler_exit is missing"


def _find_reading_notes(source: TraceSource, reading: Reading, joiner: Joiner) -> Iterator[str]:
    if source.foreign and reading.half_line:
        yield f"the last line is not whole and not counted: {reading.half_line[:80]!r}"
    if joiner.uncertain:
        yield (
            f"{joiner.uncertain} handlers woke no thread: whether they asked for one that ran already (coalesced) is "
            "not in the text"
        )
    for irq, tally in joiner.tallies.items():
        if tally.unseen_wakings:
            yield (
                f"interrupt {irq}: no sched_waking of {tally.unseen_wakings} activations is in the trace; each is "
                "taken from the first sched_wakeup after its hard handler, whoever woke the thread"
            )
        if tally.nested:
            yield f"interrupt {irq}: {tally.nested} of its handlers ran in a thread, that of the interrupt it hangs on"


def find_notes(source: TraceSource, reading: Reading, joiner: Joiner) -> Iterator[str]:
    """Remarks, which leave it valid."""
    yield from source.start.notes
    yield from _compare_states(source.start, source.end)
    yield from _find_reading_notes(source, reading, joiner)


def _compare_states(start: RecordingStart, end: RecordingEnd | None) -> list[str]:
    if end is None:
        return []
    notes = []
    before, after = start.before, end.after
    if before.online != after.online:
        notes.append(f"CPUs online changed in the window: {before.online} before, {after.online} after")
    notes += _compare_threads(before, after, start.chosen)
    for number in start.chosen:
        first, last = before.find_interrupt(number), after.find_interrupt(number)
        if first is None or last is None:
            continue
        for name in ("asked", "effective"):
            one, other = getattr(first, name), getattr(last, name)
            if one != other:
                notes.append(f"interrupt {number}: mask {name} {one or 'none'} before, {other or 'none'} after")
    return notes


def _compare_threads(before: IrqState, after: IrqState, chosen: Sequence[int]) -> list[str]:
    """Threads that came or went in the window: new ones were not traced."""
    first = {thread.pid for thread in before.threads if thread.irq in chosen}
    last = {thread.pid for thread in after.threads if thread.irq in chosen}
    notes = [f"thread {pid} ended in the window" for pid in sorted(first - last)]
    return notes + [f"thread {pid} came in the window and was not traced" for pid in sorted(last - first)]
