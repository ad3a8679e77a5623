# SPDX-License-Identifier: GPL-2.0-or-later
"""Two QEMUs with a machine type, for people and for programs: the answer in four lines, then tables. Pure."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from switchover.record.record import VerdictName
from switchover.record.units import format_count
from switchover.scenarios.compat import (
    DEFAULT_MACHINE,
    Both,
    Compat,
    Effect,
    MachineGroup,
    Outcomes,
    Part,
    PartKind,
    count_complete,
    find_device,
)
from switchover.scenarios.compat_poses import NamedQemu, Outcome

SCHEMA_VERSION = 1
WAYS = ("→", "←")
_LONGEST_LABEL = 24
_WIDTH = 118


def render_compat(compat: Compat) -> str:
    notes: dict[str, str] = {}
    blocks = [
        list(_render_answer(compat)),
        list(_render_predicted(compat, notes)),
        list(_render_machine(compat)),
        list(_render_others(compat)),
        list(_render_makes(compat)),
        list(_render_common(compat, notes)),
        list(_render_notes(notes)),
    ]
    return "\n\n".join("\n".join(line.rstrip() for line in block) for block in blocks if block)


def _label(compat: Compat) -> tuple[str, str]:
    """What columns are headed with: names, or letters in place of such as are long."""
    one, other = (qemu.name for qemu in compat.qemus)
    return (one, other) if max(len(one), len(other)) <= _LONGEST_LABEL else ("A", "B")


def _render_answer(compat: Compat) -> Iterator[str]:
    labels = _label(compat)
    told = [
        f"{qemu.name} ({'' if label == qemu.name else f'{label}, '}{qemu.abilities.version})"
        for label, qemu in zip(labels, compat.qemus, strict=True)
    ]
    yield f"{told[0]} and {told[1]} with {_tell_machine(compat)}"
    device, complete = find_device(compat.predicted), count_complete(compat.predicted)
    for number, way in enumerate((labels, labels[::-1])):
        of_rule = f" by {device[number].rule}" if device[number].rule else ""
        of_rule += "".join(f": {text}" for text in device[number].missing)
        yield (
            f"  {way[0]} → {way[1]}: a VFIO device: {device[number].verdict}{of_rule}; "
            f"{complete[number]} of {format_count(len(compat.predicted), 'migration')} complete"
        )
    yield f"  {_tell_differences(compat)}"


def _tell_machine(compat: Compat) -> str:
    if compat.versioned[0] != compat.versioned[1]:
        return f"{compat.machine}, which is {compat.versioned[0]} in the one and {compat.versioned[1]} in the other"
    name = compat.machine if compat.machine == compat.versioned[0] else f"{compat.machine} ({compat.versioned[0]})"
    if compat.computed:
        return f"{name}, the newest of {format_count(len(compat.common), 'machine type')} that both have"
    return name


def _tell_differences(compat: Compat) -> str:
    unlike = [part for part in compat.parts if part.kind is PartKind.COMPAT and part.differs]
    told = f"{format_count(len(unlike), 'setting')} of the machine type differ{'s' * (len(unlike) == 1)}"
    if compat.cannot_tell:
        told = f"{' and '.join(compat.cannot_tell)} cannot tell what machine types set"
    deciding = [part.name for part in compat.parts if part.effects]
    return f"{told}; how migrations end depends on {', '.join(deciding) or 'nothing in which they differ'}"


def _render_predicted(compat: Compat, notes: dict[str, str]) -> Iterator[str]:
    labels = _label(compat)
    rows = [
        (f"{number:>3}  {one.pose.title}", *(_render_outcome(outcome, notes) for outcome in one.outcomes))
        for number, one in enumerate(compat.predicted, start=1)
    ]
    yield from _align([("Migrations, as the oracle predicts", *_name_ways(labels)), *rows])


def _name_ways(labels: tuple[str, str]) -> tuple[str, str]:
    return f"{labels[0]} → {labels[1]}", f"{labels[1]} → {labels[0]}"


def _render_outcome(outcome: Outcome, notes: dict[str, str]) -> str:
    pre_copy = f", pre-copy {outcome.pre_copy}" if outcome.pre_copy else ""
    text = f"{outcome.rule}: {outcome.because}" if outcome.rule else "; ".join(outcome.missing)
    if not text:
        return f"{outcome.verdict}{pre_copy}"
    letter = notes.setdefault(text, _letter(len(notes)))
    return f"{outcome.verdict}{pre_copy} [{letter}]"


def _letter(number: int) -> str:
    """``a`` to ``z``, then ``aa``."""
    before, last = divmod(number, 26)
    return (_letter(before - 1) if before else "") + chr(ord("a") + last)


def _render_machine(compat: Compat) -> Iterator[str]:
    parts, labels = compat.list_compat(), _label(compat)
    title = f"{compat.machine} sets"
    if not parts:
        told = "of them that can tell, none sets anything" if compat.cannot_tell else "nothing of VFIO and migration"
        yield f"{title}: {told}"
    else:
        lines: list[tuple[str, ...]] = [(title, *labels)]
        for part in parts:
            lines.append((f"  {'≠' if part.differs else ' '} {part.name}", *_show_settings(compat, part)))
        table = list(_align(lines))
        yield table[0]
        for part, line in zip(parts, table[1:], strict=True):
            yield line
            yield from _render_effects(compat, part)
    if compat.cannot_tell:
        who = " and ".join(compat.cannot_tell)
        yield f"  ? {who} cannot tell: query-machines has no compat-props there, which came with QEMU 9.1"


def _show_settings(compat: Compat, part: Part) -> Iterator[str]:
    qom_type, _, name = part.name.partition(".")
    for value, qemu in zip(part.values, compat.qemus, strict=True):
        lacks = qom_type == "vfio-pci" and name not in qemu.abilities.vfio_pci
        yield "no such property" if lacks else "?" if value is None else value or "-"


def _render_effects(compat: Compat, part: Part) -> Iterator[str]:
    """Which migrations end otherwise without it; those that do so alike in one line."""
    numbers = {one.pose.id: number for number, one in enumerate(compat.predicted, start=1)}
    alike: dict[tuple[bool, str, str], list[Effect]] = {}
    for effect in part.effects:
        told = (effect.back, _name(effect.now), _name(effect.without))
        alike.setdefault(told, []).append(effect)
    for (back, now, without), effects in alike.items():
        listed = ", ".join(str(numbers[effect.pose]) for effect in effects)
        yield from _wrap(f"      {WAYS[back]} ", f"decides {listed}: {now}; else {without}")


def _name(outcome: Outcome) -> str:
    pre_copy = f", pre-copy {outcome.pre_copy}" if outcome.pre_copy else ""
    return f"{outcome.verdict}{pre_copy}{f' by {outcome.rule}' if outcome.rule else ''}"


def _render_others(compat: Compat) -> Iterator[str]:
    """What else differs: what both have as a value, then what only one has."""
    others = [part for part in compat.parts if part.kind is not PartKind.COMPAT]
    if not others:
        return
    yield "Besides"
    for part in others:
        if part.kind in (PartKind.VERSION, PartKind.PROTOCOL):
            yield f"  {part.name}: {part.values[0] or 'none'} and {part.values[1] or 'none'}"
            yield from _render_effects(compat, part)
    for number, label in enumerate(_label(compat)):
        for kind in (PartKind.PROPERTY, PartKind.CAPABILITY, PartKind.PARAMETER):
            only = [part for part in others if part.kind is kind and part.values[number]]
            if only:
                yield from _wrap(f"  only {label}: ", f"{_count(kind, only)} {', '.join(part.name for part in only)}")
            for part in only:
                yield from _render_effects(compat, part)


def _count(kind: PartKind, parts: Sequence[Part]) -> str:
    if len(parts) == 1:
        return kind
    return f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"


def _render_makes(compat: Compat) -> Iterator[str]:
    title = "Migration, as each makes it of its machine type"
    rows = [(f"  {name}", *(value or "none" for value in values)) for name, values in compat.makes]
    yield from _align([(title, *_label(compat)), *rows])


def _render_common(compat: Compat, notes: dict[str, str]) -> Iterator[str]:
    """The default of each, and what they have in common."""
    defaults = " and ".join(dict.fromkeys(compat.defaults))
    rows: list[tuple[str, Outcomes, str]] = [(f"  {DEFAULT_MACHINE}, the default: {defaults}", compat.default, "")]
    for group in compat.groups:
        rows.append((f"  {_span(group)}", group.device, f"{group.complete[0]} → {group.complete[1]} ←"))
    table = [("Machine types, and a VFIO device", *_name_ways(_label(compat)), f"complete, of {len(compat.predicted)}")]
    for name, outcomes, told in rows:
        there, back = (_render_outcome(outcome, notes) for outcome in outcomes)
        table.append((name, there, back, told))
    yield from _align(table)


def _span(group: MachineGroup) -> str:
    first, last = group.names[0], group.names[-1]
    return first if len(group.names) == 1 else f"{first} … {last} ({len(group.names)})"


def _render_notes(notes: Mapping[str, str]) -> Iterator[str]:
    for text, letter in notes.items():
        yield from _wrap(f"[{letter}] ", text)


def _align(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _wrap(first: str, text: str) -> list[str]:
    blank = " " * len(first)
    return textwrap.wrap(text, _WIDTH, initial_indent=first, subsequent_indent=blank, break_on_hyphens=False)


def list_compat(compat: Compat) -> dict[str, Any]:
    """For programs. Values of settings: null: cannot be told; empty: not set, or not there."""
    there, back = count_complete(compat.predicted)
    return {
        "schema_version": SCHEMA_VERSION,
        "qemus": [_list_qemu(qemu, compat) for qemu in compat.qemus],
        "machine": compat.machine,
        "versioned": list(compat.versioned),
        "computed": compat.computed,
        "common": list(compat.common),
        "complete": {"there": there, "back": back},
        "default": {"machines": list(compat.defaults), **_list_outcomes(compat.default)},
        "migrations": [
            {"id": one.pose.id, "title": one.pose.title, **_list_outcomes(one.outcomes)} for one in compat.predicted
        ],
        "parts": [_list_part(part) for part in compat.parts],
        "makes": {name: list(values) for name, values in compat.makes},
        "groups": [
            {"machines": list(group.names), "complete": list(group.complete), **_list_outcomes(group.device)}
            for group in compat.groups
        ],
    }


def _list_qemu(qemu: NamedQemu, compat: Compat) -> dict[str, Any]:
    abilities = qemu.abilities
    return {
        "name": qemu.name,
        "version": abilities.version,
        "package": abilities.package,
        "path": abilities.path,
        "digest": abilities.digest,
        "tells_compat": qemu.name not in compat.cannot_tell,
    }


def _list_outcomes(outcomes: Outcomes) -> dict[str, Any]:
    return {"there": _list_outcome(outcomes[0]), "back": _list_outcome(outcomes[1])}


def _list_outcome(outcome: Outcome) -> dict[str, Any]:
    verdict = outcome.verdict
    told: dict[str, Any] = {"verdict": str(verdict.name), "side": verdict.side, "hop": verdict.hop}
    told |= {"rule": outcome.rule, "because": outcome.because, "pre_copy": outcome.pre_copy}
    return told | ({"missing": list(outcome.missing)} if verdict.name is VerdictName.NOT_SUPPORTED else {})


def _list_part(part: Part) -> dict[str, Any]:
    values: Both = part.values
    return {
        "kind": str(part.kind),
        "name": part.name,
        "values": list(values),
        "differs": part.differs,
        "decides": [
            {
                "migration": effect.pose,
                "way": "back" if effect.back else "there",
                "now": _list_outcome(effect.now),
                "without": _list_outcome(effect.without),
            }
            for effect in part.effects
        ],
    }
