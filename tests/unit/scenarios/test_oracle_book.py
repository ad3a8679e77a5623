# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules of the oracle as a whole: names, what each says of itself, cases of the catalogue, where they held."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.scenarios.oracle_examples import BY_QEMU, COMPLETING, EVERY, V
from tests.unit.scenarios.samples import plan

from switchover.scenarios.expand import PlannedCase, expand
from switchover.scenarios.oracle import ORACLE, Rule, choose_rule, find_rule, make_traits
from switchover.scenarios.oracle.rows import ROWS
from switchover.scenarios.oracle.rule import quote
from switchover.scenarios.oracle.seen import read_seen
from switchover.scenarios.scenario import catalogue_directory, list_scenarios, load_scenario


def test_every_rule_has_an_example() -> None:
    """No rule without a test."""
    alone = {
        "several-devices-one-without-p2p",
        "several-devices-one-without-p2p-blocks",
        "x-allow-pre-copy-on-a-release",
        "lesser-cpu-at-older-destination",
        "dma-logging-that-nobody-reads",
    }
    assert {name for name, *_ in EVERY} | {*alone, *(name for name, *_ in BY_QEMU if name), *COMPLETING} == {
        rule.name for rule in ORACLE
    }


def test_names() -> None:
    """A name is one rule's, also an alias; names are words with hyphens; a rule is found by each of them."""
    names = [name for rule in ORACLE for name in (rule.name, *rule.aliases)]
    assert len(set(names)) == len(names)
    assert [rule.name for rule in ORACLE if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+|cancelled", rule.name)] == []
    assert all(find_rule(name) is rule for rule in ORACLE for name in (rule.name, *rule.aliases))
    assert find_rule("no-such-rule") is None
    assert find_rule("") is None


@pytest.mark.parametrize("rule", ORACLE, ids=lambda rule: rule.name)
def test_what_a_rule_says_of_itself(rule: Rule) -> None:
    """What it is about, in a sentence; why, with the source at the end. What is not said by
    its verdict alone has a reason to be looked for.
    """
    assert re.fullmatch(r"[^.].*\.", rule.about)
    assert rule.source
    assert rule.expectation.because.endswith(f" ({rule.source})")
    assert len(rule.expectation.because) > len(f" ({rule.source})")
    no_words = {"source-killed", "destination-killed"}  # by a signal: the verdict says it
    says = bool(rule.expectation.reason or rule.expectation.checks)
    assert says is (rule.expectation.verdict is not V.COMPLETED and rule.name not in no_words)


OLD_NAMES = (
    "A4", "A5", "A6", "A6 (no pre-copy)", "A8", "A14", "A15", "A15 (memory)", "A15 (virtio queues)", "A16",
    "A16 (8.0 and older)", "A16 (8.1 and newer)", "B1", "B1 (destination)", "B1 (kernel)", "B1 (protocol 1)",
    "B1 (realize)", "B1 (realize, vfio-pci)", "B1 (vfio-pci)", "B2", "B3", "B4", "B8", "B9", "B9 (return path)", "C1",
    "C2", "C3", "D cancel", "D cut link", "D destination device", "D device type", "D kill destination",
    "D kill source", "D panic guest", "D source device", "D state corrupt", "D stream corrupt", "L1 (machine)",
    "L1 (memory)",
)  # fmt: skip
"""Names that rules had first. Scenarios of users may have them, and plans of old runs do."""


def test_old_names_stay() -> None:
    """Each is an alias of a rule, and in a scenario it means that rule, which is told by its name of today."""
    assert [name for rule in ORACLE for name in rule.aliases if name not in OLD_NAMES] == []
    for name in OLD_NAMES:
        rule = find_rule(name)
        assert rule is not None
        (planned,) = plan(f'[expect]\noracle = "{name}"\nbecause = "x"\n')
        told = f"x (oracle {rule.name}: {rule.expectation.because})"
        assert planned.case.expectation == replace(rule.expectation, because=told)


def plan_catalogue() -> list[PlannedCase]:
    return [entry for path in list_scenarios(catalogue_directory()) for entry in expand(load_scenario(path))]


def test_cases_of_the_catalogue() -> None:
    """A rule has a case in the catalogue, by itself or since a scenario names it."""
    planned = plan_catalogue()
    fitting = {choose_rule(make_traits(entry.case)).name for entry in planned}
    because = "\n".join(entry.case.expectation.because for entry in planned)
    named = {rule.name for rule in ORACLE if f"(oracle {rule.name}: " in because}
    assert {rule.name for rule in ORACLE} - fitting - named == set()


def test_what_was_seen() -> None:
    """Each rule was seen to hold in a run; what ships with the rules is of cases of the catalogue."""
    seen = read_seen()
    ids = {entry.id for entry in plan_catalogue()}
    assert {one.case for found in seen.values() for one in found} <= ids
    assert {rule.name for rule in ORACLE} == seen.keys() - {row.name for row in ROWS}


@given(st.text(st.characters(exclude_characters="\n%")), st.text(st.characters(exclude_characters="\n")))
def test_a_text_as_a_regular_expression(text: str, varying: str) -> None:
    """It is found with anything in the place of %s, and what is special in expressions stands for itself."""
    assert re.fullmatch(quote(f"{text}%s{text}"), f"{text}{varying}{text}")
    assert not re.search(quote(text + "."), text)
