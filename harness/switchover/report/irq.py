# SPDX-License-Identifier: GPL-2.0-or-later
"""A recording of interrupts as people read it in a terminal, and as JSON."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from switchover.irq.activations import RAN, REMOTE, Class, Counts
from switchover.irq.analysis import Analysis, InterruptResult
from switchover.irq.crosschecks import CrossCheck
from switchover.irq.forbidden import Forbidden
from switchover.irq.latency import Latencies
from switchover.irq.state import IrqThread, render_cpus
from switchover.record.units import format_seconds

_BAR = 20
_NOT_RUN = tuple(kind for kind in Class if kind not in RAN)
JSON_VERSION = 1


def render_analysis(analysis: Analysis) -> str:
    """Verdict, what speaks against it, and each interrupt that fired."""
    lines = [
        *_render_origin(analysis),
        f"verdict: {analysis.verdict}: {analysis.reason}",
        *(f"invalid: {problem}" for problem in analysis.problems),
        *(f"note: {note}" for note in analysis.notes),
    ]
    quiet = [result for result in analysis.interrupts if not result.fired]
    for result in analysis.interrupts:
        if result not in quiet:
            lines += ["", *_render_interrupt(result)]
    if quiet:
        names = ", ".join(f"{result.number} ({result.name})" for result in quiet)
        lines += ["", f"did not fire in the window: {names}"]
    return "\n".join(lines)


def _render_origin(analysis: Analysis) -> list[str]:
    """Where it was recorded, and how."""
    start = analysis.start
    window = f"{analysis.seconds:.1f} s" if analysis.seconds is not None else "no whole window"
    if analysis.foreign:
        host = f"text of {analysis.foreign}, host, kernel and clock unknown"
        return [f"{analysis.name}: {host}", f"{window}, {analysis.reading.events:,} events"]
    kernel = start.before.kernel.split()[0] if start.before.kernel else "unknown"
    return [
        f"{analysis.name}: {start.host}, kernel {kernel}, {start.started}",
        f"{window}, clock {start.clock}, {analysis.reading.events:,} events, buffers of {start.buffer_kib} KiB",
    ]


def _render_interrupt(result: InterruptResult) -> list[str]:
    total = result.total
    lines = [
        f"interrupt {result.number}, {result.name}: {result.verdict}: {result.reason}",
        f"  {render_masks(result)}",
        f"  local    {render_part(total):>8}  {render_bar(result.local_part)}  {render_classes(total)}",
        f"  latency  {render_latencies(total)}",
    ]
    if len(result.tally.by_mask) > 1:
        lines += [
            f"  mask {mask or '?':<8} {render_part(counts):>8}  {render_classes(counts)}"
            for mask, counts in result.tally.by_mask.items()
        ]
    if odd := render_odd(result):
        lines.append(f"  found    {odd}")
    lines += [f"  {line}" for line in render_matrix(total.matrix)]
    others = f"{result.tally.other_wakeups} other wake-ups, {result.tally.migrations} migrations of the thread"
    return [*lines, f"  {others}", *(f"  check    {check.what}: {render_check(check)}" for check in result.checks)]


def render_forbidden(forbidden: Forbidden) -> str:
    """Who was on forbidden CPUs, and who may go there."""
    cpus = render_cpus(forbidden.cpus)
    lines = [f"forbidden CPUs {cpus}: {'used' if forbidden.trespassers else 'no traced interrupt was there'}"]
    for one in forbidden.interrupts:
        name = f"  interrupt {one.irq}, {one.name}"
        did = [f"{count} hard handlers on CPU {cpu}" for cpu, count in one.handlers.items()]
        did += [f"its thread came to run {count} times on CPU {cpu}" for cpu, count in one.runs.items()]
        if did:
            lines.append(f"{name}: {', '.join(did)}")
        elif one.allowed:
            lines.append(f"{name}: was not there; its masks let it go to CPUs {render_cpus(one.allowed)}")
    if forbidden.others:
        told = ", ".join(f"{irq} ({count} times)" for irq, count in forbidden.others.items())
        lines.append(f"  there too, and not traced: interrupts {told}")
    return "\n".join(lines)


_TOLD = 5
"""Tasks that are named."""


def render_odd(result: InterruptResult) -> str:
    """Where some activations are local and some are not: which tasks hard handlers of the fewer ones interrupted; empty
    if changes of the mask explain them.
    """
    remote = result.total.ran - result.total.local
    if not remote or not result.total.local or result.tally.follows == remote:
        return ""
    which, kinds = ("local", (Class.LOCAL,)) if result.total.local <= remote else ("remote", REMOTE)
    tasks = sorted(result.tally.count_found(kinds).items(), key=lambda one: (-one[1], one[0]))
    told = ", ".join(f"{task} ({count})" for task, count in tasks[:_TOLD])
    return f"{which} where the hard handler interrupted {told}{', …' if len(tasks) > _TOLD else ''}"


def render_masks(result: InterruptResult) -> str:
    """Masks before the window, and who may run where."""
    masks = "masks unknown"
    if result.before:
        masks = f"asked {result.before.asked or 'none'}, effective {result.before.effective or 'none'}"
        if result.before.fixed:
            masks += f" ({result.before.why_fixed}: nobody may set it)"
    return f"{masks}; {'; '.join(map(render_thread, result.threads_before)) or 'no thread'}"


def render_thread(thread: IrqThread) -> str:
    fixed = "" if thread.settable else ", fixed by the kernel"
    return f"thread {thread.pid} {thread.policy} {thread.priority} on {thread.cpus or 'unknown CPUs'}{fixed}"


def render_part(counts: Counts) -> str:
    """Local activations as a part; a dash if none ran.

    >>> render_part(Counts())
    '–'
    """
    return f"{100 * counts.local / counts.ran:.1f} %" if counts.ran else "–"


def render_bar(part: float | None) -> str:
    """
    >>> render_bar(0.5)
    '██████████░░░░░░░░░░'
    """
    if part is None:
        return "·" * _BAR
    # neither full nor empty unless all or nothing is local
    full = round(part * _BAR) if part in (0, 1) else min(_BAR - 1, max(1, round(part * _BAR)))
    return "█" * full + "░" * (_BAR - full)


def render_classes(counts: Counts) -> str:
    found = [f"{counts.local} of {counts.ran}"]
    found += [f"{counts.classes[kind]} {kind}" for kind in (*RAN[1:], *_NOT_RUN) if counts.classes[kind]]
    return ", ".join(found)


def render_latencies(counts: Counts) -> str:
    """From wake-up to run; by class where there are several."""
    present = {kind: latencies for kind, latencies in counts.latency.items() if latencies.count}
    if not present:
        return "nothing ran"
    text = render_quantiles(counts.all_latencies)
    if len(present) > 1:
        text += "; " + "; ".join(f"{kind}: {render_quantiles(latencies)}" for kind, latencies in present.items())
    return text


def render_quantiles(latencies: Latencies) -> str:
    values = (latencies.quantile(0.5), latencies.quantile(0.99), latencies.maximum)
    words = [format_seconds(value / 1e6) if value is not None else "–" for value in values]
    return f"p50 {words[0]}, p99 {words[1]}, max {words[2]}"


def render_matrix(matrix: Counter[tuple[int, int]]) -> list[str]:
    """Rows: CPU of the hard handler; columns: CPU of the thread."""
    if not matrix:
        return []
    columns = sorted({thread for _, thread in matrix} | {hard for hard, _ in matrix})
    rows = sorted({hard for hard, _ in matrix})
    width = max(7, *(len(str(count)) + 2 for count in matrix.values()))
    lines = ["hard CPU, thread on" + "".join(f"{f'CPU{cpu}':>{width}}" for cpu in columns)]
    for hard in rows:
        cells = "".join(f"{matrix[hard, cpu] or '·':>{width}}" for cpu in columns)
        lines.append(f"{f'CPU{hard}':<19}{cells}")
    return lines


def render_check(check: CrossCheck) -> str:
    """What was counted in the trace and by the kernel; what it is about is ``check.what``."""
    if check.least is None or check.most is None:
        return f"{check.traced} in the trace; the kernel's counter is not known"
    bounds = str(check.most) if check.least == check.most else f"{check.least} to {check.most}"
    return f"{check.traced} in the trace, {bounds} counted{'' if check.agrees else ': DISAGREES'}"


def render_analysis_json(analysis: Analysis, forbidden: Forbidden | None = None) -> dict[str, object]:
    """All of it for programs. Latencies in µs; what is not known is null."""
    return {
        "version": JSON_VERSION,
        "name": analysis.name,
        "verdict": analysis.verdict,
        "reason": analysis.reason,
        "problems": list(analysis.problems),
        "notes": list(analysis.notes),
        "forbidden": _forbidden_json(forbidden) if forbidden else None,
        "foreign": analysis.foreign or None,
        "host": analysis.start.host or None,
        "kernel": analysis.start.before.kernel or None,
        "cmdline": None if analysis.foreign else analysis.start.before.cmdline,
        "started": analysis.start.started or None,
        "clock": analysis.start.clock or None,
        "window_s": analysis.seconds,
        "events": analysis.reading.events,
        "losses": [asdict(loss) for loss in analysis.end.losses] if analysis.end else None,
        "total": _counts_json(analysis.total),
        "interrupts": [_interrupt_json(result) for result in analysis.interrupts],
    }


def _forbidden_json(forbidden: Forbidden) -> dict[str, object]:
    return {
        "cpus": render_cpus(forbidden.cpus),
        "interrupts": [
            {
                "number": one.irq,
                "hard_handlers": dict(one.handlers),
                "thread_runs": dict(one.runs),
                "allowed": render_cpus(one.allowed),
            }
            for one in forbidden.interrupts
        ],
        "others": dict(forbidden.others),
    }


def _interrupt_json(result: InterruptResult) -> dict[str, object]:
    return {
        "number": result.number,
        "name": result.name,
        "verdict": result.verdict,
        "reason": result.reason,
        "before": asdict(result.before) if result.before else None,
        "after": asdict(result.after) if result.after else None,
        "threads_before": [asdict(thread) for thread in result.threads_before],
        "threads_after": [asdict(thread) for thread in result.threads_after],
        "hard_handlers": dict(sorted(result.tally.handlers.items())),
        "other_wakeups": result.tally.other_wakeups,
        "migrations": result.tally.migrations,
        "waited_us": result.tally.longest_wait_us,
        "interrupted": [
            {"task": task, "class": str(kind), "count": count}
            for (task, kind), count in sorted(result.tally.found.items())
        ],
        **_counts_json(result.total),
        "by_mask": {mask: _counts_json(counts) for mask, counts in result.tally.by_mask.items()},
        "checks": [{**asdict(check), "agrees": check.agrees} for check in result.checks],
    }


def _counts_json(counts: Counts) -> dict[str, object]:
    return {
        "local_percent": 100 * counts.local / counts.ran if counts.ran else None,
        "classes": {str(kind): counts.classes[kind] for kind in Class},
        "matrix": _matrix_json(counts.matrix),
        "latency_us": {
            "all": _latency_json(counts.all_latencies),
            **{str(kind): _latency_json(latencies) for kind, latencies in counts.latency.items()},
        },
    }


def _matrix_json(matrix: Counter[tuple[int, int]]) -> Sequence[dict[str, int]]:
    return [{"hard": hard, "thread": cpu, "count": count} for (hard, cpu), count in sorted(matrix.items())]


def _latency_json(latencies: Latencies) -> dict[str, int | None]:
    return {
        "count": latencies.count,
        "p50": latencies.quantile(0.5),
        "p99": latencies.quantile(0.99),
        "max": latencies.maximum,
    }
