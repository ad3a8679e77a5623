# SPDX-License-Identifier: GPL-2.0-or-later
"""Arms of a run, and runs, compared: what is counted, what is told, and in which words."""

import json
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.builders import make_measurement, make_record
from tests.unit.runs import make_line, make_run

from switchover.cli.main import main
from switchover.record.errors import UsageError
from switchover.record.planfile import PlanFile, PlannedComparison, PlannedScenario, find_plan, write_plan
from switchover.record.record import Record, Verdict, VerdictName
from switchover.record.rundir import RunDirectory
from switchover.record.units import Unit
from switchover.report.comparison import (
    Comparison,
    compare_planned,
    compare_runs,
    conclude,
    list_order,
    render_comparisons,
    require_comparison,
)
from switchover.report.differences import Difference
from switchover.report.rundata import read_run
from switchover.report.summary import render_json, render_run

MEANS = {"off": 2.0, "on": 0.25}
BYTES = {"off": (0, 15_000_000), "on": (13_500_000, 1_500_000)}
ASKED = PlannedComparison("arm", "off")


def make_repeat(arm: str, number: int, seconds: float, *, at: int, among: str = "", outside: bool = True) -> Record:
    """``at``: minutes after the first repeat of the run."""
    early, late = BYTES[arm]
    outsides = (make_measurement("downtime.outside", seconds + 0.1),) * outside
    return replace(
        make_record(f"arm={arm}{among}", number, downtime=seconds),
        started=f"2026-11-21T10:{at:02}:00.5+00:00",
        measurements=(
            make_measurement("downtime.explained", seconds),
            make_measurement("time.total", 5.0),
            *outsides,
            make_measurement("bytes.vfio.precopy", early, Unit.BYTES),
            make_measurement("bytes.vfio.stop_copy", late, Unit.BYTES),
        ),
    )


def make_experiment(rounds: int, *, seed: int = 1, among: str = "") -> list[Record]:
    """In turns, there and back, with values of both arms 50 ms around their means."""
    generator = random.Random(seed)
    records: list[Record] = []
    for number in range(1, rounds + 1):
        for arm in MEANS if number % 2 else reversed(MEANS):
            seconds = MEANS[arm] + generator.uniform(-0.05, 0.05)
            records.append(make_repeat(arm, number, seconds, at=len(records), among=among))
    return records


def make_compared_run(
    parent: Path, records: Sequence[Record], repeats: int, compare: PlannedComparison | None = ASKED
) -> RunDirectory:
    cases = dict.fromkeys(record.case for record in records)
    run = make_run(parent, records)
    scenario = PlannedScenario("effect", "effect.toml", "About it", "", repeats, True, compare)
    write_plan(run, PlanFile((scenario,), tuple(make_line(case, repeats, scenario="effect") for case in cases)))
    return run


def compare(parent: Path, records: Sequence[Record], repeats: int) -> Comparison:
    (found,) = compare_planned(read_run(make_compared_run(parent, records, repeats)))
    return found


def test_an_experiment(tmp_path: Path) -> None:
    """Arms with their numbers, the order as it was run, and how much less it is, how sure, of how many rounds."""
    found = compare(tmp_path, make_experiment(10), 10)
    assert found.in_turns
    assert found.order[:3] == (("off", "on"), ("on", "off"), ("off", "on"))
    lines = render_comparisons([found]).splitlines()
    assert lines[0] == "arm compared with off, in turns: off on, on off, off on, …"
    assert lines[1].split("  ")[-1] == "device stop-copy"
    assert lines[2].split()[:5] == ["off", "10/10", "1.98", "s", "[1.95"]
    assert lines[2].endswith("0 B          14.3 MiB")
    assert lines[3].endswith("12.9 MiB           1.4 MiB")
    assert lines[4].startswith("  on   downtime   1.73 s shorter [1.69 s … 1.77 s]")
    assert lines[4].endswith("; p = 0.002, 10 rounds")
    assert ", by a factor of 7.33" in lines[4]
    assert lines[5].startswith("       outside    1.73 s shorter [1.69 s")
    assert lines[6] == "       migration  can't tell: the same; p = 1, 10 rounds"
    assert len(lines) == 7


def test_it_is_at_the_end_of_a_run_and_in_its_json(tmp_path: Path) -> None:
    """``run`` and ``show`` print it before the counts; ``show --json`` has the numbers and the same words."""
    run = read_run(make_compared_run(tmp_path, make_experiment(10), 10))
    text = render_run(run)
    (comparison,) = compare_planned(run)
    assert f"\n\n{render_comparisons([comparison])}\n\n2 cases: 2 as expected\n" in text
    (listed,) = json.loads(render_json(run, run.cases))["comparisons"]
    assert listed["differences"][0]["conclusion"] == comparison.differences[0].conclusion
    assert listed["differences"][0]["difference"]["p"] == 2 / 1024
    assert listed["arms"][1]["numbers"]["bytes.vfio.stop_copy"] == {
        "count": 10,
        "median": 1_500_000,
        "low": 1_500_000,
        "high": 1_500_000,
    }
    assert listed["order"][1] == ["on", "off"]


def test_what_asks_for_no_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run without one is shown without it, and without what takes a second to import."""
    run = make_compared_run(tmp_path, make_experiment(10), 10, None)
    for name in ("numpy", "scipy"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it is an error
    assert main(["show", str(run.path)]) == 0
    assert "compared" not in capsys.readouterr().out


def test_a_repeat_that_failed(tmp_path: Path) -> None:
    """It is told, and its round does not count; the others do."""
    records = make_experiment(10)
    hung = Verdict(VerdictName.HUNG, "source", "not converging: pending 15 MB\nmore")
    records[3] = replace(records[3], verdict=hung, measurements=())
    assert records[3].case == "arm=off"
    found = compare(tmp_path, records, 10)
    assert found.left_out == ("off #2 not counted: hung (source): not converging: pending 15 MB",)
    assert [arm.completed for arm in found.arms] == [9, 10]
    assert found.differences[0].conclusion.endswith("p = 0.0039, 9 rounds")
    assert f"\n  {found.left_out[0]}\n" in render_comparisons([found])


def test_a_number_that_is_missing(tmp_path: Path) -> None:
    """A round without it does not count for it, and that is told; if no round has it, it is missing."""
    records = make_experiment(10)
    records[0] = make_repeat("off", 1, 2.0, at=0, outside=False)
    found = compare(tmp_path, records, 10)
    assert [one.conclusion.rpartition(", ")[2] for one in found.differences] == ["10 rounds", "9 rounds", "10 rounds"]
    assert found.left_out == ("off #1 without outside",)
    bare = [
        replace(record, measurements=tuple(one for one in record.measurements if one.name != "downtime.outside"))
        for record in records
    ]
    found = compare(tmp_path / "bare", bare, 10)
    assert found.differences[1].conclusion == "missing: the number is not there in both arms"
    assert found.arms[0].numbers["downtime.outside"] is None
    assert "missing" in render_comparisons([found]).splitlines()[2]


def test_too_few_rounds(tmp_path: Path) -> None:
    """Seven rounds tell nothing, however far apart they are, and it is said how many would."""
    found = compare(tmp_path, make_experiment(7), 7)
    conclusion = found.differences[0].conclusion
    assert conclusion.startswith("can't tell from 7 rounds: 8 are needed (in these, 1.")
    assert conclusion.endswith("shorter)")


def test_an_arm_that_was_not_run(tmp_path: Path) -> None:
    """Without any number of an arm the rest is still shown."""
    records = make_experiment(3)
    alone = [
        record
        if record.case == "arm=off"
        else replace(
            record,
            verdict=Verdict(VerdictName.INFRASTRUCTURE_ERROR, reason="not run: x"),
            measurements=(),
            settings={},
            started="",
        )
        for record in records
    ]
    found = compare(tmp_path, alone, 3)
    assert {one.conclusion for one in found.differences} == {"missing: the number is not there in both arms"}
    assert found.left_out == ("on #1 #2 #3 not counted: infrastructure-error: not run: x",)


def test_repeats_that_were_not_in_turns(tmp_path: Path) -> None:
    """By what the records say, not by the plan: then repeats of one number have nothing in common, and are no pairs."""
    records = sorted(make_experiment(10), key=lambda record: record.case)
    later = [replace(record, started=f"2026-11-21T11:{at:02}:00+00:00") for at, record in enumerate(records)]
    found = compare(tmp_path, later, 10)
    assert not found.in_turns
    assert found.differences[0].conclusion.endswith("p = 0.0002, 10 repeats an arm")
    assert "the repeats did not alternate: the differences include whatever changed in between" in render_comparisons(
        [found]
    )
    assert list_order({"off": later[:10], "on": later[10:]}) is None


def test_other_axes(tmp_path: Path) -> None:
    """Each of their combinations is compared by itself."""
    records = [record for cpus in (1, 2) for record in make_experiment(2, among=f",vcpus={cpus}")]
    found = compare_planned(read_run(make_compared_run(tmp_path, records, 2)))
    assert [(one.among, [arm.name for arm in one.arms]) for one in found] == [
        ("vcpus=1", ["off", "on"]),
        ("vcpus=2", ["off", "on"]),
    ]
    assert render_comparisons(found).count("vcpus=2: arm compared with off") == 1


def test_another_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``compare`` takes another baseline or another axis; what is not there is an error that says so."""
    run = make_compared_run(tmp_path, make_experiment(10), 10, None)
    assert main(["compare", str(run.path), "--axis", "arm", "--baseline", "on"]) == 0
    assert "off  downtime   1.73 s longer [1.69 s" in capsys.readouterr().out
    (found,) = require_comparison(read_run(run), "arm")
    assert found.baseline == "off"
    for words in ((), ("vcpus",), ("arm", "none")):
        with pytest.raises(UsageError, match="No cases"):
            require_comparison(read_run(run), *words)
    assert main(["compare", str(run.path)]) == 2


def test_two_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Case by case, the first as baseline, not paired; what was not alike in both is told."""
    one = make_compared_run(tmp_path, make_experiment(10), 10)
    slower = [make_repeat("off", number, 2.5 + number / 100, at=30 + number) for number in range(1, 11)]
    changed = [replace(record, fingerprint={"switchover": "0.2.0"}) for record in slower]
    two = make_compared_run(tmp_path, changed, 10)
    assert main(["compare", str(one.path), str(two.path), "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["among"] == "arm=off"
    assert [arm["name"] for arm in listed["arms"]] == [one.path.name, two.path.name]
    assert listed["differences"][0]["conclusion"].endswith("p = 0.0002, 10 repeats an arm")
    assert "longer [" in listed["differences"][0]["conclusion"]
    assert listed["notes"] == ["the runs also differ in: switchover"]
    other = [replace(record, settings={"migration": {"settle": False}}) for record in slower]
    (found,) = compare_runs(read_run(one), read_run(make_compared_run(tmp_path, other, 10)))
    assert found.notes[0] == "the runs' settings differ (migration): this is not the same case"
    once = [read_run(make_compared_run(tmp_path, [make_repeat("off", 1, 2.0, at=at)], 1)) for at in (0, 1)]
    (found,) = compare_runs(*once)
    assert found.differences[0].conclusion == "can't tell from 1 repeat an arm: 5 are needed (in these, the same)"
    with pytest.raises(UsageError, match="the same run"):
        compare_runs(read_run(one), read_run(one))
    with pytest.raises(UsageError, match="in common"):
        compare_runs(read_run(one), read_run(make_run(tmp_path, [make_record("x")])))
    assert main(["compare", str(one.path), str(two.path), "--axis", "arm"]) == 2


@pytest.mark.parametrize(
    ("difference", "factor", "words"),
    [
        (
            Difference(-1.1, -1.2, -1.0, 0.0002, False, 10),
            8.04,
            "1.10 s shorter [1.00 s … 1.20 s], by a factor of 8.04; p = 0.0002, 10 repeats an arm",
        ),
        (
            Difference(0.002, 0.001, 0.003, 0.002, True, 10),
            1.01,
            "2.0 ms longer [1.0 ms … 3.0 ms]; p = 0.002, 10 rounds",
        ),
        (
            Difference(-0.01, -0.02, 0.003, 0.2, True, 9),
            1.2,
            "can't tell: 20.0 ms shorter to 3.0 ms longer; p = 0.2, 9 rounds",
        ),
        (
            Difference(-0.01, -0.02, -0.001, 0.02, True, 9),
            1.2,
            "can't tell: 20.0 ms shorter to 1.0 ms shorter; p = 0.02, 9 rounds",
        ),
        (
            Difference(-0.01, None, None, None, False, 1),
            None,
            "can't tell from 1 repeat an arm: 5 are needed (in these, 10.0 ms shorter)",
        ),
        (None, None, "missing: the number is not there in both arms"),
    ],
)
def test_conclusions(difference: Difference | None, factor: float | None, words: str) -> None:
    """Told only with an interval on one side and a p below 0.01; else that it cannot be, and what is known."""
    assert conclude(difference, factor) == words


def test_the_plan_says_what_is_compared(tmp_path: Path) -> None:
    """It is written and read back; plans from before that have none."""
    run = make_compared_run(tmp_path, make_experiment(1), 1)
    plan = find_plan(run)
    assert plan is not None
    assert plan.scenarios[0].compare == ASKED
    path = run.path / "plan.json"
    old = json.loads(path.read_text())
    del old["scenarios"][0]["compare"]
    path.write_text(json.dumps(old))
    assert read_run(run).scenarios[0].compare is None
