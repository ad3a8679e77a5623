# SPDX-License-Identifier: GPL-2.0-or-later
"""Covering arrays: few points of many axes, in which the values of any so many of them meet in every way that is not
forbidden. Pure.

The way is that of IPOG (Lei and others, "IPOG: A General Strategy for T-Way Software Testing", 2007): points for the
first axes, then one axis after the other, each first as a further value of the points that there are, then, for what
they leave uncovered, in places that are free, and in points of their own. A point takes a value only if the rest of it
can still be chosen so that nothing in it is forbidden, which a search decides. What is free at the end is the first
value of its axis: so the first should be the one that hides least of what the others do.

Nothing is left to chance. Values that come to the end of an axis, and axes that come to the end, change the points of
those before them least.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from operator import itemgetter
from typing import Any

Forbidden = Mapping[int, frozenset[int]]
"""Values, by their numbers, of some axes, by theirs, that must not meet: one of each of these axes."""
Points = tuple[tuple[int, ...], ...]
FREE = -1
_FEW = 100
"""Of so many points each is tried whether it can be done without: of more that takes too long."""


def cover(sizes: Sequence[int], strength: int, forbidden: Iterable[Forbidden] = ()) -> Points:
    """Points in order, by axis the number of a value. ``sizes``: how many values each axis has.

    With fewer axes than ``strength`` these are all points. None: everything is forbidden.
    """
    limits = _Limits(sizes, forbidden)
    if not limits.allows_any():
        return ()
    rows = _Rows(sizes, limits)
    begun = min(strength, len(sizes))
    for values in product(*(range(size) for size in sizes[:begun])):
        rows.add(dict(enumerate(values)))
    for axis in range(begun, len(sizes)):
        rows.grow(axis, strength)
    points = _without_idle(rows.fill(), sizes, begun)
    if len(points) <= _FEW:
        points = _without_idle(_shift(points, sizes, begun, limits), sizes, begun)
    return tuple(sorted(points))


def list_tuples(sizes: Sequence[int], strength: int, point: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """What meets in a point: each value as a number that no value of another axis has."""
    firsts = [sum(sizes[:number]) for number in range(len(sizes))]
    return combinations([first + value for first, value in zip(firsts, point, strict=True)], strength)


def _without_idle(points: Iterable[tuple[int, ...]], sizes: Sequence[int], strength: int) -> list[tuple[int, ...]]:
    """Without points of which everything that meets there meets elsewhere, the last looked at first."""
    kept = list(dict.fromkeys(points))
    met = Counter(one for point in kept for one in list_tuples(sizes, strength, point))
    for point in reversed(tuple(kept)):
        mine = list(list_tuples(sizes, strength, point))
        if all(met[one] > 1 for one in mine):
            kept.remove(point)
            met.subtract(mine)
    return kept


def _shift(
    points: Sequence[tuple[int, ...]], sizes: Sequence[int], strength: int, limits: "_Limits"
) -> list[tuple[int, ...]]:
    """Without points of which what meets there alone can be put into others in place of what meets elsewhere too."""
    owners = [(axis, value) for axis, size in enumerate(sizes) for value in range(size)]
    kept = list(points)
    met = Counter(one for point in kept for one in list_tuples(sizes, strength, point))
    for point in reversed(points):
        if point not in kept:
            continue  # it was given what another had
        others = [other for other in kept if other != point]
        left = met - Counter(list_tuples(sizes, strength, point))
        for one in [one for one in list_tuples(sizes, strength, point) if met[one] == 1]:
            if left[one]:
                continue
            for number, other in enumerate(others):
                changed = list(other)
                for axis, value in (owners[each] for each in one):
                    changed[axis] = value
                before, after = (set(list_tuples(sizes, strength, each)) for each in (other, changed))
                if limits.allows(changed) and all(left[each] > 1 for each in before - after):
                    others[number] = tuple(changed)
                    left.subtract(before - after)
                    left.update(after - before)
                    break
            else:
                break
        else:
            kept, met = others, left
    return kept


class _Limits:
    """What is forbidden. Of each axis the values that are left are the bits of a number."""

    def __init__(self, sizes: Sequence[int], forbidden: Iterable[Forbidden]) -> None:
        self.whole = [(1 << size) - 1 for size in sizes]
        self._forbidden = [
            tuple((axis, sum(1 << value for value in values)) for axis, values in sorted(one.items()))
            for one in forbidden
        ]
        self._of_axis: list[list[tuple[tuple[int, int], ...]]] = [[] for _ in sizes]
        for one in self._forbidden:
            for axis, _ in one:
                self._of_axis[axis].append(one)
        self._known: dict[tuple[int, ...], bool] = {}
        self._bound = [axis for axis, found in enumerate(self._of_axis) if found]

    def choose(self, left: Sequence[int], chosen: Mapping[int, int]) -> list[int] | None:
        """What is left once these values are chosen too; None: no point has them all."""
        narrowed = list(left)
        for axis, value in chosen.items():
            if not narrowed[axis] >> value & 1:
                return None
            narrowed[axis] = 1 << value
        touched = [axis for axis in chosen if self._of_axis[axis]]
        return narrowed if self._narrow(narrowed, touched) and self._is_possible(narrowed) else None

    def list_pairs(self, axis: int) -> dict[tuple[int, int], int]:
        """By each other axis before it and a value of that, the values that a point may have besides."""
        found = {}
        for other in range(axis):
            for value in range(self.whole[other].bit_length()):
                left = self.choose(self.whole, {other: value})
                both = [left and self.choose(left, {axis: one}) for one in range(self.whole[axis].bit_length())]
                found[other, value] = sum(1 << one for one, possible in enumerate(both) if possible)
        return found

    def allows(self, point: Sequence[int]) -> bool:
        """Whether nothing forbidden is in a point."""
        return not any(all(values >> point[axis] & 1 for axis, values in one) for one in self._forbidden)

    def allows_any(self) -> bool:
        """Whether there is any point; also of what is forbidden whatever else a point has."""
        left = list(self.whole)
        return () not in self._forbidden and self._narrow(left, list(self._bound)) and self._is_possible(left)

    def _narrow(self, left: list[int], touched: list[int]) -> bool:
        """Take away, in place, what what is left of the other axes forbids. Whether something is left of each."""
        while touched:
            for one in self._of_axis[touched.pop()]:
                last = self._find_last(one, left)
                if last is None:
                    continue
                axis, values = last
                if not left[axis] & ~values:
                    return False
                left[axis] &= ~values
                touched.append(axis)
        return True

    @staticmethod
    def _find_last(one: tuple[tuple[int, int], ...], left: Sequence[int]) -> tuple[int, int] | None:
        """The only axis that still decides whether forbidden values meet, or any where they do; None: more decide, or
        they cannot meet.
        """
        last = None
        for axis, values in one:
            if not left[axis] & values:
                return None
            if left[axis] & ~values:
                if last is not None:
                    return None
                last = axis, values
        return last or one[0]

    def _is_possible(self, left: Sequence[int]) -> bool:
        """Whether a point is left in which nothing is forbidden."""
        key = tuple(left[axis] for axis in self._bound)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._search(left)
        return known

    def _search(self, left: Sequence[int]) -> bool:
        if self.allows([(values & -values).bit_length() - 1 for values in left]):
            return True  # of each the first: most often nothing is wrong with that
        for one in self._forbidden:
            if any(not left[axis] & values for axis, values in one):
                continue
            axis, values = next((axis, values) for axis, values in one if left[axis] & ~values)
            # either this axis has none of the forbidden values, or one of these
            for kept in (left[axis] & ~values, left[axis] & values):
                narrowed = list(left)
                narrowed[axis] = kept
                if self._narrow(narrowed, [axis]) and self._is_possible(narrowed):
                    return True
            return False
        return True


@dataclass
class _Row:
    """A point that is being made. ``left``: see :class:`_Limits`; what is left of an axis is not chosen yet."""

    values: list[int]
    left: list[int]


class _Rows:
    def __init__(self, sizes: Sequence[int], limits: _Limits) -> None:
        self._sizes = sizes
        self._limits = limits
        self._rows: list[_Row] = []
        self._pairs = {
            (axis, *other): values for axis in range(len(sizes)) for other, values in limits.list_pairs(axis).items()
        }
        """By an axis, another before it and a value of that: what the first may have besides."""

    def add(self, chosen: Mapping[int, int]) -> _Row | None:
        """None: no point has all these values."""
        row = _Row([FREE] * len(self._sizes), self._limits.whole)
        if not self._put(row, chosen):
            return None
        self._rows.append(row)
        return row

    def _put(self, row: _Row, chosen: Mapping[int, int]) -> bool:
        left = self._limits.choose(row.left, chosen)
        if left is None:
            return False
        row.left = left
        for axis, value in chosen.items():
            row.values[axis] = value
        return True

    def grow(self, axis: int, strength: int) -> None:
        """By an axis, so that what it makes with those before it is covered."""
        missing = _Missing(self._sizes, axis, strength, self._pairs)
        for row in self._rows:
            for value in missing.rank(row):
                if self._put(row, {axis: value}):
                    missing.take(row)
                    break
        loose = [row for row in self._rows if FREE in row.values[: axis + 1]]
        for wanted in missing.list_left():
            if self._limits.choose(self._limits.whole, wanted) is None:
                continue
            fitting = (row for row in loose if all(row.values[one] in (FREE, value) for one, value in wanted.items()))
            found = next((row for row in fitting if self._put(row, wanted)), None)
            if found is None:
                found = self.add(wanted)
                assert found is not None
                loose.append(found)
            missing.take(found)

    def fill(self) -> Iterator[tuple[int, ...]]:
        """The points, whole."""
        for row in self._rows:
            for axis, size in enumerate(self._sizes):
                if row.values[axis] == FREE:
                    next(value for value in range(size) if self._put(row, {axis: value}))
            yield tuple(row.values)


class _Missing:
    """What an axis makes with those before it, and no point has yet: by the values of the others, the bits of its."""

    def __init__(
        self, sizes: Sequence[int], axis: int, strength: int, pairs: Mapping[tuple[int, int, int], int]
    ) -> None:
        """``pairs``: what may meet, of any two axes so far."""
        self._axis = axis
        self._size = sizes[axis]
        self._tables: list[tuple[tuple[int, ...], itemgetter[Any], dict[Any, int]]] = []
        for others in combinations(range(axis), strength - 1):
            table: dict[Any, int] = {}
            for values in product(*(range(sizes[one]) for one in others)):
                chosen = list(zip(others, values, strict=True))
                left = (1 << self._size) - 1
                for one, value in chosen:
                    left &= pairs[axis, one, value]
                meet = all(
                    one == first or pairs[one, first, other] >> value & 1
                    for one, value in chosen
                    for first, other in chosen
                    if first <= one
                )
                if left and meet:
                    table[values if len(values) > 1 else values[0]] = left
            self._tables.append((others, itemgetter(*others), table))

    def rank(self, row: _Row) -> list[int]:
        """Values of the axis that would cover something, the best first."""
        gains = [0] * self._size
        values, left = row.values, row.left[self._axis]
        for _, pick, table in self._tables:
            found = table.get(pick(values), 0) & left
            while found:
                lowest = found & -found
                gains[lowest.bit_length() - 1] += 1
                found ^= lowest
        return sorted((value for value in range(self._size) if gains[value]), key=lambda value: -gains[value])

    def take(self, row: _Row) -> None:
        """A point covers what it has."""
        bit = 1 << row.values[self._axis]
        for _, pick, table in self._tables:
            key = pick(row.values)
            if key in table:
                table[key] &= ~bit

    def list_left(self) -> Iterator[dict[int, int]]:
        """What is missing, by axis; also while more of it is taken."""
        for others, _, table in self._tables:
            for key in table:
                for value in range(self._size):
                    if table[key] >> value & 1:
                        values = (key,) if len(others) == 1 else key
                        yield {**dict(zip(others, values, strict=True)), self._axis: value}
