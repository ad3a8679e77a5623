# SPDX-License-Identifier: GPL-2.0-or-later
"""The keys of scenario files: as a JSON schema for editors, as a reference for people. Both from the models."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

import pydantic

from switchover.scenarios.schema import ScenarioFile
from switchover.scenarios.tables import DECLARED, find_meanings

_HEADINGS = {"faults": "[[faults]]", "exclude": "[[exclude]]", "rules": "[[rules]]", "devices": "[[devices]]"}
_INTRODUCTION = """\
# Keys of scenario files

Made by `switchover schema --reference`; how to use them: [scenarios.md](scenarios.md). An axis names a key as
`TABLE.KEY`: `device.pre_copy`, `source.machine`, `migration.downtime_limit_ms`, `fault.phase`, `bounds.hang_s`. Those
of `[guest]` need no table: `machine`.

"on" and "off" are words in quotes. Sizes are numbers of bytes or words such as "64 MiB"; rates are per second.
"""


def make_json_schema() -> dict[str, Any]:
    """JSON schema of a scenario file, as editors use it."""
    schema = ScenarioFile.model_json_schema()
    models = {model.__name__: model for model in _list_models(ScenarioFile)}
    for name, table in (*schema["$defs"].items(), (ScenarioFile.__name__, schema)):
        meanings = _meanings(models[name]) if name in models else {}
        for key, described in table.get("properties", {}).items():
            _tidy(described)
            if key in meanings:
                described["description"] = meanings[key]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _tidy(described: dict[str, Any]) -> None:
    """Defaults as they would be written in a file."""
    if described.get("default", "") is None:
        del described["default"]
    elif described.get("enum") == ["on", "off"] and "default" in described:
        described["default"] = "on" if described["default"] else "off"
    described.pop("title", None)


def _list_models(model: type[pydantic.BaseModel]) -> Iterator[type[pydantic.BaseModel]]:
    yield model
    for field in model.model_fields.values():
        for inner in _inner_models(field.annotation):
            yield from _list_models(inner)


def _inner_models(annotation: Any) -> Iterator[type[pydantic.BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _inner_models(argument)


def _meanings(model: type[pydantic.BaseModel]) -> dict[str, str]:
    """What fields of a table mean, from the dataclass that declares them or from the model."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        declared = DECLARED.get(base, base if base.__module__ == ScenarioFile.__module__ else None)
        if declared is not None:
            found |= find_meanings(declared)
    return found


def render_reference() -> str:
    """All tables with their keys, in Markdown."""
    schema = make_json_schema()
    lines = [_INTRODUCTION, "## Tables", "", *_render_rows(schema, schema["properties"]), ""]
    for name, described in schema["properties"].items():
        definition = _find_definition(schema, described)
        if definition is None or name in ("destination", "devices"):
            continue
        heading = "[source] and [destination]" if name == "source" else _HEADINGS.get(name, f"[{name}]")
        lines += [f"## {heading}", ""]
        keys = definition["properties"]
        if name == "source":
            keys = {key: keys[key] for key in ("host", "device", "devices")}
            lines += ["The keys of `[guest]`, for this side only, and:", ""]
        if name == "device":
            lines += [
                "The knobs of the reference device are explained in [reference-device.md](reference-device.md).",
                "",
            ]
        lines += [*_render_rows(schema, keys), ""]
    return "\n".join(lines).rstrip()


def _find_definition(schema: Mapping[str, Any], described: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The table that a key holds, or a list of them."""
    for candidate in (described, *described.get("anyOf", ()), described.get("items", {})):
        reference = candidate.get("$ref") or candidate.get("items", {}).get("$ref")
        if reference:
            definition: Mapping[str, Any] = schema["$defs"][reference.rpartition("/")[2]]
            return definition if "properties" in definition else None
    return None


def _render_rows(schema: Mapping[str, Any], keys: Mapping[str, Any]) -> Iterator[str]:
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    for key, described in keys.items():
        meaning = " ".join(described.get("description", "").split())
        cells = (f"`{key}`", _render_type(schema, described), _render_default(described), meaning)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _render_type(schema: Mapping[str, Any], described: Mapping[str, Any]) -> str:
    if "$ref" in described:
        definition = schema["$defs"][described["$ref"].rpartition("/")[2]]
        return _render_type(schema, definition)
    if "enum" in described:
        return ", ".join(f'"{word}"' for word in described["enum"])
    if "const" in described:
        return str(described["const"])
    if "anyOf" in described:
        arms = [arm for arm in described["anyOf"] if arm.get("type") != "null"]
        if [arm.get("type") for arm in arms] == ["integer", "string"]:
            return "size"
        return " or ".join(_render_type(schema, arm) for arm in arms)
    match described.get("type"):
        case "array":
            return f"list of {_render_type(schema, described.get('items', {}))}"
        case "object":
            return "table"
        case list(kinds):
            return " or ".join(_KINDS[kind] for kind in kinds)
        case kind:
            return _KINDS.get(str(kind), str(kind))


_KINDS = {"string": "text", "integer": "whole number", "number": "number"}


def _render_default(described: Mapping[str, Any]) -> str:
    value = described.get("default", "")
    return "" if value in ("", {}, [], ()) or "$ref" in described else f"`{value}`"
