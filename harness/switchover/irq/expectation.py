# SPDX-License-Identifier: GPL-2.0-or-later
"""What is expected of an IRQ thread under a condition, what came of it, and whether the two agree. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from switchover.irq.activations import RAN, REMOTE, Class
from switchover.irq.analysis import InterruptResult, Placement
from switchover.irq.state import parse_cpus, render_cpus

UNNAMED = "<...>"
"""Of a task whose name the kernel does not remember (kernel/trace/trace.c, trace_find_cmdline)."""


class Line(StrEnum):
    """Lines of kernels that place IRQ threads differently."""

    STOCK = "6.12"
    """6.9 to 6.18: threads follow the effective CPU at once, and their own affinity may be set"""
    RT = "6.12-rt"
    """the same with PREEMPT_RT"""
    NEW = "7.x"
    """6.19 and newer: nobody may set the affinity of an IRQ thread"""
    PATCHED = "6.12-irq-locality"
    """6.12 with the patch of images/kernel-6.12-irq-locality-root"""


def find_line(kernel: str) -> Line | None:
    """By what ``uname -rv`` prints; None for a kernel of which nothing is expected.

    >>> find_line("6.12.95+deb13-rt-amd64 #1 SMP PREEMPT_RT Debian 6.12.95-1"), find_line("6.6.1 #1 SMP")
    (<Line.RT: '6.12-rt'>, None)
    """
    match = re.match(r"(\d+)\.(\d+)", kernel)
    version = (int(match[1]), int(match[2])) if match else (0, 0)
    if version < (6, 9):
        return None
    if version >= (6, 19):
        return Line.NEW
    if "-irq-locality" in kernel.split()[0]:
        return Line.PATCHED
    return Line.RT if "PREEMPT_RT" in kernel else Line.STOCK


class Outcome(StrEnum):
    """What came of a window, or of something that the kernel may refuse."""

    LOCAL = "local"
    """every activation that ran did so on the CPU of its hard handler"""
    REMOTE = "remote"
    """none did"""
    MIXED = "mixed"
    FOLLOWED = "followed"
    """all were local but the first after each change of the mask, which the thread follows before it works"""
    STARVED = "starved"
    """the thread was woken and did not run"""
    NOTHING = "nothing"
    """it was not woken"""
    TAKEN = "taken"
    """the kernel did what was asked"""
    REFUSED = "refused"
    """the kernel refused it, as it is known to"""
    INVALID = "invalid"
    """no number of the recording counts"""


def count_under(result: InterruptResult, task: str) -> tuple[int, int]:
    """Local activations, and all that ran, of those whose hard handler interrupted a task; without one: of all. A task
    whose name the kernel had forgotten (``<...>``) may be any.
    """
    if not task:
        return result.total.local, result.total.ran
    found = {key: count for key, count in result.tally.found.items() if key[0] in (task, UNNAMED)}
    return sum(count for (_, kind), count in found.items() if kind is Class.LOCAL), sum(found.values())


def find_outcome(result: InterruptResult, under: str = "") -> Outcome:
    """``under``: a task that is the load of the window, so that only what it was interrupted for counts. Where it was
    not there for half of it, the window was not what it was to be.
    """
    local, ran = count_under(result, under)
    match result.verdict:
        case Placement.INVALID:
            return Outcome.INVALID
        case Placement.STARVED:
            return Outcome.STARVED
        case Placement.NO_ACTIVATIONS:
            return Outcome.NOTHING
    if 2 * ran < result.total.ran:
        return Outcome.INVALID
    if local == ran:
        return Outcome.LOCAL
    if result.tally.follows == ran - local:
        return Outcome.FOLLOWED
    return Outcome.REMOTE if not local else Outcome.MIXED


MOST_MOVED = {Line.STOCK: 0.05, Line.PATCHED: 0.05, Line.NEW: 0.1, Line.RT: 0.2}
"""Of all activations, how many of a free thread may run elsewhere than the time before: once in 20 a real-time task of
the kernel's own is in its way, or its CPU stands still (of a guest whose host is short of CPUs) and another pulls it.
Newer lines have such tasks that run often: ktimers/N (with PREEMPT_RT, or threadirqs from 6.13 on), and with PREEMPT_RT
rcuc/N and irq_work/N, all SCHED_FIFO 1.
"""


@dataclass(frozen=True)
class Expected:
    """One of some outcomes. ``remote``: of how many activations exactly, if that is known.

    ``free``: of a thread that may run anywhere and stays where it ran; ``after``: other windows came before, so that
    it is where they left it. ``moved``: of how many activations, as a part, it may run elsewhere than the time before
    (rounded: once in 10 of one in 20). ``under``: the task that is the load: what is expected is of activations whose
    hard handler interrupted it. ``arrives``: CPUs on which all hard handlers are, a list; empty: any.

    A load has gaps: a fair task that waits for its CPU gets 50 ms of each second, whatever real-time task is there
    (6.12 and newer, kernel/sched/deadline.c, fair_server; before that RT throttling, as long). An interrupt that comes
    then finds no load, and its thread may run where it is.
    """

    outcomes: tuple[Outcome, ...]
    remote: int | None = None
    free: bool = False
    after: bool = False
    moved: float | None = None
    under: str = ""
    arrives: str = ""

    def __str__(self) -> str:
        text = " or ".join(self.outcomes) + (f", {self.remote} remote" if self.remote is not None else "")
        text += f", moved in {self.moved:.0%} at most" if self.moved is not None else ""
        text += f", arriving on CPUs {self.arrives}" if self.arrives else ""
        return text + (" where it finds the load" if self.under else "")

    def on(self, line: Line) -> "Expected":
        """With what may drive a free thread away there."""
        if not self.free:
            return self
        others = (Outcome.LOCAL, Outcome.REMOTE) if line is Line.RT or (self.after and line is Line.NEW) else ()
        outcomes = tuple(dict.fromkeys((*self.outcomes, *others, Outcome.MIXED)))
        return replace(self, outcomes=outcomes, moved=MOST_MOVED[line])


def expect(
    *outcomes: Outcome,
    remote: int | None = None,
    free: bool = False,
    after: bool = False,
    moved: float | None = None,
    under: str = "",
    arrives: str = "",
) -> Expected:
    return Expected(outcomes, remote, free, after, moved, under, arrives)


@dataclass(frozen=True)
class LoadResult:
    """What a load says of itself at its end. ``moved``: changes of its CPU; ``woken`` and ``late_us``, the longest
    that it waited: of one that sleeps. ``realtime``: its scheduling policy is SCHED_FIFO.
    """

    name: str
    spun_ns: int
    moved: int
    woken: int
    late_us: int
    realtime: bool = False


@dataclass(frozen=True)
class WindowResult:
    """One window of a condition, or something in it that the kernel could refuse (then without ``result``)."""

    name: str
    outcome: Outcome
    expected: Expected | None
    """None: nothing is expected of this kernel"""
    result: InterruptResult | None = None
    recording: str = ""
    """the file"""

    @property
    def under(self) -> str:
        return self.expected.under if self.expected else ""

    @property
    def ran(self) -> int:
        """Activations that count."""
        return count_under(self.result, self.under)[1] if self.result else 0

    @property
    def local(self) -> int:
        """Of these."""
        return count_under(self.result, self.under)[0] if self.result else 0

    @property
    def cpus(self) -> frozenset[int]:
        """Where hard handlers were."""
        return frozenset(self.result.tally.handlers) if self.result else frozenset()

    @property
    def gaps(self) -> Mapping[str, int]:
        """Activations that do not count since the load was not there, by the task that the hard handler found."""
        if not self.result or not self.under:
            return {}
        names = (self.under, UNNAMED)
        return {task: count for task, count in self.result.tally.count_found(RAN).items() if task not in names}

    @property
    def odd(self) -> Mapping[str, int]:
        """Of a mixed outcome, the fewer ones of local and remote activations that count, by the task that was found."""
        if not self.result or self.outcome is not Outcome.MIXED:
            return {}
        kinds = (Class.LOCAL,) if 2 * self.local <= self.ran else REMOTE
        return {task: count for task, count in self.result.tally.count_found(kinds).items() if task not in self.gaps}

    @property
    def moves(self) -> int:
        return self.result.tally.moves if self.result else 0

    @property
    def agrees(self) -> bool:
        if self.expected is None:
            return True
        if self.outcome not in self.expected.outcomes:
            return False
        if self.expected.moved is not None and self.moves > int(self.expected.moved * self.ran + 0.5):
            return False
        if self.expected.arrives and not self.cpus <= parse_cpus(self.expected.arrives):
            return False
        return self.expected.remote in (None, self.ran - self.local)


class Agreement(StrEnum):
    """The verdict on a condition."""

    AS_EXPECTED = "as expected"
    NOT_AS_EXPECTED = "not as expected"
    TOLD = "no expectation"
    """it was run on a kernel of which nothing is expected"""
    NOT_SUPPORTED = "not supported"
    """the kernel or the guest lacks what is needed for it, named"""
    INVALID = "invalid"
    """it could not be brought about, or recorded"""


@dataclass(frozen=True)
class ConditionResult:
    """A condition under a kernel."""

    name: str
    row: str
    title: str
    boot: str
    because: str
    kernel: str
    """``uname -r``"""
    line: Line | None
    agreement: Agreement
    reason: str
    set: tuple[str, ...] = ()
    """what was set, as it was read back"""
    windows: tuple[WindowResult, ...] = ()
    loads: tuple[LoadResult, ...] = ()
    seconds: float = 0.0
    notes: Mapping[str, str] = field(default_factory=dict)


def judge(windows: Sequence[WindowResult]) -> tuple[Agreement, str]:
    """Of a condition that was run to its end."""
    invalid = [one for one in windows if one.outcome is Outcome.INVALID]
    if invalid:
        return Agreement.INVALID, f"{invalid[0].name}: {_explain_invalid(invalid[0])}"
    wrong = [one for one in windows if not one.agrees]
    if wrong:
        return Agreement.NOT_AS_EXPECTED, "; ".join(
            f"{one.name}: {describe_window(one)}, expected: {one.expected}" for one in wrong
        )
    if any(one.expected is None for one in windows):
        return Agreement.TOLD, "nothing is expected of this kernel"
    return Agreement.AS_EXPECTED, ""


def _explain_invalid(window: WindowResult) -> str:
    if window.result is None:
        return "it was not recorded"
    if window.result.verdict is Placement.INVALID:
        return window.result.reason
    return f"{window.under} was interrupted for {window.ran} of {window.result.total.ran} activations only"


ODD = 3
"""Activations that are otherwise than the rest of their window, up to which each is told."""


def describe_window(window: WindowResult) -> str:
    """Its outcome in words and numbers.

    >>> describe_window(WindowResult("x", Outcome.REFUSED, None))
    'refused'
    """
    if window.result is None or window.outcome in (Outcome.STARVED, Outcome.NOTHING, Outcome.INVALID):
        return str(window.outcome)
    text = f"{window.outcome}, {window.local} of {window.ran} local"
    if window.expected and window.expected.arrives:
        text += f", hard handlers on CPUs {render_cpus(window.cpus)}"
    if window.expected and window.expected.moved and window.moves:
        text += f", moved {window.moves} times"
    if window.gaps:
        text += f", {_tell_tasks(window.gaps)} instead of the load"
    if 0 < sum(window.odd.values()) <= ODD:
        text += f", odd where a hard handler found {_tell_tasks(window.odd)}"
    return text


def _tell_tasks(tasks: Mapping[str, int]) -> str:
    return ", ".join(f"{task} ({count} times)" for task, count in sorted(tasks.items()))
