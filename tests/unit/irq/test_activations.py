# SPDX-License-Identifier: GPL-2.0-or-later
"""Events joined to activations: known answers, from traces that are made and from pieces of real ones."""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from tests.unit.irq.made import COLUMNS, IRQS, Made, activations, apart, line, render_trace, switch, wake

from switchover.irq.activations import RAN, Activation, Class, Joiner, Tally
from switchover.irq.events import TraceReader

THREADS = {pid: irq for irq, pid in IRQS.items()}


def join(text: str, masks: dict[int, str] | None = None) -> tuple[dict[int, Tally], list[Activation]]:
    seen: list[Activation] = []
    joiner, reader = Joiner(THREADS, masks, notice=seen.append), TraceReader(COLUMNS)
    for batch in reader.read([text.encode()]):
        joiner.consume(batch, reader.marks)
    joiner.finish()
    assert reader.reading.strange == 0
    return joiner.tallies, seen


@given(activations().map(apart))
def test_known_answers(made: list[Made]) -> None:
    """However activations of several interrupts interleave, each is in its class, its cell and its latency."""
    tallies, seen = join(render_trace(made))
    for irq, tally in tallies.items():
        ours = [one for one in made if one.irq == irq]
        total = tally.total()
        assert total.matrix == Counter((one.hard, one.ran) for one in ours)
        expected = Counter(one.kind for one in ours)
        expected[Class.COALESCED] += sum(one.coalesced for one in ours)
        assert +total.classes == +expected
        assert tally.runs[IRQS[irq]] == len(ours) + sum(one.foreign for one in ours)
        assert tally.other_wakeups == sum(one.foreign for one in ours)
        assert tally.handlers.total() == len(ours) + sum(one.coalesced for one in ours)
        assert total.all_latencies.maximum == max((one.latency for one in ours), default=None)
        for kind in RAN:
            assert total.latency[kind].count == expected[kind]
    assert len(seen) == len(made)


@given(activations().map(apart))
def test_a_trace_that_was_cut_invents_nothing(made: list[Made]) -> None:
    """Half of a trace has no more activations than were in it, and each is one of the whole."""
    lines = render_trace(made).splitlines(keepends=True)
    whole = join("".join(lines))[1]
    for part in (lines[: len(lines) // 2], lines[: len(lines) // 3]):
        assert set(join("".join(part))[1]) <= set(whole)


HARD = "d.h1."
EXIT = "irq_handler_exit: irq=25 ret=handled"


def handler(time: int, cpu: int) -> str:
    return line(time, cpu, HARD, "irq_handler_entry: irq=25 name=x") + line(time + 1, cpu, HARD, EXIT)


def test_a_wake_up_of_another_kind_is_no_activation() -> None:
    """A change of affinity or a lock wakes the thread outside hard interrupts: it runs, and counts apart."""
    text = line(10, 1, "dN.3.", wake(25, "sched_waking", 1)) + line(20, 1, "d..2.", switch(0, "R", 102))
    tallies, seen = join(text)
    assert seen == []
    assert (tallies[25].other_wakeups, tallies[25].runs[102]) == (1, 1)


def test_the_first_after_a_change_of_the_mask() -> None:
    """The interrupt that brings a new mask into effect wakes its thread before its handler; the thread comes to run on
    the old CPU, moves, and works on the new: one activation, which moved. Lines of a 6.12 guest.
    """
    text = (
        line(655877, 1, "d.h4.", wake(25, "sched_waking", 1))
        + line(655901, 1, "dNh5.", wake(25, "sched_wakeup", 1))
        + handler(655913, 1)
        + line(655978, 1, "d..2.", switch(18, "R+", 102))
        + line(656055, 1, "d..2.", switch(102, "R+", 26))
        + line(656077, 1, "d..3.", "sched_migrate_task: comm=irq/25 pid=102 prio=49 orig_cpu=1 dest_cpu=2")
        + line(656983, 2, "d..2.", switch(0, "R", 102))
        + line(657260, 2, "d..2.", switch(102, "S", 33))
    )
    tallies, seen = join(text)
    assert seen == [Activation(25, Class.MOVED, 1, 2, 1, 655877, 656983)]
    assert (tallies[25].follows, tallies[25].migrations, tallies[25].other_wakeups) == (1, 1, 1)


def test_a_thread_that_never_runs_waits() -> None:
    """Woken and not run by the end of the window: no latency is made up, but the wait is known."""
    text = handler(10, 1) + line(12, 1, HARD, wake(25, "sched_waking", 1)) + handler(2_000_012, 0)
    tallies, seen = join(text)
    assert seen == []
    assert tallies[25].total().classes == {Class.WAITING: 1, Class.COALESCED: 1}
    assert tallies[25].longest_wait_us == 2_000_001
    assert tallies[25].total().all_latencies.maximum is None


def test_a_run_that_is_not_in_the_trace_is_unmatched() -> None:
    """Woken twice by its handler without a run between: something is missing, and is called so."""
    waking = wake(25, "sched_waking", 1)
    text = handler(10, 1) + line(12, 1, HARD, waking) + handler(50, 1) + line(52, 1, HARD, waking)
    assert join(text)[0][25].total().classes[Class.UNMATCHED] == 1


def test_a_thread_that_runs_is_not_placed() -> None:
    """Woken while it was still on a CPU, on the way to sleep: coalesced, also when the window began meanwhile."""
    waking = line(22, 1, HARD, wake(25, "sched_waking", 1))
    leaving = line(30, 3, "d..2.", switch(102, "S", 0))
    coming = line(10, 3, "d..2.", switch(0, "R", 102))
    for text in (coming + handler(20, 1) + waking + leaving, handler(20, 1) + waking + leaving):
        assert join(text)[0][25].total().classes == {Class.COALESCED: 1}


def leave_out(text: str, *events: str) -> str:
    return "".join(one for one in text.splitlines(keepends=True) if not any(event in one for event in events))


OWN_WAKE_UPS = activations().map(lambda made: [replace(one, foreign=False) for one in apart(made)])


@given(OWN_WAKE_UPS)
def test_a_trace_without_sched_waking(made: list[Made]) -> None:
    """The first wake-up of a sleeping thread after its handler stands for it: each activation in its cell and class."""
    tallies, _ = join(leave_out(render_trace(made), "sched_waking"))
    for irq, tally in tallies.items():
        ours = [one for one in made if one.irq == irq]
        assert tally.total().matrix == Counter((one.hard, one.ran) for one in ours)
        expected = Counter(one.kind for one in ours)
        expected[Class.COALESCED] += sum(one.coalesced for one in ours)
        assert +tally.total().classes == +expected
        assert (tally.unseen_wakings, tally.unseen_wakeups) == (len(ours), 0)


@given(OWN_WAKE_UPS)
def test_a_trace_without_wake_ups(made: list[Made]) -> None:
    """Nothing is joined, and each run that a handler had asked for is counted as unseen."""
    tallies, seen = join(leave_out(render_trace(made), "sched_waking", "sched_wakeup"))
    assert seen == []
    assert sum(tally.unseen_wakeups for tally in tallies.values()) == len(made)


def test_no_wake_up_is_taken_for_one_that_is_missing() -> None:
    """A thread that is woken by somebody else after a handler that found it running: with sched_waking it is known."""
    text = (
        line(5, 1, "d..2.", switch(0, "R", IRQS[25])) + handler(10, 2) + line(15, 1, "d..2.", switch(IRQS[25], "S", 0))
    )
    text += line(20, 3, "d..3.", wake(25, "sched_waking", 1), "tee", 9) + line(
        21, 1, "dN.4.", wake(25, "sched_wakeup", 1)
    )
    text += line(22, 1, "d..2.", switch(0, "R", IRQS[25]))
    tallies, seen = join(text)
    tally = tallies[25]
    assert seen == []
    assert (tally.total().classes[Class.COALESCED], tally.unseen_wakings, tally.other_wakeups) == (1, 0, 1)


def test_a_handler_that_runs_in_the_thread_of_its_parent() -> None:
    """Outside hard interrupt context, on whatever CPU that thread is: the wake-up follows it in the same context."""
    where = ("irq/24-expander", 101)
    text = line(10, 2, "d..1.", "irq_handler_entry: irq=25 name=x", *where) + line(11, 2, "d..1.", EXIT, *where)
    text += line(12, 2, "d..3.", wake(25, "sched_waking", 2), *where) + line(
        13, 2, "d..4.", wake(25, "sched_wakeup", 3)
    )
    text += line(20, 3, "d..2.", switch(0, "R", IRQS[25])) + line(30, 3, "d..2.", switch(IRQS[25], "S", 0))
    tallies, (one,) = join(text)
    assert (one.kind, one.hard_cpu, one.thread_cpu) == (Class.PLACED_REMOTE, 2, 3)
    assert (tallies[25].nested, tallies[25].other_wakeups) == (1, 0)
    assert tallies[25].found == {("irq/24-expander", Class.PLACED_REMOTE): 1}


def test_a_wake_up_in_another_context_is_not_the_handlers() -> None:
    """A lock that a task hands over right after the interrupt that it was in."""
    text = handler(10, 1) + line(12, 1, "d..3.", wake(25, "sched_waking", 1), "tee", 9)
    tallies, seen = join(text + line(20, 1, "d..2.", switch(0, "R", IRQS[25])))
    assert (seen, tallies[25].other_wakeups) == ([], 1)


def test_a_thread_that_is_driven_off_its_cpu_waits() -> None:
    """It had come to run, and was preempted for good: how long it waited at the end is known."""
    text = (
        handler(10, 1)
        + line(12, 1, "d.h3.", wake(25, "sched_waking", 1))
        + line(13, 1, "dNh4.", wake(25, "sched_wakeup", 1))
    )
    text += line(20, 1, "d..2.", switch(0, "R", IRQS[25])) + line(30, 1, "d..2.", switch(IRQS[25], "R+", 77))
    tallies, (one,) = join(text + line(10_000_030, 0, HARD, EXIT))
    assert (one.kind, tallies[25].longest_wait_us) == (Class.LOCAL, 10_000_000)


def test_which_task_a_handler_interrupted() -> None:
    """Counted with what became of its activation."""
    tallies, _ = join(render_trace([Made(25, 1, 1, 1, 10), Made(25, 1, 2, 2, 10)]))
    assert tallies[25].found == {("<idle>", Class.LOCAL): 1, ("<idle>", Class.PLACED_REMOTE): 1}
    assert tallies[25].thread_cpus == {1: 1, 2: 1}
