# SPDX-License-Identifier: GPL-2.0-or-later
"""The execution of plans: every planned case ends in exactly one verdict for each repeat, on disk, whatever happens."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from switchover.guests.snapshots import Snapshots
from switchover.record.ending import Ending
from switchover.record.errors import NotReady, SwitchoverError, UsageError
from switchover.record.log import say
from switchover.record.planfile import (
    PlanFile,
    PlannedScenario,
    is_left_out,
    leave_out,
    make_skipped,
    make_unrun,
    write_plan,
)
from switchover.record.record import DIFFERS_ALONE, Record, VerdictName
from switchover.record.rundir import RepeatDirectory, RunDirectory
from switchover.runner.case_runner import RunContext, run_repeat
from switchover.runner.hold_on_failure import HoldOnFailure
from switchover.runner.host_pair import HostPair
from switchover.runner.leased_hosts import LeasedHosts
from switchover.runner.listener import RunListener
from switchover.runner.shared_guest import SharedGuest
from switchover.runner.turns import Turn, list_turns, require_distinct
from switchover.scenarios.case import Case
from switchover.scenarios.plan import Plan
from switchover.scenarios.preflight import Decision, Known, decide, foresee

MOST_LOSSES = 3
"""A run that loses its hosts once more is not going to end well."""


def make_plan_file(plans: Sequence[Plan], turns: Sequence[Turn]) -> PlanFile:
    scenarios = tuple(
        PlannedScenario(
            plan.scenario.name,
            plan.scenario.source,
            plan.scenario.title,
            plan.scenario.question,
            plan.scenario.repeats,
            plan.scenario.interleave,
            plan.scenario.compare,
        )
        for plan in plans
    )
    return PlanFile(scenarios, tuple({turn.line.id: turn.line for turn in turns if turn.number == 1}.values()))


class _Lost(Exception):
    """The leased hosts are lost; raised, so that whoever leased them does not take them as in order."""


@dataclass
class _Progress:
    """``left``: turns without a verdict, in order. ``reason``: why those that are left at the end were not run."""

    left: list[Turn]
    reason: str = "the run ended before"
    losses: int = 0
    kept: bool = False
    is_enough: Callable[[Turn], bool] = lambda turn: False
    enough: bool = False


def execute(
    turns: Sequence[Turn],
    directory: RunDirectory,
    lease: Callable[[], AbstractContextManager[LeasedHosts]],
    listener: RunListener,
    *,
    unsupported: Callable[[Turn], str] = lambda turn: "",
    keeper: HoldOnFailure | None = None,
    share_guest: bool = False,
    retries: int = 0,
    run: Callable[..., Record] = run_repeat,
    is_enough: Callable[[Turn], bool] = lambda turn: False,
) -> None:
    """Run all turns, each into its directory. ``plan.json`` must be there before.

    ``lease``: hosts; when they are lost the case that ran is an infrastructure error, they are leased anew, and the run
    goes on, at most :data:`MOST_LOSSES` times. ``unsupported``: in words, why a case cannot be run, before hosts are
    asked. ``keeper``: the run stops at the first case whose guests it keeps. ``share_guest``: cases go on with the
    guest of those before them where they can; one that is not as expected is run again alone, and its record says what
    came of that. ``retries``: so often a repeat that ended in an infrastructure error is run again; all are kept.
    ``is_enough``: asked before each turn; with it and after it none is run, and their cases are taken out of the plan.

    Whatever ends a run, what was not run has a record that says so, and why; then an error is raised again.
    """
    progress = _Progress(list(turns), is_enough=is_enough)
    listener.start(turns)
    try:
        _run_without_hosts(progress, directory, listener, retries)
        _leave_out(progress, directory, listener, lambda turn: _as_decision(unsupported(turn)))
        while progress.left and not progress.kept:
            try:
                with lease() as leased:
                    # each time: hosts that come after a loss lack the toolchains that the others got
                    _gate(progress, directory, listener, leased)
                    _run_until_lost(
                        progress, directory, listener, leased, keeper, run, retries, share_guest=share_guest
                    )
                _leave_rest(progress, directory)
            except _Lost as loss:
                progress.losses += 1
                say(f"the hosts are lost: {loss}")
                if progress.left and progress.losses > MOST_LOSSES:
                    raise NotReady(f"The hosts were lost {progress.losses} times.", why=str(loss)) from None
    except BaseException as error:
        progress.reason = describe_end(error)
        raise
    finally:
        _report_left(progress, directory)


def describe_end(error: BaseException) -> str:
    """Why what comes after an error was not run."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return error.what if isinstance(error, SwitchoverError) else f"{type(error).__name__}: {error}"


def start_execution(
    plans: Sequence[Plan],
    directory: RunDirectory,
    more: Sequence[Turn] = (),
    groups: Sequence[PlannedScenario] = (),
) -> list[Turn]:
    """The turns of a run, with ``plan.json`` written. :raises UsageError: as :func:`list_turns`

    ``more``: turns of cases that are no scenario's, after the others; ``groups``: what they are of.
    """
    turns = [*list_turns(plans), *more]
    require_distinct({turn.line.id: turn.line for turn in turns}.values(), 0)
    plan = make_plan_file(plans, turns)
    write_plan(directory, replace(plan, scenarios=(*plan.scenarios, *groups)))
    return turns


def list_left(turns: Sequence[Turn], directory: RunDirectory) -> list[Turn]:
    """Those of a run's turns that have no verdict: what was not run, and what an interruption or a kill ended. What
    there is of them is taken away, since it is of executions that did not end; those that were set aside stay.

    :raises UsageError: none is left
    """
    left = []
    for turn in turns:
        try:
            record = directory.find_record(turn.line.id, turn.number)
        except UsageError as error:
            say(f"{turn.line.id} #{turn.number} is run again: {error.what}")
            left.append(turn)
            continue
        if record is None:
            if turn.number > 1 and is_left_out(directory, turn.line.id):
                continue
        elif record.was_run and record.ending is not Ending.INTERRUPTED:
            continue
        left.append(turn)
    for turn in left:
        directory.repeat(turn.line.id, turn.number).clear()
    if not left:
        raise UsageError(
            f"Nothing is left to run: every repeat of {directory.word} has a verdict.",
            fix=f"switchover show {directory.word}",
        )
    return left


def _run_without_hosts(progress: _Progress, directory: RunDirectory, listener: RunListener, retries: int) -> None:
    """Cases that need no hosts, before any are leased."""
    for turn in list(progress.left):
        if turn.apart is None or turn.apart.needs_hosts:
            continue
        listener.begin(turn)
        repeat = directory.repeat(turn.line.id, turn.number)
        record = turn.apart(turn.number, repeat, directory, {})
        while needs_retry(record) and len(repeat.earlier()) < retries:
            repeat.set_aside()
            say(f"{turn.line.id} #{turn.number} is tried again: {record.mismatch}")
            record = turn.apart(turn.number, repeat, directory, {})
        record = add_earlier(record, repeat)
        progress.left.remove(turn)
        listener.end(turn, record)


def _as_decision(missing: str) -> Decision:
    return Decision((missing,)) if missing else Decision()


def _leave_out(
    progress: _Progress, directory: RunDirectory, listener: RunListener, judge: Callable[[Turn], Decision]
) -> None:
    """A case that cannot be run has one record, not one for each repeat."""
    decisions: dict[str, Decision] = {}
    staying = []
    for turn in progress.left:
        if turn.line.id not in decisions:
            decisions[turn.line.id] = decision = judge(turn)
            if decision.verdict is not None:
                record = make_skipped(turn.line, decision.verdict, _now())
                directory.repeat(turn.line.id, 1).write_record(record)
                listener.end(turn, record)
        if decisions[turn.line.id].runs:
            staying.append(turn)
    progress.left = staying


def _gate(progress: _Progress, directory: RunDirectory, listener: RunListener, leased: LeasedHosts) -> None:
    known = leased.ask((turn.case, turn.hosts) for turn in progress.left if turn.apart is None)
    progress.left = [turn if turn.apart is not None else _foresee(turn, known) for turn in progress.left]
    _leave_out(
        progress,
        directory,
        listener,
        lambda turn: Decision() if turn.apart is not None else decide(turn.case, turn.hosts, known),
    )


def _foresee(turn: Turn, known: Known) -> Turn:
    """With what is expected of it now that the QEMUs were asked."""
    case, rule = foresee(turn.case, turn.line.rule, turn.hosts, known)
    if rule == turn.line.rule:
        return turn
    return replace(turn, case=case, line=replace(turn.line, expectation=asdict(case.expectation), rule=rule))


def _run_until_lost(
    progress: _Progress,
    directory: RunDirectory,
    listener: RunListener,
    leased: LeasedHosts,
    keeper: HoldOnFailure | None,
    run: Callable[..., Record],
    retries: int,
    *,
    share_guest: bool,
) -> None:
    """:raises _Lost: the hosts are; the turn that was on them has its record"""
    with Snapshots() as snapshots, SharedGuest() as shared:
        context = RunContext(listener, keeper, snapshots, shared if share_guest else None)
        _run_turns(progress, directory, listener, leased, context, run, retries)


def _run_turns(
    progress: _Progress,
    directory: RunDirectory,
    listener: RunListener,
    leased: LeasedHosts,
    context: RunContext,
    run: Callable[..., Record],
    retries: int,
) -> None:
    """:raises _Lost: as :func:`_run_until_lost`"""
    keeper = context.keeper
    while progress.left:
        turn = progress.left[0]
        if progress.is_enough(turn):
            progress.enough = True
            return
        listener.begin(turn)
        repeat = directory.repeat(turn.line.id, turn.number)
        record = _run_turn(turn, repeat, directory, leased, context, run)
        if needs_retry(record) and len(repeat.earlier()) < retries:
            repeat.set_aside()
            say(f"{turn.line.id} #{turn.number} is tried again: {record.mismatch}")
            if loss := leased.find_loss():
                raise _Lost(loss)
            continue
        record = add_earlier(record, repeat)
        progress.left.pop(0)
        listener.end(turn, record)
        if keeper is not None and keeper.used:
            progress.kept = True
            progress.reason = f"the run stopped at {turn.line.id}, whose guests were kept"
            return
        if record.verdict.name is VerdictName.INFRASTRUCTURE_ERROR and (loss := leased.find_loss()):
            raise _Lost(loss)


def _leave_rest(progress: _Progress, directory: RunDirectory) -> None:
    """What there is no time for is no longer planned."""
    if progress.enough:
        left = {turn.line.id for turn in progress.left}
        leave_out(directory, left)
        say(f"the time is used: {len(left)} of the chosen cases are left for the next run")
        progress.left = []


def _run_turn(
    turn: Turn,
    repeat: RepeatDirectory,
    directory: RunDirectory,
    leased: LeasedHosts,
    context: RunContext,
    run: Callable[..., Record],
) -> Record:
    if turn.apart is not None:
        context.alone()  # a guest that is shared has the address that the case's guest is going to have
        return turn.apart(turn.number, repeat, directory, leased.address)
    try:
        pair, fingerprint = leased.pair(turn.hosts), leased.fingerprint(turn.case, turn.hosts)
    except NotReady as error:
        record = make_unrun(turn.line, turn.number, str(error), _now())
        repeat.write_record(record)
        return record
    # which end is the source is the shared guest's matter, and here it is the case's
    mine = context.alone() if any(turn.hosts) else context
    return run_on_pair(turn.case, turn.number, pair, fingerprint, repeat, mine, run)


def run_on_pair(
    case: Case,
    number: int,
    pair: HostPair,
    fingerprint: Mapping[str, Any],
    repeat: RepeatDirectory,
    context: RunContext,
    run: Callable[..., Record] = run_repeat,
) -> Record:
    """A repeat with the guest that cases share, if the context has one. If it is not as expected, it is run again
    alone, and its record says what came of that.
    """
    keeper = context.keeper
    record = run(case, number, pair, repeat, fingerprint, context)
    if context.shared is not None and record.mismatch and not (keeper is not None and keeper.used):
        alone = run(case, number, pair, repeat.alone(), fingerprint, context.alone())
        record = _compare_with_alone(record, alone)
        repeat.write_record(record)
    return record


def needs_retry(record: Record) -> bool:
    """Whether the environment failed, so that another execution may tell what this one could not."""
    return record.verdict.name is VerdictName.INFRASTRUCTURE_ERROR and bool(record.mismatch)


def add_earlier(record: Record, repeat: RepeatDirectory) -> Record:
    """A record with what the executions before it came to, if some were set aside; it is written again then."""
    earlier = repeat.earlier()
    if not earlier:
        return record
    told = tuple({"verdict": str(one.verdict.name), "reason": one.verdict.reason} for one in earlier)
    record = replace(record, earlier=told)
    repeat.write_record(record)
    return record


def _compare_with_alone(record: Record, alone: Record) -> Record:
    """The record of a case that shared its guest and was not as expected, with what it came to with one of its own.

    A case that is as expected alone has shown something else than a fault of the case.
    """
    mismatch = record.mismatch
    if not alone.mismatch:
        mismatch += f"; {DIFFERS_ALONE}: with a guest of its own it is as expected, {alone.verdict.name}"
    return replace(record, mismatch=mismatch, alone={"verdict": asdict(alone.verdict), "mismatch": alone.mismatch})


def _report_left(progress: _Progress, directory: RunDirectory) -> None:
    """A turn that was begun may have a record of its own, of what ended it."""
    if count := report_unrun(progress.left, directory, progress.reason):
        say(f"not run: {count} of the planned repeats ({progress.reason})")


def report_unrun(turns: Sequence[Turn], directory: RunDirectory, reason: str) -> int:
    """A record for each turn that has none; returns how many these are."""
    unrun = [turn for turn in turns if not directory.has_record(turn.line.id, turn.number)]
    for turn in unrun:
        record = make_unrun(turn.line, turn.number, reason, _now())
        with contextlib.suppress(SwitchoverError, OSError):  # such as a full disk: who reads the plan misses it anyway
            directory.repeat(turn.line.id, turn.number).write_record(record)
    return len(unrun)


def _now() -> str:
    return datetime.now(UTC).isoformat()
