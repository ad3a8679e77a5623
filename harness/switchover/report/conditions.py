# SPDX-License-Identifier: GPL-2.0-or-later
"""Conditions of IRQ threads as people read them in a terminal, a comparison of two kernels, and JSON."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from switchover.irq.conditions import CONDITIONS
from switchover.irq.expectation import Agreement, ConditionResult, LoadResult, WindowResult, describe_window
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


def render_comparison(before: Sequence[ConditionResult], after: Sequence[ConditionResult]) -> str:
    """Two kernels side by side: the local part and the latencies of each window, and what became of other tasks."""
    others = {result.name: result for result in after}
    lines = []
    if before and after:
        lines.append(f"A: {before[0].kernel}; B: {after[0].kernel}")
    groups: dict[str, list[str]] = {}
    for first in before:
        second = others.get(first.name)
        if second is None or not first.windows or not second.windows:
            continue
        effect = find_effect(first, second)
        groups.setdefault(effect, []).extend(_compare_condition(first, second))
    for effect in EFFECTS:
        if effect in groups:
            lines += ["", f"{effect}:", *groups[effect]]
    return "\n".join(lines)


HELPS, WORSE, SAME, CANNOT = (
    "B is local more often",
    "B is local less often",
    "B makes no difference",
    "B cannot make a difference: the thread may run on one CPU only",
)
EFFECTS = (HELPS, WORSE, SAME, CANNOT)


def find_effect(first: ConditionResult, second: ConditionResult) -> str:
    """By the local parts of the windows that both have."""
    differences = [
        b.result.local_part - a.result.local_part
        for a, b in _pair(first, second)
        if a.result and b.result and a.result.local_part is not None and b.result.local_part is not None
    ]
    if any(difference > 0 for difference in differences):
        return HELPS
    if any(difference < 0 for difference in differences):
        return WORSE
    threads = [thread for one in first.windows if one.result for thread in one.result.threads_before]
    return CANNOT if threads and all(thread.cpus.isdigit() for thread in threads) else SAME


def _pair(first: ConditionResult, second: ConditionResult) -> list[tuple[WindowResult, WindowResult]]:
    others = {window.name: window for window in second.windows}
    return [(window, others[window.name]) for window in first.windows if window.name in others]


def _compare_condition(first: ConditionResult, second: ConditionResult) -> list[str]:
    lines = [f"  {first.name}: {first.title}"]
    for a, b in _pair(first, second):
        if a.result and b.result:
            parts = f"local {render_part(a.result.total)} → {render_part(b.result.total)}"
            lines.append(f"    {a.name}: {parts}")
            lines += [
                f"      {mark} {describe_window(one)}; latency {render_latencies(one.result.total)}"
                for mark, one in (("A", a), ("B", b))
                if one.result
            ]
    for a_load, b_load in zip(first.loads, second.loads, strict=False):
        lines += [f"      {mark} {render_load(load)}" for mark, load in (("A", a_load), ("B", b_load))]
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
        }
    return fields
