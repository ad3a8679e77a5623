# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recording says: placement of each interrupt's thread, checked against counters, with a verdict. Pure."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from switchover.irq.activations import Activation, Class, Counts, Joiner, Tally
from switchover.irq.events import BEGIN, END, Reading, TraceReader
from switchover.irq.recording import RecordingEnd, RecordingReader, RecordingStart, open_recording
from switchover.irq.state import Interrupt, IrqState, IrqThread, parse_cpus


class Placement(StrEnum):
    """The verdict on an interrupt."""

    LOCAL = "local"
    """every activation that ran did so on the CPU of its hard handler"""
    REMOTE = "remote"
    """none did"""
    MIXED = "mixed"
    STARVED = "starved"
    """the thread was woken and did not run in the window"""
    NO_ACTIVATIONS = "no activations"
    """nothing can be said: the interrupt did not fire, or its thread was never woken by it"""
    INVALID = "invalid"
    """events are missing, so that no number of the recording counts"""


@dataclass(frozen=True)
class CrossCheck:
    """A count of the trace and the bounds that counters of the kernel set for it; None: they are not known."""

    what: str
    traced: int
    least: int | None
    most: int | None

    @property
    def agrees(self) -> bool | None:
        if self.least is None or self.most is None:
            return None
        return self.least <= self.traced <= self.most


@dataclass(frozen=True)
class InterruptResult:
    """One interrupt: before the window, after it, and what was counted in it."""

    number: int
    name: str
    before: Interrupt | None
    after: Interrupt | None
    threads_before: tuple[IrqThread, ...]
    threads_after: tuple[IrqThread, ...]
    tally: Tally
    total: Counts
    checks: tuple[CrossCheck, ...]
    verdict: Placement
    reason: str

    @property
    def local_part(self) -> float | None:
        """0 to 1; None without an activation that ran."""
        return self.total.local / self.total.ran if self.total.ran else None


@dataclass(frozen=True)
class Analysis:
    """What a whole recording says. ``problems`` are the reasons why it is invalid, empty if it is valid; ``notes`` are
    remarks.
    """

    name: str
    start: RecordingStart
    end: RecordingEnd | None
    reading: Reading
    interrupts: tuple[InterruptResult, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: float | None
    """between the marks of the window"""
    verdict: Placement = field(default=Placement.NO_ACTIVATIONS)
    reason: str = ""

    @property
    def total(self) -> Counts:
        whole = Counts()
        for interrupt in self.interrupts:
            whole.merge(interrupt.total)
        return whole


def analyse_file(path: Path, *, notice: Callable[[Activation], None] | None = None) -> Analysis:
    """:raises UsageError: it cannot be read, or is no recording"""
    with open_recording(path) as file:
        return analyse(RecordingReader(file, str(path)), path.name, notice=notice)


def analyse(recording: RecordingReader, name: str, *, notice: Callable[[Activation], None] | None = None) -> Analysis:
    """In one pass. ``notice`` is called with each activation that ran."""
    start = recording.start
    threads = {
        thread.pid: thread.irq for thread in start.before.threads if thread.irq in start.chosen and not thread.secondary
    }
    masks = {interrupt.number: interrupt.asked for interrupt in start.before.interrupts}
    joiner, reader = Joiner(threads, masks, notice=notice), TraceReader()
    for batch in reader.read(recording.chunks()):
        joiner.consume(batch, reader.marks)
    joiner.finish()
    checks = {irq: _check_counters(irq, tally, start, recording.end) for irq, tally in joiner.tallies.items()}
    problems = tuple(_find_problems(recording, reader.reading, joiner, checks))
    interrupts = tuple(
        _judge_interrupt(irq, tally, start, recording.end, checks[irq], problems)
        for irq, tally in joiner.tallies.items()
    )
    verdict, reason = _judge(interrupts, problems)
    return Analysis(
        name,
        start,
        recording.end,
        reader.reading,
        interrupts,
        problems,
        (*start.notes, *_find_notes(start, recording.end)),
        _find_seconds(joiner),
        verdict,
        reason,
    )


def _find_seconds(joiner: Joiner) -> float | None:
    times = {text: time for time, text in joiner.marks}
    if BEGIN in times and END in times:
        return (times[END] - times[BEGIN]) / 1e6
    return None


def _find_problems(
    recording: RecordingReader, reading: Reading, joiner: Joiner, checks: dict[int, tuple[CrossCheck, ...]]
) -> list[str]:
    problems = []
    marks = [text for _, text in joiner.marks]
    if BEGIN not in marks:
        problems.append("the trace has no beginning")
    if END not in marks or recording.end is None:
        problems.append(f"the recording did not end{f' ({recording.damage})' if recording.damage else ''}")
    lost = {loss.cpu: loss.events for loss in (recording.end.losses if recording.end else ()) if loss.events}
    if lost:
        where = ", ".join(f"{count} on CPU {cpu}" for cpu, count in lost.items())
        problems.append(f"the kernel lost events for want of room: {where}")
    elif reading.lost:
        problems.append(f"the kernel says in the trace that it lost {reading.lost} events")
    if reading.strange:
        problems.append(f"{reading.strange} lines of the trace are not understood, first: {reading.strange_line!r}")
    for irq, tally in joiner.tallies.items():
        if unmatched := tally.total().classes[Class.UNMATCHED]:
            problems.append(f"interrupt {irq}: events of {unmatched} activations do not fit together")
    for irq, found in checks.items():
        problems += [
            f"interrupt {irq}: {check.what}: {check.traced} in the trace, {check.least} to {check.most} counted"
            for check in found
            if check.agrees is False
        ]
    return problems


def _check_counters(irq: int, tally: Tally, start: RecordingStart, end: RecordingEnd | None) -> tuple[CrossCheck, ...]:
    """Hard handlers against /proc/interrupts, runs of the threads against their scheduler's own count.

    An edge that comes while the handler runs on another CPU is counted there and handled here, and several such edges
    are handled once (kernel/irq/chip.c, handle_edge_irq): so where interrupts came on several CPUs all that is known
    from below is that some were handled, and where they came on one CPU, that each was. CPUs that went offline are not
    in /proc/interrupts any more: only the others are compared.
    """
    opened, closed = (end.opened, end.closed) if end else (None, None)
    checks = []
    interrupt = start.before.find_interrupt(irq)
    sharers = max(1, len(interrupt.actions)) if interrupt else 1
    least = most = None
    handlers = tally.handlers.total()
    if opened and closed:
        first, last = (one.interrupts.get(irq, {}) for one in (opened.before, closed.after))
        outer = _subtract(first, last)
        within = _subtract(*(one.interrupts.get(irq, {}) for one in (opened.after, closed.before)))
        most, surely = sum(outer.values()), max(0, sum(within.values()))
        least = surely if sum(count > 0 for count in outer.values()) == 1 else min(1, surely)
        if first.keys() ^ last.keys():
            handlers = sum(tally.handlers[cpu] for cpu in first.keys() & last.keys())
    checks.append(CrossCheck("hard handlers against /proc/interrupts", -(-handlers // sharers), least, most))
    for thread in start.before.threads_of(irq):
        if thread.secondary:
            continue
        least = most = None
        if opened and closed and all(thread.pid in one.runs for one in (opened.before, closed.after)):
            inner = closed.before.runs.get(thread.pid, 0) - opened.after.runs.get(thread.pid, 0)
            least, most = max(0, inner), closed.after.runs[thread.pid] - opened.before.runs[thread.pid]
        checks.append(CrossCheck(f"runs of thread {thread.pid}", tally.runs[thread.pid], least, most))
    return tuple(checks)


def _subtract(first: Mapping[int, int], last: Mapping[int, int]) -> dict[int, int]:
    """How much each CPU's count grew, of those that have one at both times."""
    return {cpu: last[cpu] - first[cpu] for cpu in first.keys() & last.keys()}


def _judge_interrupt(
    irq: int,
    tally: Tally,
    start: RecordingStart,
    end: RecordingEnd | None,
    checks: tuple[CrossCheck, ...],
    problems: Sequence[str],
) -> InterruptResult:
    before = start.before.find_interrupt(irq)
    after = end.after.find_interrupt(irq) if end else None
    threads = tuple(thread for thread in start.before.threads_of(irq) if not thread.secondary)
    total = tally.total()
    verdict, reason = _judge_counts(total, tally)
    if problems:
        verdict, reason = Placement.INVALID, problems[0]
    elif verdict in (Placement.REMOTE, Placement.MIXED):
        reason += "; " + _explain(before, threads, total, tally)
    return InterruptResult(
        irq,
        ", ".join(before.actions) or before.description if before else "",
        before,
        after,
        threads,
        tuple(thread for thread in end.after.threads_of(irq) if not thread.secondary) if end else (),
        tally,
        total,
        checks,
        verdict,
        reason,
    )


def _judge_counts(total: Counts, tally: Tally) -> tuple[Placement, str]:
    if not total.ran:
        if waiting := total.classes[Class.WAITING]:
            waited = tally.longest_wait_us / 1e6
            return Placement.STARVED, f"woken {waiting} times and never run; the longest wait is {waited:.2f} s"
        if not tally.handlers:
            return Placement.NO_ACTIVATIONS, "the interrupt did not fire in the window"
        return Placement.NO_ACTIVATIONS, f"{tally.handlers.total()} hard handlers, none of which woke its thread"
    if total.local == total.ran:
        return Placement.LOCAL, f"all {total.ran} activations ran where the hard handler ran"
    if not total.local:
        return Placement.REMOTE, f"none of {total.ran} activations ran where the hard handler ran"
    return Placement.MIXED, f"{total.local} of {total.ran} activations ran where the hard handler ran"


def _explain(before: Interrupt | None, threads: Sequence[IrqThread], total: Counts, tally: Tally) -> str:
    """The likely cause of remote activations, from masks and wake-ups; what is not known is not guessed."""
    remote = total.ran - total.local
    if tally.follows == remote:
        return "each of the others is the first after a change of the mask, which the thread follows before it works"
    hard = {cpu for (cpu, _), count in total.matrix.items() if count}
    allowed = [parse_cpus(thread.cpus) for thread in threads if thread.cpus]
    if before is not None and before.effective == "" and before.asked:
        return "its chip sets no effective CPU, so that the thread may run on any, and stays where it is"
    if allowed and not any(hard & cpus for cpus in allowed):
        return "the thread's own affinity leaves out the CPU of the hard handler: somebody set it"
    if any(len(cpus) > 1 for cpus in allowed):
        return "the thread may run on several CPUs, and another was chosen: a real-time task may have been in its way"
    return "masks before and after do not explain it"


def _judge(interrupts: Sequence[InterruptResult], problems: Sequence[str]) -> tuple[Placement, str]:
    """Of all interrupts together."""
    if problems:
        return Placement.INVALID, problems[0]
    verdicts = Counter(result.verdict for result in interrupts)
    told = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()) or "no interrupt was traced"
    if verdicts[Placement.STARVED]:
        starved = [str(result.number) for result in interrupts if result.verdict is Placement.STARVED]
        return Placement.STARVED, f"threads of interrupts {', '.join(starved)} did not get to run; {told}"
    ran = [result for result in interrupts if result.total.ran]
    if not ran:
        return Placement.NO_ACTIVATIONS, told
    local, count = sum(result.total.local for result in ran), sum(result.total.ran for result in ran)
    kind = Placement.LOCAL if local == count else Placement.MIXED if local else Placement.REMOTE
    return kind, f"{local} of {count} activations local; interrupts: {told}"


def _find_notes(start: RecordingStart, end: RecordingEnd | None) -> list[str]:
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
