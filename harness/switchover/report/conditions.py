# SPDX-License-Identifier: GPL-2.0-or-later
"""Conditions of IRQ threads as people read them in a terminal, a comparison of two kernels, and JSON."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass

from switchover.irq.analysis import InterruptResult
from switchover.irq.conditions import CONDITIONS
from switchover.irq.expectation import (
    Agreement,
    ConditionResult,
    LoadResult,
    Outcome,
    WindowResult,
    describe_window,
    find_outcome,
)
from switchover.record.units import format_seconds
from switchover.report.irq import render_latencies, render_part

JSON_VERSION = 1


def render_catalogue() -> str:
    """Name, row and title of each condition, and what is expected of it."""
    lines = []
    for one in CONDITIONS:
        row = f"row {one.row}" if one.row.isdigit() else ""
        lines += [f"{one.name:<26} {row:<7} {one.title}  ({one.boot})"]
    return "\n".join(lines)


def render_condition(result: ConditionResult) -> str:
    """In four lines at most: verdict, windows, what was set, why."""
    row = f", row {result.row}" if result.row.isdigit() else ""
    lines = [f"{result.agreement}: {result.name}{row}: {result.title}"]
    if result.windows:
        lines.append("  " + "; ".join(f"{one.name}: {_render_window(one)}" for one in result.windows))
    set_to = [*result.set, *(render_load(load) for load in result.loads)]
    if set_to:
        lines.append(f"  set: {'; '.join(set_to)}")
    why = result.because if result.agreement is Agreement.AS_EXPECTED else result.reason
    return "\n".join([*lines, f"  why: {why}"])


def _render_window(window: WindowResult) -> str:
    text = describe_window(window)
    return text if window.agrees else f"{text} (NOT {window.expected})"


def render_load(load: LoadResult) -> str:
    text = f"{load.name} ran {format_seconds(load.spun_ns / 1e9)}"
    if load.moved or load.woken:
        text += f", moved {load.moved} times"
    return text + (
        f", woken {load.woken} times, at most {format_seconds(load.late_us / 1e6)} late" if load.woken else ""
    )


def render_sum(results: Sequence[ConditionResult]) -> str:
    """One line for all conditions of a kernel."""
    counts = Counter(result.agreement for result in results)
    told = ", ".join(f"{counts[kind]} {kind}" for kind in Agreement if counts[kind])
    return f"{len(results)} conditions under {results[0].kernel}: {told}" if results else "no condition was run"


HELPS, WORSE, DOES_NOT_HELP, SAME, CANNOT = (
    "B is local more often",
    "B is local less often",
    "B does not help: the thread may run on several CPUs, and is remote with both",
    "B makes no difference: local with both",
    "B cannot make a difference: the thread may run on one CPU only",
)
EFFECTS = (HELPS, WORSE, DOES_NOT_HELP, SAME, CANNOT)


@dataclass(frozen=True)
class HostPair:
    """A window under two kernels, and what it belongs to."""

    condition: ConditionResult
    a: InterruptResult
    b: InterruptResult
    name: str

    @property
    def effect(self) -> str:
        parts = (self.a.local_part, self.b.local_part)
        threads = [thread for one in (self.a, self.b) for thread in one.threads_before]
        if None in parts or (threads and all(thread.cpus.isdigit() for thread in threads)):
            return CANNOT
        before, after = parts
        assert before is not None
        assert after is not None
        if before != after:
            return HELPS if after > before else WORSE
        return SAME if before == 1 else DOES_NOT_HELP

    def name_among(self, several: Collection[str]) -> str:
        """With the window only where the condition has others that are told otherwise."""
        return f"{self.condition.name}, {self.name}" if self.condition.name in several else self.condition.name

    def render(self) -> list[str]:
        return [
            f"  {self.condition.name}, {self.name}: local {render_part(self.a.total)} → {render_part(self.b.total)}",
            f"    latency A {render_latencies(self.a.total)}",
            f"            B {render_latencies(self.b.total)}",
        ]


def render_comparison(before: Sequence[ConditionResult], after: Sequence[ConditionResult]) -> str:
    """Two kernels side by side: windows by what the second changes, with latencies; what becomes of the loads' own
    real-time tasks; and the longest latencies.
    """
    if not before or not after:
        return "there is nothing to compare"
    pairs = list(_pair_windows(before, after))
    lines = [f"A: {before[0].kernel}; B: {after[0].kernel}"]
    for effect in EFFECTS:
        mine = [pair for pair in pairs if pair.effect == effect]
        if mine:
            lines += ["", f"{effect}:"]
        if effect is CANNOT:
            elsewhere = {pair.condition.name for pair in pairs if pair.effect != CANNOT}
            lines += [f"  {name}" for name in dict.fromkeys(pair.name_among(elsewhere) for pair in mine)]
        else:
            lines += [line for pair in mine for line in pair.render()]
    return "\n".join([*lines, *_compare_tasks(before, after), *_compare_longest(pairs)])


def _pair_windows(before: Sequence[ConditionResult], after: Sequence[ConditionResult]) -> Iterator[HostPair]:
    """Windows that were recorded under both."""
    others = {(result.name, window.name): window.result for result in after for window in result.windows}
    for result in before:
        for window in result.windows:
            other = others.get((result.name, window.name))
            if window.result and other and Outcome.INVALID not in (find_outcome(window.result), find_outcome(other)):
                yield HostPair(result, window.result, other, window.name)


def _compare_tasks(before: Sequence[ConditionResult], after: Sequence[ConditionResult]) -> list[str]:
    """Real-time tasks that the IRQ thread may push to other CPUs, or keep waiting."""
    others = {result.name: result.loads for result in after}
    lines = []
    for result in before:
        for a, b in zip(result.loads, others.get(result.name, ()), strict=False):
            if a.realtime and (a.woken or a.moved or b.moved):
                lines.append(f"  {result.name}: {a.name}: moved {a.moved} → {b.moved} times{_compare_late(a, b)}")
    return ["", "Other real-time tasks:", *lines] if lines else []


def _compare_late(a: LoadResult, b: LoadResult) -> str:
    if not a.woken:
        return ""
    late = " → ".join(format_seconds(load.late_us / 1e6) for load in (a, b))
    return f", at most {late} late (woken {a.woken} → {b.woken} times)"


def _compare_longest(pairs: Sequence[HostPair]) -> list[str]:
    """Of windows in which the second kernel could make a difference."""
    lines = ["", "Longest latency of an IRQ thread that may run on several CPUs:"]
    for mark in ("a", "b"):
        found = [
            (longest, f"{pair.condition.name}, {pair.name}")
            for pair in pairs
            if pair.effect != CANNOT and (longest := getattr(pair, mark).total.all_latencies.maximum) is not None
        ]
        if not found:
            return []
        longest, where = max(found)
        lines.append(f"  {mark.upper()} {format_seconds(longest / 1e6)} ({where})")
    return lines


def render_conditions_json(results: Sequence[ConditionResult]) -> dict[str, object]:
    """All of it for programs; latencies in µs."""
    return {"version": JSON_VERSION, "conditions": [_condition_json(result) for result in results]}


def _condition_json(result: ConditionResult) -> dict[str, object]:
    return {
        "name": result.name,
        "row": result.row,
        "title": result.title,
        "boot": result.boot,
        "kernel": result.kernel,
        "line": result.line,
        "agreement": result.agreement,
        "reason": result.reason,
        "because": result.because,
        "set": list(result.set),
        "loads": [asdict(load) for load in result.loads],
        "seconds": result.seconds,
        "windows": [_window_json(window) for window in result.windows],
    }


def _window_json(window: WindowResult) -> dict[str, object]:
    fields: dict[str, object] = {
        "name": window.name,
        "outcome": window.outcome,
        "expected": list(window.expected.outcomes) if window.expected else None,
        "agrees": window.agrees,
        "recording": window.recording or None,
    }
    if window.result:
        latencies = window.result.total.all_latencies
        fields |= {
            "ran": window.ran,
            "local": window.local,
            "classes": {str(kind): count for kind, count in window.result.total.classes.items()},
            "latency_us": {
                "p50": latencies.quantile(0.5),
                "p99": latencies.quantile(0.99),
                "max": latencies.maximum,
            },
            "thread_migrations": window.result.tally.migrations,
            "gaps": dict(window.gaps),
            "odd": dict(window.odd),
        }
    return fields
