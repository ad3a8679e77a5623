# SPDX-License-Identifier: GPL-2.0-or-later
"""A scenario as its file has it: read, and checked as a whole."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from switchover.devices.known_types import is_reference
from switchover.devices.reference import TYPE, Knobs
from switchover.migration.phases import Action
from switchover.record.errors import UsageError
from switchover.record.paths import data_directory
from switchover.record.planfile import PlannedComparison
from switchover.record.record import VerdictName
from switchover.record.toml import TomlText, load_partly, parse_toml, read_toml, suggest
from switchover.scenarios.axes import Axis, flatten, read_axes
from switchover.scenarios.cover import Cover, find_cover_problem
from switchover.scenarios.expectation import COMPLETES, Expectation
from switchover.scenarios.hardware import SHARED, list_storage_keys
from switchover.scenarios.ids import make_word
from switchover.scenarios.keys import Key, KeyProblem, check_own_key, list_set, require_key
from switchover.scenarios.limits import Target, find_control
from switchover.scenarios.oracle import ORACLE, Rule, find_rule
from switchover.scenarios.schema import DEVICE_ID, FUNCTION_KEYS, SIDES, Expect, ScenarioFile


@dataclass(frozen=True)
class Exclusion:
    """Combinations left out: by axis, the words of its values."""

    axes: Mapping[str, frozenset[str]]
    because: str
    place: str


@dataclass(frozen=True)
class Scenario:
    """One question. ``name``: the file's, without its suffix. ``devices``: their ids, in the order of their slots.

    ``hops``: how many migrations a chain has; 0: there is no chain.
    ``fixed``: values that do not vary; ``rules``: its own expectations, the first that fits holds; ``compare``: what
    the report compares. ``tags``: by which its cases are chosen.
    """

    source: str
    name: str
    title: str
    question: str
    repeats: int
    interleave: bool
    devices: tuple[str, ...]
    fixed: Mapping[Target, object]
    axes: tuple[Axis, ...]
    exclusions: tuple[Exclusion, ...]
    rules: tuple[Rule, ...]
    compare: PlannedComparison | None = None
    tags: frozenset[str] = frozenset()
    places: Mapping[Target, str] = field(default_factory=dict)
    """Where its tables set a value, ``FILE:LINE: KEY``."""
    hops: int = 0
    cover: Cover | None = None
    """Which combinations of the axes are cases; None: all."""


def load_scenario(path: Path) -> Scenario:
    """:raises UsageError: all that is wrong with the file, a line each: ``FILE:LINE: KEY: …``"""
    return make_scenario(read_toml(path))


def parse_scenario(text: str, source: str = "scenario.toml") -> Scenario:
    """:raises UsageError: as :func:`load_scenario`"""
    return make_scenario(parse_toml(text, source))


def catalogue_directory() -> Path:
    """The scenarios that ship with the project."""
    return data_directory("testcases") / "scenarios"


def list_scenarios(place: Path) -> list[Path]:
    """A file, all scenarios of a directory, or one of the catalogue by its name. :raises UsageError: there is none"""
    if place.is_dir():
        found = sorted(place.glob("*.toml"))
        if not found:
            raise UsageError(f"{place} holds no scenario.", fix="name a file, or a directory with *.toml files")
        return found
    if place.exists():
        return [place]
    known = {path.stem: path for path in sorted(catalogue_directory().glob("*.toml"))}
    if str(place) in known:
        return [known[str(place)]]
    names = suggest(str(place), list(known)).removeprefix("; ")
    raise UsageError(
        f"There is no scenario {place}.", why=f"it is no file, and the catalogue does not have it. {names}"
    )


def make_scenario(document: TomlText) -> Scenario:
    """:raises UsageError: as :func:`load_scenario`"""
    problems: list[str] = []
    devices, hops = _list_devices(document.data), _count_hops(document.data)
    problems += _find_controls(document)
    file: Any
    file, wrong, found = load_partly(document, ScenarioFile)
    problems += found
    problems += [f"{document.place(path)}: {'.'.join(path)}: {SHARED}" for path in list_storage_keys(document.data)]
    axes = read_axes(document, document.data.get("axes"), devices, problems, hops)
    checks = _Checks(document, devices, axes, problems, wrong, hops=hops)
    if file is None:
        checks.check_conditions()
        raise _as_error(problems)
    fixed = checks.read_fixed(file)
    exclusions = tuple(checks.read_exclusions(file))
    rules = tuple(checks.read_rules(file))
    compare, cover = checks.read_compare(file), checks.read_cover(file)
    name = Path(document.source).stem
    about = file.scenario
    scenario = Scenario(
        document.source,
        name,
        about.title,
        about.question,
        about.repeats,
        about.interleave,
        tuple(devices),
        fixed,
        axes,
        exclusions,
        rules,
        compare,
        frozenset(about.tags),
        checks.places,
        hops,
        cover,
    )
    if problems:
        from switchover.scenarios.expand import list_contradictions

        raise _as_error([*problems, *list_contradictions(scenario)])
    return scenario


_SEVERAL_LINES = ("question", "because", "reason")
"""Keys whose texts may have line breaks and tabs."""


def _find_controls(document: TomlText) -> Iterator[str]:
    """Control characters in keys and values: none can be meant, and a shell or a terminal makes something of them."""

    def look(value: object, path: tuple[str | int, ...]) -> Iterator[str]:
        place = f"{document.place(path)}: {_name_path(path)}"
        if isinstance(value, str):
            if text := find_control(value, lines=bool({*_SEVERAL_LINES} & {*path[-1:]})):
                yield f"{place}: {text}"
        elif isinstance(value, Mapping):
            for key, inner in value.items():
                if text := find_control(key):
                    yield f"{document.place((*path, key))}: {_name_path((*path, key))}: the key {text}"
                yield from look(inner, (*path, key))
        elif isinstance(value, list):
            for number, inner in enumerate(value):
                yield from look(inner, (*path, number))

    yield from look(document.data, ())


def _name_path(path: Sequence[str | int]) -> str:
    name = "".join(f"[{word}]" if isinstance(word, int) else f".{word}" for word in path).removeprefix(".")
    return "".join(character if character.isprintable() else "?" for character in name)


def _as_error(problems: Sequence[str]) -> UsageError:
    def line(problem: str) -> int:
        found = re.search(r":(\d+): ", problem)
        return int(found[1]) if found else 0

    return UsageError("\n".join(sorted(dict.fromkeys(problems), key=line)))


def _list_devices(data: Mapping[str, Any]) -> list[str]:
    """Ids of the devices of a file that may be wrong."""
    tables = data.get("devices")
    if not isinstance(tables, list):
        return [DEVICE_ID]
    return [str(table["id"]) for table in tables if isinstance(table, Mapping) and "id" in table]


def _count_hops(data: Mapping[str, Any]) -> int:
    """Of the chain of a file that may be wrong."""
    tables = data.get("hops")
    return len(tables) if isinstance(tables, list) else 0


@dataclass
class _Checks:
    """What pydantic cannot see: keys that do not go together. Problems are collected."""

    document: TomlText
    devices: Sequence[str]
    axes: Sequence[Axis]
    problems: list[str]
    wrong: Sequence[tuple[str | int, ...]] = ()
    """Ways to values that cannot be read, and are told already."""
    places: dict[Target, str] = field(default_factory=dict)
    hops: int = 0

    def find_varied(self) -> set[Target]:
        """What axes set, and what is set to something that cannot be read: nobody can say what it is."""
        varied = {target for axis in self.axes for target in axis.targets()}
        for path in self.wrong:
            words = [str(word) for word in path if isinstance(word, str)]
            if path[:1] == ("devices",) and len(path) > 2 and isinstance(path[1], int):
                words = ["device", *words[1:]]
            if path[:1] == ("faults",):
                varied |= {("faults", number, word) for number in path[1:2] for word in ("action", "phase")}
                continue
            with contextlib.suppress(KeyProblem):
                varied |= set(require_key(".".join(words), self.devices, self.hops).targets)
        return varied

    def complain(self, path: Sequence[str | int], text: str) -> None:
        self.problems.append(f"{self.name_place(path)}: {text}")

    def name_place(self, path: Sequence[str | int]) -> str:
        """``FILE:LINE: KEY``."""
        return f"{self.document.place(path)}: {_name_path(path)}"

    def read_fixed(self, file: Any) -> dict[Target, object]:
        """What the tables set, the more general first."""
        fixed: dict[Target, object] = {}
        with_places: list[tuple[str, Key]] = []
        if file.device is not None and file.devices is not None:
            self.complain(["device"], "a scenario has either [device] or [[devices]]")
            return fixed
        for number, identity in enumerate(self.devices):
            if identity in self.devices[:number]:
                self.complain(["devices", number, "id"], f"there is another device {identity!r}")
        for path, prefix, table in _tables(file):
            for name, value in list_set(prefix, table):
                inner = name.removeprefix(prefix).split(".")
                if path[0] == "devices" and inner == ["id"]:
                    continue
                try:
                    key = require_key(name, self.devices, self.hops)
                    if path == ["migration"] and len(inner) == 2:
                        check_own_key(*inner)
                except KeyProblem as problem:
                    self.complain([*path, *inner], str(problem))
                    continue
                self._reject_without_effect(key, [*path, *inner])
                with_places.append((self.name_place([*path, *inner]), key))
                for target in key.targets:
                    # a key names the only fault; in the tables there may be more
                    placed = ("faults", path[1], *target[2:]) if target[0] == "faults" else target
                    fixed[placed] = value
                    self.places[placed] = self.name_place([*path, *inner])
        self._check_faults(file, fixed)
        self._check_effects(file, fixed)
        self._check_kinds(with_places, fixed)
        return fixed

    def _reject_without_effect(self, key: Key, path: Sequence[str | int]) -> None:
        """A value that an axis replaces wherever it would hold."""
        targets = set(key.targets)
        for axis in self.axes:
            varied = axis.targets()
            variants = [value for value in axis.values if not targets & value.changes.keys()]
            if targets <= varied and not variants:
                self.complain(
                    path, f"has no effect: axes.{axis.name} ({axis.place}) sets it too; leave one of them out"
                )

    def _check_kinds(self, fixed: Sequence[tuple[str, Key]], values: Mapping[Target, object]) -> None:
        """Keys of PCI functions for devices that are none, and keys of reference devices for others.

        ``fixed``: the keys of tables, each with its place; ``values``: what they set.
        """
        knobs = {knob.name for knob in fields(Knobs)}
        always = {target for _, key in fixed for target in key.targets}
        for axis in self.axes:
            always |= {target for target in axis.targets() if all(target in value.changes for value in axis.values)}
        varied = [(f"{axis.place}: axes.{axis.name}", key) for axis in self.axes for key in axis.keys]
        at_times = {target for _, key in [*fixed, *varied] for target in key.targets}
        for place, key in [*fixed, *varied]:
            words = {target[3] for target in key.targets if target[1] == "devices"}
            functions = [(*target[:3], "pci") for target in key.targets]
            if words & set(FUNCTION_KEYS) and not at_times & set(functions):
                self.problems.append(f"{place}: has no effect without pci, the address of a PCI function")
            if words & {"type", *knobs} and always.issuperset(functions):
                self.problems.append(f"{place}: has no effect on a PCI function: only reference devices have it")
            types = sorted({kind for target in key.targets for kind in self._list_types(target, values)})
            if words & knobs and not any(map(is_reference, types)):
                text = f"has no effect on a device of type {', '.join(types)}: only reference devices have it"
                self.problems.append(f"{place}: {text}")

    def _list_types(self, target: Target, fixed: Mapping[Target, object]) -> set[str]:
        """The types that the device may have which a target is about."""
        place = (*target[:3], "type")
        types = {str(value.changes[place]) for axis in self.axes for value in axis.values if place in value.changes}
        if any(all(place in value.changes for value in axis.values) for axis in self.axes):
            return types
        return {*types, str(fixed.get(place, TYPE))}

    def _check_faults(self, file: Any, fixed: Mapping[Target, object]) -> None:
        """Each fault has an action, and a phase or a time, from its table or from an axis."""
        varied = [axis for axis in self.axes if any(target[0] == "faults" for target in axis.targets())]
        if varied and len(file.faults) > 1:
            text = f"there are {len(file.faults)} [[faults]]; an axis varies the only one"
            self.problems.append(f"{varied[0].place}: axes.{varied[0].name}: {text}")
        by_axes = self.find_varied()
        for number in range(max(len(file.faults), bool(varied))):
            place = self.document.place(["faults", number]) if file.faults else varied[0].place
            for words in (("action",), ("phase", "at_s")):
                if not {("faults", number, word) for word in words} & {*fixed, *by_axes}:
                    others = "".join(f", nor {word}" for word in words[1:])
                    text = f"is missing, and no axis sets it{others}"
                    self.problems.append(f"{place}: faults[{number}].{words[0]}: {text}")

    def _check_effects(self, file: Any, fixed: Mapping[Target, object]) -> None:
        """Values that another value switches off, where no axis switches that on."""
        by_axes = self.find_varied()
        if fixed.get(("settings", "settle")) is False and ("settings", "settle") not in by_axes:
            for table, word in (("bounds", "settle_timeout_s"), ("migration", "settle_vfio_bytes")):
                if ("settings", word) in fixed:
                    self.complain([table, word], 'has no effect with migration.settle = "off"')
        for target in [one for one in fixed if one[0] in ("destination", "settings") and self.hops]:
            if all(("hops", number, *target) in {*fixed, *by_axes} for number in range(self.hops)):
                self.problems.append(f"{self.places[target]}: has no effect: each of [[hops]] sets it too")
        self._check_guest(fixed, by_axes)
        self._check_irq_probe({**dict.fromkeys(by_axes), **fixed})
        for number, fault in enumerate(file.faults):
            action = fixed.get(("faults", number, "action"), Action.SLOW_LINK)
            if "rate_bit" in fault.model_fields_set and action is not Action.SLOW_LINK:
                self.complain(["faults", number, "rate_bit"], f'has no effect with the action "{action}"')

    def _check_irq_probe(self, given: Mapping[Target, object]) -> None:
        """``given``: what is set, and what an axis sets."""
        for word in ("irq_load", "irq_placement", "irq_forbid_cpus"):
            if ("probes", word) in given and ("probes", "irq_seconds") not in given:
                self.complain(["probes", word], "has no effect without irq_seconds")
        if ("probes", "irq_seconds") in given and not any(target[-1] == "irq_rates" for target in given):
            self.complain(["probes", "irq_seconds"], "needs device.irq_rates: no interrupt would fire")

    def _check_guest(self, fixed: Mapping[Target, object], by_axes: set[Target]) -> None:
        """Keys of a guest of the user that need one another."""
        own = {target[2] for target in {*fixed, *by_axes} if len(target) == 3 and target[1] == "guest"}

        def given(word: str) -> bool:
            return ("source", "guest", word) in fixed

        if given("ssh_key") and "ssh_host_key" not in own:
            self.complain(["guest", "ssh_key"], "needs ssh_host_key, the only host key that is accepted of the guest")
        for word in ("disk_format", "disk_readonly"):
            if given(word) and "disk" not in own:
                self.complain(["guest", word], "has no effect without disk")
        for word in ("append", "initramfs"):
            if given(word) and given("disk") and "kernel" not in own:
                self.complain(["guest", word], "has no effect with disk and no kernel: QEMU boots from the disk")

    def check_conditions(self) -> None:
        """``when`` of rules and exclusions, of a file that has other mistakes."""
        for kind in ("rules", "exclude"):
            tables = self.document.data.get(kind)
            for number, table in enumerate(tables if isinstance(tables, list) else []):
                if isinstance(table, Mapping) and isinstance(table.get("when"), Mapping):
                    self._read_when([kind, number], table["when"])
                    if isinstance(table.get("unless"), Mapping) and table["unless"]:
                        self._read_when([kind, number], table["unless"], "unless")

    def read_exclusions(self, file: Any) -> Iterator[Exclusion]:
        for number, table in enumerate(file.exclude):
            path: list[str | int] = ["exclude", number]
            when, place = self._read_when(path, table.when), self.document.place(path)
            if not table.unless:
                yield Exclusion(when, table.because, place)
                continue
            for name, words in self._read_when(path, table.unless, "unless").items():
                others = {value.word for axis in self.axes if axis.name == name for value in axis.values} - words
                if name in when or not others:
                    text = "is in when too" if name in when else "has all values of the axis: leave it out"
                    self.complain([*path, "unless", name], text)
                yield Exclusion({**when, name: frozenset(others)}, table.because, place)

    def read_compare(self, file: Any) -> PlannedComparison | None:
        if file.compare is None:
            return None
        axis = next((axis for axis in self.axes if axis.name == file.compare.axis), None)
        if axis is None:
            text = f"there is no axis {file.compare.axis!r}{suggest(file.compare.axis, [a.name for a in self.axes])}"
            self.complain(["compare", "axis"], text)
            return None
        words = [value.word for value in axis.values]
        baseline = make_word(file.compare.baseline)
        if baseline not in words:
            self.complain(["compare", "baseline"], f"the axis has no value {baseline!r}{suggest(baseline, words)}")
        elif len(words) < 2:
            self.complain(["compare", "axis"], "has one value: there is nothing to compare it with")
        return PlannedComparison(axis.name, baseline)

    def read_cover(self, file: Any) -> Cover | None:
        if file.cover is None:
            return None
        cover = Cover(file.cover.strength, file.cover.most or 0, self.document.place(["cover"]))
        if text := find_cover_problem(cover, sum(len(axis.values) > 1 for axis in self.axes)):
            self.complain(["cover", "strength"], text)
        if file.compare is not None:
            self.complain(["cover"], "does not go with [compare]: cases that differ in one axis only may not be there")
        return cover

    def read_rules(self, file: Any) -> Iterator[Rule]:
        for number, table in enumerate(file.rules):
            path: list[str | int] = ["rules", number]
            when = self._read_when(path, table.when)
            yield self._read_expect([*path, "expect"], table.expect, f"rules[{number}]", when)
        if file.expect is not None:
            yield self._read_expect(["expect"], file.expect, "expect", {})

    def _read_expect(
        self, path: Sequence[str | int], expect: Expect, name: str, when: Mapping[str, frozenset[str]]
    ) -> Rule:
        place, hop = self.document.place(path[:2]), expect.hop or 0
        if hop > self.hops:
            self.complain([*path, "hop"], f"the scenario has {self.hops} [[hops]]")
        because = expect.because or ""
        bounds = replace(COMPLETES, downtime_ms=expect.downtime_ms, outside_downtime_ms=expect.outside_downtime_ms)
        if expect.only_bounds:
            return Rule(name, bounds, axes=when, place=place, only_bounds=True)
        if expect.verdict is not None:
            expectation = Expectation(
                expect.verdict, expect.side, expect.reason, because, expect.pre_copy, expect.checks, hop
            )
            return Rule(name, expectation.with_bounds_of(bounds), axes=when, place=place)
        known = find_rule(expect.oracle or "")
        if known is None:
            suggestion = suggest(expect.oracle or "", [rule.name for rule in ORACLE])
            self.complain([*path, "oracle"], f"there is no rule {expect.oracle!r}{suggestion}")
            known = ORACLE[0]
        told = known.expectation
        if bounds != COMPLETES and told.verdict is not VerdictName.COMPLETED:
            self.complain(path, "downtime_ms and outside_downtime_ms are told of migrations that complete")
        because = f"{because} (oracle {known.name}: {told.because})"
        expectation = replace(told, because=because, hop=hop).with_bounds_of(bounds)
        return Rule(name, expectation, axes=when, place=place, named=known.name)

    def _read_when(
        self, path: Sequence[str | int], when: Mapping[str, Any], key: str = "when"
    ) -> dict[str, frozenset[str]]:
        read: dict[str, frozenset[str]] = {}
        if not when:
            self.complain([*path, key], "fits every case; name an axis and its values")
        for inner, values in flatten(when):
            name, where = ".".join(inner), [*path, key, *inner]
            axis = next((axis for axis in self.axes if axis.name == name), None)
            if axis is None:
                self.complain(where, f"is no axis{suggest(name, [axis.name for axis in self.axes])}")
                continue
            allowed = [value.word for value in axis.values]
            words = [make_word(value) for value in (values if isinstance(values, list) else [values])]
            for word in words:
                if word not in allowed:
                    self.complain(where, f"the axis has no value {word!r}{suggest(word, allowed)}")
            read[name] = frozenset(words)
        return read


def _tables(file: Any) -> Iterator[tuple[list[str | int], str, Any]]:
    """Tables that set values: where they stand in the file, how their keys begin, and the table."""
    yield ["guest"], "guest.", file.guest
    yield ["device"], "device.", file.device
    for number, device in enumerate(file.devices or ()):
        yield ["devices", number], f"devices.{device.id}.", device
    for side in SIDES:
        yield [side], f"{side}.", getattr(file, side)
    yield ["migration"], "migration.", file.migration
    for number, hop in enumerate(file.hops):
        yield ["hops", number], f"hops.{number + 1}.", hop
    yield ["bounds"], "bounds.", file.bounds
    yield ["probes"], "probes.", file.probes
    for number, fault in enumerate(file.faults):
        yield ["faults", number], "fault.", fault
