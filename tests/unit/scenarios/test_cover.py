# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios whose cases are a choice of the combinations of their axes."""

import time
from itertools import combinations
from pathlib import Path

import pytest
from tests.unit.scenarios.samples import HEAD, plan

from switchover.record.errors import UsageError
from switchover.record.record import VerdictName
from switchover.report.plan import list_plans, render_plans
from switchover.scenarios import cover
from switchover.scenarios.expand import expand
from switchover.scenarios.narrow import narrow
from switchover.scenarios.plan import make_plan
from switchover.scenarios.preflight import decide
from switchover.scenarios.scenario import catalogue_directory, load_scenario, parse_scenario

ROOT = Path(__file__).parents[3]
AXES = """
[axes]
device.pre_copy = ["on", "off"]
vcpus = [1, 2, 3]
machine = ["pc-q35-10.0", "pc-q35-9.2", "q35"]
migration.switchover_ack = ["on", "off"]
"""


def met(scenario: str) -> set[frozenset[tuple[str, str]]]:
    return {frozenset(pair) for entry in plan(scenario) for pair in combinations(entry.values.items(), 2)}


def problem_of(text: str) -> str:
    with pytest.raises(UsageError) as raised:
        plan(text)
    return raised.value.what


def test_each_pair_of_values_is_in_a_case() -> None:
    """With fewer cases than combinations; those are cases of the whole, in its order, and the same each time."""
    chosen = [entry.case for entry in plan("[cover]\n" + AXES)]
    whole = [entry.case for entry in plan(AXES)]
    assert len(chosen) < len(whole) / 2
    assert chosen == [case for case in whole if case in chosen]
    assert met("[cover]\n" + AXES) == met(AXES)
    assert [entry.case for entry in plan("[cover]\n" + AXES)] == chosen


def test_ids_of_a_choice_are_short() -> None:
    """They hold as many axes as meet, and of the others those whose value is not the first; each case has its own."""
    ids = [entry.id for entry in plan("[cover]\n" + AXES)]
    assert len({*ids}) == len(ids)
    assert ids[0] == "scenario.device.pre_copy-on.vcpus-1"
    assert any(one.endswith(".vcpus-1.machine-q35.migration.switchover_ack-off") for one in ids)
    assert all("machine-pc-q35-10.0" not in one and "switchover_ack-on" not in one for one in ids)


def test_an_exclusion_holds() -> None:
    """No case has what is excluded, and all else still meets; ``unless`` keeps what has all of it."""
    unless = 'unless = { machine = "q35", device.pre_copy = ["on"] }'
    excluded = f'[[exclude]]\nwhen = {{ vcpus = [2, 3] }}\n{unless}\nbecause = "x"\n'
    assert met("[cover]\n" + AXES + excluded) == met(AXES + excluded)
    values = [entry.values for entry in plan(AXES + excluded)]
    assert {(one["machine"], one["device.pre_copy"]) for one in values if one["vcpus"] != "1"} == {("q35", "on")}
    assert len([one for one in values if one["vcpus"] == "1"]) == 12


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[cover]\nmost = 3\n" + AXES, "scenario.toml:4: cover.most: 3 cases are to do, and 9 are needed"),
        ("[cover]\nstrength = 5\n" + AXES, "cover.strength: 5 axes are to meet, and 4 axes vary"),
        ("[cover]\nstrength = 1\n" + AXES, "cover.strength: "),
        ("[cover]\nmost = 0\n" + AXES, "cover.most: "),
        ("[cover]\nfew = 0\n" + AXES, "cover.few: unknown key"),
        ("[cover]\n" + AXES + "[compare]\naxis = 'vcpus'\nbaseline = 1\n", "cover: does not go with [compare]"),
        (AXES + "[[exclude]]\nwhen.vcpus = 1\nunless.vcpus = 2\nbecause = 'x'", "unless.vcpus: is in when too"),
        (
            AXES + "[[exclude]]\nwhen.vcpus = 1\nunless.machine = ['q35', 'pc-q35-10.0', 'pc-q35-9.2']\nbecause = 'x'",
            "exclude[0].unless.machine: has all values of the axis: leave it out",
        ),
        (AXES + "[[exclude]]\nwhen.vcpus = 1\nunless.machine = 'q34'\nbecause = 'x'", "the axis has no value 'q34'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(text: str, words: str) -> None:
    """With its place."""
    assert words in problem_of(text)


def test_one_case_of_a_choice() -> None:
    """Somebody else may say values that no chosen case has."""
    scenario = parse_scenario(HEAD + "[cover]\n" + AXES)
    (first, *_) = expand(scenario)
    (case,) = expand(narrow(scenario, first.values, {"vcpus": "3", "machine": "q35"}))
    assert (case.values["vcpus"], case.values["machine"]) == ("3", "q35")


def test_a_plan_tells_what_meets() -> None:
    """Of the whole all pairs; of fewer cases fewer, and of those that are not to complete none that is said to."""
    scenario = parse_scenario(HEAD + "[cover]\n" + AXES)
    whole = make_plan(scenario)
    assert str(whole.coverage) == "all 37 pairs of values, 37 of them in a case that is to complete"
    assert "4 axes: all 37 pairs" in render_plans([whole])
    (told,) = list_plans([whole])["scenarios"]
    assert told["coverage"] == {"name": "pairs", "met": 37, "of": 37, "completing": 37}
    fewer = make_plan(scenario, "vcpus=1")
    assert fewer.coverage is not None
    assert 6 <= fewer.coverage.met < 37
    assert "coverage" not in list_plans([make_plan(parse_scenario(HEAD + AXES))])["scenarios"][0]


def test_a_choice_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found once is not looked for again; what is damaged of it is."""
    key: tuple[tuple[int, ...], int, tuple[()]] = ((4, 3, 3), 2, ())
    found = cover._cover.__wrapped__(*key)

    def fail(*_: object) -> None:
        raise AssertionError("is looked for again")

    with monkeypatch.context() as patched:
        patched.setattr(cover, "cover", fail)
        assert cover._cover.__wrapped__(*key) == found
    monkeypatch.setattr(cover, "read_cached", lambda *_: [[0, "x"]])
    assert cover._cover.__wrapped__(*key) == found


# The matrix of the catalogue


@pytest.mark.parametrize(("name", "most"), [("matrix-smoke", 35), ("matrix-night", 500)])
def test_the_matrix(name: str, most: int) -> None:
    """Each case can be run by the QEMUs that the project names, and has an expectation with its reason, by the oracle
    or by a rule of the scenario; all kinds of endings are there, and chains.
    """
    scenario = load_scenario(catalogue_directory() / f"{name}.toml")
    planned = expand(scenario)
    assert len(planned) <= most
    assert max(len(entry.id) for entry in planned) < 200
    assert [entry.id for entry in planned if not decide(entry.case, entry.hosts, None).runs] == []
    verdicts = {entry.case.expectation.verdict for entry in planned}
    assert verdicts == {
        VerdictName.COMPLETED,
        VerdictName.FAILED,
        VerdictName.BLOCKED,
        VerdictName.REFUSED,
        VerdictName.HUNG,
    }
    assert all(
        entry.case.expectation.because
        for entry in planned
        if entry.case.expectation.verdict is not VerdictName.COMPLETED
    )
    assert {len(entry.case.then) for entry in planned} == {0, 1}
    assert {len(entry.case.source.devices) for entry in planned} == {1, 2}
    coverage = make_plan(scenario).coverage
    assert coverage is not None
    assert coverage.met == coverage.of
    page = " ".join((ROOT / "docs" / "matrix.md").read_text(encoding="utf-8").split())
    assert f"{len(planned)} cases" in page
    assert f"{coverage.of:,} {coverage.name}" in page
    assert f"{coverage.completing:,}" in page
    if name == "matrix-smoke":
        assert all(len(axis.values) <= 5 for axis in scenario.axes)


def test_a_chain_of_which_an_axis_makes_a_part() -> None:
    """Of two hops the first alone is a single migration, with the settings of that hop."""
    text = "[[hops]]\nmigration.downtime_limit_ms = 900\n[[hops]]\n[axes]\nhops.made = [1, 2]\n"
    single, chain = (entry.case for entry in plan(text))
    assert (single.then, single.settings.downtime_limit_ms, single.expectation.hop) == ((), 900, 0)
    assert [hop.settings.downtime_limit_ms for hop in chain.list_hops()] == [900, 4000]
    assert "must be less than or equal to 2 (it is 3)" in problem_of("[[hops]]\n[[hops]]\n[axes]\nhops.made = [3]\n")


def test_a_device_that_an_axis_leaves_out() -> None:
    """It is on neither side then; one side cannot have it alone."""
    devices = '[[devices]]\nid = "a"\n[[devices]]\nid = "b"\n'
    with_both, with_one = (entry.case for entry in plan(devices + '[axes]\ndevices.b.present = ["on", "off"]\n'))
    assert [[device.id for device in side.devices] for side in with_both.sides] == [["a", "b"]] * 2
    assert [[device.id for device in side.devices] for side in with_one.sides] == [["a"]] * 2
    assert "is a matter of both sides" in problem_of(devices + '[axes]\nsource.devices.b.present = ["on", "off"]\n')


def test_the_night_is_planned_quickly() -> None:
    """Who lists the catalogue waits for it, once it was chosen."""
    scenario = load_scenario(catalogue_directory() / "matrix-night.toml")
    expand(scenario)
    began = time.process_time()
    expand(scenario)
    assert time.process_time() - began < 5
