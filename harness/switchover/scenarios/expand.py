# SPDX-License-Identifier: GPL-2.0-or-later
"""A scenario's axes become cases, each with all its values fixed and its expectation. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from switchover.devices.known_qemus import find_known_qemu
from switchover.devices.known_types import is_reference
from switchover.devices.reference import TYPE, Knobs
from switchover.guests.spec import GuestSpec
from switchover.lab.lab import LAB_HOSTS
from switchover.migration.settings import MigrationSettings
from switchover.record.errors import UsageError
from switchover.scenarios.case import (
    DEVICE_PROPERTIES,
    FUNCTION_PROPERTIES,
    AnyDevice,
    Case,
    DeviceSpec,
    FunctionSpec,
    Hop,
    MediatedSpec,
    SideSpec,
    list_properties,
    with_reboots,
)
from switchover.scenarios.chain_limits import find_chain_contradictions
from switchover.scenarios.cover import Point, list_points
from switchover.scenarios.expectation import COMPLETES, Expectation
from switchover.scenarios.fault_limits import find_fault_contradictions
from switchover.scenarios.faults import MOMENT, Fault
from switchover.scenarios.forecast import Forecast, Stream, Terms, forecast, make_terms
from switchover.scenarios.ids import Values, make_ids, render_id
from switchover.scenarios.limits import (
    Problem,
    Target,
    find_contradictions,
    find_side_contradictions,
)
from switchover.scenarios.oracle import (
    Rule,
    SettingsTraits,
    SideTraits,
    Traits,
    choose_chain_rule,
    choose_rule,
    find_scenario_rule,
    join_traits,
    make_settings_traits,
    make_side_traits,
    make_streams,
    with_forecast,
)
from switchover.scenarios.scenario import Scenario
from switchover.scenarios.schema import GUEST_BOUNDS, SETTINGS_BOUNDS, SIDES

T = TypeVar("T")


@dataclass(frozen=True)
class PlannedCase:
    """A case of a scenario. ``id``: the same wherever the case is named; that of ``case`` holds the values of its axes.
    ``hosts``: names for source and destination, empty: whichever the run is given. ``rule``: whose expectation the case
    has. ``values``: of all axes, those too that have one value only. ``outlook``: what becomes of its migration by its
    sizes, rates and times.
    """

    id: str
    case: Case
    values: Values
    hosts: tuple[str, str]
    rule: Rule
    outlook: Forecast


def expand(scenario: Scenario) -> list[PlannedCase]:
    """All cases, the last axis varying fastest. Ids hold the axes that have more than one value; where cases are a
    choice of many axes, only those whose value is not the first, after as many of the first axes as meet.

    :raises UsageError: no case is left, one contradicts itself, or a rule has no case
    """
    planned, contradictions = _build(scenario)
    _reject(scenario, planned, contradictions)
    varied = [axis for axis in scenario.axes if len(axis.values) > 1]
    usual = {axis.name: axis.values[0].word for axis in varied[scenario.cover.strength :]} if scenario.cover else {}
    told = [
        {axis.name: entry.values[axis.name] for axis in varied if entry.values[axis.name] != usual.get(axis.name)}
        for entry in planned
    ]
    ids = make_ids(scenario.name, told)
    return [replace(entry, id=identity) for entry, identity in zip(planned, ids, strict=True)]


def list_contradictions(scenario: Scenario) -> list[str]:
    """Contradictions of a scenario with other mistakes, as far as its cases can be made, a line each."""
    try:
        return _render_contradictions(scenario, _build(scenario)[1])
    except (UsageError, LookupError, TypeError, ValueError):
        return []  # what is wrong with it is told already


Contradictions = dict[Problem, list[str]]
"""What cannot be, with the cases that have it."""


def _build(scenario: Scenario) -> tuple[list[PlannedCase], Contradictions]:
    """All cases without their final ids, and what contradicts itself in them."""
    parts = _Parts(scenario)
    names = [axis.name for axis in scenario.axes]
    words = [[value.word for value in axis.values] for axis in scenario.axes]
    varied = [name for name, choices in zip(names, words, strict=True) if len(choices) > 1]
    planned: list[PlannedCase] = []
    contradictions: Contradictions = {}
    excluded = [exclusion.axes for exclusion in scenario.exclusions]
    for point in list_points(dict(zip(names, words, strict=True)), excluded, scenario.cover):
        values = {name: choices[index] for name, choices, index in zip(names, words, point, strict=True)}
        identity = render_id({name: values[name] for name in varied}) if varied else scenario.name
        entry = parts.build(identity, point, values)
        for problem in parts.find_contradictions(entry.case, point):
            contradictions.setdefault(problem, []).append(identity)
        planned.append(entry)
    return planned, contradictions


def select(planned: Sequence[PlannedCase], pattern: str) -> list[PlannedCase]:
    """Cases whose id, or id in the scenario, fits ``pattern``: with ``*`` or ``?`` all of it, else a part of it."""
    globs = any(character in pattern for character in "*?[")
    fits = fnmatchcase if globs else str.__contains__
    return [entry for entry in planned if fits(entry.id, pattern) or fits(entry.case.id, pattern)]


def list_repeats(cases: Sequence[T], repeats: int, *, interleave: bool) -> Iterator[tuple[T, int]]:
    """Cases with the number of their repeat, from 1, in the order in which they are run.

    Interleaved, every other turn goes the other way round, so that drift favours none.
    """
    if not interleave:
        yield from ((case, number) for case in cases for number in range(1, repeats + 1))
        return
    for number in range(1, repeats + 1):
        yield from ((case, number) for case in (cases if number % 2 else reversed(cases)))


def _reject(scenario: Scenario, planned: Sequence[PlannedCase], contradictions: Contradictions) -> None:
    """:raises UsageError: as :func:`expand`"""
    if contradictions:
        lines = _render_contradictions(scenario, contradictions)
        raise UsageError("\n".join(lines), fix="leave the combination out with [[exclude]], or change what is fixed")
    if not planned:
        raise UsageError(f"{scenario.exclusions[0].place}: [[exclude]] leaves no case.")
    fitting = (find_scenario_rule(scenario.rules, entry.values) for entry in planned)
    used = {rule.name for rule in fitting if rule}
    idle = [rule for rule in scenario.rules if rule.name not in used]
    if idle:
        raise UsageError(
            "\n".join(f"{rule.place}: {rule.name}: no case is left for it" for rule in idle),
            why="earlier rules match all of its cases, or [[exclude]] leaves them out",
        )


def _render_contradictions(scenario: Scenario, contradictions: Contradictions) -> list[str]:
    lines = (
        f"{_find_place(scenario, target)}: {ids[0]}{_and_more(ids)}: {text}"
        for (target, text), ids in contradictions.items()
    )
    return list(dict.fromkeys(lines))


def _find_place(scenario: Scenario, target: Target) -> str:
    """Where a value of a case is set: by an axis, or in a table."""
    for axis in scenario.axes:
        if target in axis.targets():
            return f"{axis.place}: axes.{axis.name}"
    return scenario.places.get(target, scenario.axes[0].place if scenario.axes else scenario.source)


def _and_more(ids: Sequence[str]) -> str:
    return f" and {len(ids) - 1} more" if len(ids) > 1 else ""


_LOOKS: tuple[tuple[Callable[..., Iterable[Problem]], tuple[str, ...]], ...] = (
    (find_contradictions, ("settings",)),
    (find_fault_contradictions, ("settings", "faults", "source")),
    (find_side_contradictions, ("source", "destination")),
)
"""What looks for contradictions, and in which parts of a case."""


class _Parts:
    """Parts of cases, each made once for the values that it depends on; traits of cases likewise."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        targets = [axis.targets() for axis in scenario.axes]
        self._axes = {
            part: [number for number, found in enumerate(targets) if any(target[0] == part for target in found)]
            for part in (*SIDES, "settings", "faults", "probes", "hosts", "hops")
        }
        self._looks = [
            (look, parts, [number for part in parts for number in self._axes[part]]) for look, parts in _LOOKS
        ]
        self._made: dict[tuple[object, ...], Any] = {}
        self._rules: dict[Traits, Rule] = {}
        self._outlooks: dict[tuple[tuple[Stream, ...], Terms], Forecast] = {}

    def build(self, identity: str, point: Point, values: Values) -> PlannedCase:
        source, of_source = self._make("source", point, self._side)
        destination, of_destination = self._make("destination", point, self._side)
        settings, of_settings = self._make("settings", point, self._settings)
        hosts = self._make("hosts", point, _hosts)
        faults = self._make("faults", point, self._faults)
        streams = self._share(
            "streams", (*SIDES, "faults"), point, lambda: make_streams(source, destination, of_source, faults)
        )
        terms = self._share("terms", ("settings", "faults"), point, lambda: make_terms(settings, faults))
        outlook = self._forecast(streams, terms)
        rule = find_scenario_rule(self._scenario.rules, values) if self._scenario.rules else None
        bounds, rule = (rule.expectation, None) if rule and rule.only_bounds else (COMPLETES, rule)
        if self._scenario.hops:
            return self._build_chain(identity, point, values, rule, outlook, bounds)
        if rule is None:
            here, there = _at(of_source, hosts[0]), _at(of_destination, hosts[1])
            traits = join_traits(here, there, of_settings, faults)
            rule = self._choose_rule(with_forecast(traits, source, destination, streams, terms, outlook))
            rule = _with_bounds(rule, bounds)
        probes = self._make("probes", point, _probes)
        source, destination = (with_reboots(side, faults) for side in (source, destination))
        case = Case(identity, source, destination, settings, faults, rule.expectation, **probes)
        return PlannedCase(identity, case, values, hosts, rule, outlook)

    def _forecast(self, streams: tuple[Stream, ...], terms: Terms) -> Forecast:
        """Sides differ in much that decides nothing here."""
        outlook = self._outlooks.get((streams, terms))
        if outlook is None:
            outlook = self._outlooks[streams, terms] = forecast(streams, terms)
        return outlook

    def _build_chain(
        self, identity: str, point: Point, values: Values, rule: Rule | None, outlook: Forecast, bounds: Expectation
    ) -> PlannedCase:
        """Each hop has what the tables for all hops set, and its own on top."""
        own = self._values("hops", point)
        hops = []
        for number in range(own.get(("made",), self._scenario.hops)):
            of_hop = {target[1:]: value for target, value in own.items() if target[0] == number}

            def merge(part: str, of_hop: Mapping[Target, Any] = of_hop) -> dict[Target, Any]:
                return self._values(part, point) | {
                    path[1:]: value for path, value in of_hop.items() if path[0] == part
                }

            hops.append(Hop(self._side(merge("destination"))[0], self._settings(merge("settings"))[0]))
        source, _ = self._make("source", point, self._side)
        faults, probes = self._make("faults", point, self._faults), self._make("probes", point, _probes)
        case = Case(identity, source, hops[0].destination, hops[0].settings, faults, then=tuple(hops[1:]), **probes)
        rule = rule or _with_bounds(choose_chain_rule(case), bounds)
        case = replace(case, expectation=rule.expectation)
        return PlannedCase(identity, case, values, self._make("hosts", point, _hosts), rule, outlook)

    def _choose_rule(self, traits: Traits) -> Rule:
        """Many cases have few traits."""
        rule = self._rules.get(traits)
        if rule is None:
            rule = self._rules[traits] = choose_rule(traits)
        return rule

    def find_contradictions(self, case: Case, point: Point) -> list[Problem]:
        """What cannot be in a case; looked for once for parts that many cases have."""
        if self._scenario.hops:
            return list(find_chain_contradictions(case))
        found: list[Problem] = []
        for look, parts, numbers in self._looks:
            key = (look, *[point[number] for number in numbers])
            problems = self._made.get(key)
            if problems is None:
                problems = self._made[key] = tuple(look(*(getattr(case, part) for part in parts)))
            found += problems
        return found

    def _share(self, name: str, parts: Sequence[str], point: Point, make: Callable[[], T]) -> T:
        """What depends on several parts."""
        key = (name, *[point[number] for part in parts for number in self._axes[part]])
        made: T | None = self._made.get(key)
        if made is None:
            made = self._made[key] = make()
        return made

    def _make(self, part: str, point: Point, make: Callable[[dict[Target, Any]], Any]) -> Any:
        key = (part, *[point[number] for number in self._axes[part]])
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = make(self._values(part, point))
        return made

    def _values(self, part: str, point: Point) -> dict[Target, Any]:
        """What tables and axes set in a part."""
        given = {target[1:]: value for target, value in self._scenario.fixed.items() if target[0] == part}
        for number in self._axes[part]:
            changes = self._scenario.axes[number].values[point[number]].changes
            given |= {target[1:]: value for target, value in changes.items() if target[0] == part}
        return given

    def _settings(self, values: Mapping[Target, Any]) -> tuple[MigrationSettings, SettingsTraits]:
        settings = _settings(values)
        return settings, make_settings_traits(settings)

    def _side(self, values: Mapping[Target, Any]) -> tuple[SideSpec, SideTraits]:
        guest = _nest({path[1:]: value for path, value in values.items() if path[0] == "guest"})
        of_devices = {
            identity: {path[2:]: value for path, value in values.items() if path[:2] == ("devices", identity)}
            for identity in self._scenario.devices
        }
        devices = tuple(
            _device(identity, given) for identity, given in of_devices.items() if given.get(("present",), True)
        )
        side = SideSpec(GuestSpec(**guest, given_bounds=_given(GUEST_BOUNDS, guest)), devices)
        return side, make_side_traits(side, find_known_qemu(side.guest.qemu))

    def _faults(self, values: Mapping[Target, Any]) -> tuple[Fault, ...]:
        faults = []
        for number in sorted({int(path[0]) for path in values}):
            fields = {str(path[1]): value for path, value in values.items() if path[0] == number}
            missing = [*(["action"] if "action" not in fields else []), *([] if fields.keys() & MOMENT else ["phase"])]
            if missing:
                # only some variants of an axis set them
                place = self._scenario.axes[self._axes["faults"][0]].place
                raise UsageError(f"{place}: a fault without {' and '.join(missing)}; each variant needs both or none")
            faults.append(Fault(**fields))
        return tuple(faults)


def _with_bounds(rule: Rule, bounds: Expectation) -> Rule:
    """A rule of the oracle for a case of which a scenario says nothing but bounds."""
    return rule if bounds is COMPLETES else replace(rule, expectation=rule.expectation.with_bounds_of(bounds))


def _at(traits: SideTraits, host: str) -> SideTraits:
    """A side on a host. What is kept of QEMUs is of those of lab hosts: another host's has to be asked."""
    return traits if host in ("", *LAB_HOSTS) else replace(traits, qemu=None)


def _probes(values: Mapping[Target, Any]) -> dict[str, Any]:
    return {str(path[0]): value for path, value in values.items()}


def _hosts(values: Mapping[Target, Any]) -> tuple[str, ...]:
    return tuple(str(values.get((side,), "")) for side in SIDES)


def _nest(values: Mapping[Target, Any]) -> dict[str, Any]:
    """Fields by name, with those of which names are set, each as one mapping."""
    fields: dict[str, Any] = {}
    for (name, *inner), value in values.items():
        if inner:
            fields.setdefault(str(name), {})[str(inner[0])] = value
        else:
            fields[str(name)] = value
    return fields


def _settings(values: Mapping[Target, Any]) -> MigrationSettings:
    fields = _nest(values)
    return MigrationSettings(**fields, given_bounds=_given(SETTINGS_BOUNDS, fields))


def _given(bounds: Sequence[str], fields: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(bound for bound in bounds if bound in fields)


def _device(identity: str, values: Mapping[Target, Any]) -> AnyDevice:
    """A PCI function where there is the key for it, else a mediated device, by its type one of others or the reference
    device. What is set for devices of another kind only has no effect.
    """
    is_function = ("pci",) in values
    mdev_type = "" if is_function else str(values.get(("type",), TYPE))
    is_mediated = bool(mdev_type) and not is_reference(mdev_type)
    properties = dict(FUNCTION_PROPERTIES if is_function else DEVICE_PROPERTIES)
    if is_mediated:
        properties = list_properties(mdev_type)
    properties |= {str(name): value for (word, *rest), value in values.items() if word == "properties" for name in rest}
    given = {name: value for name, value in properties.items() if value}
    single = {str(path[0]): value for path, value in values.items() if path[0] != "properties"}
    if is_function:
        return FunctionSpec(identity, properties=given, **_take(FunctionSpec, single))
    if is_mediated:
        return MediatedSpec(identity, properties=given, **_take(MediatedSpec, single))
    return DeviceSpec(identity, knobs=Knobs(**_take(Knobs, single)), properties=given, **_take(DeviceSpec, single))


def _take(of: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the fields of a class."""
    return {field.name: values[field.name] for field in fields(of) if field.name in values}
