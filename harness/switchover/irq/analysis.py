# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recording says: placement of each interrupt's thread, checked against counters, with a verdict. Pure."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from switchover.irq.activations import Activation, Class, Counts, Joiner, Tally
from switchover.irq.columns import Columns
from switchover.irq.crosschecks import CrossCheck, check_counters
from switchover.irq.events import BEGIN, END, Reading, TraceReader
from switchover.irq.opening import TraceSource, start_source
from switchover.irq.problems import find_notes, find_problems
from switchover.irq.recording import RecordingEnd, RecordingStart
from switchover.irq.state import Interrupt, IrqThread, parse_cpus
from switchover.record.errors import UsageError


class Placement(StrEnum):
    """The verdict on an interrupt."""

    LOCAL = "local"
    """every activation that ran did so on the CPU of its hard handler"""
    REMOTE = "remote"
    """none did"""
    MIXED = "mixed"
    STARVED = "starved"
    """the thread was woken, or driven off its CPU, and did not run for long: never local, wherever else it ran"""
    NO_ACTIVATIONS = "no activations"
    """nothing can be said: the interrupt did not fire, or its thread was never woken by it"""
    INVALID = "invalid"
    """events are missing, so that no number of the recording counts"""


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
    def fired(self) -> bool:
        """Whether anything of it is in the trace; one that others made may have no entries of handlers."""
        return bool(self.tally.handlers or self.total.ran)

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
    """between the marks of the window; of a trace that others made from its first event to its last"""
    foreign: str = ""
    """whose text it is, if it is no recording: what such a text cannot tell is empty in ``start``"""
    verdict: Placement = field(default=Placement.NO_ACTIVATIONS)
    reason: str = ""

    @property
    def total(self) -> Counts:
        whole = Counts()
        for interrupt in self.interrupts:
            whole.merge(interrupt.total)
        return whole


def analyse_file(
    path: Path, *, columns: Columns | None = None, notice: Callable[[Activation], None] | None = None
) -> Analysis:
    """``columns``: latency columns of a trace that does not say which it has.

    :raises UsageError: it cannot be read, is no trace, or its columns are not known
    :raises NotReady: it needs trace-cmd, which is not there
    """
    with start_source(path) as source:
        return analyse(source, path.name, columns=columns, notice=notice)


def analyse(
    source: TraceSource,
    name: str,
    *,
    columns: Columns | None = None,
    notice: Callable[[Activation], None] | None = None,
) -> Analysis:
    """In one pass; arguments as :func:`analyse_file`. ``notice`` is called with each activation that ran."""
    start = source.start
    threads = {
        thread.pid: thread.irq for thread in start.before.threads if thread.irq in start.chosen and not thread.secondary
    }
    masks = {interrupt.number: interrupt.asked for interrupt in start.before.interrupts}
    joiner = Joiner(threads, masks, others=start.chosen, notice=notice)
    reader = TraceReader(_choose_columns(source, name, columns), foreign=bool(source.foreign), name=name)
    for batch in reader.read(source.chunks()):
        joiner.consume(batch, reader.marks)
    joiner.finish()
    checks = {irq: check_counters(irq, tally, start, source.end) for irq, tally in joiner.tallies.items()}
    problems = tuple(find_problems(source, reader.reading, joiner, checks))
    interrupts = tuple(
        _judge_interrupt(irq, tally, source, checks[irq], problems) for irq, tally in joiner.tallies.items()
    )
    verdict, reason = _judge(interrupts, problems)
    return Analysis(
        name,
        start,
        source.end,
        reader.reading,
        interrupts,
        problems,
        tuple(find_notes(source, reader.reading, joiner)),
        _find_seconds(source, joiner),
        source.foreign,
        verdict,
        reason,
    )


def _choose_columns(source: TraceSource, name: str, columns: Columns | None) -> Columns | None:
    if columns is not None and source.columns is not None and columns != source.columns:
        raise UsageError(
            f"--columns contradicts {name}.",
            why=f"the trace says that its columns are {str(source.columns) or 'none'}",
            fix="leave out --columns",
        )
    return source.columns if columns is None else columns


def _find_seconds(source: TraceSource, joiner: Joiner) -> float | None:
    times = {text: time for time, text in joiner.marks}
    if source.foreign and joiner.first_us is not None and joiner.last_us is not None:
        return (joiner.last_us - joiner.first_us) / 1e6
    if BEGIN in times and END in times:
        return (times[END] - times[BEGIN]) / 1e6
    return None


def _judge_interrupt(
    irq: int, tally: Tally, source: TraceSource, checks: tuple[CrossCheck, ...], problems: Sequence[str]
) -> InterruptResult:
    start, end = source.start, source.end
    before = start.before.find_interrupt(irq)
    after = end.after.find_interrupt(irq) if end else None
    threads = tuple(thread for thread in start.before.threads_of(irq) if not thread.secondary)
    total = tally.total()
    verdict, reason = _judge_counts(total, tally) if threads else (Placement.NO_ACTIVATIONS, _tell_unthreaded(tally))
    if problems:
        verdict, reason = Placement.INVALID, problems[0]
    elif verdict in (Placement.REMOTE, Placement.MIXED):
        reason += "; " + _explain(before, threads, total, tally)
    names = before.actions if before else tuple(thread.name.partition("-")[2] for thread in threads)
    return InterruptResult(
        irq,
        ", ".join(names) or (before.description if before else ""),
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


def _tell_unthreaded(tally: Tally) -> str:
    return f"it has no thread; {tally.handlers.total()} hard handlers"


STARVED_AT_END_US = 100_000
STARVED_US = 1_000_000
"""A thread starves that waits so long: at the end of a window, after which nobody knows how long it went on, or before
it ran after all. Emulated guests of a busy machine have latencies of some 50 ms (docs/irq.md).
"""


def _judge_counts(total: Counts, tally: Tally) -> tuple[Placement, str]:
    waiting = total.classes[Class.WAITING]
    waited = tally.longest_wait_us / 1e6
    if not total.ran:
        if waiting:
            return Placement.STARVED, f"woken {waiting} times and never run; the longest wait is {waited:.2f} s"
        if not tally.handlers:
            return Placement.NO_ACTIVATIONS, "the interrupt did not fire in the window"
        return Placement.NO_ACTIVATIONS, f"{tally.handlers.total()} hard handlers, none of which woke its thread"
    where = f"{total.local} of {total.ran} activations before that were local"
    if tally.longest_wait_us >= STARVED_AT_END_US:
        return Placement.STARVED, f"it waited for its CPU at the end, and had not run for {waited:.2f} s; {where}"
    longest = total.all_latencies.maximum or 0
    if longest >= STARVED_US:
        return Placement.STARVED, f"it waited {longest / 1e6:.2f} s until it ran, the longest time; {where}"
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
    return "masks before and after do not explain it" if before else "its masks are not known"


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
