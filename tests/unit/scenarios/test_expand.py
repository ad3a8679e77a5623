# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases of a scenario: how many, what they are called, and what distinguishes them."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.scenarios.samples import HEAD, plan

from switchover.migration.phases import Phase
from switchover.record.errors import UsageError
from switchover.record.record import VerdictName
from switchover.record.rundir import RunDirectory
from switchover.runner.standard import PRE_COPY_OFF, PRE_COPY_ON
from switchover.scenarios.case import Case
from switchover.scenarios.expand import expand, list_repeats, select
from switchover.scenarios.expectation import COMPLETES
from switchover.scenarios.ids import make_word, parse_id, render_id
from switchover.scenarios.oracle import choose_rule, make_traits
from switchover.scenarios.scenario import catalogue_directory, load_scenario, parse_scenario

CATALOGUE = sorted(catalogue_directory().glob("*.toml"))
AXES = {
    "device.pre_copy": ['"on"', '"off"'],
    "machine": ['"pc-q35-9.2"', '"pc-q35-10.0"', '"q35"'],
    "source.device.stop_copy_bytes": ['"1 MiB"', "4096", '"8 KiB"'],
    "vcpus": ["1", "2", "3"],
    "migration.switchover_ack": ['"on"', '"off"'],
    "migration.parameters.x": ['"a,b"', '"a=b"', '"c d"', '"%"'],
    "device.irq_rates": ["[1]", "[1, 0]", "[]"],
}


@st.composite
def axes(draw: st.DrawFn) -> dict[str, list[str]]:
    """Some axes, in any order, with some of their values."""
    names = draw(st.lists(st.sampled_from(sorted(AXES)), unique=True, max_size=5))
    return {name: draw(st.lists(st.sampled_from(AXES[name]), unique=True, min_size=1)) for name in names}


def render(chosen: dict[str, list[str]]) -> str:
    lines = [f'"{name}" = [{", ".join(values)}]' for name, values in chosen.items()]
    return "\n".join([HEAD, "[axes]", *lines])


@given(axes())
def test_the_product_of_the_axes(chosen: dict[str, list[str]]) -> None:
    """There are as many cases as combinations; ids and directories are unique, and no two cases are alike."""
    planned = expand(parse_scenario(render(chosen)))
    size = 1
    for values in chosen.values():
        size *= len(values)
    assert len(planned) == size
    assert len({entry.case.id for entry in planned}) == size
    directories = {re.sub(r"[^\w=.,+-]", "_", entry.case.id) for entry in planned}
    assert len(directories) == size
    cases = [replace(entry.case, id="", expectation=COMPLETES) for entry in planned]
    assert all(case not in cases[:number] for number, case in enumerate(cases))


@given(axes(), st.randoms(use_true_random=False))
def test_ids_come_from_the_values(chosen: dict[str, list[str]], random: object) -> None:
    """An id says the values of the axes that vary, in their order, and can be read again; axes of one value are not
    in it, and adding one changes none.
    """
    planned = expand(parse_scenario(render(chosen)))
    varied = [name for name, values in chosen.items() if len(values) > 1]
    for entry in planned:
        if varied:
            assert parse_id(entry.case.id) == {name: entry.values[name] for name in varied}
            assert list(parse_id(entry.case.id)) == varied
        else:
            assert entry.case.id == "scenario"
        assert list(entry.values) == list(chosen)
    more = expand(parse_scenario(render(chosen) + "\nmemory_mib = [64]\n"))
    assert [entry.case.id for entry in more] == [entry.case.id for entry in planned]


@given(st.dictionaries(st.text("ab.-_", min_size=1), st.text("ab,=% +", min_size=1).map(make_word), min_size=1))
def test_round_trip_of_ids(values: dict[str, str]) -> None:
    """Whatever values are called, an id gives them back."""
    assert parse_id(render_id(values)) == values


def test_the_last_axis_varies_fastest() -> None:
    """Cases come in the order of the axes."""
    text = '[axes]\nvcpus = [1, 2]\nmachine = ["a", "b"]\n'
    assert [entry.case.id for entry in plan(text)] == [
        "vcpus=1,machine=a",
        "vcpus=1,machine=b",
        "vcpus=2,machine=a",
        "vcpus=2,machine=b",
    ]


def test_variants_set_several_keys() -> None:
    """A variant is a value with a name; what it does not set is as the tables have it."""
    first, second = plan("""
[device]
stop_copy_bytes = 8192
[[axes.change]]
name = "small"
set = { device.stop_copy_bytes = 4096, migration.settle = "off" }
[[axes.change]]
name = "as it is"
set = {}
""")
    assert (first.case.id, second.case.id) == ("change=small", "change=as-it-is")
    assert [entry.case.source.references[0].knobs.stop_copy_bytes for entry in (first, second)] == [4096, 8192]
    assert [entry.case.settings.settle for entry in (first, second)] == [False, True]


def test_hosts_vary_too() -> None:
    """The host of a side is a key as any other."""
    planned = plan('[destination]\nhost = "z"\n[axes]\nsource.host = ["a", "b"]\n')
    assert [entry.hosts for entry in planned] == [("a", "z"), ("b", "z")]


def test_excluded() -> None:
    """Combinations that are left out are not planned; if none is left, that is a mistake."""
    text = '[axes]\nvcpus = [1, 2]\nmachine = ["a", "b"]\n[[exclude]]\nbecause = "x"\n'
    assert [entry.case.id for entry in plan(text + 'when = { vcpus = 1, machine = "b" }\n')] == [
        "vcpus=1,machine=a",
        "vcpus=2,machine=a",
        "vcpus=2,machine=b",
    ]
    with pytest.raises(UsageError, match=r"scenario.toml:7: \[\[exclude\]\] leaves no case."):
        plan(text + "when.vcpus = [1, 2]\n")


def test_expectations_in_their_order() -> None:
    """The first rule that fits, then [expect], then the oracle; each with its reason and its place."""
    text = """
[axes]
device.properties.enable-migration = ["on", "off", "auto"]
[[rules]]
when = { device.properties.enable-migration = ["on", "auto"] }
expect = { verdict = "failed", side = "source", reason = "x", because = "of that" }
"""
    on, off, auto = plan(text)
    assert on.case.expectation == auto.case.expectation
    assert (on.case.expectation.verdict, on.case.expectation.because) == (VerdictName.FAILED, "of that")
    assert (on.rule.name, on.rule.place) == ("rules[0]", "scenario.toml:7")
    assert (off.rule.name, off.case.expectation.verdict) == ("enable-migration-off", VerdictName.BLOCKED)
    _, off, _ = plan(text + '[expect]\noracle = "x-allow-pre-copy-on-a-release"\nbecause = "I say so"\n')
    assert (off.rule.name, off.case.expectation.verdict) == ("expect", VerdictName.REFUSED)
    assert off.case.expectation.because.startswith("I say so (oracle x-allow-pre-copy-on-a-release: ")
    assert "x-allow-pre-copy" in off.case.expectation.reason


OUTCOMES = {
    "fault.action": '["cancel", "kill source", "cut link"]',
    "fault.phase": '["setup", "active"]',
    "source.device.pre_copy": '["on", "off"]',
    "migration.switchover_ack": '["on", "off"]',
    "destination.memory_mib": "[256, 128]",
    "destination.device.fail_at": '["none", "load"]',
}


@given(st.lists(st.sampled_from(sorted(OUTCOMES)), unique=True, max_size=4))
def test_every_case_has_the_oracle_s_expectation(names: list[str]) -> None:
    """What is remembered for cases that are alike is what the oracle says of each by itself."""
    faults = {"fault.action", "fault.phase"}
    if faults & set(names):
        names = [*names, *sorted(faults - set(names))]
    lines = [f'"{name}" = {OUTCOMES[name]}' for name in names]
    for entry in expand(parse_scenario("\n".join([HEAD, "[axes]", *lines]))):
        assert entry.rule is choose_rule(make_traits(entry.case))
        assert entry.case.expectation is entry.rule.expectation


def test_a_rule_without_a_case() -> None:
    """A rule that is never used is a mistake, not ignored."""
    rule = '[[rules]]\nwhen.vcpus = [1, 2]\nexpect = { verdict = "failed", because = "x" }\n'
    with pytest.raises(UsageError, match=r"scenario.toml:9: rules\[1\]: no case is left for it"):
        plan("[axes]\nvcpus = [1, 2]\n" + rule + rule)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('phase = "pre-switchover"', 'exists only with migration.pause_before_switchover = "on"'),
        ('phase = "device pre-copy"\n[device]\npre_copy = "off"', "exists only with a source device that has pre_copy"),
    ],
)
def test_a_phase_that_never_comes(text: str, told: str) -> None:
    """A fault in a phase that this migration does not have is a mistake of the scenario."""
    with pytest.raises(UsageError) as error:
        plan(f'[[faults]]\naction = "cancel"\n{text}\n')
    assert told in error.value.what


def test_a_driver_for_a_function_that_libvirt_binds() -> None:
    """libvirt chooses itself: a name that it would not hear of is a mistake, of either side's device."""
    with pytest.raises(UsageError, match="leave vfio_driver out"):
        plan('[device]\npci = "0000:01:00.0"\nmanaged = "on"\n[destination.device]\nvfio_driver = "vfio-pci"\n')


def test_contradictions_are_told_once() -> None:
    """A combination that cannot be is told with its first case and how many more there are."""
    with pytest.raises(UsageError) as error:
        plan("""
[[faults]]
action = "cancel"
[axes]
fault.phase = ["setup", "pre-switchover"]
vcpus = [1, 2, 3]
""")
    assert error.value.what.startswith(
        "scenario.toml:8: axes.fault.phase: fault.phase=pre-switchover,vcpus=1 and 2 more: the phase"
    )


def test_a_fault_in_some_variants() -> None:
    """Variants may be without a fault, but not with half of one."""
    text = """
[[axes.what]]
name = "nothing"
set = {}
[[axes.what]]
name = "cancelled"
set = { fault.action = "cancel", fault.phase = "setup" }
"""
    assert [[fault.phase for fault in entry.case.faults] for entry in plan(text)] == [[], [Phase.SETUP]]
    with pytest.raises(UsageError, match=r"scenario.toml:5: a fault without phase"):
        plan(text + '[[axes.what]]\nname = "half"\nset = { fault.action = "cancel" }\n')


def test_selection() -> None:
    """With a wildcard a pattern is for the whole id, without one for any part of it."""
    planned = plan('[axes]\nvcpus = [1, 2]\nmachine = ["a", "b"]\n')
    assert len(select(planned, "vcpus=1")) == 2
    assert [entry.case.id for entry in select(planned, "*=a")] == ["vcpus=1,machine=a", "vcpus=2,machine=a"]
    assert select(planned, "?") == []
    assert select(planned, "machine=c") == []


@given(st.integers(0, 4), st.integers(1, 4))
def test_order_of_repeats(cases: int, repeats: int) -> None:
    """Every case has every repeat once; interleaved, turns go there and back."""
    names = list(range(cases))
    straight = list(list_repeats(names, repeats, interleave=False))
    turns = list(list_repeats(names, repeats, interleave=True))
    assert straight == sorted(straight)
    assert sorted(turns) == straight
    assert turns[: 2 * cases] == [(name, 1) for name in names] + [(name, 2) for name in reversed(names) if repeats > 1]


def test_the_standard_question() -> None:
    """The catalogue's scenario of pre-copy is the standard question that ``demo`` asks."""
    planned = expand(load_scenario(catalogue_directory() / "precopy.toml"))
    assert [entry.case for entry in planned] == [PRE_COPY_OFF, PRE_COPY_ON]


@pytest.mark.parametrize("path", CATALOGUE, ids=lambda path: path.stem)
def test_catalogue(path: Path) -> None:
    """Every scenario of the catalogue can be read, has a question, and an expectation with a reason for each case."""
    scenario = load_scenario(path)
    assert scenario.question
    for entry in expand(scenario):
        expectation = entry.case.expectation
        assert expectation.because or expectation.verdict is VerdictName.COMPLETED
        assert isinstance(entry.case, Case)


def test_the_catalogue_is_there() -> None:
    """The scenarios that the documentation speaks of."""
    assert {"precopy", "faults", "refusals", "hangs"} <= {path.stem for path in CATALOGUE}


def test_a_directory_for_each_case(tmp_path: Path) -> None:
    """Ids are names of directories as they are."""
    directory = RunDirectory(tmp_path)
    for path in CATALOGUE:
        scenario = load_scenario(path)
        for entry in expand(scenario):
            # of many axes the id in the scenario has all: too long, and nothing is called so
            name = entry.id if scenario.cover else entry.case.id
            assert directory.repeat(name, 1).path.parent.name == name
