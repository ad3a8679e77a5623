# SPDX-License-Identifier: GPL-2.0-or-later
"""Where IRQ threads of a guest run across its migration: masks and placement on the source, through it, and after it.

Through the migration nobody reads the trace: it stays in the guest's memory, and comes along. The load runs on, too.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from switchover.hosts.host import Host
from switchover.hosts.migrating_guest import MigratingGuest
from switchover.hosts.waiting import wait_until
from switchover.irq.activations import Class, Counts
from switchover.irq.analysis import Analysis, InterruptResult, analyse_file
from switchover.irq.expectation import Expected, Outcome, WindowResult, describe_window, expect, find_outcome
from switchover.irq.forbidden import find_forbidden
from switchover.irq.loads import DetachedHog, Policy, start_detached_hog
from switchover.irq.placement import set_mask
from switchover.irq.recorder import OpenRecording, Window, open_window, start_recording, survey_subject
from switchover.irq.state import parse_cpus, read_state, render_cpus
from switchover.irq.tracing import EVENT_BYTES
from switchover.record.checks import CheckId
from switchover.record.measurement import Check, Findings, Measurement, check_equal, make_check
from switchover.record.units import Direction, Unit

LOADS: Mapping[str, tuple[Policy, int]] = {"fair": ("other", 0), "fifo-40": ("fifo", 40), "fifo-60": ("fifo", 60)}
"""Tasks that spin, pinned on the CPU of the first interrupt."""
THREAD_PRIORITY = 50
PLACES = ("source", "through", "destination")
"""Windows: before the migration, from before to after it, after it."""
_EFFECT_S = 30.0
_THROUGH_S = 120
"""The longest migration for which there is room in the buffer."""
_CHANGES = 2


@dataclass
class Across:
    """Under way; made by :func:`start_across`, and once to be finished."""

    guest: MigratingGuest
    numbers: tuple[int, ...]
    directory: Path
    seconds: float
    load: str
    _window: Window
    _hog: DetachedHog | None
    _spun: list[int] = field(default_factory=list)
    load_cpu: int = 0
    spread: bool = True
    forbidden: frozenset[int] = frozenset()

    def finish(self, now: Host) -> Findings:
        """The migration has completed: look at the guest where it is ``now``."""
        self.guest.now = now
        self._note_load()
        reading = self._window.start_reading()
        try:
            reading.close_window()
        finally:
            reading.stop()
        with self._record("destination") as recording:
            recording.wait(self.seconds)
        self._note_load()
        if self._hog:
            self._hog.end()
        found = {place: analyse_file(self._path(place)) for place in PLACES}
        return Findings(
            (
                *compare_sides(found["source"], found["destination"]),
                *self._judge(found),
                *check_forbidden(found, self.forbidden),
                *self.check_load(),
                *(self._check_changes() if self.spread else ()),
            ),
            tuple(measure_places(found)),
        )

    def _path(self, place: str) -> Path:
        return self.directory / f"irq-{place}.trace.gz"

    @contextlib.contextmanager
    def _record(self, place: str) -> Iterator[OpenRecording]:
        subject = survey_subject(self.guest, [str(number) for number in self.numbers])
        with start_recording(subject, self._path(place), window_s=self.seconds) as recording:
            yield recording

    def _note_load(self) -> None:
        if self._hog:
            self._spun.append(self._hog.read_spun_ns())

    def check_load(self) -> Iterator[Check]:
        """By its CPU time at the begin, when the guest had arrived, and at the end."""
        if not self._hog:
            return
        first, *rest = self._spun
        told = ", ".join(f"{spun / 1e9:.2f} s" for spun in self._spun)
        passed = first > 0 and all(new > old for old, new in zip(self._spun, rest, strict=False))
        yield make_check(CheckId.IRQ_LOAD, passed, "more CPU time each time", told)

    def _judge(self, found: Mapping[str, Analysis]) -> Iterator[Check]:
        for place, analysis in found.items():
            for result in analysis.interrupts:
                expected = self.expect(parse_cpus(result.before.effective) if result.before else frozenset())
                claim = f"IRQ thread of interrupt {result.number} runs as expected, {_WHERE[place]}"
                yield judge_window(CheckId.IRQ_THREAD, claim, place, result, expected)
        for result in found["destination"].interrupts:
            cpus = {cpu for cpu, count in result.tally.handlers.items() if count}
            effective = parse_cpus(result.before.effective) if result.before else frozenset()
            yield make_check(
                CheckId.IRQ_ARRIVES,
                bool(cpus) and cpus <= effective,
                str(sorted(effective)),
                str(sorted(cpus)),
                name_interrupt("destination", result),
                claim=f"interrupt {result.number} arrives on its effective CPU on the destination",
            )

    def expect(self, effective: frozenset[int]) -> Expected:
        """By what decides it: the ``effective`` CPU is the one that the thread is allowed, so it runs there as soon as
        priorities let it. One that was woken before the window and waits is not woken again.
        """
        policy, priority = LOADS.get(self.load, ("other", 0))
        if effective == {self.load_cpu} and policy == "fifo" and priority >= THREAD_PRIORITY:
            return expect(Outcome.STARVED, Outcome.NOTHING)
        return expect(Outcome.LOCAL)

    def _check_changes(self) -> Iterator[Check]:
        """After the load has ended: a mask that changes takes effect as it does in a guest that never migrated."""
        number, cpus = self.numbers[0], sorted(parse_cpus(read_state(self.guest).online))
        if len(cpus) < 2:
            return
        with self._record("changes"):
            for cpu in (cpus[1], cpus[0]):
                _bring_into_effect(self.guest, {number: cpu})
        (result, *_) = analyse_file(self._path("changes")).interrupts
        claim = f"interrupt {number} follows {_CHANGES} changes of its mask on the destination"
        yield judge_window(CheckId.IRQ_MASK_CHANGES, claim, "destination", result, expect_changes(result))


def check_forbidden(found: Mapping[str, Analysis], cpus: frozenset[int]) -> Iterator[Check]:
    """Of each interrupt in each window; nothing if no CPUs are forbidden."""
    for place, analysis in found.items() if cpus else ():
        for one, result in zip(find_forbidden(analysis, cpus).interrupts, analysis.interrupts, strict=True):
            where = sorted({*one.handlers, *one.runs})
            yield make_check(
                CheckId.IRQ_FORBIDDEN_CPUS,
                result.fired and not where,
                f"not on {render_cpus(cpus)}",
                f"on {render_cpus(where)}" if where else "not there" if result.fired else "it did not fire",
                name_interrupt(place, result),
                claim=f"interrupt {one.irq} and its thread keep off CPUs {render_cpus(cpus)}, {_WHERE[place]}",
            )


def expect_changes(result: InterruptResult) -> Expected:
    """One remote activation for each change, and no other. If several hard handlers came before the thread ran, as in a
    busy guest, the last may be on the new CPU, and then the activation that brings the change is local.
    """
    if result.total.classes[Class.COALESCED]:
        return expect(Outcome.FOLLOWED, Outcome.LOCAL)
    return expect(Outcome.FOLLOWED, remote=_CHANGES)


_WHERE = {"source": "on the source", "through": "through the migration", "destination": "on the destination"}


def name_interrupt(place: str, result: InterruptResult) -> str:
    """The subject of a check that is about an interrupt in a window."""
    return f"{place} interrupt {result.number}"


def judge_window(of: CheckId, claim: str, place: str, result: InterruptResult, expected: Expected) -> Check:
    window = WindowResult(claim, find_outcome(result), expected, result)
    why = f" ({result.reason})" if window.outcome is Outcome.INVALID else ""
    observed = f"{describe_window(window)}{why}"
    return make_check(of, window.agrees, str(expected), observed, name_interrupt(place, result), claim=claim)


def compare_sides(source: Analysis, destination: Analysis) -> Iterator[Check]:
    """Before and after, as the guest's kernel tells it."""
    before, after = source.interrupts, destination.interrupts
    for which, tell in (
        (CheckId.IRQ_AFFINITY, lambda one: one.before and one.before.asked),
        (CheckId.IRQ_EFFECTIVE_AFFINITY, lambda one: one.before and one.before.effective),
        (
            CheckId.IRQ_THREAD_SCHEDULING,
            lambda one: "; ".join(f"{t.policy} {t.priority} on {t.cpus}" for t in one.threads_before),
        ),
    ):
        old, new = (", ".join(f"{one.number}: {tell(one)}" for one in results) for results in (before, after))
        yield check_equal(which, old, new)


def measure_places(found: Mapping[str, Analysis | None]) -> Iterator[Measurement]:
    """Of each window; None: of one that there is not."""
    for place, analysis in found.items():
        counts, note = (analysis.total, _find_gap(analysis)) if analysis else (Counts(), "there is no recording")
        latency = counts.all_latencies
        source = f"trace of the guest's kernel, {_WHERE[place]} (irq-{place}.trace.gz)"
        rows = (
            (
                f"irq.local.{place}",
                100 * counts.local / counts.ran if counts.ran else None,
                Unit.PERCENT,
                Direction.HIGHER,
                "activations of IRQ threads that ran on the CPU of their hard handler",
            ),
            (
                f"irq.p99.{place}",
                _seconds(latency.quantile(0.99)),
                Unit.SECONDS,
                Direction.LOWER,
                "from the wake-up of an IRQ thread to its run, by the guest's clock; 99 of 100 are not above",
            ),
            (
                f"irq.longest.{place}",
                _seconds(latency.maximum),
                Unit.SECONDS,
                Direction.LOWER,
                "the longest from the wake-up of an IRQ thread to its run, by the guest's clock",
            ),
        )
        for name, value, unit, direction, definition in rows:
            yield Measurement(name, None if note else value, unit, direction, definition, source, note=note)


def _find_gap(analysis: Analysis) -> str:
    """Why a recording has no numbers; empty if it has."""
    if analysis.total.ran and not analysis.problems:
        return ""
    return "; ".join(analysis.problems) or "; ".join(one.reason for one in analysis.interrupts)


def _seconds(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / 1e6


def _bring_into_effect(host: Host, masks: Mapping[int, int]) -> None:
    """:raises Deadline: no interrupt comes that would bring a mask into effect"""
    for number, cpu in masks.items():
        set_mask(host, number, str(cpu))

    def all_effective() -> bool:
        return all(
            host.read_file(f"/proc/irq/{number}/effective_affinity_list").decode().strip() == str(cpu)
            for number, cpu in masks.items()
        )

    wait_until(
        f"interrupts {', '.join(map(str, masks))} to fire on the CPUs asked for", all_effective, timeout=_EFFECT_S
    )


@contextlib.contextmanager
def start_across(
    host: Host,
    numbers: Sequence[int],
    directory: Path,
    *,
    seconds: float,
    load: str = "",
    spread: bool = True,
    forbidden: frozenset[int] = frozenset(),
) -> Iterator[Across]:
    """Interrupts that fire at a rate: measured on the source, and traced from then on. ``load``: of :data:`LOADS`;
    empty or another word: none. ``spread``: each is given a CPU of its own first, as far as there are any; else they
    are where the guest's kernel has put them. ``forbidden``: CPUs where they and their threads may not be.

    :raises NotSupported: the guest cannot be traced, or has no such load; :raises Deadline: an interrupt does not fire
    """
    guest = MigratingGuest(host)
    cpus = sorted(parse_cpus(read_state(guest).online))
    if spread:
        _bring_into_effect(guest, {number: cpus[place % len(cpus)] for place, number in enumerate(numbers)})
        load_cpu = cpus[0]
    else:
        first = read_state(guest).find_interrupt(numbers[0])
        load_cpu = min(parse_cpus(first.effective), default=cpus[0]) if first else cpus[0]
    with contextlib.ExitStack() as stack:
        hog = None
        if load in LOADS:
            policy, priority = LOADS[load]
            hog = stack.enter_context(start_detached_hog(guest, str(load_cpu), policy=policy, priority=priority))
        words = [str(number) for number in numbers]
        path = directory / f"irq-{PLACES[0]}.trace.gz"
        with start_recording(survey_subject(guest, words), path, window_s=seconds) as recording:
            recording.wait(seconds)
        subject = survey_subject(guest, words)
        room = int(max(subject.rate, 100) * _THROUGH_S * 6 * EVENT_BYTES / 1024)
        buffer_kib = min(room, subject.largest_buffer_kib)
        window = stack.enter_context(
            open_window(subject, directory / f"irq-{PLACES[1]}.trace.gz", buffer_kib=buffer_kib)
        )
        across = Across(
            guest,
            tuple(numbers),
            directory,
            seconds,
            load,
            window,
            hog,
            load_cpu=load_cpu,
            spread=spread,
            forbidden=forbidden,
        )
        across._note_load()
        yield across
