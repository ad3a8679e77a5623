# SPDX-License-Identifier: GPL-2.0-or-later
"""What is said of IRQ threads across a migration, from recordings of real guests."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from switchover.hosts.migrating_guest import MigratingGuest
from switchover.irq.across import Across, check_forbidden, compare_sides, expect_changes, judge_window, measure_places
from switchover.irq.activations import Class, Counts, Tally
from switchover.irq.analysis import Analysis, InterruptResult, analyse_file
from switchover.irq.expectation import Expected, Outcome, expect
from switchover.record.checks import CheckId
from switchover.record.measurement import Check

DATA = Path(__file__).parent.parent / "data" / "irq"
LOCAL = analyse_file(DATA / "7.x-one-effective-cpu-0.trace.gz")
REMOTE = analyse_file(DATA / "7.x-no-effective-cpu-0.trace.gz")
STARVED = analyse_file(DATA / "7.x-fifo-60-on-the-only-cpu-0.trace.gz")


def change_interrupt(analysis: Analysis, **others: Any) -> Analysis:
    (result,) = analysis.interrupts
    assert result.before is not None
    return replace(analysis, interrupts=(replace(result, before=replace(result.before, **others)),))


def change_thread(analysis: Analysis, **others: Any) -> Analysis:
    (result,) = analysis.interrupts
    threads = tuple(replace(thread, **others) for thread in result.threads_before)
    return replace(analysis, interrupts=(replace(result, threads_before=threads),))


def failed(checks: tuple[Check, ...] | list[Check]) -> list[str]:
    return [check.label for check in checks if not check.passed]


def test_a_guest_that_kept_all() -> None:
    """Masks, effective CPUs, and what the threads may, are told with the numbers of the interrupts."""
    checks = list(compare_sides(LOCAL, LOCAL))
    assert failed(checks) == []
    assert [check.expected for check in checks] == ["4: 0-3", "4: 1", "4: FIFO 50 on 1"]


@pytest.mark.parametrize(
    ("after", "name"),
    [
        (change_interrupt(LOCAL, asked="0"), "irq.affinity"),
        (change_interrupt(LOCAL, effective="2"), "irq.effective-affinity"),
        (change_thread(LOCAL, cpus="0-3"), "irq.thread-scheduling"),
        (change_thread(LOCAL, priority=49), "irq.thread-scheduling"),
    ],
)
def test_what_was_not_kept(after: Analysis, name: str) -> None:
    assert failed(list(compare_sides(LOCAL, after))) == [name]


@pytest.mark.parametrize(
    ("analysis", "outcome", "passed"),
    [
        (LOCAL, Outcome.LOCAL, True),
        (REMOTE, Outcome.LOCAL, False),
        (STARVED, Outcome.STARVED, True),
        (STARVED, Outcome.LOCAL, False),
    ],
)
def test_judging_a_window(analysis: Analysis, outcome: Outcome, passed: bool) -> None:
    assert judge(analysis.interrupts[0], expect(outcome)).passed is passed


def judge(result: InterruptResult, expected: Expected) -> Check:
    return judge_window(CheckId.IRQ_THREAD, "x", "through", result, expected)


def test_a_check_of_a_window_names_it() -> None:
    """With the number of the interrupt in the guest."""
    check = judge(LOCAL.interrupts[0], expect(Outcome.LOCAL))
    assert (check.label, check.name) == ("irq.thread, through interrupt 4", "x")


def test_changes_of_a_mask_under_load() -> None:
    """Each costs one remote activation, exactly, unless hard handlers were coalesced: then one may be local."""
    (result,) = LOCAL.interrupts
    calm, busy = (replace(result, total=copy.deepcopy(result.total)) for _ in range(2))
    calm.total.classes[Class.COALESCED], busy.total.classes[Class.COALESCED] = 0, 1
    assert expect_changes(calm) == expect(Outcome.FOLLOWED, remote=2)
    assert not judge(calm, expect_changes(calm)).passed
    assert judge(busy, expect_changes(busy)).passed
    assert not judge(REMOTE.interrupts[0], expect_changes(busy)).passed


def test_measurements() -> None:
    """Local part, 99th percentile and maximum of each window; of one in which nothing ran, the reason."""
    found = {one.name: one for one in measure_places({"source": LOCAL, "through": REMOTE, "destination": STARVED})}
    assert len(found) == 9
    assert (found["irq.local.source"].value, found["irq.local.through"].value) == (100, 0)
    longest = LOCAL.total.all_latencies.maximum
    assert longest is not None
    assert found["irq.longest.source"].value == longest / 1e6
    missing = found["irq.p99.destination"]
    assert missing.value is None
    assert "woken" in missing.note


@pytest.mark.parametrize(("spun", "passed"), [([1, 5, 9], True), ([0, 5, 9], False), ([1, 5, 5], False)])
def test_a_load_that_runs_all_the_time(spun: list[int], passed: bool) -> None:
    """On the source before the migration, until the guest has arrived, and after it."""
    across = Across(cast(MigratingGuest, None), (4,), DATA, 1.0, "fair", cast(Any, None), cast(Any, object()), spun)
    (check,) = across.check_load()
    assert check.passed is passed


@pytest.mark.parametrize(
    ("load", "cpu", "outcome"),
    [
        ("none", 1, Outcome.LOCAL),
        ("fair", 1, Outcome.LOCAL),
        ("fifo-40", 1, Outcome.LOCAL),
        ("fifo-60", 1, Outcome.STARVED),
        ("fifo-60", 0, Outcome.LOCAL),
    ],
)
def test_what_is_expected(load: str, cpu: int, outcome: Outcome) -> None:
    """A thread that may run on one CPU only is local, or waits for a task of higher priority that is there."""
    across = Across(cast(MigratingGuest, None), (4, 5), DATA, 1.0, load, cast(Any, None), None, load_cpu=1)
    assert across.expect(frozenset({cpu})).outcomes[0] is outcome


@pytest.mark.parametrize(("cpus", "observed"), [({0, 2}, "not there"), ({1, 2}, "on 1")])
def test_cpus_that_are_forbidden(cpus: set[int], observed: str) -> None:
    """A check of each interrupt in each window, which fails if it or its thread was there; without any CPU, none."""
    (check,) = check_forbidden({"through": LOCAL}, frozenset(cpus))
    assert (check.passed, check.observed) == (observed == "not there", observed)
    assert (check.id, check.subject) == (CheckId.IRQ_FORBIDDEN_CPUS, "through interrupt 4")
    assert list(check_forbidden({"through": LOCAL}, frozenset())) == []
    silent = replace(LOCAL.interrupts[0], tally=Tally(), total=Counts())
    (check,) = check_forbidden({"through": replace(LOCAL, interrupts=(silent,))}, frozenset(cpus))
    assert (check.passed, check.observed) == (False, "it did not fire")
