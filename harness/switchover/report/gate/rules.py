# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether numbers have become worse than a baseline by more than a bound (docs/gate.md). Pure.

The change is the Hodges-Lehmann shift of logarithms, and what is judged is its interval, never the middle. All numbers
of a gate are judged at once: intervals are as wide as Holm's method makes them, so that the chance that any of them
lies beyond the bound where nothing has changed is no larger than with one number. Repeats of one run were made in one
lab and have more in common than repeats of two: where the baseline is several runs, how far these differ among
themselves is in the interval too.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from switchover.record.units import Direction
from switchover.report.differences import CONFIDENCE, Shift, find_shift

_LARGE = 700
"""A logarithm above which there is no number any more."""


class Word(StrEnum):
    """What is said of a number."""

    WORSE = "worse"
    NOT_WORSE = "not worse"
    CANNOT_TELL = "can't tell"


@dataclass(frozen=True)
class Question:
    """A number of a case, and what it is held against.

    ``case``: with its hop, and of an experiment with the baseline's name; ``values``: of its repeats; ``baseline``: by
    run, the oldest first; ``paired``: the only run of the baseline has a value of the same round at each place.
    ``missing``: why nothing can be said, empty if something can. ``notes``: what else the reader must know.
    """

    case: str
    metric: str
    unit: str
    direction: str
    values: tuple[float, ...] = ()
    baseline: tuple[tuple[float, ...], ...] = ()
    paired: bool = False
    missing: str = ""
    notes: tuple[str, ...] = ()

    @property
    def pooled(self) -> tuple[float, ...]:
        return tuple(value for of_run in self.baseline for value in of_run)


@dataclass(frozen=True)
class Finding:
    """What became of a question. ``change``, ``low``, ``high``: relative to the baseline, 0.1 for 10 % more, with the
    interval; None where there is none. ``confidence``: of this interval. ``repeats``, ``baseline_repeats``: values that
    were compared, the latter of ``baseline_runs`` runs.
    """

    case: str
    metric: str
    unit: str
    direction: str
    word: Word
    why: str
    change: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    median: float | None = None
    baseline_median: float | None = None
    repeats: int = 0
    baseline_repeats: int = 0
    baseline_runs: int = 0
    paired: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Change:
    """How far the values are from the baseline, at any confidence: ``undo`` makes relative changes of what is compared.

    ``between``: of several runs, how far the judged one is from their mean, the deviation among them, and how many.
    """

    shift: Shift
    undo: Callable[[float], float]
    between: tuple[float, float, int] | None

    def find_interval(self, confidence: float) -> tuple[float, float] | None:
        edges = self.shift.find_interval(confidence)
        if edges is None:
            return None
        low, high = edges
        if self.between is not None:
            from scipy import special  # type: ignore[import-untyped]

            distance, deviation, runs = self.between
            # of a further run: Student's interval of prediction
            width = float(special.stdtrit(runs - 1, (1 + confidence) / 2)) * deviation * math.sqrt(1 + 1 / runs)
            low, high = min(low, distance - width), max(high, distance + width)
        return self.undo(low), self.undo(high)


def judge(questions: Sequence[Question], bound: float) -> list[Finding]:
    """In the order of the questions. ``bound``: 0.05 for 5 %.

    Holm's method, step by step: all that are open share what the confidence leaves; those that lie beyond the bound are
    settled, and the others share it anew.
    """
    changes = {number: _measure(one) for number, one in enumerate(questions) if not one.missing}
    found: dict[int, Finding] = {}
    while changes:
        confidence = 1 - (1 - CONFIDENCE) / len(changes)
        seen = {
            number: _conclude(questions[number], change, confidence, bound, len(changes))
            for number, change in changes.items()
        }
        found |= seen
        worse = [number for number, one in seen.items() if one.word is Word.WORSE]
        if not worse:
            break
        changes = {number: change for number, change in changes.items() if number not in worse}
    return [found.get(number) or _say_missing(one) for number, one in enumerate(questions)]


def _say_missing(question: Question) -> Finding:
    return Finding(
        question.case,
        question.metric,
        question.unit,
        question.direction,
        Word.CANNOT_TELL,
        question.missing,
        notes=question.notes,
    )


def _measure(question: Question) -> _Change:
    """Values that are all positive are compared by their ratio; else by their difference, in baseline's medians."""
    pooled = question.pooled
    scale = abs(statistics.median(pooled))
    by_ratio = min(*pooled, *question.values, 1) > 0
    take: Callable[[float], float] = math.log if by_ratio else float

    def undo(difference: float) -> float:
        """To 12 digits: what was set to exactly the bound is not beyond it by an error of rounding."""
        if by_ratio:
            return round(math.expm1(difference), 12) if difference < _LARGE else math.inf
        if not scale:
            return math.copysign(math.inf, difference) if difference else 0.0
        return round(difference / scale, 12)

    values = [take(value) for value in question.values]
    runs = [[take(value) for value in of_run] for of_run in question.baseline]
    shift = find_shift([value for of_run in runs for value in of_run], values, paired=question.paired)
    if shift is None:
        raise ValueError(f"{question.case}, {question.metric}: a question without values says why")
    between = None
    if len(runs) > 1:
        # as many repeats of each as the judged run has: the median of fewer varies more
        medians = [statistics.median(of_run[-len(values) :]) for of_run in runs]
        distance = statistics.median(values) - statistics.fmean(medians)
        between = (distance, statistics.stdev(medians), len(medians))
    return _Change(shift, undo, between)


def _conclude(question: Question, change: _Change, confidence: float, bound: float, count: int) -> Finding:
    """``count``: of the numbers that share the confidence."""
    edges = change.find_interval(confidence)
    finding = Finding(
        question.case,
        question.metric,
        question.unit,
        question.direction,
        Word.CANNOT_TELL,
        "",
        change=change.undo(change.shift.middle),
        confidence=confidence,
        median=statistics.median(question.values),
        baseline_median=statistics.median(question.pooled),
        repeats=len(question.values),
        baseline_repeats=len(question.pooled),
        baseline_runs=len(question.baseline),
        paired=question.paired,
        notes=question.notes,
    )
    if edges is None:
        needed = count_needed(confidence, paired=question.paired)
        at_once = f" for {count} numbers at once" if count > 1 else ""
        each = "rounds" if question.paired else "repeats on each side"
        return replace(finding, why=f"{needed} {each} are needed{at_once}")
    low, high = edges
    best, worst = (-high, -low) if question.direction == Direction.HIGHER else (low, high)
    if best > bound:
        word, why = Word.WORSE, "all of the interval is beyond the bound"
    elif worst <= bound:
        word, why = Word.NOT_WORSE, "none of the interval is beyond the bound"
    else:
        word, why = Word.CANNOT_TELL, "the bound is within the interval"
    return replace(finding, low=low, high=high, word=word, why=why)


def count_needed(confidence: float, *, paired: bool) -> int:
    """The fewest pairs, or values of each arm, with which there is an interval of this confidence."""
    ways = (2**n if paired else math.comb(2 * n, n) for n in range(1, 1000))
    return next(n for n, count in enumerate(ways, start=1) if (1 - confidence) / 2 * count >= 1)
