# SPDX-License-Identifier: GPL-2.0-or-later
"""Axes of a scenario: what is varied."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pydantic
from pydantic import Field

from switchover.record.toml import TomlText, explain_value, suggest
from switchover.scenarios.ids import make_word
from switchover.scenarios.keys import Key, KeyProblem, require_key
from switchover.scenarios.limits import Target
from switchover.scenarios.tables import Table


@dataclass(frozen=True)
class AxisValue:
    """``word``: as it stands in ids; ``changes``: what it sets."""

    word: str
    changes: Mapping[Target, object]


@dataclass(frozen=True)
class Axis:
    """``place``: ``FILE:LINE``. ``keys``: all that any of its values sets."""

    name: str
    values: tuple[AxisValue, ...]
    place: str
    keys: tuple[Key, ...]

    def targets(self) -> set[Target]:
        return {target for key in self.keys for target in key.targets}


class Variant(Table):
    """A value of an axis that sets several keys."""

    name: Annotated[str, Field(min_length=1)]
    set: dict[str, Any]


def flatten(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Keys of nested tables with their values: ``device.pre_copy = …`` nests in TOML, in quotes it does not."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from flatten(value, (*path, name))
        else:
            yield (*path, name), value


def read_axes(
    document: TomlText, table: object, devices: Sequence[str], problems: list[str], hops: int = 0
) -> tuple[Axis, ...]:
    """The axes of a scenario with ``devices`` and so many ``hops``.

    What is wrong with them goes to ``problems``, a line each.
    """
    if not isinstance(table, Mapping):
        return ()
    axes = []
    for path, values in flatten(table):
        axis = _Reader(document, ("axes", *path), devices, problems, hops).read(values)
        if axis is not None:
            axes.append(axis)
    names: dict[str, Axis] = {}
    for axis in axes:
        if names.setdefault(axis.name, axis) is not axis:
            first = names[axis.name].place
            problems.append(f"{axis.place}: axes.{axis.name}: there is another axis of this name ({first})")
    _reject_shared_keys(axes, problems)
    return tuple(axes)


@dataclass
class _Reader:
    """Reads one axis."""

    document: TomlText
    path: tuple[str | int, ...]
    devices: Sequence[str]
    problems: list[str]
    hops: int

    @property
    def name(self) -> str:
        return ".".join(str(word) for word in self.path[1:])

    def complain(self, text: str, *inner: str | int) -> None:
        index = "".join(f"[{word}]" if isinstance(word, int) else f".{word}" for word in inner)
        self.problems.append(f"{self.document.place((*self.path, *inner))}: axes.{self.name}{index}: {text}")

    def read(self, values: object) -> Axis | None:
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", self.name):
            self.complain("the name of an axis must be letters, digits, '_', '.' and '-': it is a part of ids")
            return None
        if not isinstance(values, list) or not values:
            self.complain(f"must be a list with at least one value (it is {values!r})")
            return None
        before = len(self.problems)
        tables = [isinstance(value, Mapping) for value in values]
        if all(tables):
            read, keys = self._read_variants(values)
        elif any(tables):
            self.complain("must have either values or variants, not both")
            return None
        else:
            read, keys = self._read_values(values)
        if len(self.problems) > before:
            return None
        words: dict[str, int] = {}
        for number, value in enumerate(read):
            if value.word in words:
                self.complain(f"is the same as [{words[value.word]}]", number)
            words.setdefault(value.word, number)
        # an array of tables has no line of its own: its first table's
        place = self.document.place((*self.path, 0) if all(tables) else self.path)
        return Axis(self.name, tuple(read), place, tuple(keys))

    def _read_values(self, values: Sequence[object]) -> tuple[list[AxisValue], list[Key]]:
        try:
            key = require_key(self.name, self.devices, self.hops)
        except KeyProblem as problem:
            self.complain(str(problem))
            return [], []
        read = []
        for number, value in enumerate(values):
            try:
                held = key.read(value)
                read.append(AxisValue(make_word(value), dict.fromkeys(key.targets, held)))
            except KeyProblem as problem:
                self.complain(str(problem), number)
        return read, [key]

    def _read_variants(self, tables: Sequence[Any]) -> tuple[list[AxisValue], list[Key]]:
        read: list[AxisValue] = []
        keys: dict[str, Key] = {}
        for number, table in enumerate(tables):
            try:
                variant = Variant.model_validate(table)
            except pydantic.ValidationError as error:
                for found in error.errors(include_url=False):
                    word = str(found["loc"][0])
                    unknown = f"unknown key{suggest(word, list(Variant.model_fields))}"
                    told = {"extra_forbidden": unknown, "missing": "is missing"}.get(found["type"])
                    self.complain(told or explain_value(found), number, word)
                continue
            if not make_word(variant.name):
                self.complain("must not be blank: it is a part of ids", number, "name")
            changes: dict[Target, object] = {}
            for path, value in flatten(variant.set):
                name = ".".join(path)
                try:
                    key = keys.setdefault(name, require_key(name, self.devices, self.hops))
                    held = key.read(value)
                except KeyProblem as problem:
                    self.complain(f"{name}: {problem}", number, "set", *path)
                    continue
                twice = [target for target in key.targets if target in changes]
                if twice:
                    self.complain(f"{name}: is set twice", number, "set", *path)
                changes.update(dict.fromkeys(key.targets, held))
            read.append(AxisValue(make_word(variant.name), changes))
        return read, list(keys.values())


def _reject_shared_keys(axes: Sequence[Axis], problems: list[str]) -> None:
    for number, axis in enumerate(axes):
        for other in axes[:number]:
            if axis.targets() & other.targets():
                problems.append(f"{axis.place}: axes.{axis.name}: sets what axes.{other.name} ({other.place}) sets too")
