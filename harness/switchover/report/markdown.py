# SPDX-License-Identifier: GPL-2.0-or-later
"""A run or a comparison as Markdown for a mail to a list or an issue: no line has more than 72 columns.

What others wrote is in code spans and code blocks, where nothing is markup. An id that is too long for its line has […]
in place of its middle; longer texts are wrapped. Commands are whole, wrapped so that a shell takes them as they are.
"""

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence

from switchover.record.measurement import Measurement
from switchover.record.record import Record
from switchover.record.units import Unit, format_bytes, format_seconds
from switchover.report.causes import find_causes
from switchover.report.comparison import (
    BYTES,
    Comparison,
    choose_times,
    render_order,
    render_spread,
)
from switchover.report.failures import (
    collect_evidence,
    describe_observed,
    list_repeat_words,
    list_said,
    list_scripts,
    render_claim,
)
from switchover.report.literal import COLUMNS, render_block, render_command, render_rows, render_span, shorten, wrap
from switchover.report.metrics import make_fingerprint
from switchover.report.rundata import CaseResult, RunData
from switchover.report.summary import render_counts, render_verdicts

_SAID_LINES = 12
"""Of what QEMUs said: the last."""
MOST_REPEATED = 10
"""Cases whose commands are listed where no case is asked for."""
_LABELS = {
    "qemu": "QEMU",
    "host_kernels": "host kernel",
    "guest_kernel": "guest kernel",
    "device": "device",
    "driver": "driver",
    "hosts": "hosts",
    "accelerator": "accelerator",
    "controller": "controller",
    "start": "guest start",
    "lab": "lab images",
    "commit": "commit",
    "switchover": "switchover",
}
_REFERENCE = "refdev-"
"""How types of the reference device begin."""
_NOT_HARDWARE = (
    "The device is Switchover's reference device: software that passes states and moves as many bytes as it is told. "
    "It is not hardware."
)
_LAB = "The hosts are virtual machines of a lab: times compare with each other only, and say nothing about hardware."
_STANDALONE = (
    "repro.sh beside a repeat's record is standalone: it needs QEMU and what its first lines name, not Switchover."
)


def render_markdown(run: RunData, cases: Sequence[CaseResult] | None = None) -> str:
    """What was run on what, numbers, what was not as expected, how to repeat.

    ``cases``: those of the run that are asked for; None: all.
    """
    told = run.cases if cases is None else cases
    wrong = [record for case in told for record in case.mismatches if record.was_run]
    parts = [
        "# Live migrations of QEMU guests",
        *render_paragraph(
            f"{render_counts(run)}." if cases is None else f"{len(told)} of the {len(run.cases)} cases of a run."
        ),
        *render_setup([run], [record for case in told for record in case.records]),
        "## Numbers",
        *(part for case in told for part in _render_case(case)),
    ]
    if wrong:
        parts += ["## Not as expected", *(part for record in wrong for part in _render_failure(run, record))]
    repeated = [case.records[0] for case in told] if cases is not None else wrong or [case.records[0] for case in told]
    parts += render_repeats(run, list({record.case: record for record in repeated}.values())[:MOST_REPEATED])
    return "\n\n".join(parts)


def render_compared(comparisons: Sequence[Comparison], runs: Sequence[RunData]) -> str:
    """What differs between arms, on what it was measured, and how to repeat it."""
    ids = {arm.case for comparison in comparisons for arm in comparison.arms}
    compared = [(run, record) for run in runs for record in run.records if record.case in ids]
    parts = [
        "# Live migrations of QEMU guests, compared",
        *render_setup(runs, [record for _, record in compared]),
        "## Differences",
        *(part for comparison in comparisons for part in _render_comparison(comparison)),
    ]
    for run in runs:
        firsts = {record.case: record for of_run, record in reversed(compared) if of_run is run}
        parts += render_repeats(run, list(reversed(firsts.values()))[:MOST_REPEATED])
    return "\n\n".join(parts)


def render_paragraph(text: str) -> Iterator[str]:
    """A paragraph of our own words, which have no markup in them."""
    yield "\n".join(wrap(text, COLUMNS))


def render_setup(runs: Sequence[RunData], records: Sequence[Record]) -> Iterator[str]:
    """A heading, and what runs were made on, as far as it is in these records."""
    yield "## What was run, and on what"
    rows = [(word, text) for run in runs for word, text in _describe_head(run)]
    found = [make_fingerprint(record) for record in records]
    for key, label in _LABELS.items():
        words = dict.fromkeys(one[key] for one in found if key in one)
        rows += [(label, "\n".join(words))] if words else []
    yield render_block(render_rows(rows))
    if any(_has_reference_device(record) for record in records):
        yield from render_paragraph(_NOT_HARDWARE)
    if any("lab" in record.fingerprint for record in records):
        yield from render_paragraph(_LAB)


def _describe_head(run: RunData) -> Iterator[tuple[str, str]]:
    yield "run", run.directory.path.name
    yield "started", run.head.started
    yield from (("scenario", f"{scenario.name}: {scenario.title}") for scenario in run.scenarios)


def _has_reference_device(record: Record) -> bool:
    sides = (record.settings.get(side, {}) for side in ("source", "destination"))
    types = (str(device.get("type", "")) for side in sides for device in side.get("devices", ()))
    return any(one.startswith(_REFERENCE) for one in types)


def _render_case(case: CaseResult) -> Iterator[str]:
    yield f"Case {render_span(case.id, COLUMNS - 5)}"
    lines = wrap(render_verdicts(case), COLUMNS)
    for hop, records in (case.list_hops() or {0: case.records}).items():
        if numbers := list(_render_numbers(records)):
            lines += ["", *([f"hop {hop}"] if hop else []), *numbers]
    yield render_block(lines)


def _render_numbers(records: Sequence[Record]) -> Iterator[str]:
    """A line for each number: of how many repeats, median, smallest, largest, largest error."""
    found: dict[str, list[Measurement]] = {}
    for record in records:
        for one in record.measurements:
            found.setdefault(one.name, []).append(one)
    if not found:
        return
    yield _render_line("", "n", "median", "smallest", "largest", "error ≤")
    for name, measured in found.items():
        values = [one.value for one in measured if one.value is not None]
        bounds = [one.bound for one in measured if one.bound is not None]
        show = _choose_format(measured[0].unit)
        if values:
            cells = (show(statistics.median(values)), show(min(values)), show(max(values)))
            yield _render_line(name, str(len(values)), *cells, show(max(bounds)) if bounds else "")
        else:
            yield _render_line(name, "0", "missing", "", "", "")


def _render_line(name: str, count: str, *cells: str) -> str:
    padded = "".join(f"{shorten(cell, 10):>11}" for cell in cells)
    return f"{shorten(name, 23):<23} {shorten(count, 4):>4}{padded}".rstrip()


def _choose_format(unit: Unit) -> Callable[[float], str]:
    match unit:
        case Unit.SECONDS:
            return format_seconds
        case Unit.BYTES:
            return format_bytes
        case Unit.BYTES_PER_SECOND:
            return lambda value: f"{format_bytes(value)}/s"
        case Unit.PERCENT:
            return lambda value: f"{value:.4g} %"
    return lambda value: f"{value:.6g}"


def _render_failure(run: RunData, record: Record) -> Iterator[str]:
    suffix = f", repeat {record.repeat}"
    yield f"Case {render_span(record.case, COLUMNS - 5 - len(suffix))}{suffix}"
    rows = [("expected", render_claim(record.expectation)), ("observed", describe_observed(record))]
    rows += [("cause", cause.likely) for cause in find_causes(collect_evidence(run, record)) or ()]
    yield render_block(render_rows(rows))
    if said := list_said(run, record)[-_SAID_LINES:]:
        yield "QEMU said:"
        yield render_block([line for text in said for line in wrap(text, COLUMNS)])


def render_repeats(run: RunData, records: Iterable[Record]) -> Iterator[str]:
    """A heading, and the commands for these records."""
    commands = [line for record in records for line in render_command(list_repeat_words(run, record))]
    if commands:
        yield "## How to repeat"
        yield render_block(commands, "sh")
        if any(list_scripts(run, record) for record in run.records):
            yield from render_paragraph(_STANDALONE)


def _render_comparison(comparison: Comparison) -> Iterator[str]:
    rows = [
        *([("among", comparison.among)] if comparison.among else []),
        ("axis", f"{comparison.axis}, compared with {comparison.baseline}"),
        ("order", render_order(comparison)),
    ]
    yield render_block(render_rows(rows))
    for arm in comparison.arms:
        yield f"{render_span(arm.name, 40)}: {arm.completed} of {arm.repeats} repeats completed"
        numbers = [
            (name, render_spread(spread, format_bytes if name in BYTES else format_seconds))
            for name, spread in arm.numbers.items()
        ]
        yield render_block(render_rows(numbers))
    told = choose_times(comparison.axis)
    for arm_name in dict.fromkeys(versus.arm for versus in comparison.differences):
        yield f"{render_span(arm_name, 40)} against the baseline"
        yield render_block(
            render_rows(
                [
                    (told[versus.measurement], versus.conclusion)
                    for versus in comparison.differences
                    if versus.arm == arm_name
                ]
            )
        )
    if notes := [*comparison.left_out, *comparison.notes]:
        yield render_block([line for note in notes for line in wrap(note, COLUMNS)])
