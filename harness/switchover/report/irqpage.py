# SPDX-License-Identifier: GPL-2.0-or-later
"""A recording of interrupts as one HTML page that needs nothing else: heat maps and histograms are SVG in it."""

from html import escape

from switchover.irq.activations import RAN, Class, Counts
from switchover.irq.analysis import Analysis, InterruptResult, Placement
from switchover.record.units import format_seconds
from switchover.report.irq import (
    render_check,
    render_classes,
    render_latencies,
    render_masks,
    render_odd,
    render_part,
)

_CELL = 44
_MARGIN = 70
_COLUMN = 26
_HEIGHT = 120
_COLOURS = {Class.LOCAL: "#2b7a4b", Class.PLACED_REMOTE: "#c9622b", Class.MOVED: "#8a4bb0"}
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2.5rem; }
.verdict { border-left: .4rem solid #888; padding: .3rem .8rem; }
.local { border-color: #2b7a4b; } .invalid { border-color: #b3261e; }
.remote, .mixed, .starved { border-color: #c9622b; }
.pictures { display: flex; flex-wrap: wrap; gap: 2rem; align-items: end; }
dl { display: grid; grid-template-columns: max-content auto; gap: .1rem 1rem; } dt { opacity: .7; } dd { margin: 0; }
table { border-collapse: collapse; } td, th { padding: .15rem .8rem .15rem 0; text-align: left; }
svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
"""


def render_page(analysis: Analysis) -> str:
    """The whole page."""
    start = analysis.start
    fired = [result for result in analysis.interrupts if result.fired]
    quiet = [f"{result.number} ({result.name})" for result in analysis.interrupts if not result.fired]
    window = f"{analysis.seconds:.1f} s" if analysis.seconds is not None else "no whole window"
    host = start.host or "an unknown machine"
    tracing = f"clock {start.clock}, buffers of {start.buffer_kib} KiB for each CPU"
    if analysis.foreign:
        tracing = f"text of {analysis.foreign}, made by others"
    parts = [
        f"<h1>IRQ threads of {escape(host)}</h1>",
        _render_verdict(analysis.verdict, analysis.reason),
        *(f'<p class="verdict invalid">{escape(problem)}</p>' for problem in analysis.problems),
        _render_list(
            {
                "recorded": f"{start.started or 'at an unknown time'}, {window}, {analysis.reading.events:,} events",
                "kernel": start.before.kernel or "unknown",
                "command line": start.before.cmdline,
                "tracing": tracing,
                "file": analysis.name,
            }
        ),
        *(f"<p>{escape(note)}</p>" for note in analysis.notes),
        _render_overview(fired),
        *(_render_interrupt(result) for result in fired),
        f"<p>Did not fire in the window: {escape(', '.join(quiet))}.</p>" if quiet else "",
    ]
    title = escape(f"IRQ threads of {host}: {analysis.verdict}")
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n" + "\n".join(filter(None, parts)) + "\n</body>\n</html>\n"
    )


def _render_verdict(verdict: Placement, reason: str) -> str:
    return f'<p class="verdict {escape(verdict.split()[0])}"><b>{escape(verdict)}</b>: {escape(reason)}</p>'


def _render_list(values: dict[str, str]) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in values.items() if value)
    return f"<dl>{rows}</dl>"


def _render_overview(results: list[InterruptResult]) -> str:
    rows = "".join(
        f'<tr><td><a href="#irq{result.number}">{result.number}</a></td><td>{escape(result.name)}</td>'
        f"<td>{render_part(result.total)}</td><td>{result.total.ran}</td><td>{escape(result.verdict)}</td></tr>"
        for result in results
    )
    head = "<tr><th>interrupt</th><th>name</th><th>local</th><th>activations</th><th>verdict</th></tr>"
    return f"<table>{head}{rows}</table>" if rows else ""


def _render_interrupt(result: InterruptResult) -> str:
    total = result.total
    values = {
        "masks": render_masks(result),
        "local": f"{render_part(total)}: {render_classes(total)}",
        "latency": render_latencies(total),
        "thread": f"{result.tally.other_wakeups} other wake-ups, {result.tally.migrations} migrations",
    }
    if len(result.tally.by_mask) > 1:
        for mask, counts in result.tally.by_mask.items():
            values[f"mask {mask or '?'}"] = f"{render_part(counts)}: {render_classes(counts)}"
    if odd := render_odd(result):
        values["found"] = odd
    for check in result.checks:
        values[f"check: {check.what}"] = render_check(check)
    pictures = f'<div class="pictures">{render_heat_map(total)}{render_histogram(total)}</div>' if total.ran else ""
    title = f'<h2 id="irq{result.number}">Interrupt {result.number}, {escape(result.name)}</h2>'
    return title + _render_verdict(result.verdict, result.reason) + pictures + _render_list(values)


def render_heat_map(counts: Counts) -> str:
    """Rows: CPU of the hard handler, columns: CPU of the thread. What is on the diagonal is local, and framed."""
    cpus = sorted({cpu for pair in counts.matrix for cpu in pair})
    most = max(counts.matrix.values(), default=1)
    size = _CELL * len(cpus)
    shapes = []
    for row, hard in enumerate(cpus):
        y = 30 + row * _CELL
        shapes.append(f'<text x="{_MARGIN - 8}" y="{y + 27}" text-anchor="end">hard {hard}</text>')
        shapes.append(
            f'<text x="{_MARGIN + row * _CELL + _CELL / 2:g}" y="22" text-anchor="middle">CPU{cpus[row]}</text>'
        )
        for column, cpu in enumerate(cpus):
            count = counts.matrix[hard, cpu]
            x = _MARGIN + column * _CELL
            colour = _COLOURS[Class.LOCAL] if hard == cpu else _COLOURS[Class.PLACED_REMOTE]
            depth = 0.15 + 0.85 * count / most if count else 0
            frame = 2 if hard == cpu else 0.5
            shapes.append(
                f'<rect x="{x}" y="{y}" width="{_CELL - 2}" height="{_CELL - 2}" fill="{colour}" '
                f'fill-opacity="{depth:.2f}" stroke="currentColor" stroke-width="{frame}">'
                f"<title>hard handler on CPU {hard}, thread on CPU {cpu}: {count}</title></rect>"
            )
            if count:
                shapes.append(f'<text x="{x + _CELL / 2 - 1:g}" y="{y + 27}" text-anchor="middle">{count}</text>')
    caption = f'<text x="{_MARGIN}" y="{size + 48}">thread ran on</text>'
    return _picture(_MARGIN + max(size, 90), size + 56, "hard CPU and thread CPU", "".join(shapes) + caption)


def render_histogram(counts: Counts) -> str:
    """Latency from wake-up to run: a column for each doubling, one colour for each class."""
    by_class = {kind: counts.latency[kind] for kind in RAN if counts.latency[kind].count}
    octaves = {kind: latencies.octaves() for kind, latencies in by_class.items()}
    keys = [key for found in octaves.values() for key in found]
    if not keys:
        return ""
    first, last = min(keys), max(keys)
    heights = [sum(found.get(key, 0) for found in octaves.values()) for key in range(first, last + 1)]
    shapes = []
    for column, key in enumerate(range(first, last + 1)):
        x, y = 10 + column * _COLUMN, 30.0 + _HEIGHT
        for kind, found in octaves.items():
            count = found.get(key, 0)
            height = _HEIGHT * count / max(heights)
            y -= height
            if count:
                low, high = (format_seconds(2**power / 1e6) for power in (key, key + 1))
                shapes.append(
                    f'<rect x="{x}" y="{y:.1f}" width="{_COLUMN - 3}" height="{height:.1f}" fill="{_COLOURS[kind]}">'
                    f"<title>{low} to {high}, {kind}: {count}</title></rect>"
                )
        if column % 3 == 0:
            shapes.append(f'<text x="{x}" y="{_HEIGHT + 46}">{format_seconds(2**key / 1e6)}</text>')
    legend = "".join(
        f'<text x="{10 + number * 150}" y="{_HEIGHT + 64}" style="fill:{_COLOURS[kind]}">{escape(kind)}</text>'
        for number, kind in enumerate(by_class)
    )
    width = max(20 + _COLUMN * (last - first + 1) + 40, 160 * len(by_class))
    caption = f'<text x="10" y="20">wake-up to run, {sum(heights)} activations</text>'
    return _picture(width, _HEIGHT + 72, "latency", "".join(shapes) + legend + caption)


def _picture(width: int, height: int, label: str, shapes: str) -> str:
    return (
        f'<svg role="img" aria-label="{escape(label)}" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">{shapes}</svg>'
    )
