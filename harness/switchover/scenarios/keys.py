# SPDX-License-Identifier: GPL-2.0-or-later
"""Keys of a scenario: what each sets in a case. Tables and axes mean the same by a key."""

import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pydantic
from pydantic import Field

from switchover.record.toml import explain_value, suggest
from switchover.scenarios.case import PRE_COPY_PROPERTY
from switchover.scenarios.limits import OWN_PARAMETERS, Target
from switchover.scenarios.schema import (
    GUEST_BOUNDS,
    SIDES,
    Bounds,
    Device,
    FaultTable,
    Guest,
    Hop,
    Migration,
    Probes,
    Side,
)

OWN_KEYS = {
    "events": "",
    "return-path": "return_path",
    "switchover-ack": "switchover_ack",
    "pause-before-switchover": "pause_before_switchover",
}
"""Capabilities that are set by keys of their own, and by which."""
_SECTIONS: Mapping[str, type[pydantic.BaseModel]] = {
    "guest": Guest,
    "device": Device,
    "migration": Migration,
    "bounds": Bounds,
    "fault": FaultTable,
    "probes": Probes,
}


class KeyProblem(Exception):
    """A key, or the value of one, that a scenario cannot have; the text says what is allowed."""


@dataclass(frozen=True)
class Key:
    """``targets``: all that it sets. ``table`` and ``words``: where its type is declared, and the way to it there."""

    name: str
    targets: tuple[Target, ...]
    table: type[pydantic.BaseModel]
    words: tuple[str, ...]

    def read(self, value: object) -> object:
        """A value as the case has it. :raises KeyProblem: it is none for this key"""
        nested: object = value
        for word in reversed(self.words):
            nested = {word: nested}
        try:
            read: Any = self.table.model_validate(nested)
        except pydantic.ValidationError as error:
            raise KeyProblem(explain_value(error.errors(include_url=False)[0])) from error
        read = getattr(read, self.words[0])
        return read[self.words[1]] if self.words[1:] else read


def require_key(name: str, devices: Sequence[str], hops: int = 0) -> Key:
    """The key that an axis names, of a scenario with ``devices`` and so many ``hops``.

    :raises KeyProblem: there is no such key
    """
    words = tuple(name.split("."))
    if words[0] == "hops":
        return _hop_key(name, words[1:], devices, hops)
    sides: tuple[str, ...] = SIDES
    if words[0] in SIDES and len(words) > 1:
        sides, rest = (words[0],), words[1:]
        if rest == ("host",):
            return Key(name, (("hosts", words[0]),), Side, rest)
        if rest[0] not in ("device", "devices"):
            _require_word(rest, Side, words[0])
            rest = ("guest", *rest)
    elif words[0] in Guest.model_fields:
        rest = ("guest", *words)
    else:
        rest = words
    match rest:
        case ("guest", *inner):
            path = _require_word(inner, Guest, "guest")
            return Key(name, tuple((side, "guest", *path) for side in sides), Guest, path)
        case ("device", *inner):
            return _device_key(name, sides, devices, inner)
        case ("devices", identity, *inner):
            if identity not in devices:
                raise KeyProblem(f"there is no device {identity!r}{suggest(identity, devices)}")
            return _device_key(name, sides, [identity], inner)
        case ("migration", *inner):
            path = _require_word(inner, Migration, "migration")
            _reject_second_way(path)
            return Key(name, (("settings", *path),), Migration, path)
        case ("bounds", *inner):
            path = _require_word(inner, Bounds, "bounds")
            targets = tuple((side, "guest", *path) for side in SIDES) if path[0] in GUEST_BOUNDS else None
            return Key(name, targets or (("settings", *path),), Bounds, path)
        case ("fault", *inner):
            path = _require_word(inner, FaultTable, "fault")
            return Key(name, (("faults", 0, *path),), FaultTable, path)
        case ("probes", *inner):
            path = _require_word(inner, Probes, "probes")
            return Key(name, (("probes", *path),), Probes, path)
    allowed = [*_SECTIONS, *SIDES, "devices"]
    whole = [f"{section}.{field}" for section, table in _SECTIONS.items() for field in table.model_fields]
    close = suggest(name, [*whole, *Guest.model_fields]).partition(" Allowed: ")[0]
    raise KeyProblem(f"unknown key{close} Allowed: {', '.join(Guest.model_fields)}, and keys in {', '.join(allowed)}")


def _hop_key(name: str, words: Sequence[str], devices: Sequence[str], hops: int) -> Key:
    """A key of one hop: what it sets in a case with one migration, of that hop."""
    if not hops:
        raise KeyProblem("the scenario has no [[hops]]")
    if words == ("made",):
        up_to = Annotated[int, Field(strict=True, ge=1, le=hops)]
        return Key(name, (("hops", "made"),), pydantic.create_model("HopsMade", made=(up_to, hops)), ("made",))
    if len(words) < 2 or words[0] not in (numbers := [str(number) for number in range(1, hops + 1)]):
        raise KeyProblem(f"a key of a hop has the form hops.NUMBER.KEY, with a number from 1 to {hops}")
    _require_first(words[1], Hop, f"hops.{words[0]}")
    number = numbers.index(words[0])
    inner = words[1:] if words[1] == "migration" else ("destination", *words[1:])
    key = require_key(".".join(inner), devices)
    return Key(name, tuple(("hops", number, *target) for target in key.targets), key.table, key.words)


def _device_key(name: str, sides: Sequence[str], devices: Sequence[str], inner: Sequence[str]) -> Key:
    if not devices:
        raise KeyProblem("the guest has no device")
    path = _require_word(inner, Device, name.removesuffix(".".join(inner)).removesuffix("."))
    if path == ("properties", PRE_COPY_PROPERTY):
        raise KeyProblem("write allow_pre_copy")
    if path == ("present",) and len(sides) < len(SIDES):
        raise KeyProblem("is a matter of both sides: write device.present, or devices.ID.present")
    targets = tuple((side, "devices", identity, *path) for side in sides for identity in devices)
    return Key(name, targets, Device, path)


def _require_word(
    words: Sequence[str], table: type[pydantic.BaseModel], place: str, others: Sequence[str] = ()
) -> tuple[str, ...]:
    """``words`` as the way to one value in a table. :raises KeyProblem: there is none there"""
    _require_first(words[0] if words else "", table, place, others)
    wanted = 2 if is_mapping(table, words[0]) else 1
    if len(words) != wanted:
        form = f"{place}.{words[0]}" + (".NAME" if wanted == 2 else "")
        raise KeyProblem(f"one value has the form {form}")
    return tuple(words)


def _require_first(word: str, table: type[pydantic.BaseModel], place: str, others: Sequence[str] = ()) -> None:
    """:raises KeyProblem: a table has no such field"""
    if word not in table.model_fields:
        raise KeyProblem(f"unknown key in {place}{suggest(word, [*table.model_fields, *others])}")


def _reject_second_way(path: Sequence[str]) -> None:
    """:raises KeyProblem: a capability or a parameter that has a key of its own"""
    if len(path) == 2:
        check_own_key(path[0], path[1])


def check_own_key(table: str, capability: str) -> None:
    """:raises KeyProblem: it is to be set otherwise"""
    if table == "parameters" and capability in OWN_PARAMETERS:
        raise KeyProblem(f"has a key of its own, which it would silently override: write {OWN_PARAMETERS[capability]}")
    if capability not in OWN_KEYS or table != "capabilities":
        return
    own = OWN_KEYS[capability]
    raise KeyProblem(f"write migration.{own}" if own else "is always on: the harness needs it")


def is_mapping(table: type[pydantic.BaseModel], field: str) -> bool:
    """Whether a field holds values by names that are free."""
    return typing.get_origin(table.model_fields[field].annotation) is dict


def list_set(prefix: str, table: pydantic.BaseModel | None) -> Iterator[tuple[str, object]]:
    """The keys that a table of a file sets, and what to, one value each."""
    if table is None:
        return
    for field in type(table).model_fields:
        if field not in table.model_fields_set:
            continue
        value = getattr(table, field)
        if isinstance(value, pydantic.BaseModel):
            yield from list_set(f"{prefix}{field}.", value)
        elif isinstance(value, Mapping):
            for name, inner in value.items():
                if isinstance(inner, pydantic.BaseModel):
                    yield from list_set(f"{prefix}{field}.{name}.", inner)
                else:
                    yield f"{prefix}{field}.{name}", inner
        else:
            yield f"{prefix}{field}", value
