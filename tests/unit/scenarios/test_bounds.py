# SPDX-License-Identifier: GPL-2.0-or-later
"""Bounds of a downtime: how they are written, when a number keeps one, and which cases have them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.scenarios.samples import HEAD

from switchover.record.errors import UsageError
from switchover.record.record import VerdictName
from switchover.report.plan import render_plans
from switchover.scenarios.bounds import Bound, parse_bound
from switchover.scenarios.building import build_case
from switchover.scenarios.expand import PlannedCase, expand
from switchover.scenarios.expectation import COMPLETES, Expectation
from switchover.scenarios.plan import make_plan
from switchover.scenarios.preflight import HostFacts, Known, foresee
from switchover.scenarios.scenario import parse_scenario

SIGNS = st.sampled_from("≤<≥>")
NUMBERS = st.floats(0.001, 10)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("≤ 300", "≤ 300"), ("<=300", "≤ 300"), (" < 0.5 ", "< 0.5"), (">= 3600000", "≥ 3600000"), ("> 1", "> 1")],
)
def test_how_they_are_written(text: str, shown: str) -> None:
    """In either spelling, with a blank or without, which is all the same."""
    assert str(parse_bound(text)) == shown


@given(st.text() | st.text("≤<≥>=. 0123", max_size=8))
def test_anything_else_is_an_error(text: str) -> None:
    """What is read is shown in a way that is read as the same; all else is an error that names the range."""
    with contextlib.suppress(ValueError):
        bound = parse_bound(text)
        assert 0 < bound.limit_ms <= 3_600_000
        assert parse_bound(str(bound)) == bound
        return
    with pytest.raises(ValueError, match="more than 0 to 3600000 milliseconds"):
        parse_bound(text)


@given(sign=SIGNS, limit=NUMBERS, value=NUMBERS, error=st.floats(0, 1))
def test_the_error_of_the_number_counts(sign: str, limit: float, value: float, error: float) -> None:
    """It is kept if both ends of what the number may be keep it, and broken if neither does; else nobody knows. Without
    an error it is always known.
    """
    bound = Bound(sign, limit * 1000)
    ends = {bound.judge(value + error, 0), bound.judge(value - error, 0)}
    assert bound.judge(value, error) == (ends.pop() if len(ends) == 1 else None)
    assert bound.judge(value, 0) is not None


def test_at_the_limit() -> None:
    """A number that is the limit keeps ``≤`` and ``≥``, and neither ``<`` nor ``>``."""
    assert [Bound(sign, 300).judge(0.3, 0) for sign in "≤<≥>"] == [True, False, True, False]


def expand_text(text: str) -> list[PlannedCase]:
    return expand(parse_scenario(HEAD + text))


def test_a_bound_overrides_nothing() -> None:
    """All else of a case is as the oracle expects it; a bound of a rule is for its cases only."""
    axes = '[axes]\ndevice.properties.enable-migration = ["on", "off"]\n'
    plain = [entry.case.expectation for entry in expand_text(axes)]
    bound = [entry.case.expectation for entry in expand_text(axes + '[expect]\ndowntime_ms = "<= 300"\n')]
    assert [one.downtime_ms for one in bound] == ["≤ 300"] * 2
    assert [one.with_bounds_of(COMPLETES) for one in bound] == plain
    assert plain[1].verdict is not VerdictName.COMPLETED
    rule = '[[rules]]\nwhen = { device.pre_copy = "on" }\nexpect.downtime_ms = "≤ 300"\n'
    some = expand_text('[axes]\ndevice.pre_copy = ["on", "off"]\n' + rule)
    assert [entry.case.expectation.downtime_ms for entry in some] == ["≤ 300", ""]


def test_beside_a_verdict() -> None:
    """It is part of an expectation that completes, with the reason of it."""
    text = '[expect]\nverdict = "completed"\noutside_downtime_ms = "< 500"\nbecause = "of that"\n'
    (planned,) = expand_text(text)
    assert planned.case.expectation == Expectation(
        VerdictName.COMPLETED, because="of that", outside_downtime_ms="< 500"
    )


def test_a_chain() -> None:
    """The bound is for all of its migrations."""
    (planned,) = expand_text('[[hops]]\n[[hops]]\n[expect]\ndowntime_ms = "≤ 300"\n')
    assert planned.case.expectation.downtime_ms == "≤ 300"


def test_it_stays_when_qemus_were_asked() -> None:
    """Expectations are chosen again by what the binaries say, and the bound is no matter of theirs."""
    (planned,) = expand_text('[expect]\ndowntime_ms = "≤ 300"\n')
    case, _ = foresee(planned.case, planned.rule.name, planned.hosts, Known((HostFacts("a"), HostFacts("b"))))
    assert case.expectation.downtime_ms == "≤ 300"


def test_the_plan_shows_it() -> None:
    """Beside the verdict."""
    scenario = parse_scenario(HEAD + '[expect]\ndowntime_ms = "≤ 300"\noutside_downtime_ms = "≤ 500"\n')
    assert "completed, downtime ≤ 300 ms, downtime from outside ≤ 500 ms" in render_plans([make_plan(scenario)])


def test_a_bound_in_python() -> None:
    """A text that is none is told before the case is run."""
    build_case("x", expectation=Expectation(VerdictName.COMPLETED, downtime_ms="≤ 300"))
    with pytest.raises(UsageError, match=r"outside_downtime_ms must be .* \(it is 'fast'\)"):
        build_case("x", expectation=Expectation(VerdictName.COMPLETED, outside_downtime_ms="fast"))
