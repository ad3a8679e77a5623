# SPDX-License-Identifier: GPL-2.0-or-later
"""One case of a scenario, with values from outside."""

from dataclasses import replace

import pytest
from tests.unit.scenarios.samples import HEAD

from switchover.record.errors import UsageError
from switchover.scenarios.expand import PlannedCase, expand
from switchover.scenarios.narrow import narrow
from switchover.scenarios.scenario import parse_scenario

TEXT = """
[axes]
device.pre_copy = ["on", "off"]
memory_mib = [64, 128]
size = [
  { name = "small", set = { "device.initial_bytes" = "1 MiB", "device.stop_copy_bytes" = "1 MiB" } },
  { name = "large", set = { "device.initial_bytes" = "8 MiB", "device.stop_copy_bytes" = "2 MiB" } },
]
[[exclude]]
when = { "device.pre_copy" = "off", size = "large" }
because = "it is dull"
"""
SCENARIO = parse_scenario(HEAD + TEXT, "one.toml")
CASE = expand(SCENARIO)[0]


def make(**words: str) -> PlannedCase:
    (found,) = expand(narrow(SCENARIO, CASE.values, {name.replace("__", "."): word for name, word in words.items()}))
    return found


def test_nothing_from_outside() -> None:
    """The case as it is, expectation and all."""
    assert replace(make().case, id=CASE.case.id) == CASE.case


def test_a_value_of_an_axis() -> None:
    """Of those that the scenario has, one that sets several keys too, and also where the scenario leaves it out."""
    knobs = make(size="large", device__pre_copy="off").case.source.references[0].knobs
    assert (knobs.initial_bytes, knobs.stop_copy_bytes, knobs.pre_copy) == (8 << 20, 2 << 20, False)


def test_another_value_of_an_axis() -> None:
    """Of an axis that is one key, any value that the key may have."""
    assert make(memory_mib="96").case.source.guest.memory_mib == 96


def test_a_key_besides() -> None:
    """Any key that an axis may have, in words: a number, a size; it wins over what an axis of several keys sets."""
    case = make(migration__max_bandwidth="3 MiB", vcpus="2", device__initial_bytes="5 MiB").case
    assert case.settings.max_bandwidth == 3 << 20
    assert (case.source.guest.vcpus, case.destination.guest.vcpus) == (2, 2)
    knobs = case.source.references[0].knobs
    assert (knobs.initial_bytes, knobs.stop_copy_bytes) == (5 << 20, 1 << 20)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"size": "huge"}, "has no value 'huge'"),
        ({"memory_mib": "much"}, "cannot have memory_mib = 'much'"),
        ({"no_such_key": "1"}, "cannot have no_such_key"),
        ({"device.pre_copy": "perhaps"}, "cannot have device.pre_copy = 'perhaps'"),
    ],
)
def test_what_cannot_be(words: dict[str, str], told: str) -> None:
    """A key that there is not, or a value that it cannot have."""
    with pytest.raises(UsageError) as caught:
        make(**words)
    assert told in str(caught.value)
