# SPDX-License-Identifier: GPL-2.0-or-later
"""The runner of checks: all run, whatever one does."""

from switchover.hosts.checks import Check, Finding, Outcome, failed, find_blocking, passed, run_checks, unverifiable
from switchover.record.errors import NotReady


def test_all_run_in_order() -> None:
    """A check that raises has failed and says so, one with our own error with its fix; those after it run."""

    def raise_ours() -> Finding:
        raise NotReady("Something is missing.", why="nobody made it", fix="make it")

    def raise_other() -> Finding:
        raise ZeroDivisionError("by zero")

    results = run_checks(
        [
            Check("a", ("lab",), raise_ours),
            Check("b", (), raise_other),
            Check("c", ("demo", "lab"), lambda: failed("seen", "fix")),
            Check("d", ("lab",), lambda: unverifiable("unseen")),
            Check("e", ("lab",), lambda: passed("fine")),
        ]
    )
    assert [result.outcome.value for result in results] == ["failed", "failed", "failed", "unverifiable", "passed"]
    assert (results[0].seen, results[0].fix) == ("Something is missing. nobody made it", "make it")
    assert results[1].seen == "the check itself failed: ZeroDivisionError: by zero"
    assert [result.name for result in find_blocking(results, ["lab"])] == ["a", "c"]
    assert [result.name for result in find_blocking(results, ["demo"])] == ["c"]
    assert find_blocking(results, ["host x"]) == []
    assert {result.outcome for result in results} == set(Outcome)
