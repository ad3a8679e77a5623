# SPDX-License-Identifier: GPL-2.0-or-later
"""The doctor's questions about interrupts."""

from tests.unit.irq.test_recorder import TracedHost
from tests.unit.irq.test_state import TEXT
from tests.unit.irq.test_tracing import PROBE

from switchover.hosts.checks import CheckResult, Outcome, find_blocking, run_checks
from switchover.irq.checks import irq_checks


def ask(state: str = TEXT, probe: str = PROBE) -> list[CheckResult]:
    return run_checks(irq_checks(TracedHost(state=state, probe=probe), "irq fake"))


def test_a_guest_that_can_be_recorded() -> None:
    """Nothing blocks; an interrupt without an effective CPU is pointed out."""
    results = ask()
    assert find_blocking(results, ["irq fake"]) == []
    assert [result.outcome for result in results] == [Outcome.PASSED] * 3 + [Outcome.UNVERIFIABLE]
    assert "25" in results[3].seen


def test_a_guest_that_cannot() -> None:
    """Each with what mends it: no tracefs, and no thread."""
    results = ask(TEXT.replace(" S 2 ", " S 3 "), "uid=0\ndirectory=yes\n")
    assert [result.outcome for result in find_blocking(results, ["irq fake"])] == [Outcome.FAILED] * 2
    assert "mount -t tracefs" in results[0].fix
    assert "threadirqs" in results[1].fix


def test_somebody_else_who_traces_blocks_nothing() -> None:
    results = ask(probe=PROBE + "instance=theirs\n")
    assert results[2].outcome is Outcome.UNVERIFIABLE
    assert find_blocking(results, ["irq fake"]) == []
