# SPDX-License-Identifier: GPL-2.0-or-later
"""The fields of what a run leaves behind, as a reference for people, from the classes that are written there."""

import dataclasses
import inspect
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from switchover.devices.reference import Knobs
from switchover.guests.spec import GuestSpec
from switchover.hosts.clock import ClockOffset
from switchover.hosts.heartbeat import Arrival
from switchover.migration.bytes import MigrationBytes
from switchover.migration.downtime import ExplainedDowntime, Part, UnexplainedDowntime
from switchover.migration.drivers import DRIVERS
from switchover.migration.libvirt_report import LibvirtReport
from switchover.migration.limits import DowntimeLimit
from switchover.migration.phases import Intervened
from switchover.migration.settings import MigrationSettings
from switchover.migration.traces import SectionTime, StateTransition
from switchover.probes.probe import Ended
from switchover.probes.table import PROBES, find_all
from switchover.record.checks import CheckId
from switchover.record.measurement import Check, Measurement, NotChecked
from switchover.record.mismatch import Mismatch
from switchover.record.planfile import PlanFile, PlanLine, PlannedComparison, PlannedScenario
from switchover.record.record import SCHEMA_VERSION, Death, HopRecord, Record, Verdict
from switchover.record.rundir import RunHead
from switchover.report.metrics import MetricRow
from switchover.runner.hold_on_failure import Held, HeldSide
from switchover.runner.measurements import measure
from switchover.scenarios.case import AnyDevice, Case, Hop, SideSpec
from switchover.scenarios.expectation import Expectation
from switchover.scenarios.faults import Fault
from switchover.scenarios.recorded import DEVICE_FIELDS, Settings
from switchover.scenarios.tables import find_meanings

_INTRODUCTION = f"""\
# Fields of the results

Made by `switchover schema --record`, for version {SCHEMA_VERSION} of the run directory. Which file is where, what
versions mean, and the files without fields: [run-directory.md](run-directory.md). What the numbers mean:
[concepts.md](concepts.md).

Fields whose names end in `_ns` are integers in nanoseconds, those in `_s` seconds. Sizes are in bytes, rates per
second. An object whose fields are fixed has a table of its own.
"""


@dataclass(frozen=True)
class Section:
    """A table of the reference. ``of``: a class, or several kinds that share the table. ``inside`` a file's table;
    ``left_out``: fields that have no row.
    """

    heading: str
    of: Any
    about: str = ""
    inside: bool = True
    versioned: bool = False
    """the file has ``schema_version`` beside the fields of the class"""
    left_out: tuple[str, ...] = ()


SECTIONS = (
    Section("run.json", RunHead, inside=False, versioned=True),
    Section("plan.json", PlanFile, "What the run was going to do.", inside=False, versioned=True),
    Section("scenarios", PlannedScenario),
    Section("compare", PlannedComparison, "What it comes to: [concepts.md](concepts.md#what-a-comparison-says)."),
    Section("cases", PlanLine),
    Section("record.json", Record, "One repeat.", inside=False),
    Section("verdict", Verdict, "Which verdict means what: [concepts.md](concepts.md#verdicts)."),
    Section("expectation", Expectation),
    Section("hops", HopRecord, "Of a chain of migrations only."),
    Section("mismatches", Mismatch),
    Section("deaths", Death),
    Section("checks", Check),
    Section("not_checked", NotChecked),
    Section("interventions", Intervened),
    Section("limits", DowntimeLimit),
    Section("clocks", ClockOffset),
    Section("measurements", Measurement),
    Section("downtime", ExplainedDowntime),
    Section("downtime, where there is none", UnexplainedDowntime),
    Section("parts", Part, "Which there are: [concepts.md](concepts.md#downtime-three-numbers)."),
    Section("saving and loading", SectionTime),
    Section("transitions", StateTransition),
    Section("driver", LibvirtReport, "Empty, unless libvirt started and migrated the guest."),
    Section("settings", Settings),
    Section("source and destination", SideSpec),
    Section("guest", GuestSpec, "`devices` is empty here: a side has them beside its guest."),
    Section("devices", AnyDevice),
    Section("knobs", Knobs, "Ranges, and what exactly they do: [reference-device.md](reference-device.md)."),
    Section("migration", MigrationSettings),
    Section("faults", Fault),
    Section("then", Hop),
    Section(
        "outside.jsonl",
        Arrival,
        "Each line but the first, which has [fields of its own](run-directory.md#outsidejsonl).",
        inside=False,
    ),
    Section(
        "metrics.jsonl",
        MetricRow,
        "Each line: a number of a repeat. What compares with what: [metrics.md](metrics.md).",
        inside=False,
    ),
    Section(
        "kept.json",
        Held,
        "There while [guests are kept](running.md#looking-at-guests-that-are-kept).",
        inside=False,
        versioned=True,
        left_out=("verdict", "path"),
    ),
    Section("sides", HeldSide),
)
_ELSEWHERE: Mapping[tuple[Any, str], str] = {
    (Record, "fingerprint"): "run-directory.md#fingerprint",
    (MetricRow, "fingerprint"): "metrics.md",
}
_FREE = {
    "downtime": "downtime",
    "clocks": "clocks",
    "expectation": "expectation",
    "interventions": "interventions",
    "limits": "limits",
    "settings": "settings",
    "driver": "driver",
}
"""Fields that a record holds as plain objects, by the section of the class that they are made from."""
_WORDS: Mapping[type, str] = {str: "text", int: "integer", float: "number", bool: "true or false"}


def render_fields() -> str:
    """All tables, in Markdown."""
    lines = [_INTRODUCTION]
    for section in SECTIONS:
        lines += [f"{'###' if section.inside else '##'} {section.heading}", ""]
        lines += [section.about, ""] if section.about else []
        lines += ["| field | value | meaning |", "|---|---|---|", *_render_rows(section), ""]
        if section.of is Measurement:
            lines += [*_render_catalogue(), ""]
        if section.of is Check:
            lines += [*_render_checks(), ""]
    return "\n".join(lines).rstrip()


def list_fields(section: Section) -> dict[str, str]:
    """Names of a table's fields, with their meanings; empty where the class has none."""
    meanings = {name: meaning for kind in _kinds(section) for name, meaning in find_meanings(kind).items()}
    written = DEVICE_FIELDS if section.of == AnyDevice else [field.name for field in dataclasses.fields(section.of)]
    names = [name for name in written if name not in section.left_out]
    versions = {"schema_version": "the version of the run directory"} if section.versioned else {}
    if section.of is Held:
        versions = {"schema_version": "the version of this file, which is 1"}
    return {**versions, **{name: meanings.get(name, "") for name in names}}


def _kinds(section: Section) -> tuple[type, ...]:
    return typing.get_args(section.of) or (section.of,)


def _render_rows(section: Section) -> Iterator[str]:
    hints = {name: hint for kind in _kinds(section) for name, hint in typing.get_type_hints(kind).items()}
    for name, meaning in list_fields(section).items():
        kind = _describe_field(section, name, hints.get(name, int))
        meaning = " ".join(meaning.replace("``", "`").split())
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in (f"`{name}`", kind, meaning)) + " |"


def _render_catalogue() -> Iterator[str]:
    """Every number that there can be, with what the harness itself says of it."""
    unexplained = UnexplainedDowntime("")
    nothing = MigrationBytes((), None, None, None, None)
    yield "A migration that completed has all of these, those of libvirt if it was libvirt's. One that could not be had"
    yield "is null, and its `note` says why."
    yield ""
    yield from _TABLE_OF_MEASUREMENTS
    own = [entry for driver in DRIVERS.values() for entry in driver.measure({})]
    for entry in (
        *measure(unexplained, nothing, {}, MigrationSettings(), own=own),
        *find_all([probe.off for probe in PROBES], Ended(Case(""), unexplained, paused=False)).measurements,
    ):
        yield _render_measurement(entry)
    for probe in PROBES:
        if numbers := probe.list_measurements():
            yield from ("", f"With the probe `{probe.name}` these too:", "", *_TABLE_OF_MEASUREMENTS)
            yield from map(_render_measurement, numbers)


def _render_checks() -> Iterator[str]:
    """Every check that there can be."""
    yield "Ids stay as they are, while sentences may change. Which of these there are depends on the case, and on"
    yield "[what its guest has](guests.md#what-probes-loads-and-faults-need-of-it). `device 1` is the guest's first"
    yield "reference device; `source ID` is a further device of a side, as in `states`; `source interrupt 30` is the"
    yield "interrupt with that number in the guest, in the window before the migration."
    yield ""
    yield "| id | claim | subject |"
    yield "|---|---|---|"
    for check in CheckId:
        yield f"| `{check}` | {check.claim} | {check.subjects} |"


_TABLE_OF_MEASUREMENTS = ("| name | unit | better | definition | source |", "|---|---|---|---|---|")


def _render_measurement(entry: Measurement) -> str:
    better = "" if entry.direction == "neither" else str(entry.direction)
    return f"| `{entry.name}` | {entry.unit} | {better} | {entry.definition} | {entry.source} |"


def _describe_field(section: Section, name: str, hint: Any) -> str:
    if place := _ELSEWHERE.get((section.of, name)):
        return f"[object]({place})"
    if section.of in (Record, HopRecord, PlanLine) and name in _FREE:
        kind = {"interventions": "list of objects", "limits": "list of objects", "clocks": "object of objects"}.get(
            name, "object"
        )
        return f"[{kind}](#{_FREE[name]})"
    return _describe(hint)


def _describe(hint: Any) -> str:
    if hint is CheckId:
        return "text"  # its own table says which
    hint = getattr(hint, "__supertype__", hint)  # a NewType is written as what it is made of
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _WORDS:
        return _WORDS[hint]
    if link := _find_link(hint):
        return f"[object](#{link})"
    if origin is Literal:
        return ", ".join(f'"{word}"' for word in arguments)
    if inspect.isclass(hint) and issubclass(hint, Enum):
        return ", ".join(f'"{member.value}"' for member in hint)
    if origin is tuple or origin is list:
        link = _find_link(arguments[0])
        return f"[list of objects](#{link})" if link else f"list of {_describe(arguments[0])}"
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        link = _find_link(arguments[1])
        return f"[object of objects](#{link})" if link else "object"
    if types := [argument for argument in arguments if argument is not type(None)]:
        words = ["number"] if set(types) == {int, float} else [_describe(kind) for kind in types]
        return " or ".join((*words, "null") if type(None) in arguments else words)
    raise TypeError(f"no word is known for {hint}")


def _find_link(of: Any) -> str:
    """The heading of a class's table, as a link names it; empty: it has none."""
    headings = (section.heading for section in SECTIONS if section.of == of)
    return next(headings, "").replace(" ", "-").replace(",", "").replace(".", "")
