# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of scenario files whose keys are the fields of a dataclass: a knob or a setting is declared in one place."""

import ast
import dataclasses
import inspect
import itertools
import re
import textwrap
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Annotated, Any

import pydantic
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from switchover.devices.reference import Spelling
from switchover.guests.login import read_host_key, read_private_key
from switchover.guests.spec import HostKey, Kernel, KeyFile
from switchover.lab.images import find_recipe, list_recipes
from switchover.record.toml import suggest
from switchover.scenarios.limits import FORMS, LIMITS, find_problem

_SIZE_NAME = re.compile(r"(?:^|_)bytes(?:_per_sec)?$|bandwidth$")
_SIZE = re.compile(r"(\d+)\s*([KMGT]iB)")
_FACTORS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


class Table(pydantic.BaseModel):
    """A table in which an unknown key is an error."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


def _read_on_off(value: object) -> bool:
    """YAML habits made ``off`` a boolean somewhere and a word elsewhere: here it is one thing, a word in quotes."""
    if isinstance(value, bool):
        raise ValueError(f'write "{"on" if value else "off"}", in quotes')
    if value not in ("on", "off"):
        raise ValueError('must be "on" or "off"')
    return value == "on"


def _read_size(value: object) -> object:
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if not match:
            raise ValueError('must be a number of bytes or a size such as "64 MiB"')
        return int(match[1]) * _FACTORS[match[2]]
    return value


def _read_property(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f'write "{"on" if value else "off"}", in quotes')
    return str(value) if isinstance(value, int) else value


def _read_parameter(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f'write "{"on" if value else "off"}", in quotes')
    if isinstance(value, str | int):
        return {"on": True, "off": False}.get(value, value) if isinstance(value, str) else value
    raise ValueError("must be a string or a whole number")


def _check_key_file(path: str) -> str:
    read_private_key(path)
    return path


def _check_host_key(word: str) -> str:
    read_host_key(word)
    return word


def _check_kernel(word: str) -> str:
    """A path of a host is seen only there; a name is one of an image."""
    recipe = find_recipe(word)
    if word and "/" not in word and not (recipe and recipe.is_kernel):
        names = [recipe.name for recipe in list_recipes() if recipe.is_kernel]
        raise ValueError(f"is neither a path nor the name of a kernel{suggest(word, names)}")
    return word


_ON_OFF_SCHEMA = WithJsonSchema({"type": "string", "enum": ["on", "off"]})
_WORD_SCHEMA = WithJsonSchema({"type": ["string", "integer"]})

_SIZE_SCHEMA = WithJsonSchema(
    {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": _SIZE.pattern}]}
)

OnOff = Annotated[bool, BeforeValidator(_read_on_off), _ON_OFF_SCHEMA]
"""``"on"`` or ``"off"``, in quotes."""
Size = Annotated[
    int,
    BeforeValidator(_read_size),
    Field(strict=True, ge=0),
    _SIZE_SCHEMA,
]
"""Bytes as a number, or with a unit: ``"64 MiB"``."""
Whole = Annotated[int, Field(strict=True, ge=0)]
Number = Annotated[float, Field(strict=True, ge=0)]
_SIGNED: dict[Any, Any] = {
    Whole: Annotated[int, Field(strict=True)],
    Number: Annotated[float, Field(strict=True)],
    Size: Annotated[int, BeforeValidator(_read_size), Field(strict=True), _SIZE_SCHEMA],
}
PropertyValue = Annotated[str, BeforeValidator(_read_property), _WORD_SCHEMA]
"""A property of a QEMU device, as on its command line."""
Parameter = Annotated[object, BeforeValidator(_read_parameter), _WORD_SCHEMA]
"""A migration parameter as QMP has it; ``"on"`` and ``"off"`` are booleans there."""

DECLARED: dict[type[Table], type] = {}
"""Tables by the dataclass that declares their keys."""
_CHECKED: dict[object, Any] = {
    KeyFile: Annotated[str, AfterValidator(_check_key_file)],
    HostKey: Annotated[str, AfterValidator(_check_host_key)],
    Kernel: Annotated[str, AfterValidator(_check_kernel)],
}
_MAPPINGS = {bool: OnOff, int: Whole, str: PropertyValue, object: Parameter}


def make_table(name: str, of: type, keys: typing.Iterable[str], **others: Any) -> type[Table]:
    """A table with ``keys``, fields of the dataclass ``of``, with their types, defaults and documentation.

    None is required, and which of them are set is in ``model_fields_set``. ``others``: more fields, as
    :func:`pydantic.create_model` takes them. :raises TypeError: a field has a type that no TOML value is made for
    """
    hints = typing.get_type_hints(of, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(of)}
    made: dict[str, Any] = {
        key: (limited(toml_type(key, hints[key]), of, key), Field(default=_default_of(fields[key]))) for key in keys
    }
    clashes = sorted(made.keys() & others.keys())
    if clashes:
        raise TypeError(f"{of.__name__} and {name} both have {', '.join(clashes)}")
    table = pydantic.create_model(name, __base__=Table, **others, **made)
    DECLARED[table] = of
    return table


def limited(written: Any, of: type, key: str) -> Any:
    """The type of a key whose value is also checked as a value of a case is (:mod:`switchover.scenarios.limits`)."""

    def check(value: Any) -> Any:
        if text := find_problem(of, key, value):
            raise ValueError(text)
        return value

    limit = LIMITS.get(of, {}).get(key)
    if limit is not None and written in _SIGNED:
        written = _SIGNED[written]  # so that one text names the whole range
    return Annotated[written, AfterValidator(check)] if limit or key in FORMS.get(of, {}) else written


def toml_type(name: str, hint: Any) -> Any:
    """What a field of this type is written as."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _CHECKED:
        return _CHECKED[hint]
    if origin is Annotated:
        (spelling,) = arguments[1:]
        schema = WithJsonSchema({"type": "string", "pattern": f"^({spelling.pattern})$"})
        return Annotated[str, AfterValidator(_make_check(spelling)), schema]
    if hint is bool:
        return OnOff
    if hint is int:
        return Size if _SIZE_NAME.search(name) else Whole
    if hint is float:
        return Number
    if hint is str or origin is typing.Literal or (inspect.isclass(hint) and issubclass(hint, Enum)):
        return hint
    if inspect.isclass(origin) and issubclass(origin, Mapping) and arguments[1] in _MAPPINGS:
        named: Any = dict
        return named[str, _MAPPINGS[arguments[1]]]
    if origin is tuple and arguments[1:] == (...,):
        listed: Any = tuple
        return listed[toml_type(name, arguments[0]), ...]
    raise TypeError(f"{name}: nothing in TOML is known to stand for {hint}")


def _make_check(spelling: Spelling) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not re.fullmatch(spelling.pattern, text):
            raise ValueError(spelling.words)
        return text

    return check


def _default_of(field: Any) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return None if field.default_factory is dataclasses.MISSING else field.default_factory()


def find_meanings(of: type) -> dict[str, str]:
    """The string below each field of a class, or else of one that it is derived from; what has none is left out."""
    found: dict[str, str] = {}
    for each in reversed(inspect.getmro(of)):
        if each is of or dataclasses.is_dataclass(each):
            found |= _read_meanings(each)
    return found


def _read_meanings(of: type) -> dict[str, str]:
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(of))).body[0]
    except (OSError, TypeError, SyntaxError):
        return {}
    found: dict[str, str] = {}
    statements = body.body if isinstance(body, ast.ClassDef) else []
    for field, below in itertools.pairwise(statements):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            found[field.target.id] = inspect.cleandoc(below.value.value)
    return found
