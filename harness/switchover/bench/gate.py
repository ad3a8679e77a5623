# SPDX-License-Identifier: GPL-2.0-or-later
"""The gate on recorded repeats of one case, dealt out to two sides by chance: how often it says that one of them is
worse, and how often it says nothing where one of them was made worse. Needs no lab.
"""

import argparse
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from switchover.record.errors import ExitCode, UsageError
from switchover.record.record import VerdictName
from switchover.record.rundir import find_run
from switchover.report.gate.questions import GATED, ask_runs
from switchover.report.gate.rules import Finding, Word, judge
from switchover.report.metrics import MetricRow, classify, list_metrics, read_metrics, render_row
from switchover.report.rundata import CaseResult, RunData, read_run

SIZES = (5, 8, 15, 30)
"""Repeats of a side."""
_ROWS = 100_000
_CASES = 625

Repeats = Mapping[int, Sequence[MetricRow]]
"""By its number, the rows of a repeat: all numbers of a repeat go to one side."""


def run(arguments: argparse.Namespace, scratch: Path) -> int:
    """:raises UsageError: the case has too few repeats"""
    found = read_run(find_run(arguments.run_name))
    case = _choose_case(found, arguments.case)
    repeats = _take_repeats(found, case)
    sizes = [size for size in SIZES if 2 * size <= len(repeats)]
    if not sizes:
        raise UsageError(
            f"{case.id} has {len(repeats)} repeats that compare.", why=f"two sides of {SIZES[0]} are the least"
        )
    bound, shift = arguments.bound, arguments.shift
    print(f"{case.id}: {len(repeats)} repeats, dealt out {arguments.count} times; bound {bound:.0%}")
    for size in sizes:
        dealt = list(_deal(repeats, size, arguments.count, arguments.seed))
        alike = [_judge(one, other, bound) for one, other in dealt]
        strict = [_judge(one, other, 0) for one, other in dealt]
        print(f"{size} repeats against {size}:")
        print(f"  false alarms: {_count_alarms(alike)}, without a bound {_count_alarms(strict)}, of {len(dealt)} gates")
        for metric in _list_metrics(repeats):
            worse = [_judge(one, _shift(other, metric, 1 + shift), bound) for one, other in dealt]
            words = [item.word for findings in worse for item in findings if item.metric == metric]
            unsure = [item.word for findings in alike for item in findings if item.metric == metric]
            print(
                f"  {metric:<22} {shift:.0%} worse: {words.count(Word.WORSE)} found, "
                f"{words.count(Word.CANNOT_TELL)} can't tell, {words.count(Word.NOT_WORSE)} missed; "
                f"alike: {unsure.count(Word.NOT_WORSE)} not worse, {unsure.count(Word.CANNOT_TELL)} can't tell"
            )
    _time(repeats, scratch)
    return ExitCode.AS_EXPECTED


def _choose_case(found: RunData, pattern: str) -> CaseResult:
    return max(found.select(pattern) if pattern else found.cases, key=lambda case: len(case.records))


def _take_repeats(found: RunData, case: CaseResult) -> Repeats:
    """Those of the largest class: of others the gate compares nothing."""
    classes: dict[str, dict[int, list[MetricRow]]] = {}
    for row in list_metrics(found, [case]):
        if row.metric in GATED and row.verdict == VerdictName.COMPLETED and row.hop in (0, 1):
            of_class = classes.setdefault(classify(row.fingerprint, 1), {})
            of_class.setdefault(row.repeat, []).append(row)
    return max(classes.values(), key=len, default={})


def _list_metrics(repeats: Repeats) -> list[str]:
    there = {row.metric for rows in repeats.values() for row in rows if row.value is not None}
    return [metric for metric in GATED if metric in there]


def _deal(repeats: Repeats, size: int, count: int, seed: int) -> Iterator[tuple[list[MetricRow], list[MetricRow]]]:
    generator = random.Random(seed)
    for _ in range(count):
        drawn = generator.sample(sorted(repeats), 2 * size)
        one, other = ([row for number in part for row in repeats[number]] for part in (drawn[:size], drawn[size:]))
        yield one, other


def _shift(rows: Sequence[MetricRow], metric: str, factor: float) -> list[MetricRow]:
    return [
        replace(row, value=row.value * factor) if row.metric == metric and row.value is not None else row
        for row in rows
    ]


def _judge(baseline: Sequence[MetricRow], rows: Sequence[MetricRow], bound: float) -> list[Finding]:
    return judge(ask_runs(rows, baseline, [rows[0].case], GATED), bound)


def _count_alarms(gates: Sequence[Sequence[Finding]]) -> int:
    return sum(any(one.word is Word.WORSE for one in findings) for findings in gates)


def _time(repeats: Repeats, scratch: Path) -> None:
    """Two sets of rows that are as these, of many cases, from files and from memory."""
    rows = [row for number in sorted(repeats) for row in repeats[number]]
    files = [scratch / "first.jsonl", scratch / "second.jsonl"]
    for file in files:
        made = (replace(rows[n % len(rows)], case=f"case {n // (_ROWS // _CASES)}") for n in range(_ROWS))
        file.write_text("".join(f"{render_row(row)}\n" for row in made), encoding="utf-8")
    start = time.process_time()
    first, second = (list(read_metrics(file)) for file in files)
    read = time.process_time()
    findings = judge(ask_runs(second, first, [f"case {n}" for n in range(_CASES)], GATED), 0.05)
    judged = time.process_time()
    print(
        f"two sets of {_ROWS:,} rows, {len(findings)} numbers: read in {read - start:.2f} s of CPU time, judged in "
        f"{judged - read:.2f} s"
    )
