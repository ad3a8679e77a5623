# SPDX-License-Identifier: GPL-2.0-or-later
"""A history and its trends, for people and for programs."""

import shutil
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from switchover.record.units import format_count, format_value
from switchover.report.differences import CONFIDENCE
from switchover.report.history.store import Series
from switchover.report.history.trend import Change, RunLevel, Trend

SCHEMA_VERSION = 1
_ROWS_OF_PLOT = 12
UNCHANGED = "nothing in the fingerprint changed there"


def render_series(series: Sequence[Series], runs: int) -> str:
    """What is in a history: cases, and of how many runs there are numbers."""
    cases: dict[str, list[Series]] = {}
    for one in series:
        cases.setdefault(one.case, []).append(one)
    width = max((len(case) for case in cases), default=0)
    lines = [
        f"{case:<{width}}  {format_count(max(one.runs for one in numbers), 'run')}, "
        f"{format_count(len({one.metric for one in numbers}), 'number')}"
        for case, numbers in cases.items()
    ]
    return "\n".join([*lines, f"{format_count(len(cases), 'case')}, {format_count(runs, 'run')}"])


def render_trends(trends: Sequence[Trend]) -> str:
    """In full, with every run, and a plot of each that has several."""
    return "\n\n".join("\n".join(_render_trend(trend)) for trend in trends)


def _render_trend(trend: Trend) -> Iterator[str]:
    left_out = f"; {told}" if (told := describe_left_out(trend)) else ""
    yield f"{name_trend(trend)}: {format_count(len(trend.levels), 'run')}{left_out}"
    if len(trend.levels) > 1:
        yield _plot(trend)
    starts = {(change.at.started, change.at.run): change for change in trend.changes}
    for level in trend.levels:
        if change := starts.get((level.started, level.run)):
            yield from (f"  {line}" for line in render_change(change, trend))
        yield f"  {_render_level(level, trend.unit)}"
    if not trend.changes and len(trend.levels) > 1:
        yield "  no change of the level is seen"


def name_trend(trend: Trend) -> str:
    return f"{trend.case}{f', hop {trend.hop}' if trend.hop else ''}  {trend.metric}"


def describe_left_out(trend: Trend) -> str:
    """Empty: every run compares."""
    if not trend.left_out:
        return ""
    runs = format_count(trend.left_out, "run")
    return f"{runs} left out, of another machine, start, question or definition than the last"


def _render_level(level: RunLevel, unit: str) -> str:
    middle, low, high = (format_value(pick(level.values), unit) for pick in (statistics.median, min, max))
    spread = f" [{low} … {high}]" if low != high else ""
    return f"{level.started[:16]}  {len(level.values):>3} × {middle}{spread}  {describe_programs(level)}".rstrip()


def describe_programs(level: RunLevel) -> str:
    """What it was measured with, in few words."""
    return ", ".join(filter(None, [level.fingerprint.get("qemu", ""), level.fingerprint.get("commit", "")]))


def render_change(change: Change, trend: Trend) -> Iterator[str]:
    """Since when, how far, and what else is other since then."""
    yield f"── {describe_change(change, trend)}"
    for key, (old, new) in change.changed.items():
        yield f"   {key}: {old or '(none)'} → {new or '(none)'}"
    if not change.changed:
        yield f"   {UNCHANGED}"


def describe_change(change: Change, trend: Trend) -> str:
    """Since when, and how far."""
    before, after = (format_value(value, trend.unit) for value in (change.before, change.after))
    factor = f" ({change.factor:.3g} times)" if change.factor is not None else ""
    low, high = change.difference.low, change.difference.high
    interval = ""
    if low is not None and high is not None:
        edges = sorted(abs(edge) for edge in (low, high))
        shown = " … ".join(format_value(edge, trend.unit) for edge in edges)
        interval = f", by {shown} with {CONFIDENCE:.0%} confidence"
    return f"{_judge(change, trend)} since {change.at.started[:16]}: {before} → {after}{factor}{interval}"


def _judge(change: Change, trend: Trend) -> str:
    if trend.direction == "neither":
        return "changed"
    return "worse" if (change.after > change.before) == (trend.direction == "lower") else "better"


def render_changes(trends: Sequence[Trend]) -> str:
    """The numbers whose level changed, what moved farthest first; the last change of each."""
    changed = sorted((trend for trend in trends if trend.changes), key=_how_far, reverse=True)
    lines = []
    for trend in changed:
        lines += [name_trend(trend), *(f"  {line}" for line in render_change(trend.changes[-1], trend))]
    counted = format_count(len(trends), "number")
    return "\n".join([*lines, f"{len(changed)} of {counted} changed" if changed else f"none of {counted} changed"])


def _how_far(trend: Trend) -> float:
    factor = trend.changes[-1].factor
    return max(factor, 1 / factor) if factor else float("inf")


def _plot(trend: Trend) -> str:
    import plotext  # type: ignore[import-untyped]

    figure = plotext.figure
    figure.clear()
    figure.plot_size(min(shutil.get_terminal_size().columns, 100), _ROWS_OF_PLOT)
    numbers = list(range(1, len(trend.levels) + 1))
    figure.draw(figure.signal(numbers, [level.median for level in trend.levels], marker="x"))
    lines = str(plotext.uncolorize(str(figure.build()))).splitlines()
    return "\n".join(line.rstrip() for line in lines if line.strip())


def list_trends(trends: Sequence[Trend]) -> dict[str, Any]:
    """For programs."""
    return {"schema_version": SCHEMA_VERSION, "trends": [asdict(trend) for trend in trends]}
