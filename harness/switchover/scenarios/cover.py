# SPDX-License-Identifier: GPL-2.0-or-later
"""Which points of its axes a scenario has cases for: all, or a choice in which values meet.

Pure, but for what is kept of a choice in the cache directory: three of many axes take seconds, and each process that
loads the catalogue wants it.
"""

import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

from switchover.record.cache import keep, read_cached
from switchover.record.errors import UsageError
from switchover.record.units import format_count
from switchover.scenarios import covering
from switchover.scenarios.covering import Forbidden, Points, cover

Point = tuple[int, ...]
"""By axis, the index of a value."""
Words = Mapping[str, Sequence[str]]
"""By the name of each axis, its values in words."""
Combination = Mapping[str, frozenset[str]]
"""By the names of some axes, words of their values: an exclusion."""
_NAMES = {2: "pairs", 3: "threes", 4: "fours"}


@dataclass(frozen=True)
class Cover:
    """``[cover]`` of a scenario. ``strength``: the values of any so many axes meet in a case. ``most``: more cases than
    that are an error; 0: any number is right. ``place``: ``FILE:LINE``.
    """

    strength: int
    most: int = 0
    place: str = ""

    @property
    def name(self) -> str:
        """``pairs``, ``threes``, ``fours``, or ``combinations of 5 values``."""
        return _NAMES.get(self.strength, f"combinations of {self.strength} values")


def list_points(words: Words, exclusions: Sequence[Combination], choice: Cover | None) -> Iterable[Point]:
    """In the order of the product, in which the last axis varies fastest. :raises UsageError: they are too many"""
    if choice is None:
        return _list_all(words, exclusions)
    varied = [name for name, values in words.items() if len(values) > 1]
    points = _cover(
        tuple(len(words[name]) for name in varied),
        choice.strength,
        tuple(
            tuple((axis, tuple(sorted(values))) for axis, values in sorted(one.items()))
            for one in _list_forbidden(words, varied, exclusions)
        ),
    )
    if choice.most and len(points) > choice.most:
        raise UsageError(
            f"{choice.place}: cover.most: {choice.most} cases are to do, and {len(points)} are needed to have all "
            f"{choice.name}",
            fix="leave out values or combinations, or allow more",
        )
    places = {name: number for number, name in enumerate(varied)}
    return [tuple(point[places[name]] if name in places else 0 for name in words) for point in points]


_KIND = "covering"


@functools.lru_cache(maxsize=8)
def _cover(
    sizes: tuple[int, ...], strength: int, forbidden: tuple[tuple[tuple[int, tuple[int, ...]], ...], ...]
) -> Points:
    """As :func:`cover`, of what is forbidden in an order of its own."""
    code = hashlib.sha256(Path(covering.__file__).read_bytes()).hexdigest()
    key = f"{code} {strength} {sizes} {forbidden}"
    kept: Any = read_cached(_KIND, key)
    try:
        found = tuple(tuple(int(value) for value in point) for point in kept)
        if found and all(len(point) == len(sizes) for point in found):
            return found
    except (TypeError, ValueError):
        pass  # nothing is kept, or what is kept is damaged
    points = cover(sizes, strength, [{axis: frozenset(values) for axis, values in one} for one in forbidden])
    keep(_KIND, key, points)
    return points


def _list_all(words: Words, exclusions: Sequence[Combination]) -> Iterator[Point]:
    names = list(words)
    for point in product(*(range(len(values)) for values in words.values())):
        values = {name: words[name][index] for name, index in zip(names, point, strict=True)}
        if not any(_holds(one, values) for one in exclusions):
            yield point


def _holds(combination: Combination, values: Mapping[str, str]) -> bool:
    return all(values[axis] in words for axis, words in combination.items())


def _list_forbidden(words: Words, varied: Sequence[str], exclusions: Sequence[Combination]) -> Iterator[Forbidden]:
    """Of the axes that vary, by their numbers; what holds of the others anyway is left out."""
    for one in exclusions:
        if all(words[name][0] in held for name, held in one.items() if name not in varied):
            yield {
                varied.index(name): frozenset(words[name].index(word) for word in held)
                for name, held in one.items()
                if name in varied
            }


def list_met(values: Mapping[str, str], strength: int) -> Iterator[tuple[tuple[str, str], ...]]:
    """What meets in a case: of each so many axes that vary, names and values."""
    return combinations(values.items(), strength)


@dataclass(frozen=True)
class Coverage:
    """How many combinations of values meet. ``name``: what they are called. ``of``: how many may meet. ``completing``:
    those that meet in a case that is expected to complete: elsewhere what comes first may hide the others.
    """

    name: str
    met: int
    of: int
    completing: int

    def __str__(self) -> str:
        share = f"all {self.of}" if self.met == self.of else f"{self.met} of {self.of}"
        return f"{share} {self.name} of values, {self.completing} of them in a case that is to complete"


def count_coverage(
    choice: Cover, everything: Iterable[Mapping[str, str]], chosen: Iterable[tuple[Mapping[str, str], bool]]
) -> Coverage:
    """``everything``: values of all cases of the scenario, of axes that vary; ``chosen``: of some, and whether they are
    to complete.
    """
    of = {one for values in everything for one in list_met(values, choice.strength)}
    met: dict[tuple[tuple[str, str], ...], bool] = {}
    for values, completes in chosen:
        for one in list_met(values, choice.strength):
            met[one] = met.get(one, False) or completes
    return Coverage(choice.name, len(met), len(of), sum(met.values()))


def find_cover_problem(choice: Cover, varied: int) -> str:
    """Why cases cannot be chosen so; empty: they can."""
    if varied < choice.strength:
        return f"{choice.strength} axes are to meet, and {format_count(varied, 'axis').replace('axiss', 'axes')} vary"
    return ""
