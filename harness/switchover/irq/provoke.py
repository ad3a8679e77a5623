# SPDX-License-Identifier: GPL-2.0-or-later
"""Brings a guest into a condition, records each of its windows, and judges them. What is set is read back."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from switchover.hosts.host import Host
from switchover.hosts.waiting import wait_until
from switchover.irq.analysis import analyse_file
from switchover.irq.conditions import (
    ALL,
    CPUS,
    HOUSE,
    Churn,
    Condition,
    Fire,
    Hotplug,
    Load,
    Mask,
    Offline,
    Pin,
    Place,
    Starve,
    Step,
    Unload,
    Window,
)
from switchover.irq.expectation import (
    Agreement,
    ConditionResult,
    Line,
    LoadResult,
    Outcome,
    WindowResult,
    find_line,
    find_outcome,
    judge,
)
from switchover.irq.loads import Hog, Repeated, start_churn, start_hog, start_hotplug, start_offline
from switchover.irq.placement import set_mask, set_thread_affinity
from switchover.irq.programs import HOG
from switchover.irq.recorder import start_recording, survey_subject
from switchover.irq.sources import (
    InterruptSource,
    fire_and_hold,
    read_thread,
    require_serial_port,
    start_gpio_line,
)
from switchover.irq.state import parse_cpus, read_state
from switchover.irq.tracing import change_host
from switchover.record.errors import Deadline, HostLost, NotReady, NotSupported

ATTEMPTS = 3
"""Recordings of a window before it counts as invalid."""
_SETTLE_S = 60.0


@dataclass
class LeasedHosts:
    """A guest for conditions: what it is, and where recordings go."""

    host: Host
    directory: Path
    kernel: str
    """``uname -rv``"""
    cmdline: str
    online: str

    @property
    def line(self) -> Line | None:
        return find_line(self.kernel)

    def find_misfit(self, condition: Condition) -> str:
        """Why a condition cannot be brought about here; empty if it can."""
        words = self.cmdline.split()
        if missing := [word for word in condition.boot.split() if word not in words]:
            return f"it was not booted with {' '.join(missing)}"
        known = {"noapic", "irqaffinity", "isolcpus"} - {word.partition("=")[0] for word in condition.boot.split()}
        if odd := [word for word in words if word.partition("=")[0] in known]:
            return f"it was booted with {' '.join(odd)}"
        if parse_cpus(self.online) != frozenset(range(CPUS)):
            return f"it has the CPUs {self.online}, not {ALL}"
        return ""


def read_stage(host: Host, directory: Path) -> LeasedHosts:
    """:raises NotSupported: the program that makes loads is not there"""
    if host.run(["sh", "-c", f"command -v {HOG}"], check=False).returncode:
        raise NotSupported(f"{host.name} has no {HOG}.", fix="use a guest of switchover's own image")
    state = read_state(host)
    return LeasedHosts(host, directory, state.kernel, state.cmdline, state.online)


@contextlib.contextmanager
def start_house(host: Host, but: int) -> Iterator[None]:
    """All interrupts but one on CPU :data:`HOUSE`, as far as their chips allow it, for the time of a ``with`` block."""
    before = {
        one.number: one.asked
        for one in read_state(host).interrupts
        if one.actions and one.asked and one.number != but and one.asked != str(HOUSE)
    }
    script = 'for pair; do echo "${pair#*=}" >"/proc/irq/${pair%%=*}/smp_affinity_list"; done 2>/dev/null; true'
    undo = ["sh", "-c", script, "sh", *(f"{number}={mask}" for number, mask in before.items())]
    with change_host(host, "masks of other interrupts", undo, ["true"]):
        host.run(["sh", "-c", script, "sh", *(f"{number}={HOUSE}" for number in before)], timeout=60)
        yield


def run_condition(stage: LeasedHosts, condition: Condition) -> ConditionResult:
    """Bring it about, record, judge, and put everything back.

    What the guest lacks for it is a result, not an error, and so is what could not be brought about.

    :raises HostLost: the guest is gone
    """
    run = _Run(stage, condition)
    began = time.monotonic()
    if misfit := stage.find_misfit(condition):
        agreement, reason = Agreement.NOT_SUPPORTED, misfit
    else:
        try:
            run.execute()
            agreement, reason = judge(run.windows)
        except NotSupported as error:
            agreement, reason = Agreement.NOT_SUPPORTED, f"{error.what} {error.why}".strip()
        except HostLost:
            raise
        except (NotReady, Deadline) as error:
            agreement, reason = Agreement.INVALID, f"{error.what} {error.why}".strip()
    return ConditionResult(
        condition.name,
        condition.row,
        condition.title,
        condition.boot,
        condition.explain(stage.line),
        stage.kernel.split()[0],
        stage.line,
        agreement,
        reason,
        tuple(run.set),
        tuple(run.windows),
        tuple(run.loads),
        round(time.monotonic() - began, 1),
    )


@dataclass
class _Run:
    """One run of a condition."""

    stage: LeasedHosts
    condition: Condition
    windows: list[WindowResult] = field(default_factory=list)
    set: list[str] = field(default_factory=list)
    loads: list[LoadResult] = field(default_factory=list)
    _source: InterruptSource = field(init=False)
    _loads: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _whole: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def host(self) -> Host:
        return self.stage.host

    def execute(self) -> None:
        with self._whole as whole:
            if self.condition.source == "gpio":
                self._source = whole.enter_context(start_gpio_line(self.host))
            else:
                self._source = require_serial_port(self.host)
            whole.enter_context(start_house(self.host, self._source.number))
            with self._loads:
                self._do_all(self.condition.steps)
            self._require_gone()

    def _do_all(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            self._do(step)

    def _do(self, step: Step) -> None:
        match step:
            case Mask(cpus):
                self._set_mask(cpus)
            case Fire(count, cpus, priority):
                self._source.fire(self.host, count, cpus, priority)
            case Starve():
                fire_and_hold(self.host, self._source)
            case Place(cpu):
                self._place(cpu)
            case Pin():
                self._pin(step)
            case Load():
                self._loads.enter_context(self._start_load(step))
            case Churn(masks):
                self._loads.enter_context(self._count(start_churn(self.host, self._source.number, masks)))
            case Hotplug(cpu):
                self._loads.enter_context(self._count(start_hotplug(self.host, cpu)))
            case Unload():
                self._loads.close()
            case Offline(cpu):
                self._whole.enter_context(start_offline(self.host, cpu))
                self.set.append(f"CPU {cpu} offline")
            case Window():
                self._record(step)

    def _set_mask(self, cpus: str) -> None:
        """Asked for, and in effect: an interrupt comes after it."""
        number = self._source.number
        set_mask(self.host, number, cpus)

        def effective() -> str | None:
            self._source.fire(self.host, 2, (0,), 0)
            mask = self.host.read_file(f"/proc/irq/{number}/effective_affinity_list").decode().strip()
            return mask if parse_cpus(mask) and parse_cpus(mask) <= parse_cpus(cpus) else None

        mask = wait_until(f"the mask {cpus} to come into effect", effective, timeout=_SETTLE_S)
        self.set.append(f"mask {cpus}, effective {mask}")

    def _place(self, cpu: int) -> None:
        """By the thread's own affinity where the kernel lets it be set, else by what keeps it from all other CPUs."""
        thread = read_thread(self.host, self._source.number)
        everywhere = parse_cpus(thread.cpus)
        if len(everywhere) < CPUS:
            raise NotReady(
                f"Thread {thread.name} may run on CPUs {thread.cpus} only.", why="the condition needs it to be free"
            )
        if thread.settable:
            set_thread_affinity(self.host, thread, str(cpu))
            self._fire_until_on(cpu)
            set_thread_affinity(self.host, thread, thread.cpus)
        else:
            with contextlib.ExitStack() as hogs:
                for other in sorted(everywhere - {cpu}):
                    hogs.enter_context(start_hog(self.host, str(other), policy="fifo", priority=40))
                self._fire_until_on(cpu)
        thread = read_thread(self.host, self._source.number)
        if (thread.cpu, parse_cpus(thread.cpus)) != (cpu, everywhere):
            raise NotReady(f"Thread {thread.name} did not get to CPU {cpu}.", why=f"it is on {thread.cpu}")
        self.set.append(f"thread on CPU {thread.cpu}, may run on {thread.cpus}")

    def _fire_until_on(self, cpu: int) -> None:
        def is_there() -> bool:
            self._source.fire(self.host, 2, (cpu,), 0)
            return read_thread(self.host, self._source.number).cpu == cpu

        wait_until(f"the thread to run on CPU {cpu}", is_there, timeout=_SETTLE_S)

    def _pin(self, step: Pin) -> None:
        thread = read_thread(self.host, self._source.number)
        expected = self.condition.expected(step, self.stage.line)
        try:
            set_thread_affinity(self.host, thread, step.cpus)
        except NotSupported as error:
            if thread.settable:
                raise NotReady(error.what, why=error.why) from error
            self.windows.append(WindowResult(step.name, Outcome.REFUSED, expected))
            return
        self._whole.callback(self._unpin, thread.cpus)
        found = read_thread(self.host, self._source.number)
        self.set.append(f"thread's own affinity {found.cpus}")
        outcome = Outcome.TAKEN if parse_cpus(found.cpus) == parse_cpus(step.cpus) else Outcome.REFUSED
        self.windows.append(WindowResult(step.name, outcome, expected))

    def _unpin(self, cpus: str) -> None:
        set_thread_affinity(self.host, read_thread(self.host, self._source.number), cpus)

    @contextlib.contextmanager
    def _start_load(self, load: Load) -> Iterator[Hog]:
        with start_hog(
            self.host, load.cpus, policy=load.policy, priority=load.priority, period_us=load.period_us
        ) as hog:
            yield hog
        self.loads.append(
            LoadResult(load.name, hog.spun_ns or 0, hog.moved, hog.woken, hog.late_us, load.policy == "fifo")
        )

    @contextlib.contextmanager
    def _count(self, context: contextlib.AbstractContextManager[Repeated]) -> Iterator[Repeated]:
        with context as repeated:
            yield repeated
        self.set.append(f"{repeated.what}: {repeated.times} times")

    def _record(self, window: Window) -> None:
        """Again, if the recording is invalid: what it recorded can be done again, and it is about that."""
        number = len(self.windows)
        path = self.stage.directory / f"{self.stage.line or 'kernel'}-{self.condition.name}-{number}.trace.gz"
        expected = self.condition.expected(window, self.stage.line)
        attempts = ATTEMPTS if _is_repeatable(window) else 1
        while True:
            with start_recording(survey_subject(self.host, [str(self._source.number)]), path):
                self._do_all(window.during)
            result = analyse_file(path).interrupts[0]
            outcome, attempts = find_outcome(result, expected.under if expected else ""), attempts - 1
            if outcome is not Outcome.INVALID or not attempts:
                break
        self.windows.append(WindowResult(window.name, outcome, expected, result, path.name))

    def _require_gone(self) -> None:
        """:raises NotReady: a load is still there"""
        script = (
            "for path in /proc/[0-9]*/comm; do read -r name <$path && "
            f'case $name in {HOG[:15]}) echo "${{path%/comm}}" ;; esac; done 2>/dev/null; true'
        )

        def is_gone() -> bool:
            return not self.host.run(["sh", "-c", script], timeout=60).text.split()

        wait_until(f"the end of {HOG}", is_gone, timeout=_SETTLE_S)


def _is_repeatable(window: Window) -> bool:
    return all(isinstance(step, (Fire, Mask)) for step in window.during)
