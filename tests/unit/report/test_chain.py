# SPDX-License-Identifier: GPL-2.0-or-later
"""What reports tell of chains of migrations: each hop by itself, and the hop that ended one."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from tests.unit.builders import make_measurement, make_record
from tests.unit.runs import make_line, make_run

from switchover.record.planfile import PlannedComparison
from switchover.record.record import HopRecord, Record, Verdict, VerdictName
from switchover.report.comparison import compare_axis
from switchover.report.junit import render_junit
from switchover.report.moments import find_moment
from switchover.report.rundata import read_run
from switchover.report.summary import render_case, render_cases_in_full, render_run
from switchover.report.terminal import render_record, render_repeat

QEMU = {
    "source": {"qemu": {"major": 10, "minor": 0, "micro": 13}},
    "destination": {"qemu": {"major": 11, "minor": 1, "micro": 3}},
}


def make_hop(number: int, seconds: float, verdict: Verdict = Verdict(VerdictName.COMPLETED)) -> HopRecord:  # noqa: B008
    single = make_record(downtime=seconds)
    hosts = dict(zip(("source", "destination"), ("hosta", "hostb")[:: 1 if number % 2 else -1], strict=True))
    completed = verdict.name is VerdictName.COMPLETED
    return HopRecord(
        number,
        verdict,
        hosts,
        QEMU,
        single.measurements if completed else (),
        single.checks,
        single.downtime if completed else {"reason": "the migration did not complete"},
        single.states,
    )


def make_chain(case: str = "chain", *downtimes: float, repeat: int = 1, failed: str = "") -> Record:
    """``failed``: why the hop after these did not complete."""
    hops = [make_hop(number, seconds) for number, seconds in enumerate(downtimes, start=1)]
    last = (
        Verdict(VerdictName.FAILED, "source", failed, hop=len(hops) + 1) if failed else Verdict(VerdictName.COMPLETED)
    )
    if failed:
        hops.append(make_hop(len(hops) + 1, 0, replace(last, hop=0)))
    empty = replace(make_record(case, repeat), measurements=(), states={}, downtime={"reason": "each has its own"})
    return replace(
        empty, verdict=last, hops=tuple(hops), mismatch="expected completed, was failed" if failed else "", clocks={}
    )


def test_a_line_for_a_repeat() -> None:
    """With the downtime of each hop, and the one that ended the chain."""
    assert "completed (downtimes 250.0 ms, 500.0 ms, took" in render_repeat(make_chain("chain", 0.25, 0.5))
    assert "chain #1: failed (source) in hop 2; NOT AS EXPECTED" in render_repeat(make_chain("chain", 0.25, failed="x"))


def test_a_record_in_full() -> None:
    """Each hop with its hosts, QEMUs, states, bytes and downtime."""
    lines = render_record(make_chain("chain", 0.25, failed="no")).splitlines()
    assert lines[0] == "chain  verdict failed (source) in hop 2; NOT AS EXPECTED: expected completed, was failed: no"
    heads = [line for line in lines if line.startswith("  hop ")]
    assert heads == [
        "  hop 1: hosta (QEMU 10.0.13) → hostb (QEMU 11.1.3), completed",
        "  hop 2: hostb (QEMU 10.0.13) → hosta (QEMU 11.1.3), failed (source)",
    ]
    assert sum("pre-copy → stop-copy → stop" in line for line in lines) == 2
    assert any("downtime     250.0 ms" in line for line in lines)
    assert sum("checks  " in line for line in lines) == 1


def test_a_run(tmp_path: Path) -> None:
    """A line for each hop, over the repeats that came to it; in JUnit the failure has the hop."""
    records = [make_chain("chain", 0.25, 0.5), make_chain("chain", 0.35, repeat=2, failed="no")]
    run = read_run(make_run(tmp_path, records, [make_line("chain", 2)]))
    lines = render_case(run.cases[0])
    assert lines[0] == "chain  completed 1 of 2; failed (source) in hop 2 1 of 2, NOT AS EXPECTED: no"
    assert lines[1].startswith("  hop 1  downtime 300.0 ms [250.0 ms … 350.0 ms]: save iterable 60%")
    assert lines[3].startswith("  hop 2  downtime 500.0 ms")
    text = render_run(run)
    assert "observed  failed by the source in hop 2" in text
    assert "hop 1: hosta" in render_cases_in_full(run, run.cases)
    suite = ElementTree.fromstring(render_junit(run).encode())[0]
    assert [test.find("failure") is None for test in suite.findall("testcase")] == [True, False]


def test_evidence_is_that_of_the_last_hop(tmp_path: Path) -> None:
    """What a QEMU said, and when it ended, are looked for in the directory of the hop that ended the chain."""
    record = make_chain("chain", 0.25, failed="no")
    directory = make_run(tmp_path, [record], [make_line("chain")])
    run = read_run(directory)
    place = run.evidence_path(record)
    assert place == directory.repeat_path("chain", 1) / "hop-2"
    place.mkdir()
    came = [("setup", 1), ("active", 2), ("completed", 3), ("setup", 10), ("active", 11), ("failed", 15)]
    lines = [
        f'{{"arrived_ns": {at}000000000, "event": "MIGRATION", "data": {{"status": "{word}"}}}}\n' for word, at in came
    ]
    (place / "source.events.jsonl").write_text("".join(lines))
    assert "5.0 s after migrate, failed after active" in render_run(run)


def test_evidence_of_a_hop_that_was_not_tried_to_its_end(tmp_path: Path) -> None:
    """An error ended the chain in a hop of which the record has nothing."""
    record = make_chain("chain", 0.25)
    lost = replace(record, verdict=Verdict(VerdictName.INFRASTRUCTURE_ERROR, hop=2), mismatch="was lost")
    directory = make_run(tmp_path, [lost], [make_line("chain")])
    assert read_run(directory).evidence_path(lost).name == "hop-2"
    first = replace(lost, hops=(), verdict=replace(lost.verdict, hop=1))
    assert read_run(directory).evidence_path(first).name == "hop-1"
    assert read_run(directory).evidence_path(make_record()).name == "01"


def test_the_migration_by_which_the_guest_came_is_passed_over() -> None:
    """Of a source that was the destination before."""
    events = [
        {"arrived_ns": at * 10**9, "event": "MIGRATION", "data": {"status": word}}
        for at, word in ((1, "setup"), (2, "completed"), (5, "setup"), (9, "cancelled"))
    ]
    first, second = find_moment(events), find_moment(events, came=True)
    assert first is not None
    assert second is not None
    assert (first.seconds, first.end, second.seconds, second.end) == (1, "completed", 4, "cancelled")


def test_chains_are_compared_hop_by_hop(tmp_path: Path) -> None:
    """As far as both came."""
    records = [
        make_chain(f"arm={arm}", first, second, repeat=number)
        for number in (1, 2)
        for arm, first, second in (("off", 1.0, 2.0), ("on", 0.5, 2.0))
    ]
    run = read_run(make_run(tmp_path, records, [make_line("arm=off", 2), make_line("arm=on", 2)]))
    comparisons = compare_axis(run, "precopy", PlannedComparison("arm", "off"))
    assert [comparison.among for comparison in comparisons] == ["hop 1", "hop 2"]
    medians = [
        [spread.median for arm in comparison.arms if (spread := arm.numbers["downtime.explained"]) is not None]
        for comparison in comparisons
    ]
    assert medians == [[1.0, 0.5], [2.0, 2.0]]


def test_a_single_migration_is_compared_as_before(tmp_path: Path) -> None:
    """Without a word of hops."""
    numbers = (make_measurement("downtime.explained", 1.0),)
    records = [replace(make_record(f"arm={arm}"), measurements=numbers) for arm in ("off", "on")]
    run = read_run(make_run(tmp_path, records, [make_line("arm=off"), make_line("arm=on")]))
    assert [one.among for one in compare_axis(run, "precopy", PlannedComparison("arm", "off"))] == [""]
