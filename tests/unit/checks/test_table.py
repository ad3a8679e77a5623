# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of checks: each id has one place where it is made, and a rule makes no others than its own."""

import ast
import inspect
from collections import Counter
from types import ModuleType

import pytest
from tests.unit.builders import make_answers
from tests.unit.checks.evidences import make_evidence

from switchover.checks import table
from switchover.checks.evidence import Asked, Whereabouts
from switchover.checks.rule import CheckRule
from switchover.checks.table import CHECKS, list_not_checked, make_checks
from switchover.guests.capabilities import LAB_CAPABILITIES, GuestCapabilities, Need
from switchover.record.checks import CheckId
from switchover.record.measurement import check_equal
from switchover.scenarios.case import Case

ELSEWHERE = {
    "downtime.outside", "guest.one-place",  # the probe from outside
    *(str(check) for check in CheckId if check.startswith("irq.")),  # that of IRQ threads
    "migration.capabilities", "migration.parameters",  # the driver
    "migration.again",  # a second migration
    "downtime.bound", "downtime.outside-bound",  # bounds that a case expects, of numbers
    "case.claim", "unknown",
}  # fmt: skip
MODULES = [module for module in vars(table).values() if isinstance(module, ModuleType)]


def test_each_check_is_made_by_one_rule() -> None:
    """Or by what brings checks of its own."""
    made = Counter(str(check) for rule in CHECKS for check in rule.ids)
    assert set(made.values()) == {1}
    assert set(made) == {str(check) for check in CheckId} - ELSEWHERE


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_a_module_makes_the_checks_of_its_rules(module: ModuleType) -> None:
    """What its source names is what its rules say that they make."""
    named = {
        node.attr
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "CheckId"
    }
    assert named == {check.name for rule in module.CHECKS for check in rule.ids}


def test_a_rule_is_for_where_the_guest_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not asked about a guest that is elsewhere, nor of one that lacks what it needs."""
    which = CheckId.GUEST_BOOT_ID
    rule = CheckRule(
        (which,), lambda evidence: [check_equal(which, 1, 1)], frozenset({Whereabouts.STAYED}), (Need.CLOCK,)
    )
    monkeypatch.setattr(table, "CHECKS", (rule,))
    for guest in Whereabouts:
        assert len(list(make_checks(make_evidence(guest=guest)))) == (guest is Whereabouts.STAYED)
    nothing = GuestCapabilities(frozenset())
    lacking = make_answers()
    lacking = type(lacking)("", "", (), nothing)
    assert list(make_checks(make_evidence(lacking, guest=Whereabouts.STAYED))) == []
    assert [(entry.id, entry.lacking) for entry in list_not_checked(Case("x"), nothing)] == [(which, "date")]
    assert list_not_checked(Case("x"), LAB_CAPABILITIES) == []


@pytest.mark.parametrize("guest", list(Whereabouts))
def test_a_guest_that_says_nothing_fails_no_check_about_it(guest: Whereabouts) -> None:
    """That it does not answer is a check of its own; the others have nothing to say then."""
    made = {str(check.id) for check in make_checks(make_evidence(guest=guest, asked=Asked(broken="x")))}
    assert not made & {"guest.boot-id", "guest.canary", "device.seed", "device.interrupt", "device.dma"}
