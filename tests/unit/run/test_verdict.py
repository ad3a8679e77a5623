# SPDX-License-Identifier: GPL-2.0-or-later
"""Verdicts: every way a repeat can end has one."""

import pytest
from tests.unit.builders import make_result

from switchover.migration.session import Sample
from switchover.record.errors import (
    CommandFailed,
    Deadline,
    GuestCrashed,
    HostLost,
    NotReady,
    Refused,
    SwitchoverError,
    UsageError,
)
from switchover.record.measurement import Check
from switchover.record.record import Verdict, VerdictName
from switchover.run.verdict import describe_hang, judge_error, judge_result

PASSED = Check("same boot", True, "a", "a")
FAILED = Check("checksum", False, "c0ffee", "c0ffef")
SECOND = Check("seed", False, "1", "2")


def test_completed() -> None:
    """A completed migration of which every check passed is completed, with nothing to add."""
    assert judge_result(make_result(), [PASSED]) == Verdict(VerdictName.COMPLETED)
    assert judge_result(make_result(), []) == Verdict(VerdictName.COMPLETED)


def test_checks_failed() -> None:
    """One failed check is enough, and the first one is the reason, with both values."""
    verdict = judge_result(make_result(), [PASSED, FAILED, SECOND])
    assert verdict == Verdict(VerdictName.CHECKS_FAILED, "", "checksum: expected c0ffee, observed c0ffef")


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_failed_on_the_source(status: str) -> None:
    """Another end than completion failed on the source, with QEMU's words, unless the destination has its own."""
    verdict = judge_result(make_result(status, error="unable to write"), [PASSED])
    assert verdict == Verdict(VerdictName.FAILED, "source", f"{status}: unable to write")


def test_failed_on_the_destination() -> None:
    """When the destination said why, it is the side, and its words are the reason."""
    result = make_result("failed", error="peer closed", destination_error="load of section failed")
    assert judge_result(result, []) == Verdict(VerdictName.FAILED, "destination", "failed: load of section failed")


def test_checks_do_not_hide_a_failure() -> None:
    """A migration that failed is no failed check."""
    assert judge_result(make_result("failed"), [FAILED]).name is VerdictName.FAILED


def test_hung() -> None:
    """Without an end in time it hung, with evidence."""
    verdict = judge_result(make_result(None), [FAILED])
    assert (verdict.name, verdict.side) == (VerdictName.HUNG, "source")
    assert verdict.reason == "no terminal status within 12 s, and QEMU told no counters"


def test_evidence_of_a_hang() -> None:
    """The last sample tells what was pending."""
    early = Sample(0, {"status": "setup"})
    last = Sample(1, {"status": "active", "ram": {"remaining": 5}, "vfio": {"transferred": 6}, "expected-downtime": 7})
    assert describe_hang(make_result(None, samples=(early, last))) == (
        "no terminal status within 12 s: status active, RAM remaining 5 bytes, VFIO transferred 6 bytes, "
        "expected downtime 7 ms"
    )
    assert "RAM remaining None" in describe_hang(make_result(None, samples=(early,)))


@pytest.mark.parametrize(
    ("error", "phase", "name"),
    [
        (Refused("the source QEMU rejected migrate.", why="no pre-copy"), "migrate", VerdictName.BLOCKED),
        (Refused("the source QEMU rejected migrate.", why="x"), "ask before", VerdictName.REFUSED),
        (Refused("the source QEMU rejected migrate-set-capabilities."), "migrate", VerdictName.REFUSED),
        (Refused("the destination QEMU rejected migrate-incoming."), "migrate", VerdictName.REFUSED),
        (Refused("the source QEMU did not start."), "start source", VerdictName.REFUSED),
        (GuestCrashed("QEMU ended"), "migrate", VerdictName.CRASHED),
        (GuestCrashed("QEMU ended"), "guest boot", VerdictName.CRASHED),
        (Deadline("Waited 60 s"), "migrate", VerdictName.HUNG),
        (Deadline("Waited 60 s"), "guest boot", VerdictName.INFRASTRUCTURE_ERROR),
        (HostLost("gone"), "migrate", VerdictName.INFRASTRUCTURE_ERROR),
        (CommandFailed("exited with 1"), "ask after", VerdictName.INFRASTRUCTURE_ERROR),
        (NotReady("disk full"), "migrate", VerdictName.INFRASTRUCTURE_ERROR),
        (UsageError("no such thing"), "start source", VerdictName.INFRASTRUCTURE_ERROR),
        (SwitchoverError("?"), "migrate", VerdictName.INFRASTRUCTURE_ERROR),
        (KeyboardInterrupt(), "migrate", VerdictName.INFRASTRUCTURE_ERROR),
        (ValueError("a bug"), "migrate", VerdictName.INFRASTRUCTURE_ERROR),
    ],
)
def test_errors(error: BaseException, phase: str, name: VerdictName) -> None:
    """Each class of error, by the step it happened in."""
    assert judge_error(error, phase).name is name


def test_a_blockers_reason_is_qemus() -> None:
    """A blocked migration has the source as its side and QEMU's text alone as its reason."""
    error = Refused("the source QEMU rejected migrate.", why="VFIO migration is not supported in kernel")
    verdict = judge_error(error, "migrate")
    assert (verdict.side, verdict.reason) == ("source", "VFIO migration is not supported in kernel")


def test_other_reasons_have_the_step_and_all_words() -> None:
    """The reason names the step, what happened and why; an interruption and a bug are named as such."""
    verdict = judge_error(GuestCrashed("QEMU ended.", why="qemu: bug"), "guest boot")
    assert verdict.reason == "guest boot: QEMU ended.\n  why: qemu: bug"
    assert judge_error(KeyboardInterrupt(), "migrate").reason == "migrate: interrupted"
    assert judge_error(ValueError("x"), "migrate").reason == "migrate: ValueError: x"
