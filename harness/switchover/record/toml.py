# SPDX-License-Identifier: GPL-2.0-or-later
"""TOML that people write, into pydantic models; each error names file, line, key and what is allowed there."""

import bisect
import contextlib
import copy
import difflib
import re
import tomllib
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import pydantic

from switchover.record.errors import UsageError

Key = str | int
"""A name in a table, or an index of an array."""
M = TypeVar("M", bound=pydantic.BaseModel)

_BDF = re.compile(r"=\s*\[?\s*((?:[0-9a-fA-F]{4}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7])\b")
_WORD = re.compile(r"[=\[,]\s*([A-Za-z/~][^\s\"'#,\]}=]*)\s*(?=[,\]}#]|$)")
_STRING = re.compile(r"\"[^\"]*\"|'[^']*'")


@dataclass(frozen=True)
class TomlText:
    """A parsed text that knows where its keys are. ``lines``: line numbers from 1 by path of keys."""

    source: str
    data: Mapping[str, Any]
    lines: Mapping[tuple[Key, ...], int]

    def find_line(self, keys: Sequence[Key]) -> int | None:
        """Line of a key, or of the innermost table around it that is written down; None for the whole text."""
        path = tuple(keys)
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)

    def place(self, keys: Sequence[Key]) -> str:
        """``FILE:LINE``, or ``FILE`` where there is no line to name."""
        line = self.find_line(keys)
        return self.source if line is None else f"{self.source}:{line}"


def read_toml(path: Path) -> TomlText:
    """:raises UsageError: there is no such file, or it is no TOML; with the line"""
    try:
        return parse_toml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read.", why=str(error)) from error


def parse_toml(text: str, source: str) -> TomlText:
    """A TOML text; ``source`` is the name that errors give it.

    :raises UsageError: it is no TOML; names the line, and the quotes that are missing where YAML needs none
    """
    text = text.replace("\r\n", "\n")
    if text.startswith("\ufeff"):
        fix = "save it as UTF-8 without one; TOML begins with a key, a table or a comment"
        raise UsageError(f"{source}:1: the text begins with a byte order mark (U+FEFF).", fix=fix)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _explain_syntax(text, source, str(error)) from error
    return TomlText(source, data, _locate(text))


def load_model(document: TomlText, model: type[M]) -> M:
    """The text as ``model`` has it.

    :raises UsageError: all that is wrong with it, a line each: ``FILE:LINE: KEY: …``
    """
    try:
        return model.model_validate(document.data)
    except pydantic.ValidationError as error:
        # each arm of a union brings the same error
        lines = dict.fromkeys(_explain(document, model, problem) for problem in error.errors(include_url=False))
        raise UsageError("\n".join(lines)) from error


def load_partly(document: TomlText, model: type[M]) -> tuple[M | None, list[tuple[Key, ...]], list[str]]:
    """As much of the text as ``model`` can have, so that what else is wrong with it can be told at once: the model of
    what is left without the values that are wrong, None if that is none; the ways to these values; and what is wrong
    with each, as :func:`load_model` tells it.
    """
    data = copy.deepcopy(dict(document.data))
    wrong: list[tuple[Key, ...]] = []
    told: dict[str, None] = {}
    for _ in range(_ROUNDS):
        try:
            return model.model_validate(data), wrong, list(told)
        except pydantic.ValidationError as error:
            problems = error.errors(include_url=False)
        if not wrong:  # later ones are of what was taken away
            told = dict.fromkeys(_explain(document, model, problem) for problem in problems)
        paths = {_path_in_data(data, problem["loc"], keep_last=False) for problem in problems}
        if any(problem["type"] == "missing" for problem in problems) or () in paths:
            return None, wrong, list(told)
        for path in sorted(paths, key=_order, reverse=True):
            wrong.append(path)
            _take_away(data, path)
    return None, wrong, list(told)


_ROUNDS = 4
"""Taking a value away may leave a table wrong around it."""


def _order(path: Sequence[Key]) -> list[tuple[bool, Key]]:
    return [(isinstance(key, str), key) for key in path]


def _take_away(data: Any, path: Sequence[Key]) -> None:
    """A value of a table; of an array all of it, since the others have their places in it."""
    words = list(path)
    while words and isinstance(words[-1], int) and not _is_table_of(data, words):
        words.pop()
    for key in words[:-1]:
        data = data[key]
    with contextlib.suppress(KeyError, IndexError):
        del data[words[-1]]


def _is_table_of(data: Any, path: Sequence[Key]) -> bool:
    for key in path:
        data = data[key]
    return isinstance(data, Mapping)


def suggest(word: str, allowed: Sequence[str]) -> str:
    """``; did you mean 'address'? Allowed: address, port``, as far as it can be said.

    >>> suggest("adress", ["address", "port"])
    "; did you mean 'address'? Allowed: address, port"
    """
    close = difflib.get_close_matches(word, allowed, n=1)
    meant = f"; did you mean {close[0]!r}? " if close else "; "
    return f"{meant}Allowed: {', '.join(allowed)}" if allowed else ""


def explain_value(problem: Any) -> str:
    """What pydantic says of a value, in words of TOML: ``must be a table (it is 3)``."""
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    for theirs, ours in _WORDING.items():
        message = message.replace(theirs, ours)
    return f"{message}" if isinstance(problem["input"], Mapping) else f"{message} (it is {problem['input']!r})"


_WORDING = {
    "Input should": "must",
    "String should": "must",
    "a valid tuple": "a list",
    "a valid list": "a list",
    "a valid dictionary": "a table",
    "a valid integer": "a whole number",
}


def _explain_syntax(text: str, source: str, message: str) -> UsageError:
    found = re.search(r"\(at line (\d+)", message)
    lines = text.splitlines()
    number = int(found[1]) if found else len(lines)
    # a value without quotes may also be noticed at the start of the next line
    candidates = [lines[index] for index in (number - 1, number - 2) if 0 <= index < len(lines)]
    fix = ""
    for line in candidates:
        values = [*_BDF.finditer(line), *_WORD.finditer(_STRING.sub("''", line))]
        words = [value[1] for value in values if value[1] not in ("true", "false", "inf", "nan")]
        if words:
            fix = f'quote the value: "{words[0]}"'
            break
    return UsageError(f"{source}:{number}: this is no TOML.", why=message, fix=fix)


def _explain(document: TomlText, model: type[pydantic.BaseModel], problem: Any) -> str:
    loc: tuple[Key, ...] = problem["loc"]
    kind, given = problem["type"], problem["input"]
    path = _path_in_data(document.data, loc, keep_last=kind == "missing")
    name = _render_path(path)
    where = f"{document.place(path)}: "
    if kind == "extra_forbidden":
        return f"{where}{name}: unknown key{suggest(str(loc[-1]), _allowed_keys(model, loc[:-1]))}"
    if kind == "missing":
        return f"{where}{name}: is missing"
    if isinstance(given, (date, datetime, time)) and kind.startswith("string"):
        return f"{where}{name}: is a time to TOML; quote the value"
    return f"{where}{name + ': ' if name else ''}{explain_value(problem)}"


def _path_in_data(data: Any, loc: Sequence[Key], *, keep_last: bool) -> tuple[Key, ...]:
    """pydantic's location without what it adds for unions and the like."""
    path: list[Key] = []
    for number, key in enumerate(loc):
        try:
            data = data[key]
        except (KeyError, IndexError, TypeError):
            if not (keep_last and number == len(loc) - 1):
                continue
        path.append(key)
    return tuple(path)


def _render_path(path: Sequence[Key]) -> str:
    """``host.rack1.device[0].pci``; indexes from 0."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")


def _allowed_keys(model: type[pydantic.BaseModel], loc: Sequence[Key]) -> list[str]:
    """Keys of the table at a location, as they are written in the text."""
    annotation: Any = model
    for key in loc:
        stepped = _step(annotation, key)
        # an element that pydantic adds for a union leads nowhere
        annotation = annotation if stepped is None else stepped
    return [
        field.alias or name
        for arm in _arms(annotation)
        if isinstance(arm, type) and issubclass(arm, pydantic.BaseModel)
        for name, field in arm.model_fields.items()
    ]


def _arms(annotation: Any) -> list[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        return [inner for arm in get_args(annotation) for inner in _arms(arm)]
    if get_origin(annotation) is Annotated:
        return _arms(get_args(annotation)[0])
    return [annotation]


def _step(annotation: Any, key: Key) -> Any:
    """Type of what is under a key."""
    for arm in _arms(annotation):
        if isinstance(arm, type) and issubclass(arm, pydantic.BaseModel):
            for name, field in arm.model_fields.items():
                if key in (field.alias, name):
                    return field.annotation
        elif (arguments := get_args(arm)) and isinstance(origin := get_origin(arm), type):
            if issubclass(origin, Mapping):
                return arguments[1]
            if isinstance(key, int):
                return arguments[0]
    return None


def _locate(text: str) -> dict[tuple[Key, ...], int]:
    """Line of every key of a valid TOML text. A statement ends with the first line up to which it parses by itself."""
    found: dict[tuple[Key, ...], int] = {}
    arrays: dict[tuple[Key, ...], int] = {}
    table: tuple[Key, ...] = ()
    lines = text.split("\n")
    start = 0
    while start < len(lines):
        if not lines[start].strip() or lines[start].lstrip().startswith("#"):
            start += 1
            continue
        statement, end = _read_statement(lines, start)
        if lines[start].lstrip().startswith("["):
            table = _enter_table(statement, arrays)
            found.setdefault(table, start + 1)
        else:
            part = "\n".join(lines[start:end])
            ends = [match.start() for match in re.finditer("\n", part)]
            _place(statement, table, part, 0, (start + 1, ends), found)
        start = end
    return found


def _read_statement(lines: Sequence[str], start: int) -> tuple[dict[str, Any], int]:
    """What a statement holds, and the index of the line after it. Each line is looked at once."""
    depth, quotes, end = 0, "", start
    while end < len(lines):
        depth, quotes = _pass_line(lines[end], depth, quotes)
        end += 1
        if depth == 0 and not quotes:
            break
    try:
        return tomllib.loads("\n".join(lines[start:end])), end
    except tomllib.TOMLDecodeError:  # what it holds is placed at the table around it
        return {}, end


_TOKEN = re.compile(r'''"""|\'\'\'|"(?:[^"\\]|\\.)*"|'[^']*'|\#.*|[\[{]|[\]}]''')


def _pass_line(line: str, depth: int, quotes: str) -> tuple[int, str]:
    """How many brackets are open after a line, and the quotes of the multi-line string that goes on; empty: none."""
    at = 0
    while True:
        if quotes:
            ending = _ENDS[quotes].match(line, at)
            if ending is None:
                return depth, quotes
            at, quotes = ending.end(), ""
        token = _TOKEN.search(line, at)
        if token is None:
            return depth, ""
        at = token.end()
        if token[0] in _ENDS:
            quotes = token[0]
        elif token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1


_ENDS = {
    '"""': re.compile(r'(?:[^"\\]|\\.|\\$|"(?!""))*"""(?:"{0,2})'),
    "'''": re.compile(r"(?:[^']|'(?!''))*'''(?:'{0,2})"),
}
"""What is left of a line up to the end of a multi-line string, by its quotes; quotes may stand right before the end."""


def _enter_table(header: Mapping[str, Any], arrays: dict[tuple[Key, ...], int]) -> tuple[Key, ...]:
    """Path of the table that a header opens; ``arrays`` counts the tables of each array so far."""
    path: tuple[Key, ...] = ()
    value: Any = header
    while isinstance(value, Mapping) and value:
        name, value = next(iter(value.items()))
        path = (*path, name)
        if isinstance(value, list):
            arrays[path] = arrays.get(path, 0) + 1
        if path in arrays:
            path = (*path, arrays[path] - 1)
    return path


def _place(
    value: object,
    path: tuple[Key, ...],
    text: str,
    at: int,
    lines: tuple[int, Sequence[int]],
    found: dict[tuple[Key, ...], int],
) -> int:
    """Note the lines of what a statement holds, in its order.

    ``at``: the place in its ``text`` to search from; ``lines``: the line of its start, and the places where its lines
    end; the place it came to is returned
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            pattern = re.compile(rf"(?:^|[\s{{,.])[\"']?{re.escape(key)}[\"']?\s*[=.]", re.MULTILINE)
            if match := pattern.search(text, at):
                at = match.end() - 1
            first, ends = lines
            found.setdefault((*path, key), first + bisect.bisect_left(ends, at))
            at = _place(inner, (*path, key), text, at, lines, found)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            at = _place(inner, (*path, number), text, at, lines, found)
            if isinstance(inner, Mapping) and inner:
                found.setdefault((*path, number), found[*path, number, next(iter(inner))])
    return at
