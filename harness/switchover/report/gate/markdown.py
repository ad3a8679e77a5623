# SPDX-License-Identifier: GPL-2.0-or-later
"""What a gate found as Markdown for a mail to a list or an issue, as :mod:`switchover.report.markdown`."""

from collections.abc import Iterator, Sequence

from switchover.record.record import Record
from switchover.record.units import format_count
from switchover.report.differences import CONFIDENCE
from switchover.report.gate.rules import Finding, Word
from switchover.report.gate.text import describe_change, describe_counts, describe_medians, format_share
from switchover.report.literal import COLUMNS, clean, render_block, render_rows, render_span, shorten
from switchover.report.markdown import MOST_REPEATED, render_paragraph, render_repeats, render_setup
from switchover.report.rundata import RunData

_LONGEST_NAME = 30
_HEADINGS = {Word.WORSE: "Worse", Word.CANNOT_TELL: "Cannot be told", Word.NOT_WORSE: "Not worse"}


def render_gated(findings: Sequence[Finding], bound: float, against: str, runs: Sequence[RunData]) -> str:
    """What was asked, on what it was measured, numbers by what became of them, worse ones first, and how to repeat.

    ``against``: the baseline, in words. ``runs``: those that were read; the last one is judged.
    """
    counts = ", ".join(f"{sum(one.word is word for one in findings)} {word}" for word in Word)
    numbers = format_count(len(findings), "number")
    parts = [
        "# Live migrations of QEMU guests: worse than before?",
        *render_paragraph(
            f"Asked was whether a number is worse than the baseline by more than {format_share(bound)}, with "
            f"{format_share(CONFIDENCE)} confidence over all {numbers}: {counts}."
        ),
        f"Baseline: {render_span(against, COLUMNS - 10)}",
        *render_setup(runs, [record for run in runs for record in run.records if record.was_run]),
    ]
    for word, heading in _HEADINGS.items():
        if found := [one for one in findings if one.word is word]:
            parts += [f"## {heading}", *_render_findings(found)]
    parts += render_repeats(runs[-1], _list_repeated(runs[-1], findings)[:MOST_REPEATED])
    return "\n\n".join(parts)


def _render_findings(findings: Sequence[Finding]) -> Iterator[str]:
    for case in dict.fromkeys(one.case for one in findings):
        of_case = [one for one in findings if one.case == case]
        yield f"Case {render_span(case, COLUMNS - 5)}"
        rows = [(shorten(" ".join(clean(one.metric).split()), _LONGEST_NAME), _describe(one)) for one in of_case]
        rows += [("note", note) for note in dict.fromkeys(note for one in of_case for note in one.notes)]
        yield render_block(render_rows(rows))


def _describe(finding: Finding) -> str:
    """Numbers first, and below them the reason."""
    numbers = "  ".join(filter(None, [describe_medians(finding), describe_change(finding)]))
    return "\n".join(filter(None, [numbers, f"{finding.why}{describe_counts(finding)}"]))


def _list_repeated(run: RunData, findings: Sequence[Finding]) -> list[Record]:
    """Of cases with a number that is worse, the first repeat; if there is none, of all that were judged."""
    worse = [one for one in findings if one.word is Word.WORSE] or list(findings)
    return [case.records[0] for case in run.cases if case.records and any(_is_of(one, case.id) for one in worse)]


def _is_of(finding: Finding, case: str) -> bool:
    return finding.case == case or finding.case.startswith((f"{case}, hop ", f"{case} against "))
