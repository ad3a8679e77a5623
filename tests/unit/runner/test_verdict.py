# SPDX-License-Identifier: GPL-2.0-or-later
"""Verdicts: every way a repeat can end has one."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.builders import make_result

from switchover.migration.phases import Intervened, Phase, Said
from switchover.migration.progress import Hang, HangKind
from switchover.migration.session import MigrationResult
from switchover.record.checks import CheckId
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
from switchover.record.measurement import Check, make_check
from switchover.record.record import Death, Race, Verdict, VerdictName
from switchover.runner.attempt import Attempt
from switchover.runner.verdict import judge_attempt, judge_error, judge_result

PASSED = Check(CheckId.GUEST_BOOT_ID, "same boot", True, "a", "a")
FAILED = Check(CheckId.DEVICE_CHECKSUM, "checksum", False, "c0ffee", "c0ffef")
SECOND = Check(CheckId.DEVICE_SEED, "seed", False, "1", "2")


def test_completed() -> None:
    """A completed migration of which every check passed is completed, with nothing to add."""
    assert judge_result(make_result(), [PASSED]) == Verdict(VerdictName.COMPLETED)
    assert judge_result(make_result(), []) == Verdict(VerdictName.COMPLETED)


def test_checks_failed() -> None:
    """One failed check is enough, and the first one is the reason, with both values."""
    verdict = judge_result(make_result(), [PASSED, FAILED, SECOND])
    assert verdict == Verdict(VerdictName.CHECKS_FAILED, "", "checksum: expected c0ffee, observed c0ffef")


def test_failed_on_the_source() -> None:
    """Another end than completion failed on the source, with QEMU's words, unless the destination has its own."""
    verdict = judge_result(make_result("failed", error="unable to write"), [PASSED])
    assert verdict == Verdict(VerdictName.FAILED, "source", "failed: unable to write")


def test_a_status_that_is_not_known() -> None:
    """A status that QEMU may get in some version to come is a failure that names it, not a completion."""
    verdict = judge_result(make_result("colo", error=""), [PASSED])
    assert verdict == Verdict(VerdictName.FAILED, "source", "colo: ")


def test_cancelled() -> None:
    """A migration that was cancelled is a verdict of its own; that the destination fails then is usual."""
    result = make_result("cancelled", destination_error="load of section failed")
    assert judge_result(result, [FAILED]) == Verdict(VerdictName.CANCELLED, "source", "")


def test_failed_on_the_destination() -> None:
    """When the destination said why, it is the side, and its words are the reason."""
    result = make_result("failed", error="peer closed", destination_error="load of section failed")
    assert judge_result(result, []) == Verdict(VerdictName.FAILED, "destination", "failed: load of section failed")


@pytest.mark.parametrize(("first", "side"), [("source", "source"), ("destination", "destination"), ("", "destination")])
def test_the_side_that_failed_first_said_why(first: str, side: str) -> None:
    """Both have words when one side failed; those of the first count, and the destination's if that is open."""
    result = make_result("failed", error="disk full", destination_error="stream ended", failed_first=first)
    words = {"source": "disk full", "destination": "stream ended"}
    assert judge_result(result, []) == Verdict(VerdictName.FAILED, side, f"failed: {words[side]}")


@pytest.mark.parametrize("why", ["Broken pipe", "Connection reset by peer"])
def test_the_side_that_closed_the_stream_said_why(why: str) -> None:
    """A source that only finds the stream closed, however early it says so, has nothing to say of its own."""
    error = f"Unable to write to socket: {why}"
    result = make_result("failed", error=error, destination_error="load of section failed", failed_first="source")
    assert judge_result(result, []) == Verdict(VerdictName.FAILED, "destination", "failed: load of section failed")
    alone = make_result("failed", error=error, failed_first="source")
    assert judge_result(alone, []) == Verdict(VerdictName.FAILED, "source", f"failed: {error}")


def tell(**statuses: list[tuple[str, int]]) -> dict[str, tuple[Said, ...]]:
    """Statuses of both sides with their times."""
    return {side: tuple(Said(*one) for one in told) for side, told in statuses.items()}


CANCEL = Intervened("cancel", Phase.ACTIVE, "active", 100, 200)
SHUT = tell(source=[("active", 50), ("failed", 155)], destination=[("active", 40), ("failed", 142)])
"""The source's cancel has shut the stream down, and both fail, the destination first, as QEMU 10.0 was seen to."""
RACED = make_result(
    "failed",
    error="Channel error: Input/output error",
    destination_error="load of migration failed: Invalid argument",
    interventions=(CANCEL,),
    statuses=SHUT,
    failed_first="destination",
)


@pytest.mark.parametrize("first", ["source", "destination", ""])
def test_failed_where_it_was_to_be_cancelled(first: str) -> None:
    """QEMU may fail the stream that it is told to cancel: the source's doing, whoever is the first to fail by it."""
    verdict = judge_result(replace(RACED, failed_first=first), [])
    reason = "failed: Channel error: Input/output error; load of migration failed: Invalid argument"
    assert verdict == Verdict(VerdictName.FAILED, "source", reason, Race.FAILED)


@pytest.mark.parametrize(
    ("changes", "checks"),
    [
        ({"interventions": (replace(CANCEL, name="slow link"),)}, []),
        ({"interventions": (replace(CANCEL, status=None),)}, []),
        ({"interventions": ()}, []),
        ({"statuses": tell(source=[("failed", 155)], destination=[("failed", 99)])}, []),
        ({"statuses": tell(source=[("cancelling", 120), ("failed", 155)], destination=[("failed", 142)])}, []),
        ({}, [make_check(CheckId.DEVICE_FAULT, True, "at least once", "1 times", "destination")]),
    ],
    ids=["no cancel", "nothing to cancel", "nothing done", "failed before it", "was cancelling", "the device did"],
)
def test_a_failure_that_a_cancel_does_not_explain(changes: dict[str, Any], checks: list[Check]) -> None:
    """A failure that began at the destination is the destination's, also after a cancel, and no race of QEMU's."""
    verdict = judge_result(replace(RACED, **changes), checks)
    reason = "failed: load of migration failed: Invalid argument"
    assert verdict == Verdict(VerdictName.FAILED, "destination", reason)


LATE = replace(CANCEL, phase=Phase.DEVICE_STOP_COPY)
TWICE = make_check(CheckId.GUEST_NOT_ON_DESTINATION, False, "no", "yes")


@pytest.mark.parametrize(
    ("status", "cancel", "checks", "race"),
    [
        ("completed", LATE, [PASSED], Race.TOO_LATE),
        ("completed", CANCEL, [PASSED], Race.NONE),
        ("completed", LATE, [FAILED], Race.NONE),
        ("cancelled", LATE, [PASSED], Race.NONE),
        ("cancelled", LATE, [TWICE], Race.RUNS_TWICE),
        ("cancelled", LATE, [TWICE, make_check(CheckId.MIGRATION_AGAIN, False, "yes", "x")], Race.RUNS_TWICE),
        ("cancelled", CANCEL, [TWICE], Race.NONE),
        ("cancelled", LATE, [TWICE, SECOND], Race.NONE),
        ("failed", LATE, [TWICE], Race.RUNS_TWICE),
    ],
)
def test_a_cancel_in_stop_copy(status: str, cancel: Intervened, checks: list[Check], race: Race) -> None:
    """It may be heard too late, or with the guest at both ends: told only where nothing else is wrong."""
    result = make_result(status, interventions=(cancel,), statuses=SHUT)
    assert judge_result(result, checks).race is race


KILLED_THERE = Death("destination", -9, made=True)


@pytest.mark.parametrize(
    ("result", "name"),
    [
        (make_result("failed", error="broken pipe", failed_first="source"), "failed (failed: broken pipe)"),
        (make_result("cancelled"), "cancelled"),
        (make_result(None, hang=Hang(HangKind.NO_PROGRESS, 30, "x")), "hung (no progress at the destination: x, for"),
        (make_result(), "completed"),
    ],
)
@pytest.mark.parametrize("death", [KILLED_THERE, Death("destination", -6), Death("source", -11)])
def test_a_qemu_that_died_is_told(result: MigrationResult, name: str, death: Death) -> None:
    """A death is never hidden behind another verdict; what else was seen of the migration is in the reason."""
    verdict = judge_attempt(make_attempt(result=result, deaths=(death,)))
    assert (verdict.name, verdict.side) == (VerdictName.CRASHED, death.side)
    signal = -death.status
    assert f"the {death.side}'s QEMU was killed by signal {signal}; without that: {name}" in verdict.reason


def test_a_death_that_no_fault_made_comes_first() -> None:
    """Of two, it is the one that nobody wanted; a crash that was an error already has its side."""
    deaths = (KILLED_THERE, Death("source", 1))
    verdict = judge_attempt(make_attempt(result=make_result("failed"), deaths=deaths))
    assert (verdict.side, "ended with exit status 1" in verdict.reason) == ("source", True)
    crash = make_attempt(result=None, error=GuestCrashed("QEMU ended."), ended="source", deaths=(Death("source", -11),))
    assert judge_attempt(crash).reason == "migrate: QEMU ended."
    unknown = judge_attempt(make_attempt(deaths=(Death("destination", -1),)))
    assert "was killed by a signal" in unknown.reason


def test_a_kill_of_the_source_that_came_too_late() -> None:
    """A migration that completed completed, though the QEMU that the guest had left was killed then."""
    late = make_attempt(deaths=(Death("source", -9, made=True),))
    assert judge_attempt(late).name is VerdictName.COMPLETED


def test_checks_do_not_hide_a_failure() -> None:
    """A migration that failed is no failed check."""
    assert judge_result(make_result("failed"), [FAILED]).name is VerdictName.FAILED


@pytest.mark.parametrize(
    ("kind", "side"),
    [
        (HangKind.ACK_STARVED, "source"),
        (HangKind.NOT_CONVERGING, "source"),
        (HangKind.NO_PROGRESS, "destination"),
        (HangKind.NO_END, ""),
    ],
)
def test_hung(kind: HangKind, side: str) -> None:
    """A hang is hung, with its kind, its evidence and its time, by the side that holds the migration up."""
    verdict = judge_result(make_result(None, hang=Hang(kind, 31.4, "pending 5 bytes")), [FAILED])
    assert verdict == Verdict(VerdictName.HUNG, side, f"{kind}: pending 5 bytes, for 31 s")


def test_a_hang_comes_before_how_it_was_ended() -> None:
    """A hang was cancelled, or its destination was ended: that is our doing and no verdict."""
    hang = Hang(HangKind.NO_PROGRESS, 30, "nothing is sent")
    for status in ("cancelled", "failed", None):
        result = make_result(status, hang=hang, destination_error="x", failed_first="source")
        assert judge_result(result, []).name is VerdictName.HUNG


def make_attempt(**changes: Any) -> Attempt:
    values: dict[str, Any] = {"result": make_result(), "states": {}, "downtime": {}}
    return Attempt(**(values | changes))


def test_a_passage_is_judged_by_its_result() -> None:
    """An attempt that was watched to its end has the verdict of its result and its checks."""
    assert judge_attempt(make_attempt(checks=(PASSED,))) == Verdict(VerdictName.COMPLETED)
    assert judge_attempt(make_attempt(checks=(FAILED,))).name is VerdictName.CHECKS_FAILED
    failed = make_attempt(result=make_result("failed", error="x"), checks=(FAILED,))
    assert judge_attempt(failed) == Verdict(VerdictName.FAILED, "source", "failed: x")


@pytest.mark.parametrize("ended", ["source", "destination"])
def test_a_crash_in_a_passage_has_its_side(ended: str) -> None:
    """A QEMU that ended is a crash of its side; the migration is the step."""
    verdict = judge_attempt(make_attempt(result=None, error=GuestCrashed("QEMU ended."), ended=ended))
    assert verdict == Verdict(VerdictName.CRASHED, ended, "migrate: QEMU ended.")


def test_a_blocked_attempt() -> None:
    """A rejected ``migrate`` is blocked by the source; another rejected command is refused, by nobody in particular."""
    blocked = make_attempt(result=None, error=Refused("It said no.", why="blocker", command="migrate"))
    assert judge_attempt(blocked) == Verdict(VerdictName.BLOCKED, "source", "blocker")
    refused = make_attempt(
        result=None, error=Refused("the source QEMU rejected migrate.", why="x", command="migrate-set-parameters")
    )
    verdict = judge_attempt(refused)
    assert (verdict.name, verdict.side) == (VerdictName.REFUSED, "")


def test_a_passage_without_result_and_error_is_a_bug() -> None:
    """There is no verdict to guess."""
    with pytest.raises(AssertionError):
        judge_attempt(make_attempt(result=None))


@pytest.mark.parametrize(
    ("error", "phase", "name"),
    [
        (Refused("no", why="no pre-copy", command="migrate"), "migrate", VerdictName.BLOCKED),
        (Refused("no", why="x", command="migrate"), "ask before", VerdictName.REFUSED),
        (Refused("it rejected migrate.", command="migrate-set-capabilities"), "migrate", VerdictName.REFUSED),
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
    error = Refused("no", command="migrate", why="VFIO migration is not supported in kernel")
    verdict = judge_error(error, "migrate")
    assert (verdict.side, verdict.reason) == ("source", "VFIO migration is not supported in kernel")


def test_other_reasons_have_the_step_and_all_words() -> None:
    """The reason names the step, what happened and why; an interruption and a bug are named as such."""
    verdict = judge_error(GuestCrashed("QEMU ended.", why="qemu: bug"), "guest boot")
    assert verdict.reason == "guest boot: QEMU ended.\n  why: qemu: bug"
    assert judge_error(KeyboardInterrupt(), "migrate").reason == "migrate: interrupted"
    assert judge_error(ValueError("x"), "migrate").reason == "migrate: ValueError: x"


WORDS = "lab host hostb was stopped for 30.0 of 31.0 s"


class Host:
    """A lab host that was starved between two times, and who asked."""

    def __init__(self, begin_s: float, end_s: float) -> None:
        self.span = begin_s, end_s
        self.asked: list[tuple[float, float]] = []

    def find_starved(self, begin_s: float, end_s: float) -> str:
        self.asked.append((begin_s, end_s))
        return WORDS if begin_s >= self.span[0] and end_s <= self.span[1] else ""


@pytest.mark.parametrize("kind", HangKind)
def test_a_hang_on_a_starved_lab_host_is_the_environments(kind: HangKind) -> None:
    """Asked for the window in which nothing moved, and no other; the evidence comes first, then what it looked like."""
    result = make_result(None, hang=Hang(kind, 31, "nothing is sent", seen_s=131))
    host = Host(100, 131)
    verdict = judge_result(result, [], host.find_starved)
    assert verdict.name is VerdictName.INFRASTRUCTURE_ERROR
    assert verdict.reason == f"migrate: {WORDS}; meanwhile {kind}: nothing is sent, for 31 s"
    assert host.asked == [(100, 131)]
    attempt = make_attempt(result=result)
    assert judge_attempt(attempt, host.find_starved) == verdict


def test_a_hang_on_lab_hosts_that_ran_is_one() -> None:
    """Who was starved before, or is not known to have been, is no excuse."""
    result = make_result(None, hang=Hang(HangKind.NO_PROGRESS, 31, "x", seen_s=131))
    assert judge_result(result, [], Host(0, 99).find_starved).name is VerdictName.HUNG
    assert judge_result(result, []).name is VerdictName.HUNG


def test_a_migration_that_completed_was_not_starved() -> None:
    """Evidence is asked for only where something got nowhere."""
    host = Host(-1e9, 1e9)
    assert judge_result(make_result(), [], host.find_starved).name is VerdictName.COMPLETED
    assert judge_result(make_result("failed", error="x"), [], host.find_starved).name is VerdictName.FAILED
    assert host.asked == []


def test_errors_on_a_starved_lab_host() -> None:
    """A deadline in the migration is no hang then, and an error of the environment tells it; the product's own do not,
    and neither does anything on lab hosts that ran.
    """
    always, never = Host(-1e9, 1e9), Host(1, 0)
    waited = Deadline("Waited 60 s", waited_s=60)
    verdict = judge_error(waited, "migrate", always.find_starved)
    assert verdict == Verdict(VerdictName.INFRASTRUCTURE_ERROR, "", f"migrate: Waited 60 s; meanwhile {WORDS}")
    assert always.asked == [(waited.at_s - 60, waited.at_s)]
    assert judge_error(waited, "migrate", never.find_starved) == Verdict(VerdictName.HUNG, "", "migrate: Waited 60 s")
    lost = HostLost("gone")
    assert judge_error(lost, "ask before", always.find_starved).reason == f"ask before: gone; meanwhile {WORDS}"
    assert always.asked[-1] == (lost.at_s - 30, lost.at_s)
    assert judge_error(lost, "ask before", never.find_starved).reason == "ask before: gone"
    for error in (GuestCrashed("ended"), Refused("no")):
        assert judge_error(error, "migrate", always.find_starved) == judge_error(error, "migrate")


@pytest.mark.parametrize(
    ("observed", "name"),
    [
        ("[ 167.8] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", VerdictName.INFRASTRUCTURE_ERROR),
        ("[ 167.8] rcu: INFO: rcu_preempt detected stalls; [ 168.1] BUG: bad page state", VerdictName.CHECKS_FAILED),
    ],
)
def test_a_stall_on_a_starved_lab_host_is_the_environments(observed: str, name: VerdictName) -> None:
    """A guest whose kernel finds nothing but that its CPUs stood still, while its lab host did not get to run."""
    stall = Check(CheckId.GUEST_CONSOLE, "guest console is free of oopses", False, "none", observed)
    verdict = judge_result(make_result(), [PASSED, stall], lambda begin, end: "hosta did not get to run", 1.0)
    assert verdict.name is name
    assert judge_result(make_result(), [PASSED, stall], lambda begin, end: "", 1.0).name is VerdictName.CHECKS_FAILED
    also = judge_result(make_result(), [FAILED, stall], lambda begin, end: "hosta did not get to run", 1.0)
    assert also.name is VerdictName.CHECKS_FAILED
