# SPDX-License-Identifier: GPL-2.0-or-later
"""What a gate asks, from rows of metrics: which numbers are held against which. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from switchover.record.errors import UsageError
from switchover.record.record import VerdictName
from switchover.record.toml import suggest
from switchover.record.units import Direction, format_count
from switchover.report.comparison import Comparison
from switchover.report.gate.rules import Question
from switchover.report.metrics import CLASS_KEYS, MetricRow

GATED = ("downtime.explained", "downtime.outside", "time.total", "bytes.vfio.stop_copy", "bytes.wire")
"""Numbers that are judged unless others are asked for. Each further one makes all intervals wider: so those that others
are a part of, or that follow from them, are left out."""
RUNS = 20
"""Of earlier runs so many, the last ones, are the baseline."""


def ask_arms(rows: Iterable[MetricRow], comparisons: Sequence[Comparison], metrics: Sequence[str]) -> list[Question]:
    """Arms of experiments against their baselines: numbers of one run that differ by what the experiment varies.

    Rounds that were made in turns are pairs. Only repeats that completed count.
    """
    found = _group(rows, metrics)
    hops: dict[str, set[int]] = {}
    for case, hop, _metric in found:
        hops.setdefault(case, set()).add(hop)
    asked: dict[tuple[str, int, str], Question] = {}
    for comparison in comparisons:
        base = next(arm for arm in comparison.arms if arm.name == comparison.baseline)
        for arm in comparison.arms:
            for hop in sorted({*hops.get(arm.case, ()), *hops.get(base.case, ())}) if arm is not base else ():
                for metric in metrics:
                    sides = [found.get((case, hop, metric), []) for case in (base.case, arm.case)]
                    if any(sides):
                        name = f"{_name(arm.case, hop)} against {comparison.baseline}"
                        asked[name, hop, metric] = _ask_arm(name, metric, *sides, paired=comparison.in_turns)
    return list(asked.values())


def _ask_arm(
    name: str, metric: str, baseline: Sequence[MetricRow], rows: Sequence[MetricRow], *, paired: bool
) -> Question:
    first, second = _valued(baseline), _valued(rows)
    if paired:
        rounds = {row.repeat for row in first} & {row.repeat for row in second}
        first, second = ([row for row in one if row.repeat in rounds] for one in (first, second))
    return _make_question(name, metric, (baseline, first), (rows, second), paired=paired)


def ask_runs(
    rows: Iterable[MetricRow], baseline: Iterable[MetricRow], cases: Sequence[str], metrics: Sequence[str]
) -> list[Question]:
    """Cases of one run against the same cases of others, of which the last :data:`RUNS` count.

    Only numbers of one class compare (:attr:`MetricRow.comparable`): of several that a case has, as where the first
    repeat has booted a guest that the others share, the one of which both sides have most. Only repeats that completed
    count.
    """
    judged, earlier = _group(rows, metrics), _group(baseline, metrics)
    hops: dict[str, set[int]] = {}
    for case, hop, _metric in (*judged, *earlier):
        hops.setdefault(case, set()).add(hop)
    sides = (
        ((case, hop, metric), judged.get((case, hop, metric), []), earlier.get((case, hop, metric), []))
        for case in cases
        for hop in sorted(hops.get(case, ()))
        for metric in metrics
    )
    return [
        _ask_run(_name(case, hop), metric, mine, before)
        for (case, hop, metric), mine, before in sides
        if mine or before
    ]


def take_earlier(rows: Iterable[MetricRow], run_started: str) -> Iterator[MetricRow]:
    """Of a history, what is of runs that began before a run did."""
    began = datetime.fromisoformat(run_started)
    return (row for row in rows if datetime.fromisoformat(row.run_started) < began)


def _ask_run(name: str, metric: str, rows: Sequence[MetricRow], baseline: Sequence[MetricRow]) -> Question:
    valued = _valued(rows), _valued(baseline)
    mine, before = (_by_class(side) for side in valued)
    common = [key for key in mine if key in before]
    if not common:
        question = _make_question(name, metric, (baseline, valued[1]), (rows, valued[0]))
        why = _name_differences(_largest(mine), _largest(before)) if mine and before else ""
        return replace(question, missing=f"not compared: {why}") if why else question
    chosen = max(common, key=lambda key: min(len(mine[key]), len(before[key])))
    question = _make_question(name, metric, (baseline, before[chosen]), (rows, mine[chosen]))
    notes = []
    for what, classes in (("here", mine), ("of the baseline", before)):
        others = {key: of_class for key, of_class in classes.items() if key != chosen}
        if others:
            count = format_count(sum(map(len, others.values())), "repeat")
            notes.append(f"{count} {what} not compared: {_name_differences(_largest(others), chosen)}")
    return replace(question, notes=(*question.notes, *notes))


_Class = tuple[int | str, ...]
"""What :attr:`MetricRow.comparable` is a digest of."""


def _by_class(rows: Sequence[MetricRow]) -> dict[_Class, list[MetricRow]]:
    found: dict[_Class, list[MetricRow]] = {}
    for row in rows:
        get = row.fingerprint.get
        found.setdefault((row.definition, *(get(key, "") for key in CLASS_KEYS)), []).append(row)
    return found


def _largest(classes: Mapping[_Class, Sequence[MetricRow]]) -> _Class:
    return max(classes, key=lambda key: len(classes[key]))


def _name_differences(one: _Class, other: _Class) -> str:
    names = ("definition", *CLASS_KEYS)
    differing = [name for name, mine, theirs in zip(names, one, other, strict=True) if mine != theirs]
    return f"another {', '.join(differing)}"


def _group(rows: Iterable[MetricRow], metrics: Sequence[str]) -> dict[tuple[str, int, str], list[MetricRow]]:
    """By case, hop and number, of repeats that completed; in the order of runs and repeats."""
    wanted, completed = frozenset(metrics), str(VerdictName.COMPLETED)
    found: dict[tuple[str, int, str], list[MetricRow]] = {}
    for row in rows:
        if row.metric in wanted and row.verdict == completed:
            found.setdefault((row.case, row.hop, row.metric), []).append(row)
    for of_key in found.values():
        of_key.sort(key=lambda row: (row.run_started, row.run, row.repeat))
    return found


def _valued(rows: Sequence[MetricRow]) -> list[MetricRow]:
    return [row for row in rows if row.value is not None]


def _name(case: str, hop: int) -> str:
    return f"{case}, hop {hop}" if hop else case


_Side = tuple[Sequence[MetricRow], Sequence[MetricRow]]
"""All rows of one side, and those of them that are compared."""


def _make_question(name: str, metric: str, baseline: _Side, judged: _Side, *, paired: bool = False) -> Question:
    (all_before, before), (rows, mine) = baseline, judged
    told = (*rows, *all_before)[0]
    by_run: dict[tuple[str, str], list[float]] = {}
    for row in before:
        if row.value is not None:
            by_run.setdefault((row.run_started, row.run), []).append(row.value)
    values = tuple(row.value for row in mine if row.value is not None)
    missing = ""
    if not values or not by_run:
        where, side = ("here", rows) if not values else ("in the baseline", all_before)
        note = next((row.note for row in side if row.note), "no repeat completed" if not side else "")
        missing = f"no value {where}{note and f': {note}'}"
    return Question(
        name,
        metric,
        told.unit,
        told.direction,
        values,
        tuple(tuple(of_run) for of_run in by_run.values())[-RUNS:],
        paired,
        missing,
    )


def choose_metrics(rows: Iterable[MetricRow], asked: Sequence[str]) -> tuple[str, ...]:
    """What is judged: what is asked for, else :data:`GATED`. :raises UsageError: it cannot be, or is not known"""
    if not asked:
        return GATED
    directions = {row.metric: row.direction for row in rows}
    for name in asked:
        if name not in directions:
            raise UsageError(f"The run has no number {name!r}{suggest(name, list(directions))}.")
        if directions[name] == Direction.NEITHER:
            raise UsageError(f"{name} cannot become worse: neither more nor less of it is better.")
    return tuple(dict.fromkeys(asked))
