# SPDX-License-Identifier: GPL-2.0-or-later
"""Arms of an experiment side by side, from run directories alone: numbers with their spread, differences, a conclusion.

What a comparison says, and what it does not: docs/concepts.md.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from switchover.record.errors import UsageError
from switchover.record.planfile import PlannedComparison
from switchover.record.record import Record, VerdictName
from switchover.record.units import format_bytes, format_count, format_seconds, format_spread
from switchover.report.differences import (
    Difference,
    Spread,
    correct_for_arms,
    count_needed,
    describe_spread,
    find_difference,
)
from switchover.report.rundata import CaseResult, RunData
from switchover.scenarios.ids import make_word, parse_id, render_id

TIMES: Mapping[str, str] = {
    "downtime.explained": "downtime",
    "downtime.outside": "outside",
    "time.total": "migration",
}
"""Numbers that are compared, with what they are called in a line. All are seconds, and less is better."""
TIMES_OF_DRIVERS: Mapping[str, str] = {**TIMES, "time.wall": "with its driver"}
"""The same for the axis ``driver``: QEMU's own time is without what a driver does around it."""
BYTES = ("bytes.vfio.precopy", "bytes.vfio.stop_copy", "bytes.wire")
"""Numbers that are only listed: how many bytes are moved is set, not drawn."""
_ROUNDS_SHOWN = 3


@dataclass(frozen=True)
class Arm:
    """``repeats``: as many as there should be; ``numbers``: over those that completed, None where none has one."""

    name: str
    case: str
    repeats: int
    completed: int
    numbers: Mapping[str, Spread | None]


@dataclass(frozen=True)
class Versus:
    """One number of one arm against the baseline. ``factor``: of the medians, the larger by the smaller.

    ``conclusion``: in words.
    """

    arm: str
    measurement: str
    difference: Difference | None
    factor: float | None
    conclusion: str


@dataclass(frozen=True)
class Comparison:
    """Cases that differ in one thing. ``among``: what they have in common, of the axes. ``order``: of each round, as it
    was run. ``in_turns``: each round had ended in all arms before the next began. ``left_out``: repeats that are not
    counted, and why.
    """

    scenario: str
    axis: str
    baseline: str
    among: str
    order: tuple[tuple[str, ...], ...]
    in_turns: bool
    arms: tuple[Arm, ...]
    left_out: tuple[str, ...]
    differences: tuple[Versus, ...]
    notes: tuple[str, ...] = ()


def compare_planned(run: RunData) -> list[Comparison]:
    """What the scenarios of a run ask to be compared."""
    return [
        comparison
        for scenario in run.scenarios
        if scenario.compare is not None
        for comparison in compare_axis(run, scenario.name, scenario.compare)
    ]


def compare_axis(run: RunData, scenario: str, asked: PlannedComparison) -> list[Comparison]:
    """One for each combination of the other axes' values that has the baseline and something to compare with it."""
    groups: dict[str, dict[str, CaseResult]] = {}
    for case in run.cases:
        values = parse_id(case.line.case)
        if case.line.scenario == scenario and asked.axis in values:
            arm = values.pop(asked.axis)
            groups.setdefault(render_id(values), {})[arm] = case
    return [
        _compare(scenario, asked, among_hop, of_hop)
        for among, arms in groups.items()
        if asked.baseline in arms and len(arms) > 1
        for among_hop, of_hop in _split_hops(among, arms)
    ]


def _split_hops(among: str, arms: Mapping[str, CaseResult]) -> Iterator[tuple[str, Mapping[str, CaseResult]]]:
    """Cases whose migrations are chains are compared hop by hop, as far as each of them came."""
    hops = {name: case.list_hops() for name, case in arms.items()}
    common = sorted(set.intersection(*(set(found) for found in hops.values())))
    if not common:
        yield among, arms
    for number in common:
        place = f"{among}, hop {number}" if among else f"hop {number}"
        yield place, {name: replace(case, records=hops[name][number]) for name, case in arms.items()}


def require_comparison(run: RunData, axis: str = "", baseline: str = "") -> list[Comparison]:
    """What is asked for, else what the scenarios ask for, with another ``baseline`` if one is given.

    :raises UsageError: nothing in the run can be compared so
    """
    planned = {scenario.name: scenario.compare for scenario in run.scenarios}
    found: list[Comparison] = []
    for name in dict.fromkeys(case.line.scenario for case in run.cases):
        asked = planned.get(name)
        if axis:
            words = [parse_id(case.line.case).get(axis, "") for case in run.cases if case.line.scenario == name]
            asked = PlannedComparison(axis, make_word(baseline) if baseline else next(filter(None, words), ""))
        elif asked and baseline:
            asked = replace(asked, baseline=make_word(baseline))
        found += compare_axis(run, name, asked) if asked else []
    if not found:
        asked_for = f"axis {axis!r}, " * bool(axis) + f"baseline {baseline!r}" * bool(baseline)
        raise UsageError(
            "No cases of the run can be compared.",
            why=f"no cases differ only in an axis with a baseline; asked for: {asked_for or 'nothing, by no scenario'}",
            fix="give --axis an axis of the scenario, and --baseline one of its values",
        )
    return found


def compare_runs(first: RunData, second: RunData) -> list[Comparison]:
    """Each case that both runs have, the first run as baseline. :raises UsageError: there is none"""
    others = {case.id: case for case in second.cases}
    names = first.directory.path.name, second.directory.path.name
    asked = PlannedComparison("run", names[0])
    found = []
    for case in first.cases:
        if (other := others.get(case.id)) is not None:
            notes = tuple(_list_changes(case, other))
            for among, arms in _split_hops(case.id, dict(zip(names, (case, other), strict=True))):
                made = _compare(case.line.scenario, asked, among, arms, apart=True)
                found.append(replace(made, notes=notes))
    if not found or names[0] == names[1]:
        raise UsageError("The runs have no case in common." if not found else "RUN and RUN2 are the same run.")
    return found


def _list_changes(case: CaseResult, other: CaseResult) -> Iterator[str]:
    """What makes two cases of one id two questions."""
    first, second = (next((record for record in one.records if record.settings), None) for one in (case, other))
    if first is None or second is None:
        return
    if first.settings != second.settings:
        changed = sorted(
            key for key in {*first.settings, *second.settings} if first.settings.get(key) != second.settings.get(key)
        )
        yield f"the runs' settings differ ({', '.join(changed)}): this is not the same case"
    differing = sorted(
        key
        for key in {*first.fingerprint, *second.fingerprint}
        if first.fingerprint.get(key) != second.fingerprint.get(key)
    )
    if differing:
        yield f"the runs also differ in: {', '.join(differing)}"


def _compare(
    scenario: str, asked: PlannedComparison, among: str, cases: Mapping[str, CaseResult], *, apart: bool = False
) -> Comparison:
    """``apart``: the arms are of runs of their own, and their rounds have nothing in common."""
    good = {
        name: {record.repeat: record for record in case.records if record.verdict.name is VerdictName.COMPLETED}
        for name, case in cases.items()
    }
    times = choose_times(asked.axis)
    order = None if apart else list_order({name: case.records for name, case in cases.items()})
    in_turns = order is not None
    arms = tuple(
        Arm(
            name,
            case.id,
            case.line.repeats,
            len(good[name]),
            {
                measurement: describe_spread(list(_values(good[name], measurement).values()))
                for measurement in (*times, *BYTES)
            },
        )
        for name, case in cases.items()
    )
    others = {name: records for name, records in good.items() if name != asked.baseline}
    by_number = {number: _judge_all(number, good[asked.baseline], others, paired=in_turns) for number in times}
    differences = tuple(by_number[number][index] for index in range(len(others)) for number in times)
    return Comparison(
        scenario,
        asked.axis,
        asked.baseline,
        among,
        tuple(order or ()),
        in_turns,
        arms,
        tuple(_list_left_out(cases)),
        differences,
    )


def choose_times(axis: str) -> Mapping[str, str]:
    return TIMES_OF_DRIVERS if axis == "driver" else TIMES


def list_order(arms: Mapping[str, Sequence[Record]]) -> list[tuple[str, ...]] | None:
    """By round, the arms in the order in which they were started; None if a round began before the one before it ended.

    By what the records say, not by what was planned. Pure.
    """
    rounds: dict[int, list[tuple[str, str]]] = {}
    for name, records in arms.items():
        for record in records:
            if record.started and record.settings:
                rounds.setdefault(record.repeat, []).append((record.started, name))
    in_order = [sorted(rounds[number]) for number in sorted(rounds)]
    if any(earlier[-1][0] > later[0][0] for earlier, later in pairwise(in_order)):
        return None
    return [tuple(name for _, name in one) for one in in_order]


def _values(records: Mapping[int, Record], measurement: str) -> dict[int, float]:
    return {number: value for number, record in records.items() if (value := record.measured(measurement)) is not None}


def _judge_all(
    measurement: str, baseline: Mapping[int, Record], others: Mapping[str, Mapping[int, Record]], *, paired: bool
) -> list[Versus]:
    """One number of all other arms against the baseline, in their order; p is corrected for the number of arms."""
    judged = [_judge(name, measurement, baseline, other, len(others), paired=paired) for name, other in others.items()]
    corrected = iter(correct_for_arms([one.difference for one in judged if one.difference]))
    differences = [next(corrected) if one.difference else None for one in judged]
    return [
        replace(one, difference=difference, conclusion=conclude(difference, one.factor))
        for one, difference in zip(judged, differences, strict=True)
    ]


def _judge(
    arm: str, measurement: str, baseline: Mapping[int, Record], other: Mapping[int, Record], arms: int, *, paired: bool
) -> Versus:
    first, second = _values(baseline, measurement), _values(other, measurement)
    rounds = sorted(first.keys() & second.keys())
    if paired:
        first, second = ({number: values[number] for number in rounds} for values in (first, second))
    difference = find_difference(list(first.values()), list(second.values()), paired=paired, arms=arms)
    factor = None
    before, after = describe_spread(list(first.values())), describe_spread(list(second.values()))
    if before and after and before.median > 0 and after.median > 0:
        factor = max(before.median, after.median) / min(before.median, after.median)
    return Versus(arm, measurement, difference, factor, "")


def conclude(difference: Difference | None, factor: float | None) -> str:
    """In words, whether an arm takes less or more time than the baseline. Pure."""
    if difference is None:
        return "missing: the number is not there in both arms"
    counted = format_count(difference.count, "round" if difference.paired else "repeat")
    counted += "" if difference.paired else " an arm"
    if difference.low is None or difference.high is None or difference.p is None:
        needed = count_needed(paired=difference.paired, arms=difference.arms)
        return f"can't tell from {counted}: {needed} are needed (in these, {_word(difference.shift)})"
    corrected = f" of {difference.arms} arms" if difference.arms > 1 else ""
    tested = f"p = {difference.p:.2g}{corrected}, {counted}"
    if not difference.is_told:
        words = dict.fromkeys((_word(difference.low), _word(difference.high)))
        return f"can't tell: {' to '.join(words)}; {tested}"
    edges = sorted((abs(difference.low), abs(difference.high)))
    times = f", by a factor of {factor:.3g}" if factor and factor >= 1.05 else ""
    shown = " … ".join(format_seconds(edge) for edge in edges)
    return f"{_word(difference.shift)} [{shown}]{times}; {tested}"


def _word(seconds: float) -> str:
    if not seconds:
        return "the same"
    return f"{format_seconds(abs(seconds))} {'shorter' if seconds < 0 else 'longer'}"


def _list_left_out(cases: Mapping[str, CaseResult]) -> Iterator[str]:
    """Repeats of one arm with the same reason in one line."""
    for name, case in cases.items():
        reasons: dict[str, list[str]] = {}
        for record in case.records:
            verdict = record.verdict
            if verdict.name is not VerdictName.COMPLETED:
                said = f": {verdict.first_line}" if verdict.reason.strip() else ""
                reasons.setdefault(f"not counted: {verdict}{said}", []).append(f"#{record.repeat}")
            elif missing := [word for number, word in TIMES.items() if record.measured(number) is None]:
                reasons.setdefault(f"without {', '.join(missing)}", []).append(f"#{record.repeat}")
        yield from (f"{name} {' '.join(numbers)} {reason}" for reason, numbers in reasons.items())


def render_comparisons(comparisons: Sequence[Comparison]) -> str:
    """A table of the arms, what is not counted, and a line for each difference."""
    return "\n\n".join("\n".join(_render(comparison)) for comparison in comparisons)


def _render(comparison: Comparison) -> Iterator[str]:
    among = f"{comparison.among}: " if comparison.among else ""
    yield f"{among}{comparison.axis} compared with {comparison.baseline}, {render_order(comparison)}"
    rows: list[tuple[str, ...]] = [("", "repeats", "downtime", "outside", "device pre-copy", "device stop-copy")]
    rows += [
        (
            arm.name,
            f"{arm.completed}/{arm.repeats}",
            *(render_spread(arm.numbers[name], format_seconds) for name in ("downtime.explained", "downtime.outside")),
            *(
                render_spread(arm.numbers[name], format_bytes)
                for name in ("bytes.vfio.precopy", "bytes.vfio.stop_copy")
            ),
        )
        for arm in comparison.arms
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            f"{row[0]:<{widths[0]}}",
            *(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        yield f"  {'  '.join(cells)}".rstrip()
    yield from (f"  {text}" for text in (*comparison.left_out, *comparison.notes))
    times = choose_times(comparison.axis)
    label = max(len(word) for word in times.values())
    last = ""
    for versus in comparison.differences:
        name = "" if versus.arm == last else versus.arm
        yield f"  {name:<{widths[0]}}  {times[versus.measurement]:<{label}}  {versus.conclusion}"
        last = versus.arm


def render_spread(spread: Spread | None, show: Callable[[float], str]) -> str:
    return format_spread((spread.low, spread.median, spread.high) if spread else (), show)


def render_order(comparison: Comparison) -> str:
    if not comparison.in_turns:
        return "the repeats did not alternate: the differences include whatever changed in between"
    shown = ", ".join(" ".join(one) for one in comparison.order[:_ROUNDS_SHOWN])
    return f"in turns: {shown}{', …' * (len(comparison.order) > _ROUNDS_SHOWN)}"
