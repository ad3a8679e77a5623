# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether JSON that somebody may have edited, cut off or damaged has the shape that its readers rely on. Pure."""

import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any

DEEPEST = 64
"""Levels of objects and lists; no file of ours has more than a dozen, and Python's own limit depends on its stack."""


def parse_json(text: str) -> Any:
    """JSON whose numbers are finite, whose strings can be written as UTF-8, and which nests at most :data:`DEEPEST`.

    :raises ValueError: it is something else
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it nests too deep") from None
    _require_plain(value, DEEPEST)
    return value


def _refuse_constant(word: str) -> object:
    raise ValueError(f"{word} is no number of JSON")


def _require_plain(value: object, levels: int) -> None:
    if levels == 0:
        raise ValueError(f"it nests deeper than {DEEPEST} levels")
    if isinstance(value, str):
        value.encode()  # a lone surrogate cannot be printed
    elif isinstance(value, (int, float)):
        _require_finite(value)
    elif isinstance(value, list):
        for inner in value:
            _require_plain(inner, levels - 1)
    elif isinstance(value, dict):
        for key, inner in value.items():
            key.encode()
            _require_plain(inner, levels - 1)


def _require_finite(value: float) -> None:
    try:
        if math.isfinite(float(value)):
            return
    except OverflowError:
        pass
    raise ValueError("it has a number that is too large")


def require_shape(value: object, hint: Any, place: str) -> None:
    """That a value of JSON is what an annotation says: of a dataclass all its keys and no others, of a ``TypedDict``
    at least the required ones. Of an enumeration any text is taken, since a newer version may have more members.

    :raises ValueError: it is not; names the ``place``, ``checks[2].passed``
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object:
        return
    if origin in (typing.Union, types.UnionType):
        if not any(_fits(value, arm) for arm in arguments):
            raise ValueError(f"{place} is {_tell(value)}")
    elif origin in (tuple, list):
        for number, inner in enumerate(_require(value, list, place)):
            require_shape(inner, arguments[0], f"{place}[{number}]")
    elif origin is not None and issubclass(origin, Mapping):
        for key, inner in _require(value, dict, place).items():
            require_shape(inner, arguments[1], f"{place}.{key}")
    elif dataclasses.is_dataclass(hint) or typing.is_typeddict(hint):
        _require_keys(_require(value, dict, place), hint, place)
    elif hint is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{place} is {_tell(value)}, not a number")
    elif isinstance(hint, type) and issubclass(hint, Enum):
        if not isinstance(value, str):
            raise ValueError(f"{place} is {_tell(value)}, not a text")
    else:
        _require(value, hint, place)


def _require_keys(value: Mapping[str, object], hint: Any, place: str) -> None:
    hints = _hints_of(hint)
    if typing.is_typeddict(hint):
        required = hint.__required_keys__
    else:
        fields = dataclasses.fields(hint)
        required = {
            field.name
            for field in fields
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        }
        if unknown := sorted(value.keys() - hints.keys()):
            raise ValueError(f"{_join(place, unknown[0])} is no key of it")
    if missing := sorted(required - value.keys()):
        raise ValueError(f"{_join(place, missing[0])} is missing")
    for key in value.keys() & hints.keys():
        require_shape(value[key], hints[key], _join(place, key))


@functools.cache
def _hints_of(hint: Any) -> Mapping[str, Any]:
    return typing.get_type_hints(hint)


def _join(place: str, key: str) -> str:
    return f"{place}.{key}".removeprefix(".")


def _fits(value: object, hint: Any) -> bool:
    try:
        require_shape(value, hint, "")
    except ValueError:
        return False
    return True


def _require(value: object, wanted: type, place: str) -> Any:
    if type(value) is not wanted:
        raise ValueError(f"{place} is {_tell(value)}, not {_NAMES.get(wanted, wanted.__name__)}")
    return value


_NAMES: Mapping[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    type(None): "null",
    float: "a number",
}


def _tell(value: object) -> str:
    return _NAMES.get(type(value), type(value).__name__)
