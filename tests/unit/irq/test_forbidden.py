# SPDX-License-Identifier: GPL-2.0-or-later
"""Who was on CPUs that are to be left alone, by the trace; and who could have been, by the masks."""

from dataclasses import replace

import pytest
from tests.unit.irq.made import Made, render_trace
from tests.unit.irq.test_analysis import local, make_analysis, remote

from switchover.irq.forbidden import find_forbidden
from switchover.irq.recording import RecordingEnd
from switchover.irq.state import Counters


@pytest.mark.parametrize(
    ("made", "handlers", "runs"),
    [
        (local(3), {}, {}),
        (remote(4), {}, {2: 4}),
        ([Made(25, 2, 1, 1, 10)], {2: 1}, {}),
        ([Made(25, 3, 3, 3, 10), Made(25, 2, 3, 3, 10)], {2: 1, 3: 1}, {3: 2}),
    ],
)
def test_presence(made: list[Made], handlers: dict[int, int], runs: dict[int, int]) -> None:
    """Hard handlers and threads, each where it was."""
    (one,) = find_forbidden(make_analysis(render_trace(made)), frozenset({2, 3})).interrupts
    assert (one.handlers, one.runs, one.trespasses) == (handlers, runs, bool(handlers or runs))


def test_what_masks_allow() -> None:
    """The effective CPUs decide, not those that were asked for; and where the thread may run."""
    for effective, cpus, allowed in (("1", "1", ()), ("1", "0-3", (2, 3)), ("", "1", (2, 3))):
        analysis = make_analysis(render_trace(local(1)), effective=effective, cpus=cpus)
        (one,) = find_forbidden(analysis, frozenset({2, 3})).interrupts
        assert one.allowed == frozenset(allowed)
        assert not one.trespasses


def test_interrupts_that_were_not_traced() -> None:
    """By what /proc/interrupts counted on the forbidden CPUs meanwhile."""

    def change(end: RecordingEnd) -> RecordingEnd:
        after = replace(end.after, counters=Counters({25: {2: 9}, 30: {0: 7, 2: 4, 3: 1}, 31: {0: 5, 2: 0}}, {}))
        return replace(end, after=after)

    found = find_forbidden(make_analysis(render_trace(local(1)), end=change), frozenset({2, 3}))
    assert found.others == {30: 5}
