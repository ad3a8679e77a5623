# SPDX-License-Identifier: GPL-2.0-or-later
"""One case of a scenario, with some values as somebody else says, such as a variant of avocado's. Pure."""

from collections.abc import Mapping
from dataclasses import replace

from switchover.record.errors import UsageError
from switchover.scenarios.axes import Axis, AxisValue
from switchover.scenarios.ids import make_word
from switchover.scenarios.keys import Key, KeyProblem, require_key
from switchover.scenarios.scenario import Scenario


def narrow(scenario: Scenario, values: Mapping[str, str], words: Mapping[str, str]) -> Scenario:
    """A scenario with one case left: that of ``values``, and what ``words`` say in their place or besides.

    ``words``: by the name of an axis, a value of it in words; or by any key that an axis may have, a value for it.

    :raises UsageError: there is no such key, or it cannot have the value
    """
    axes = [_choose(axis, words.get(axis.name, values[axis.name]), scenario) for axis in scenario.axes]
    known = {axis.name for axis in scenario.axes}
    added = [_make_axis(name, word, scenario) for name, word in words.items() if name not in known]
    left = {axis.name: axis.values[0].word for axis in axes}
    rules = tuple(rule for rule in scenario.rules if rule.fits(left))
    # what a case is given from outside wins over what the scenario varies
    taken = {target for axis in added for target in axis.targets()}
    kept = [replace(axis, values=tuple(_without(value, taken) for value in axis.values)) for axis in axes]
    return replace(scenario, axes=(*kept, *added), exclusions=(), rules=rules[:1], compare=None, cover=None)


def _without(value: AxisValue, taken: set[tuple[str | int, ...]]) -> AxisValue:
    return replace(value, changes={target: held for target, held in value.changes.items() if target not in taken})


def _choose(axis: Axis, word: str, scenario: Scenario) -> Axis:
    chosen = [value for value in axis.values if value.word == make_word(word)]
    if chosen:
        return replace(axis, values=(chosen[0],))
    if len(axis.keys) == 1 and axis.keys[0].name == axis.name:
        return _make_axis(axis.name, word, scenario)
    known = ", ".join(value.word for value in axis.values)
    raise UsageError(f"The axis {axis.name} of {scenario.name} has no value {word!r}.", why=f"it has: {known}")


def _make_axis(name: str, word: str, scenario: Scenario) -> Axis:
    try:
        key = require_key(name, scenario.devices, scenario.hops)
        held = _read(key, word)
    except KeyProblem as problem:
        raise UsageError(f"{scenario.name} cannot have {name} = {word!r}.", why=str(problem)) from problem
    return Axis(name, (AxisValue(make_word(word), dict.fromkeys(key.targets, held)),), scenario.source, (key,))


def _read(key: Key, word: str) -> object:
    """Words from outside have no types: a number is one where the key wants one. :raises KeyProblem: it is none"""
    problems: list[KeyProblem] = []
    for make in (str, int, float):
        try:
            return key.read(make(word))
        except KeyProblem as problem:
            problems.append(problem)
        except ValueError:
            continue
    raise problems[0]
