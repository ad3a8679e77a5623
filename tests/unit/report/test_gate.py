# SPDX-License-Identifier: GPL-2.0-or-later
"""The gate: what is worse beyond doubt, what is not, what cannot be told; and what is held against what."""

import itertools
import json
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.builders import make_measurement, make_record
from tests.unit.report.test_chain import make_chain
from tests.unit.report.test_comparison import make_experiment
from tests.unit.runs import make_line, make_run

from switchover.cli.main import main
from switchover.record.errors import UsageError
from switchover.record.record import Record
from switchover.report.gate.questions import GATED, RUNS, ask_runs, choose_metrics, take_earlier
from switchover.report.gate.rules import Finding, Question, Word, count_needed, judge
from switchover.report.gate.text import list_gate, render_gate
from switchover.report.metrics import MetricRow

METRIC = "downtime.explained"
FINGERPRINT = {"controller": "EPYC, 2 CPUs", "start": "shared", "settings": "5e7", "qemu": "10.0.13"}
SAMPLES = st.lists(st.floats(0.1, 10), min_size=1, max_size=12)
BOUNDS = st.floats(0, 0.5)


def make_question(
    values: Sequence[float], *baseline: Sequence[float], direction: str = "lower", paired: bool = False
) -> Question:
    runs = tuple(tuple(of_run) for of_run in baseline)
    return Question("a", METRIC, "s", direction, tuple(values), runs, paired)


def judge_one(
    values: Sequence[float], *baseline: Sequence[float], bound: float = 0.05, direction: str = "lower"
) -> Finding:
    (found,) = judge([make_question(values, *baseline, direction=direction)], bound)
    return found


def draw(generator: random.Random, count: int = 8, *, middle: float = 1.0, spread: float = 0.1) -> list[float]:
    return [middle * generator.lognormvariate(0, spread) for _ in range(count)]


def make_row(value: float | None, repeat: int = 1, *, run: int = 1, case: str = "a", **changes: object) -> MetricRow:
    started = f"2026-11-{run:02}T10:00:00+00:00"
    row = MetricRow(
        f"run-{run}", started, started, "s", case, 0, repeat, "completed", True, METRIC, value, None, "s", "lower", 1,
        "", FINGERPRINT,
    )  # fmt: skip
    return replace(row, **changes)  # type: ignore[arg-type]


def make_rows(values: Iterable[float | None], *, run: int = 1, case: str = "a", **changes: object) -> list[MetricRow]:
    return [make_row(value, number, run=run, case=case, **changes) for number, value in enumerate(values, start=1)]


def ask_one(rows: Iterable[MetricRow], baseline: Iterable[MetricRow]) -> Question:
    (question,) = ask_runs(rows, baseline, ["a"], [METRIC])
    return question


def test_known_answers() -> None:
    """Eight repeats that all take a tenth longer than eight others of no spread are worse by more than 5 %, and not by
    more than 20 %; what takes a tenth less is not worse, but of a number of which more is better it is.
    """
    worse = judge_one([1.1] * 8, [1.0] * 8)
    assert (worse.word, worse.change, worse.low) == (Word.WORSE, 0.1, 0.1)
    assert judge_one([1.1] * 8, [1.0] * 8, bound=0.2).word is Word.NOT_WORSE
    assert judge_one([0.9] * 8, [1.0] * 8).word is Word.NOT_WORSE
    assert judge_one([0.9] * 8, [1.0] * 8, direction="higher").word is Word.WORSE
    assert judge_one([1.1] * 8, [1.0] * 8, direction="higher").word is Word.NOT_WORSE
    assert judge_one([1.05] * 8, [1.0] * 8).word is Word.NOT_WORSE, "exactly the bound"
    assert judge_one([1.0, 1.2] * 4, [1.0, 1.1] * 4).word is Word.CANNOT_TELL


@given(values=SAMPLES, baseline=SAMPLES, bound=BOUNDS)
def test_only_an_interval_decides(values: list[float], baseline: list[float], bound: float) -> None:
    """Worse: all of the interval is beyond the bound. Not worse: none of it. Else, and without an interval, nobody can
    tell; the middle decides nothing.
    """
    found = judge_one(values, baseline, bound=bound)
    if found.low is None or found.high is None:
        assert found.word is Word.CANNOT_TELL
        assert "are needed" in found.why
    else:
        assert (found.word is Word.WORSE) == (found.low > bound)
        assert (found.word is Word.NOT_WORSE) == (found.high <= bound)


@given(values=SAMPLES, baseline=SAMPLES, factor=st.sampled_from([0.001, 0.5, 1024.0]))
def test_the_unit_does_not_matter(values: list[float], baseline: list[float], factor: float) -> None:
    """A change is relative: the same numbers in milliseconds have the same one."""
    one, other = judge_one(values, baseline), judge_one([v * factor for v in values], [v * factor for v in baseline])
    assert one.change == pytest.approx(other.change)
    assert one.low == pytest.approx(other.low)


@given(values=SAMPLES, baseline=SAMPLES, others=st.integers(1, 40))
def test_more_numbers_never_make_it_easier(values: list[float], baseline: list[float], others: int) -> None:
    """A number that is judged with others is told worse only if it is alone, too."""
    question = make_question(values, baseline)
    beside = [make_question([1.0] * 8, [1.0] * 8)] * others
    if judge([question, *beside], 0.05)[0].word is Word.WORSE:
        assert judge([question], 0.05)[0].word is Word.WORSE


def test_many_numbers_need_many_repeats() -> None:
    """Five repeats a side tell one number apart, and not one of a hundred, where it is said how many would."""
    question = make_question([2.0] * 5, [1.0] * 5)
    assert judge([question], 0.05)[0].word is Word.WORSE
    found = judge([question] * 100, 0.05)[0]
    assert (found.word, found.why) == (Word.CANNOT_TELL, "8 repeats on each side are needed for 100 numbers at once")
    assert judge([make_question([2.0] * 8, [1.0] * 8)] * 100, 0.05)[99].word is Word.WORSE


def test_what_is_settled_leaves_more_to_the_others() -> None:
    """Holm: two numbers at once need six repeats; the one that has five is told once the other is settled."""
    clear, few = make_question([2.0] * 6, [1.0] * 6), make_question([2.0] * 4, [1.0] * 4)
    assert count_needed(0.95, paired=False) == 4
    assert count_needed(0.975, paired=False) == 5
    assert [one.word for one in judge([few, few], 0.05)] == [Word.CANNOT_TELL] * 2
    assert [one.word for one in judge([clear, few], 0.05)] == [Word.WORSE] * 2


def count_alarms(gates: Iterable[Sequence[Question]]) -> int:
    return sum(any(one.word is Word.WORSE for one in judge(questions, 0)) for questions in gates)


def test_false_alarms_of_many_numbers_at_once() -> None:
    """Of gates with ten numbers, all of which are drawn alike, and no bound at all, one in forty may cry wolf: in 400
    that is 10, and 20 would come once in 500 times. Each number for itself would cry in one of five.
    """
    generator = random.Random(1)
    gates = [[make_question(draw(generator), draw(generator)) for _ in range(10)] for _ in range(400)]
    assert count_alarms(gates) < 20
    alone = sum(any(judge([question], 0)[0].word is Word.WORSE for question in questions) for questions in gates)
    assert alone > 40


def test_runs_that_differ_among_themselves_are_no_alarm() -> None:
    """Nights whose repeats are alike, and that differ from each other by a tenth: a further one that does is not worse.
    As if all repeats were of one run, every fourth one is.
    """
    generator = random.Random(2)
    nights = [
        [draw(generator, middle=generator.lognormvariate(0, 0.1), spread=0.01) for _ in range(7)] for _ in range(200)
    ]
    assert count_alarms([make_question(values, *runs)] for values, *runs in nights) < 14
    assert count_alarms([make_question(values, list(itertools.chain(*runs)))] for values, *runs in nights) > 50


def test_a_night_that_is_far_from_all_others() -> None:
    """Among runs that differ by a few hundredths, one that takes half as much again is worse."""
    generator = random.Random(3)
    runs = [draw(generator, middle=generator.lognormvariate(0, 0.03), spread=0.02) for _ in range(6)]
    assert judge_one(draw(generator, middle=1.5, spread=0.02), *runs).word is Word.WORSE


@settings(deadline=None)
@given(value=st.integers(1, 1 << 40), other=st.integers(1, 1 << 40))
def test_numbers_that_never_vary(value: int, other: int) -> None:
    """Bytes that are set have an interval of one point: the same is not worse; more than the bound is, with as many
    repeats as any number needs, from one run or from several.
    """
    for baseline in ([[value] * 8], [[value] * 8] * 3):
        found = judge_one([other] * 8, *baseline)
        assert found.low == pytest.approx(other / value - 1, rel=1e-9, abs=1e-9)
        assert found.high == pytest.approx(found.low)
        assert (found.word is Word.WORSE) == (found.low is not None and found.low > 0.05)
    assert judge_one([other] * 2, [value] * 2).word is Word.CANNOT_TELL


def test_numbers_that_are_zero() -> None:
    """0 after 0 is not worse. Something after 0 is, whatever the bound; a value that has no logarithm is compared by
    its difference.
    """
    assert judge_one([0.0] * 8, [0.0] * 8).word is Word.NOT_WORSE
    found = judge_one([5.0] * 8, [0.0] * 8, bound=9)
    assert found.word is Word.WORSE
    assert '"change": null' in json.dumps(list_gate([found], 9, "x"))
    assert "+inf %" in render_gate([found], 9, "x")
    assert judge_one([2.0] * 8, [-1.0, 1.0, 1.0, 1.0] * 2).change == 1


def test_what_is_compared() -> None:
    """Repeats of the same case that completed and have a value, by run; of the run's own order nothing depends."""
    baseline = [*make_rows([3.0, 4.0], run=2), *make_rows([1.0, 2.0], run=1)]
    rows = [*make_rows([5.0, None, 6.0], run=3), make_row(9.0, 4, run=3, verdict="checks-failed")]
    question = ask_one(rows, baseline)
    assert (question.values, question.baseline) == ((5.0, 6.0), ((1.0, 2.0), (3.0, 4.0)))
    assert (question.missing, question.notes) == ("", ())
    assert ask_runs(rows, baseline, ["b"], [METRIC]) == []


def test_the_last_runs_are_the_baseline() -> None:
    """Of a long history so many runs as are said; of runs that began later, and of the run itself, nothing."""
    history = [row for run in range(1, RUNS + 6) for row in make_rows([float(run)], run=run)]
    rows = make_rows([1.0], run=RUNS + 4)
    earlier = list(take_earlier(history, rows[0].run_started))
    assert [of_run[0] for of_run in ask_one(rows, earlier).baseline] == [float(run) for run in range(4, RUNS + 4)]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"definition": 2}, "not compared: another definition"),
        ({"fingerprint": {**FINGERPRINT, "controller": "Xeon"}}, "not compared: another controller"),
        (
            {"fingerprint": {**FINGERPRINT, "settings": "0"}, "definition": 2},
            "not compared: another definition, settings",
        ),
        ({"value": None, "note": "QEMU did not tell"}, "no value in the baseline: QEMU did not tell"),
        ({"verdict": "hung"}, "no value in the baseline: no repeat completed"),
    ],
)
def test_what_is_not_compared(changes: dict[str, object], why: str) -> None:
    """Another definition, machine or question, and a number that is missing: nothing is told of it, and why."""
    baseline = [replace(row, **changes) for row in make_rows([1.0] * 8)]  # type: ignore[arg-type]
    question = ask_one(make_rows([1.0] * 8, run=2), baseline)
    (found,) = judge([question], 0.05)
    assert (found.word, found.why, found.change) == (Word.CANNOT_TELL, why, None)
    assert why in render_gate([found], 0.05, "run-1")


def test_what_may_have_changed_is_compared() -> None:
    """Another QEMU is the question, and does not keep numbers from being compared."""
    question = ask_one(make_rows([1.0], run=2, fingerprint={**FINGERPRINT, "qemu": "11.1"}), make_rows([1.0]))
    assert not question.missing


def test_a_case_of_two_classes() -> None:
    """Where the first repeat boots the guest that the others share, these are compared, and the first is named."""
    warm = {**FINGERPRINT, "start": "warm"}
    rows = [make_row(9.0, 1, run=2, fingerprint=warm), *make_rows([1.0] * 7, run=2)]
    baseline = [make_row(9.0, 1, fingerprint=warm), make_row(9.0, 2, fingerprint=warm), *make_rows([1.0] * 6)]
    question = ask_one(rows, baseline)
    assert (len(question.values), question.baseline) == (7, ((1.0,) * 6,))
    assert question.notes == (
        "1 repeat here not compared: another start",
        "2 repeats of the baseline not compared: another start",
    )
    assert render_gate(judge([question] * 2, 0.05), 0.05, "run-1").count("1 repeat here") == 1


def test_which_numbers() -> None:
    """Those that are asked for, if they are known and can be worse; else a few."""
    rows = [make_row(1.0), make_row(1.0, metric="outside.period", direction="neither")]
    assert choose_metrics(rows, []) == GATED
    assert choose_metrics(rows, [METRIC, METRIC]) == (METRIC,)
    with pytest.raises(UsageError, match=r"no number 'downtime\.explaned'; did you mean 'downtime\.explained'"):
        choose_metrics(rows, ["downtime.explaned"])
    with pytest.raises(UsageError, match="cannot become worse"):
        choose_metrics(rows, ["outside.period"])


def make_repeats(downtime: float, count: int = 8) -> list[Record]:
    records = [make_record("a", number, downtime=downtime * (1 + number / 1000)) for number in range(1, count + 1)]
    return [replace(one, measurements=(*one.measurements, make_measurement("time.total", 10.0))) for one in records]


def make_runs(parent: Path, *downtimes: float, count: int = 8) -> list[str]:
    return [
        str(make_run(parent / str(number), make_repeats(downtime, count), [make_line("a", count)]).path)
        for number, downtime in enumerate(downtimes)
    ]


@pytest.mark.parametrize(
    ("second", "bound", "more", "status"),
    [
        (0.25, "5%", [], 0),
        (0.30, "5%", [], 1),
        (0.30, "50%", ["--require-decision", "--metric", METRIC], 0),
        (0.30, "5%", ["--metric", "time.total"], 0),
        (0.25, "0%", ["--metric", METRIC], 0),
        (0.25, "0%", ["--metric", METRIC, "--require-decision"], 1),
    ],
)
def test_exit_codes(tmp_path: Path, second: float, bound: str, more: list[str], status: int) -> None:
    """1 where a number is worse beyond doubt, and, where a decision is required, where nobody can tell; else 0."""
    assert main(["compare", *make_runs(tmp_path, 0.25, second), "--fail-if-worse", bound, *more]) == status


def test_what_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each number, with both medians, the change, its interval and a word; as JSON the same."""
    words = ["compare", *make_runs(tmp_path, 0.25, 0.30), "--fail-if-worse", "5%"]
    assert main(words) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("worse by more than 5 % than ")
    assert lines[1] == "  a"
    assert "251.1 ms → 301.3 ms" in lines[2]
    assert "+20.0 % [+19." in lines[2]
    assert lines[2].endswith("worse: all of the interval is beyond the bound (8 repeats against 8)")
    assert lines[-1] == "4 numbers: 1 worse, 2 not worse, 1 can't tell"
    assert main([*words, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["counts"] == {"worse": 1, "not worse": 2, "can't tell": 1}
    assert (told["bound"], told["findings"][0]["word"]) == (0.05, "worse")


def test_arms_of_an_experiment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One run: its arms against the baseline, paired by round where they were run in turns."""
    lines = [make_line(f"arm={arm}", 10) for arm in ("off", "on", "ack")]
    run = make_run(tmp_path, make_experiment(10), lines)
    words = ["compare", str(run.path), "--axis", "arm", "--metric", METRIC, "--fail-if-worse", "5%"]
    assert main([*words, "--baseline", "off"]) == 0
    assert "arm=on against off" in capsys.readouterr().out
    assert main([*words, "--baseline", "on"]) == 1
    told = capsys.readouterr().out
    assert "arm=off against on" in told
    assert "(10 rounds)" in told


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--metric", METRIC], "no effect without --fail-if-worse"),
        (["--require-decision"], "no effect without --fail-if-worse"),
        (["--fail-if-worse", "5"], "'5' is no percentage from 0% to 1000%"),
        (["--fail-if-worse=-1%"], "is no percentage from 0% to 1000%"),
        (["--fail-if-worse", "nan%"], "is no percentage from 0% to 1000%"),
        (["--fail-if-worse", "5%", "--metric", "x"], "no number 'x'"),
        (["--fail-if-worse", "5%", "--axis", "arm"], "no effect"),
    ],
)
def test_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], why: str) -> None:
    """Words that mean nothing end with status 2, and say why."""
    try:
        status = main(["compare", *make_runs(tmp_path, 0.25, 0.25, count=1), *more])
    except SystemExit as ended:
        status = int(ended.code or 0)
    assert status == 2
    assert why in capsys.readouterr().err


def test_nothing_in_common(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two runs without a case in common cannot be judged, which is no success."""
    (one,) = make_runs(tmp_path / "one", 0.25)
    other = make_run(tmp_path / "other", [make_record("b")], [make_line("b")])
    assert main(["compare", one, str(other.path), "--fail-if-worse", "5%"]) == 2
    assert "nothing to judge" in capsys.readouterr().err


def test_several_runs_in_known_numbers() -> None:
    """Two runs whose last repeats lie a factor of two apart on either side: Student's interval for a further run, by as
    many repeats of each as the judged one has, and on both sides; so nobody can tell.
    """
    found = judge_one([1.0] * 4, [1.0] * 4 + [0.5] * 4, [1.0] * 4 + [2.0] * 4)
    width = 12.7062047 * math.sqrt(2) * math.log(2) * math.sqrt(1 + 1 / 2)  # t with one degree of freedom, 95 %
    assert found.high == pytest.approx(math.expm1(width), rel=1e-6)
    assert found.low == pytest.approx(math.expm1(-width), rel=1e-6)
    assert found.word is Word.CANNOT_TELL


def test_less_than_nothing() -> None:
    """Below a baseline of 0 is better where less is, and worse where more is."""
    assert judge_one([-5.0] * 8, [0.0] * 8).word is Word.NOT_WORSE
    assert judge_one([-5.0] * 8, [0.0] * 8, direction="higher").word is Word.WORSE


def test_the_class_of_which_both_have_most() -> None:
    """Not the one of which one side alone has most."""
    warm = {**FINGERPRINT, "start": "warm"}
    rows = [*make_rows([9.0] * 5, run=2, fingerprint=warm), *(make_row(1.0, 5 + at, run=2) for at in range(1, 4))]
    baseline = [make_row(9.0, 9, fingerprint=warm), *make_rows([1.0] * 8)]
    question = ask_one(rows, baseline)
    assert (question.values, question.baseline) == ((1.0,) * 3, ((1.0,) * 8,))


def test_rounds_that_one_arm_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Are no pairs: they are left out in the other arm, too."""
    records = [
        replace(one, measurements=tuple(replace(entry, value=None) for entry in one.measurements))
        if (one.case, one.repeat) == ("arm=on", 3)
        else one
        for one in make_experiment(10)
    ]
    run = make_run(tmp_path, records, [make_line(f"arm={arm}", 10) for arm in ("off", "on", "ack")])
    words = ["compare", str(run.path), "--axis", "arm", "--baseline", "off", "--metric", METRIC]
    main([*words, "--fail-if-worse", "5%"])
    told = capsys.readouterr().out
    assert "(9 rounds)" in told


def test_arms_that_are_chains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each hop is held against the same hop of the baseline."""
    records = [
        make_chain(f"arm={arm}", 0.25 + number / 1000, seconds + number / 1000, repeat=number)
        for arm, seconds in (("off", 0.5), ("on", 0.9))
        for number in range(1, 9)
    ]
    run = make_run(tmp_path, records, [make_line(f"arm={arm}", 8) for arm in ("off", "on")])
    words = ["compare", str(run.path), "--axis", "arm", "--baseline", "off", "--metric", METRIC]
    assert main([*words, "--fail-if-worse", "5%"]) == 1
    lines = capsys.readouterr().out.splitlines()
    words_of = {line.strip(): lines[at + 1] for at, line in enumerate(lines) if " against off" in line}
    assert "  not worse: " in words_of["arm=on, hop 1 against off"]
    assert "  worse: " in words_of["arm=on, hop 2 against off"]
