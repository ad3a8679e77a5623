# SPDX-License-Identifier: GPL-2.0-or-later
"""Conditions: the table holds together, and what was recorded is judged by it."""

import json
from pathlib import Path

import pytest
from tests.unit.irq.made import Made, render_trace
from tests.unit.irq.test_analysis import DATA, local, make_analysis, remote

from switchover.cli.irqconditions import judge as exit_code
from switchover.irq.activations import Class
from switchover.irq.analysis import InterruptResult, analyse_file
from switchover.irq.conditions import (
    CONDITIONS,
    CPUS,
    HOUSE,
    Churn,
    Condition,
    Fire,
    Hotplug,
    Load,
    Mask,
    Offline,
    Pin,
    Place,
    Step,
    Window,
    choose_conditions,
)
from switchover.irq.expectation import (
    Agreement,
    ConditionResult,
    Expected,
    Line,
    LoadResult,
    Outcome,
    WindowResult,
    describe_window,
    expect,
    find_line,
    find_outcome,
    judge,
)
from switchover.irq.state import parse_cpus
from switchover.record.errors import UsageError
from switchover.report.conditions import (
    CANNOT,
    DOES_NOT_HELP,
    HELPS,
    SAME,
    WORSE,
    render_comparison,
    render_condition,
    render_conditions_json,
    render_sum,
)


def flatten(steps: tuple[Step, ...]) -> list[Step]:
    return [inner for step in steps for inner in (step, *(flatten(step.during) if isinstance(step, Window) else ()))]


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda one: one.name)
def test_a_condition_holds_together(condition: Condition) -> None:
    """What is otherwise on a line of kernels is a window that there is, with a reason, and really otherwise; each
    window has a name of its own; no load runs on the CPU of the way back alone.
    """
    steps = flatten(condition.steps)
    judged = {step.name: step.expected for step in steps if isinstance(step, (Window, Pin))}
    assert len(judged) == sum(isinstance(step, (Window, Pin)) for step in steps)
    assert condition.other.keys() == condition.other_because.keys()
    for expected in condition.other.values():
        assert expected.keys() <= judged.keys()
        assert all(judged[name] != one for name, one in expected.items())
    for step in steps:
        match step:
            case Load(_, _, cpus) | Mask(cpus) | Pin(_, cpus):
                assert parse_cpus(cpus) <= set(range(CPUS))
                assert cpus != str(HOUSE)
            case Churn(masks):
                assert all(parse_cpus(mask) <= set(range(CPUS)) for mask in masks)
            case Place(cpu) | Offline(cpu) | Hotplug(cpu):
                assert cpu in range(CPUS)
                assert cpu != HOUSE
            case Fire(count, cpus):
                assert count >= 2
                assert all(cpu in range(CPUS) for cpu in cpus)


RECORDED = [path for path in sorted(DATA.glob("*-[0-9].trace.gz")) if "virtio" not in path.name]
"""Recordings of windows, as ``switchover irq conditions --keep`` names them: line of kernels, condition, number."""


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.name.removesuffix(".trace.gz"))
def test_recordings_of_guests_agree(path: Path) -> None:
    """What a real guest did in a window of a condition is what is expected of the recording's kernel."""
    analysis = analyse_file(path)
    line = find_line(analysis.start.before.kernel)
    assert line is not None
    name, _, number = path.name.removesuffix(".trace.gz").removeprefix(f"{line}-").rpartition("-")
    (chosen,) = choose_conditions([name])
    step = [step for step in chosen.steps if isinstance(step, (Window, Pin))][int(number)]
    (result,) = analysis.interrupts
    found = WindowResult(step.name, find_outcome(result), chosen.expected(step, line), result)
    assert found.agrees, describe_window(found)


def test_a_free_thread_may_be_driven_away_by_the_kernel_itself() -> None:
    """It stays but for few times, more where the kernel has ktimers/N; a thread with one CPU has no such excuse."""
    expected = expect(Outcome.REMOTE, free=True)
    assert expected.on(Line.STOCK) == expect(Outcome.REMOTE, Outcome.MIXED, free=True, moved=0.05)
    assert expect(Outcome.REMOTE).on(Line.RT) == expect(Outcome.REMOTE)
    assert Outcome.LOCAL not in expect(Outcome.REMOTE, free=True, after=True).on(Line.STOCK).outcomes
    assert expected.on(Line.NEW).outcomes == (Outcome.REMOTE, Outcome.MIXED)
    assert Outcome.LOCAL in expect(Outcome.REMOTE, free=True, after=True).on(Line.RT).outcomes
    analysis = analyse_file(DATA / "7.x-fifo-50-on-the-hard-cpu-1.trace.gz")
    (result,) = analysis.interrupts
    for most, agrees in ((0.1, True), (0.01, False)):
        window = WindowResult("x", find_outcome(result), expect(Outcome.MIXED, moved=most), result)
        assert window.agrees is agrees


def test_names_are_their_own() -> None:
    assert len({condition.name for condition in CONDITIONS}) == len(CONDITIONS)


def test_choosing() -> None:
    """By name, by row, or all; a name that there is not is said with what is meant."""
    assert [one.name for one in choose_conditions(["8", "mask-changes"])] == ["mask-changes", "fifo-40-on-the-only-cpu"]
    assert choose_conditions([]) == list(CONDITIONS)
    with pytest.raises(UsageError, match="did you mean 'mask-changes'"):
        choose_conditions(["mask-change"])


@pytest.mark.parametrize(
    ("kernel", "line"),
    [
        ("6.12.95+deb13-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.12.95-1", Line.STOCK),
        ("6.12.95-switchover #1 SMP PREEMPT_DYNAMIC", Line.STOCK),
        ("6.12.95+deb13-rt-amd64 #1 SMP PREEMPT_RT Debian", Line.RT),
        ("6.12.95-irq-locality #1 SMP PREEMPT_DYNAMIC", Line.PATCHED),
        ("6.18.0 #1 SMP", Line.STOCK),
        ("6.19.0-rc1 #1 SMP", Line.NEW),
        ("7.3.4+deb13-amd64 #1 SMP PREEMPT_LAZY Debian", Line.NEW),
        ("6.8.12 #1 SMP", None),
        ("", None),
    ],
)
def test_lines_of_kernels(kernel: str, line: Line | None) -> None:
    assert find_line(kernel) is line


def result_of(made: list[Made], *, cpus: str = "0-3") -> InterruptResult:
    return make_analysis(render_trace(made), cpus=cpus).interrupts[0]


def window(made: list[Made], expected: Expected | None, *, cpus: str = "0-3") -> WindowResult:
    result = result_of(made, cpus=cpus)
    return WindowResult("a window", find_outcome(result), expected, result, "x.trace.gz")


def test_outcomes() -> None:
    """What was recorded, in one word."""
    assert find_outcome(result_of(local(3))) is Outcome.LOCAL
    assert find_outcome(result_of(remote(3))) is Outcome.REMOTE
    assert find_outcome(result_of([*local(2), *remote(1)])) is Outcome.MIXED
    assert find_outcome(result_of([])) is Outcome.NOTHING
    assert find_outcome(make_analysis(render_trace(local(3), marks=False)).interrupts[0]) is Outcome.INVALID
    starved = render_trace(local(1)).splitlines(keepends=True)
    cut = [text for text in starved if "sched_switch" not in text]
    assert find_outcome(make_analysis("".join(cut)).interrupts[0]) is Outcome.STARVED


def test_judging() -> None:
    """As expected only if every window is, in its count too; an invalid one says nothing about the kernel."""
    good = window(local(3), expect(Outcome.LOCAL))
    bad = window(remote(3), expect(Outcome.LOCAL))
    assert judge([good]) == (Agreement.AS_EXPECTED, "")
    agreement, reason = judge([good, bad])
    assert agreement is Agreement.NOT_AS_EXPECTED
    assert reason == "a window: remote, 0 of 3 local, expected: local"
    one_too_many = window([*local(2), *remote(2)], expect(Outcome.MIXED, remote=1))
    assert judge([one_too_many])[0] is Agreement.NOT_AS_EXPECTED
    assert judge([window([*local(2), *remote(1)], expect(Outcome.MIXED, remote=1))])[0] is Agreement.AS_EXPECTED
    assert judge([window(remote(3), None)])[0] is Agreement.TOLD
    broken = make_analysis(render_trace(local(3), marks=False)).interrupts[0]
    invalid = WindowResult("a window", Outcome.INVALID, expect(Outcome.LOCAL), broken)
    assert judge([bad, invalid])[0] is Agreement.INVALID


def condition(name: str, agreement: Agreement, *windows: WindowResult, kernel: str = "6.12.1") -> ConditionResult:
    return ConditionResult(
        name,
        "4",
        "a title",
        "threadirqs",
        "a cause",
        kernel,
        Line.STOCK,
        agreement,
        "a reason",
        ("mask 1, effective 1",),
        windows,
        (LoadResult("FIFO 40 pinned on CPU 2", 1_500_000_000, 3, 100, 2500, True),),
        1.0,
    )


def test_what_people_read() -> None:
    """Four lines: the verdict, the windows, what was set and which loads ran, and why it is so."""
    text = render_condition(condition("a-name", Agreement.AS_EXPECTED, window(local(3), expect(Outcome.LOCAL))))
    assert text.splitlines() == [
        "as expected: a-name, row 4: a title",
        "  a window: local, 3 of 3 local",
        "  set: mask 1, effective 1; "
        "FIFO 40 pinned on CPU 2 ran 1.50 s, moved 3 times, woken 100 times, at most 2.5 ms late",
        "  why: a cause",
    ]
    wrong = render_condition(condition("a-name", Agreement.NOT_AS_EXPECTED, window(remote(3), expect(Outcome.LOCAL))))
    assert "a window: remote, 0 of 3 local (NOT local)" in wrong
    assert wrong.endswith("why: a reason")
    told = render_sum([condition("a", Agreement.AS_EXPECTED), condition("b", Agreement.NOT_SUPPORTED)])
    assert told == "2 conditions under 6.12.1: 1 as expected, 1 not supported"


@pytest.mark.parametrize(
    ("before", "after", "cpus", "effect"),
    [
        (remote(3), local(3), "0-3", HELPS),
        (local(3), remote(3), "0-3", WORSE),
        (remote(3), remote(3), "0-3", DOES_NOT_HELP),
        (local(3), local(3), "0-3", SAME),
        (local(3), local(3), "1", CANNOT),
    ],
)
def test_effects_of_another_kernel(before: list[Made], after: list[Made], cpus: str, effect: str) -> None:
    """Each window is told under what the second kernel does to it, with latencies, and what loads saw."""
    first = condition("a-name", Agreement.AS_EXPECTED, window(before, None, cpus=cpus))
    second = condition("a-name", Agreement.AS_EXPECTED, window(after, None, cpus=cpus), kernel="6.12.1-patched")
    text = render_comparison([first], [second])
    assert f"\n{effect}:\n  a-name" in text
    told = effect != CANNOT
    assert ("latency A p50" in text) is told
    assert text.count("Longest latency") == told
    assert "moved 3 → 3 times, at most 2.5 ms → 2.5 ms late (woken 100 → 100 times)" in text


def test_json() -> None:
    """All of it, in words and numbers that JSON has."""
    results = [condition("a", Agreement.AS_EXPECTED, window(remote(3), expect(Outcome.REMOTE)))]
    (one,) = json.loads(json.dumps(render_conditions_json(results)))["conditions"]
    assert (one["agreement"], one["windows"][0]["outcome"], one["windows"][0]["ran"]) == ("as expected", "remote", 3)
    assert one["windows"][0]["classes"][Class.PLACED_REMOTE] == 3
    assert one["windows"][0]["latency_us"]["max"] == 100


@pytest.mark.parametrize(
    ("agreements", "code"),
    [
        ([Agreement.AS_EXPECTED, Agreement.NOT_SUPPORTED], 0),
        ([Agreement.AS_EXPECTED, Agreement.NOT_AS_EXPECTED, Agreement.INVALID], 1),
        ([Agreement.AS_EXPECTED, Agreement.INVALID], 3),
        ([Agreement.NOT_SUPPORTED], 3),
        ([Agreement.TOLD], 0),
    ],
)
def test_exit_codes(agreements: list[Agreement], code: int) -> None:
    assert exit_code([condition("a", agreement) for agreement in agreements]) == code


def under_load(tasks: list[tuple[str, bool]]) -> InterruptResult:
    """Activations of which each hard handler interrupted a task, and was local or not."""
    made = [Made(25, 1, *((1, 1) if is_local else (2, 2)), 10) for _, is_local in tasks]
    lines = render_trace(made).splitlines(keepends=True)
    names = iter([name for name, _ in tasks for _ in range(3)])
    for number, text in enumerate(lines):
        if any(event in text for event in ("irq_handler_", "sched_waking")):
            lines[number] = text.replace(f"{'<idle>':>16}-0", f"{next(names):>16}-0", 1)
    return make_analysis("".join(lines)).interrupts[0]


HOG_REMOTE = expect(Outcome.REMOTE, under="switchover-hog")


@pytest.mark.parametrize(
    ("tasks", "outcome", "agrees", "told"),
    [
        ([("switchover-hog", False)] * 5, Outcome.REMOTE, True, "remote, 0 of 5 local"),
        (
            [("kworker/1:1", True), *[("switchover-hog", False)] * 37],
            Outcome.REMOTE,
            True,
            "remote, 0 of 37 local, kworker/1:1 (1 times) instead of the load",
        ),
        (
            [("switchover-hog", True), *[("switchover-hog", False)] * 37],
            Outcome.MIXED,
            False,
            "mixed, 1 of 38 local, odd where a hard handler found switchover-hog (1 times)",
        ),
        ([("<...>", True), *[("switchover-hog", False)] * 3], Outcome.MIXED, False, "mixed, 1 of 4 local, odd where"),
        ([("<idle>", True), ("<idle>", True), ("switchover-hog", False)], Outcome.INVALID, False, "invalid"),
    ],
)
def test_a_load_has_gaps(tasks: list[tuple[str, bool]], outcome: Outcome, agrees: bool, told: str) -> None:
    """Only what interrupts the load counts for what is expected under it, and what came in a gap is told; a window in
    which the load was hardly there is none.
    """
    result = under_load(tasks)
    window = WindowResult("x", find_outcome(result, HOG_REMOTE.under), HOG_REMOTE, result)
    assert (window.outcome, window.agrees) == (outcome, agrees)
    assert describe_window(window).startswith(told)
    if outcome is Outcome.INVALID:
        told = "x: switchover-hog was interrupted for 1 of 3 activations only"
        assert judge([window]) == (Agreement.INVALID, told)


def test_the_windows_of_a_load_on_the_hard_cpu_are_under_it() -> None:
    """Each window that is strict about a pinned load counts only what interrupts it."""
    strict = {
        (one.name, step.name)
        for one in CONDITIONS
        for step in flatten(one.steps)
        if isinstance(step, Window) and step.expected.under
    }
    assert strict == {(f"{name}-on-the-hard-cpu", "under it") for name in ("fifo-40", "fifo-50")} | {
        ("gpio-fifo-40", "under it")
    }


@pytest.mark.parametrize(("name", "number"), [("6.12", 19), ("6.12-rt", 33), ("7.x", 30)])
def test_recordings_of_a_load_on_the_hard_cpu(name: str, number: int) -> None:
    """What the load was interrupted for, in recordings of each line: all of it remote."""
    result = analyse_file(DATA / f"{name}-fifo-40-on-the-hard-cpu-1.trace.gz").interrupts[0]
    window = WindowResult("x", find_outcome(result, HOG_REMOTE.under), HOG_REMOTE, result)
    assert (window.outcome, window.agrees, window.ran) == (Outcome.REMOTE, True, number)


def test_a_recording_in_which_the_load_has_a_gap() -> None:
    """The kernel let ksoftirqd run in between: one activation was not under the load, and does not count."""
    result = analyse_file(DATA / "6.12-fifo-40-on-the-hard-cpu-with-a-gap.trace.gz").interrupts[0]
    window = WindowResult("x", find_outcome(result, HOG_REMOTE.under), HOG_REMOTE, result)
    assert (result.total.ran, window.ran, window.gaps) == (38, 37, {"ksoftirqd/0": 1})
    assert describe_window(window) == "remote, 0 of 37 local, ksoftirqd/0 (1 times) instead of the load"


def test_where_hard_handlers_are_to_be() -> None:
    """As expected only if all were on these CPUs, whatever else is right."""
    result = make_analysis(render_trace(local(3))).interrupts[0]
    for cpus, agrees in (("1", True), ("0-1", True), ("0,2", False), ("", True)):
        window = WindowResult("x", find_outcome(result), expect(Outcome.LOCAL, arrives=cpus), result)
        assert window.agrees is agrees
        assert ("hard handlers on CPUs 1" in describe_window(window)) is bool(cpus)
