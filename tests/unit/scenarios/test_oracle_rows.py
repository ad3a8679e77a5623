# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows that the oracle began with: none is missing, and each is answered or has a reason why it cannot be."""

import pytest

from switchover.record.record import VerdictName
from switchover.report.rows import group_cases, plan_catalogue
from switchover.scenarios.expand import PlannedCase
from switchover.scenarios.oracle import find_rule
from switchover.scenarios.oracle.rows import COMPLETING, ROWS, Row, find_unseen, list_cases, list_sightings
from switchover.scenarios.oracle.seen import Sighting

NAMES = [f"{subject}{number}" for subject, count in (("A", 16), ("B", 10), ("C", 6)) for number in range(1, count + 1)]


@pytest.fixture(scope="module")
def catalogue() -> list[PlannedCase]:
    return plan_catalogue()


def test_every_row_is_there_once() -> None:
    """In their order."""
    assert [row.name for row in ROWS] == NAMES


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_is_answered_or_says_why_not(row: Row) -> None:
    """By rules that there are, or by cases; a row with neither has a reason."""
    assert row.is_reachable or row.unreachable
    assert [name for name in row.rules if (rule := find_rule(name)) is None or rule.name != name] == []
    assert len(set(row.rules)) == len(row.rules)


def test_every_rule_of_a_row_has_a_case(catalogue: list[PlannedCase]) -> None:
    """In the catalogue, by itself or since a scenario names it; and so has each row that can be reached."""
    by_rule = group_cases(catalogue)
    assert {name for row in ROWS for name in row.rules if not by_rule[name]} == set()
    assert [row.name for row in ROWS if row.is_reachable and not list_cases(row, by_rule)] == []


def test_cases_without_a_rule_complete(catalogue: list[PlannedCase]) -> None:
    """What a row names besides its rules is in the catalogue, and expected to complete."""
    planned = {entry.id: entry for entry in catalogue}
    assert COMPLETING.keys() <= planned.keys()
    for case in COMPLETING:
        assert (planned[case].rule.name, planned[case].case.expectation.verdict) == ("", VerdictName.COMPLETED), case


def test_what_was_seen_of_a_row() -> None:
    """All that its rules and its further cases were seen in; what is left is named."""
    row = Row("Z1", "two things", rules=("cancelled", "other-memory"), cases=("a.b", "a.c"))
    cancelled, completed = (Sighting(case, "QEMU 10.0.13", "2026-11-30") for case in ("x.y", "a.b"))
    seen = {"cancelled": (cancelled,), "Z1": (completed,)}
    assert list_sightings(row, seen) == [cancelled, completed]
    assert find_unseen(row, seen) == ["other-memory", "a.c"]
    assert find_unseen(row, {}) == ["cancelled", "other-memory", "a.b", "a.c"]
