# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs read back from their directories: answers, failures, JUnit, JSON."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.builders import make_measurement, make_record
from tests.unit.runs import make_line, make_run

from switchover.cli.main import main
from switchover.record.checks import CheckId
from switchover.record.ending import Ending
from switchover.record.errors import UsageError
from switchover.record.measurement import Check, Measurement, NotChecked
from switchover.record.planfile import make_skipped, make_unrun
from switchover.record.record import Race, Record, Verdict, VerdictName, exit_code_of, render_record
from switchover.record.rundir import RunDirectory, find_run, read_records
from switchover.record.units import Direction, Unit
from switchover.report.failures import render_failure
from switchover.report.junit import render_junit
from switchover.report.rundata import read_run
from switchover.report.summary import render_cases_in_full, render_counts, render_json, render_run

HUNG = replace(
    make_record("device.pre_copy=off"),
    verdict=Verdict(VerdictName.HUNG, "source", "ack-starved: pending 0 B is below the threshold, for 9 s"),
    ending=Ending.ACK_STARVED,
    mismatch="expected completed, was hung",
    measurements=(),
    downtime={"reason": "the migration did not complete"},
    checks=(Check(CheckId.GUEST_ON_SOURCE, "guest runs on the source", False, "yes", "no"),),
)
OTHER = make_line("vcpus=2")


def make_example(tmp_path: Path) -> RunDirectory:
    """A case in order, one that hung, one that is not supported, and one that was not run."""
    skipped = make_skipped(OTHER, Verdict(VerdictName.NOT_SUPPORTED, reason="hosta has no /opt/qemu"))
    good = [make_record(repeat=number, downtime=downtime) for number, downtime in ((1, 0.25), (2, 0.1), (3, 0.3))]
    outside = (make_measurement("downtime.outside", 0.31),)
    good[0] = replace(good[0], measurements=(*good[0].measurements, *outside))
    lines = [make_line("device.pre_copy=on", 3), make_line("device.pre_copy=off"), OTHER, make_line("vcpus=3")]
    run = make_run(tmp_path, [*good, HUNG, skipped], lines)
    (run.repeat_path(HUNG.case, 1) / "destination.stderr").write_text("nothing")
    (run.repeat_path(HUNG.case, 1) / "source.events.jsonl").write_text(
        '{"arrived_ns": 1000000000, "event": "MIGRATION", "data": {"status": "setup"}}\n'
        '{"arrived_ns": 2000000000, "event": "MIGRATION", "data": {"status": "active"}}\n'
        '{"arrived_ns": 13000000000, "event": "MIGRATION", "data": {"status": "cancelling"}}\n'
    )
    return run


SUMMARY = """\
precopy: About precopy
  device.pre_copy=on  completed 3 of 3
    downtime 250.0 ms [100.0 ms … 300.0 ms]: save iterable 60%, start 30%, stop 10%; QEMU says \
256.0 ms; outside 310.0 ms
    bytes    device 64.0 MiB in pre-copy, 1.0 MiB in stop-copy; RAM 50.0 MiB in pre-copy, 12.1 KiB in the downtime; \
wire ?
  device.pre_copy=off  hung (source), NOT AS EXPECTED: ack-starved: pending 0 B is below the threshold, for 9 s
  vcpus=2  not-supported: hosta has no /opt/qemu
  vcpus=3  not run: it has no record: the run goes on, or was killed before
"""

FAILURE = """\
NOT AS EXPECTED  device.pre_copy=off #1: expected completed, was hung
  claim     completed
            because: nothing is in its way
  observed  hung by the source
            ack-starved: pending 0 B is below the threshold, for 9 s
            check failed: guest runs on the source [guest.on-source]: expected yes, observed no
  when      12.0 s after migrate, cancelling after active (by the harness, which gave up)
  cause     little enough is pending, but the switchover waits for an ack that the destination does not give: \
switchover-ack is on at one side only, or one device offers PRE_COPY and the other does not
            → switchover-ack and pre_copy alike on both sides, or switchover-ack off
  evidence  RUN/device.pre_copy=off/01/
              record.json destination.stderr source.events.jsonl
  repeat    switchover repro NAME device.pre_copy=off
  look      switchover run precopy.toml --only device.pre_copy=off --keep-on-fail, then switchover attach"""


@pytest.fixture(autouse=True)
def called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As it is where it is installed, with a test's runs in their usual place."""
    monkeypatch.delenv("SWITCHOVER_COMMAND", raising=False)
    monkeypatch.setattr("switchover.record.rundir.runs_directory", lambda: tmp_path)


def shown(text: str, run: RunDirectory) -> str:
    return text.replace(str(run.path), "RUN").replace(run.path.name, "NAME")


def test_a_run(tmp_path: Path) -> None:
    """Answers in few lines, the failure in full, the counts, and where it all is; what was not run is no failure."""
    run = make_example(tmp_path)
    text = shown(render_run(read_run(run)), run)
    counts = "4 cases: 1 as expected, 1 not as expected, 1 not supported, 1 not run"
    assert text == f"{SUMMARY}\n{FAILURE}\n\n{counts}\nrun directory: RUN"


def test_the_failure_text(tmp_path: Path) -> None:
    """A fixed shape: claim, observed, when, cause, evidence, repeat, look."""
    run = make_example(tmp_path)
    assert shown(render_failure(read_run(run), HUNG), run) == FAILURE


def test_a_failure_that_no_rule_knows_before_migrate(tmp_path: Path) -> None:
    """It says so, and in which step it happened."""
    record = replace(
        make_record(), verdict=Verdict(VerdictName.REFUSED, reason="odd"), mismatch="m", seconds={"a": 2.0}
    )
    run = make_run(tmp_path, [record])
    lines = shown(render_failure(read_run(run), record), run).splitlines()
    assert "  when      before migrate, in the step 'a', 2.0 s after the repeat began" in lines
    assert "  cause     unknown: no rule explains this failure; look at the evidence" in lines
    assert "  look      switchover show NAME device.pre_copy=on" in lines


def test_a_failure_whose_guests_are_kept(tmp_path: Path) -> None:
    """While they are there, it says how to get to them; a script that repeats it is named."""
    run = make_example(tmp_path)
    path = run.repeat_path(HUNG.case, 1)
    (path / "kept.json").write_text("{}")
    (path.parent / "repro.sh").write_text("")
    text = shown(render_failure(read_run(run), HUNG), run)
    assert "look      switchover attach NAME device.pre_copy=off source|destination --qmp|--ssh|--console" in text
    assert "RUN/device.pre_copy=off/repro.sh" in text


def test_warnings_are_no_cause(tmp_path: Path) -> None:
    """The reference device without dirty tracking makes QEMU warn in each run; an error of the same words counts."""
    record = replace(HUNG, verdict=Verdict(VerdictName.FAILED))
    run = make_run(tmp_path, [record])
    text = "dut: VFIO device doesn't support device and IOMMU dirty tracking\n"
    (run.repeat_path(record.case, 1) / "source.stderr").write_text(f"qemu-system-x86_64: warning: {text}")
    assert "dirty" not in render_failure(read_run(run), record)
    (run.repeat_path(record.case, 1) / "source.stderr").write_text(f"qemu-system-x86_64: {text}")
    assert "every page counts as dirty" in render_failure(read_run(run), record)


def test_a_run_that_is_elsewhere(tmp_path: Path) -> None:
    """Its commands name it by its path, which is where it is found."""
    run = make_run(tmp_path / "elsewhere", [HUNG])
    assert f"repeat    switchover repro {run.path} device.pre_copy=off" in render_failure(read_run(run), HUNG)


def test_one_case_in_full(tmp_path: Path) -> None:
    """Each repeat explained; a failed one with its failure text."""
    run = read_run(make_example(tmp_path))
    text = render_cases_in_full(run, run.select("device.*"))
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "#1 device.pre_copy=on  verdict completed",
        "#2 device.pre_copy=on  verdict completed",
        "#3 device.pre_copy=on  verdict completed",
        "#1 device.pre_copy=off  verdict hung (source); NOT AS EXPECTED: expected completed, was hung: ack-starved: "
        "pending 0 B is below the threshold, for 9 s",
    ]
    assert text.count("NOT AS EXPECTED  device") == 1


def test_selected_cases(tmp_path: Path) -> None:
    """An id, a part of ids, or a pattern; nothing is an error that names some."""
    run = read_run(make_example(tmp_path))
    assert [case.id for case in run.select("vcpus=2")] == ["vcpus=2"]
    assert len(run.select("pre_copy")) == 2
    assert len(run.select("*=?")) == 2
    with pytest.raises(UsageError, match="no case 'nothing'"):
        run.select("nothing")


def test_a_run_without_a_plan(tmp_path: Path) -> None:
    """A demo's: its cases are those of its records."""
    run = read_run(make_run(tmp_path, [make_record("b"), make_record("a", 1), make_record("a", 2)]))
    assert [(case.id, len(case.records)) for case in run.cases] == [("a", 2), ("b", 1)]
    assert render_run(run).startswith("precopy\n  a  completed 2 of 2\n")


def test_json(tmp_path: Path) -> None:
    """Everything, with the outcome of each case and what is known of its failure."""
    run = read_run(make_example(tmp_path))
    found = json.loads(render_json(run, run.cases))
    assert [case["outcome"] for case in found["cases"]] == [
        "as expected",
        "not as expected",
        "not supported",
        "not run",
    ]
    (repeat,) = found["cases"][1]["repeats"]
    assert repeat["moment"] == {"seconds": 12.0, "status": "active", "end": "cancelling", "device": ""}
    assert len(repeat["causes"]) == 1
    assert repeat["record"]["verdict"]["name"] == "hung"


def test_junit(tmp_path: Path) -> None:
    """A test case for each repeat: failures, errors and what is skipped, counted, with the failure text."""
    suite = ElementTree.fromstring(render_junit(read_run(make_example(tmp_path)))).find("testsuite")
    assert suite is not None
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "6",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
    }
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.text is not None
    assert failure.get("message") == "expected completed, was hung [guest.on-source]"
    assert failure.text.startswith("NOT AS EXPECTED  device.pre_copy=off #1")


@pytest.mark.parametrize("name", ["run.json", "plan.json"])
def test_a_run_of_a_newer_version(tmp_path: Path, name: str) -> None:
    """It is refused, with the file and both versions."""
    run = make_example(tmp_path)
    path = run.path / name
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99}))
    with pytest.raises(UsageError, match="version 99") as caught:
        read_run(run)
    assert caught.value.fix == "update switchover"


DAMAGED = [b"", b"\xff", b"[" * 100_000, b'{"schema_version": 99, "checks": []}', b"{}"]


@pytest.mark.parametrize("planned", [True, False])
@pytest.mark.parametrize("text", DAMAGED)
def test_a_record_that_cannot_be_read_hides_no_other(
    tmp_path: Path, text: bytes, planned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are told as ever; it is an infrastructure error that names its file, in the terminal, in JUnit and in
    the exit code, whether there is a plan or not.
    """
    records = [make_record("a b"), make_record("a b", 2), make_record("c")]
    run = make_run(tmp_path, records, [make_line("a b", 2), make_line("c")] if planned else None)
    path = run.repeat_path("a b", 2) / "record.json"
    path.write_bytes(text)
    found = read_run(run)
    (unreadable,) = found.unreadable
    assert unreadable.path == path
    lost = found.records[1]
    assert [record.verdict.name for record in found.records] == ["completed", "infrastructure-error", "completed"]
    assert str(path) in lost.mismatch
    assert str(path) in render_run(found)
    assert exit_code_of(found.records) == 3
    suite = ElementTree.fromstring(render_junit(found)).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("errors"), suite.get("failures")) == ("3", "1", "0")
    json.loads(render_json(found, found.cases))
    assert [record.mismatch for record in read_records(run.path)] == ["", lost.mismatch, ""]
    assert main(["show", str(run.path)]) == 3
    assert str(path) in capsys.readouterr().out


def test_records_in_places_that_are_not_theirs(tmp_path: Path) -> None:
    """A record of another repeat than its directory is told, a folder that no plan knows too, and what is no repeat is
    none.
    """
    run = make_run(tmp_path, [make_record("a")], [make_line("a")])
    for place, text in (("b/01", "{}"), ("a/02", render_record(make_record("a", 10**9))), ("a/notes", "{}")):
        (run.path / place).mkdir(parents=True)
        (run.path / place / "record.json").write_text(text)
    found = read_run(run)
    assert [(record.case, record.repeat, bool(record.mismatch)) for record in found.records] == [
        ("a", 1, False),
        ("a", 2, True),
        ("b", 1, True),
    ]
    assert "of repeat 1000000000" in found.records[1].mismatch


@pytest.mark.parametrize("change", [{"repeats": "2"}, {"seconds": None}, {"expectation": []}, {"more": 1}])
def test_a_plan_with_values_of_other_types(tmp_path: Path, change: dict[str, object]) -> None:
    """It is an error that names the file and the key."""
    run = make_example(tmp_path)
    plan = json.loads((run.path / "plan.json").read_text())
    plan["cases"][0] |= change
    (run.path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(UsageError, match=r"plan\.json") as caught:
        read_run(run)
    assert f"cases[0].{next(iter(change))}" in caught.value.why


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"schema_version": 1}', "[" * 100_000, '{"schema_version": 1e999}']
)
@pytest.mark.parametrize("name", ["run.json", "plan.json"])
def test_a_damaged_run(tmp_path: Path, name: str, text: str) -> None:
    """It is an error that names the file."""
    run = make_example(tmp_path)
    (run.path / name).write_text(text)
    with pytest.raises(UsageError, match=name):
        read_run(run)


def test_finding_a_run(tmp_path: Path) -> None:
    """By path, name, the start or a part of its name, or last; none and several are errors."""
    runs = [make_run(tmp_path, []) for _ in range(2)]
    names = sorted(run.path.name for run in runs)
    assert find_run(str(runs[0].path), tmp_path / "none").path == runs[0].path
    assert find_run("last", tmp_path).path.name == names[-1]
    assert find_run(names[0], tmp_path).path.name == names[0]
    assert find_run(names[0][-4:], tmp_path).path.name == names[0]
    with pytest.raises(UsageError, match="matches 2 runs"):
        find_run("precopy", tmp_path)
    with pytest.raises(UsageError, match="no run"):
        find_run("nothing", tmp_path)
    with pytest.raises(UsageError, match="no run 'last'"):
        find_run("last", tmp_path / "none")


def test_counts_of_other_outcomes(tmp_path: Path) -> None:
    """A host that failed is no failure of the case; a case that was not run to the end is neither right nor wrong."""
    lost = replace(HUNG, verdict=Verdict(VerdictName.INFRASTRUCTURE_ERROR, reason="hosta is gone"))
    lines = [make_line(HUNG.case), make_line("b", 2)]
    records = [lost, make_record("b"), make_unrun(lines[1], 2, "interrupted")]
    assert (
        render_counts(read_run(make_run(tmp_path, records, lines)))
        == "2 cases: 1 with an infrastructure error, 1 not run to the end"
    )


@pytest.mark.parametrize("name", [VerdictName.CHECKS_FAILED, VerdictName.INFRASTRUCTURE_ERROR])
def test_a_case_that_differs_alone_is_counted_as_such(tmp_path: Path, name: VerdictName) -> None:
    """It is neither right nor like one that is wrong with a guest of its own too, and no infrastructure error."""
    wrong = replace(make_record("a"), verdict=Verdict(name), mismatch="x")
    differs = replace(wrong, alone={"verdict": {"name": "completed"}, "mismatch": ""})
    assert render_counts(read_run(make_run(tmp_path / "1", [differs], [make_line("a")]))) == "1 case: 1 differs alone"
    also = replace(wrong, alone={"verdict": {"name": name}, "mismatch": "x"})
    assert "differs" not in render_counts(read_run(make_run(tmp_path / "2", [also], [make_line("a")])))


def test_races_are_counted(tmp_path: Path) -> None:
    """A cancel that QEMU's own race decided is not as expected, and said to be one."""
    raced = replace(make_record("a"), verdict=Verdict(VerdictName.FAILED, race=Race.FAILED), mismatch="x")
    counted = render_counts(read_run(make_run(tmp_path, [raced, make_record("b")], [make_line("a"), make_line("b")])))
    assert counted == ("2 cases: 1 not as expected, 1 as expected; 1 repeat decided by QEMU's own race of a cancel")


TEXT = st.text(max_size=20)
NUMBER = st.floats(0, 1e6, allow_nan=False)
MEASUREMENTS = st.lists(
    st.builds(
        Measurement,
        st.sampled_from(
            [
                "downtime.explained",
                "downtime.qemu",
                "downtime.outside",
                "outside.resolution",
                "bytes.wire",
                "bytes.vfio.stop_copy",
            ]
        ),
        st.none() | NUMBER,
        st.sampled_from(Unit),
        st.sampled_from(Direction),
        TEXT,
        TEXT,
        st.none() | NUMBER,
        TEXT,
    )
).map(tuple)
PARTS = st.lists(st.fixed_dictionaries({"name": TEXT, "meaning": TEXT, "seconds": NUMBER, "bound_s": NUMBER}))
SECTIONS = st.lists(st.fixed_dictionaries({"kind": st.just("iterable"), "name": TEXT, "seconds": NUMBER}))
DOWNTIME: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries({"reason": TEXT}),
    st.fixed_dictionaries({"seconds": NUMBER, "bound_s": NUMBER, "parts": PARTS, "saving": SECTIONS}),
)
RECORDS = st.builds(
    Record,
    case=st.sampled_from(["a", "b/c", "x" * 300, "ä b"]),
    repeat=st.integers(1, 3),
    started=TEXT,
    verdict=st.builds(Verdict, st.sampled_from(VerdictName), TEXT, TEXT),
    settings=st.just({}),
    fingerprint=st.just({}),
    seconds=st.dictionaries(TEXT, NUMBER, max_size=3),
    measurements=MEASUREMENTS,
    checks=st.lists(st.builds(Check, st.sampled_from(CheckId), TEXT, st.booleans(), TEXT, TEXT), max_size=3).map(tuple),
    downtime=DOWNTIME,
    states=st.dictionaries(TEXT, st.lists(TEXT), max_size=2),
    expectation=st.just({}) | st.fixed_dictionaries({"verdict": TEXT, "side": TEXT, "reason": TEXT, "because": TEXT}),
    mismatch=TEXT,
)


@given(st.lists(RECORDS, min_size=1, max_size=5))
def test_no_record_breaks_a_report(records: list[Record]) -> None:
    """Whatever a record holds, it is shown, in every form, and the XML can be read."""
    with tempfile.TemporaryDirectory() as parent:
        run = read_run(make_run(Path(parent), records))
        assert render_run(run)
        assert render_cases_in_full(run, run.cases)
        assert json.loads(render_json(run, run.cases))
        ElementTree.fromstring(render_junit(run))


def test_a_case_tells_what_was_not_checked(tmp_path: Path) -> None:
    """A completed case whose guest lacks something does not look like one with all checks, in JUnit neither."""
    lacking = (
        NotChecked(CheckId.DEVICE_SEED, "a", "the driver"),
        NotChecked(CheckId.DEVICE_SCRATCH, "b", "the driver"),
        NotChecked(CheckId.DOWNTIME_OUTSIDE, "c", reason="no heartbeat"),
    )
    run = read_run(make_run(tmp_path, [replace(make_record(), not_checked=lacking)]))
    assert "    guest    3 checks not made; it lacks the driver; no heartbeat" in render_run(run).splitlines()
    assert "3 checks not made" in render_junit(run)
