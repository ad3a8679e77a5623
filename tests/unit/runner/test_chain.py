# SPDX-License-Identifier: GPL-2.0-or-later
"""A chain of migrations: what each hop was to come to, what the whole came to, and what is left of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.builders import make_measurement, make_result
from tests.unit.runner.test_case_runner import PAIR, FakeGuestSession

from switchover.devices.reference import Knobs
from switchover.migration.phases import Action, Phase
from switchover.record.checks import CheckId
from switchover.record.errors import HostLost
from switchover.record.measurement import make_check
from switchover.record.mismatch import MismatchKind
from switchover.record.record import Record, Verdict, VerdictName, read_record
from switchover.record.rundir import RepeatDirectory
from switchover.runner import case_runner
from switchover.runner.attempt import Attempt, make_failed
from switchover.runner.case_runner import run_repeat
from switchover.runner.chain import expect_of_hop
from switchover.scenarios.building import build_case
from switchover.scenarios.case import Case, DeviceSpec, Hop, SideSpec
from switchover.scenarios.expectation import COMPLETES, Expectation
from switchover.scenarios.faults import Fault

CONSOLE = make_check(CheckId.GUEST_CONSOLE, True, "nothing", "nothing", "source")
STAYED = make_check(CheckId.GUEST_ON_SOURCE, True, "yes", "yes")


def completed(seconds: float = 0.5, **others: Any) -> Attempt:
    downtime = {"seconds": seconds, "bound_s": 0.0, "parts": [], "saving": []}
    number = make_measurement("downtime.explained", seconds)
    return Attempt(make_result(), {"source": ["stop"]}, downtime, (number,), (CONSOLE,), **others)


FAILED = make_failed(make_result("failed", error="why"), {}, checks=(STAYED,))


def run_chain(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: Case, *outcomes: Attempt | Exception
) -> tuple[Record, FakeGuestSession]:
    guest_session = FakeGuestSession(*outcomes)
    monkeypatch.setattr(case_runner, "start_guest_session", guest_session.start_anything)
    return run_repeat(case, 1, PAIR, RepeatDirectory(tmp_path), {}), guest_session


CHAIN = build_case("chain", then=[Hop(), Hop()])


def test_a_chain_that_completes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each hop has its numbers and checks; the case has the checks of all, and no numbers of its own."""
    record, guest_session = run_chain(monkeypatch, tmp_path, CHAIN, completed(1), completed(2), completed(3))
    assert (str(record.verdict), record.verdict.hop, record.mismatch) == ("completed", 0, "")
    assert [record.at_hop(number).measured("downtime.explained") for number in (1, 2, 3)] == [1, 2, 3]
    assert (record.measurements, record.states) == ((), {})
    assert [check.label for check in record.checks] == [f"guest.console, source, hop {number}" for number in (1, 2, 3)]
    assert [hop.checks[0].subject for hop in record.hops] == ["source"] * 3
    assert len(guest_session.cases) == 3
    assert all((tmp_path / f"hop-{number}" / "samples.jsonl").exists() for number in (1, 2, 3))
    assert read_record(tmp_path / "record.json").hops == record.hops


def test_the_hop_that_fails_is_the_failed_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The chain ends there, and its guest migrates again from where it stayed, once all is in order."""
    record, guest_session = run_chain(monkeypatch, tmp_path, CHAIN, completed(), FAILED, completed())
    assert str(record.verdict) == "failed (source) in hop 2"
    assert record.mismatch == "expected completed, was failed"
    assert [hop.verdict.name for hop in record.hops] == [VerdictName.COMPLETED, VerdictName.FAILED]
    assert guest_session.log == ["destination", "destination", "heal", "second destination"]
    assert record.check("migration.again", "hop 2").passed
    assert "hop 2: second migration" in record.seconds


@pytest.mark.parametrize(
    ("hop", "reason", "kind"),
    [(2, "why", None), (0, "why", None), (1, "why", MismatchKind.HOP), (2, "because", MismatchKind.REASON)],
)
def test_a_chain_that_is_to_fail(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hop: int, reason: str, kind: MismatchKind | None
) -> None:
    """In the hop that is named, or in any; elsewhere, or for another reason, it is not right."""
    case = replace(CHAIN, expectation=Expectation(VerdictName.FAILED, reason=reason, hop=hop))
    record, _ = run_chain(monkeypatch, tmp_path, case, completed(), FAILED, completed())
    assert [mismatch.kind for mismatch in record.mismatches] == ([kind] if kind else [])


def test_a_chain_that_was_to_fail_and_does_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is not right, though nothing went wrong."""
    case = replace(CHAIN, expectation=Expectation(VerdictName.FAILED, hop=2))
    record, _ = run_chain(monkeypatch, tmp_path, case, completed(), completed(), completed())
    assert record.mismatch == "expected failed, was completed"


def test_a_fault_of_an_earlier_hop_has_to_be_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Though that hop completed, and so did the chain."""
    case = replace(CHAIN, faults=(Fault(Action.SLOW_LINK, Phase.ACTIVE, hop=2),))
    record, _ = run_chain(monkeypatch, tmp_path, case, completed(), completed(), completed())
    assert [one.members for one in record.mismatches] == [("migration.faults, slow link in active, hop 2",)]
    shown = make_check(CheckId.MIGRATION_FAULTS, True, "made", "made", "slow link in active")
    second = replace(completed(), checks=(shown,))
    record, guest_session = run_chain(monkeypatch, tmp_path, case, completed(), second, completed())
    assert record.mismatch == ""
    assert [len(one.faults) for one in guest_session.cases] == [0, 1, 0]


def test_a_check_that_fails_ends_the_chain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is told with its hop."""
    broken = replace(completed(), checks=(replace(CONSOLE, passed=False),))
    record, _ = run_chain(monkeypatch, tmp_path, CHAIN, broken)
    assert (str(record.verdict), len(record.hops)) == ("checks-failed in hop 1", 1)
    case = replace(CHAIN, expectation=Expectation(VerdictName.CHECKS_FAILED, checks=("guest.console",)))
    record, _ = run_chain(monkeypatch, tmp_path, case, broken)
    assert record.mismatch == ""


def test_an_error_in_a_hop_keeps_those_before_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What was seen of the first one is in the record, and the hop that could not be tried is named."""
    record, _ = run_chain(monkeypatch, tmp_path, CHAIN, completed(1), HostLost("gone"))
    assert str(record.verdict) == "infrastructure-error in hop 2"
    assert record.at_hop(1).measured("downtime.explained") == 1
    assert record.mismatch == "expected completed, was infrastructure-error"
    assert len(record.hops) == 1


def test_what_is_expected_of_each_hop() -> None:
    """Before the hop that is to end the chain they complete; of whichever it may be, the one that did not."""
    failed = Expectation(VerdictName.FAILED, hop=2)
    case = replace(CHAIN, expectation=failed)
    assert [expect_of_hop(case, number) for number in (1, 2)] == [COMPLETES, replace(failed, hop=0)]
    anywhere = replace(CHAIN, expectation=Expectation(VerdictName.FAILED))
    assert expect_of_hop(anywhere, 1) == COMPLETES
    assert expect_of_hop(anywhere, 1, completed=False).verdict is VerdictName.FAILED
    assert expect_of_hop(anywhere, 3).verdict is VerdictName.FAILED


def test_pre_copy_is_expected_hop_by_hop() -> None:
    """As the oracle has it of each, unless the scenario says it of all."""
    off = SideSpec(devices=(DeviceSpec(knobs=Knobs(pre_copy=False)),))
    case = build_case("x", then=[Hop(off), Hop()])
    assert {expect_of_hop(case, number).verdict for number in (1, 2, 3)} == {VerdictName.COMPLETED}
    claimed = replace(case, expectation=Expectation(VerdictName.COMPLETED, pre_copy="on"))
    assert {expect_of_hop(claimed, number).pre_copy for number in (1, 2, 3)} == {"on"}


def test_a_bound_holds_hop_by_hop() -> None:
    """Each migration of a chain has a downtime, which has to keep it."""
    case = replace(CHAIN, expectation=replace(COMPLETES, downtime_ms="≤ 300"))
    assert {expect_of_hop(case, number).downtime_ms for number in (1, 2, 3)} == {"≤ 300"}


def test_a_verdict_says_its_hop() -> None:
    """Where it has one."""
    assert str(Verdict(VerdictName.FAILED, "source", hop=3)) == "failed (source) in hop 3"
    assert str(Verdict(VerdictName.COMPLETED)) == "completed"
