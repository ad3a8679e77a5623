# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases of a run on several pairs of hosts at a time, each under a lease; planned = reported whatever happens."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from switchover.guests.snapshots import Snapshots
from switchover.record.errors import NotReady, SwitchoverError
from switchover.record.log import say
from switchover.record.planfile import make_skipped, make_unrun
from switchover.record.record import Record, VerdictName
from switchover.record.rundir import RepeatDirectory, RunDirectory
from switchover.runner.case_runner import RunContext, run_repeat
from switchover.runner.leased_hosts import HostNames, LeasedHosts
from switchover.runner.leases import Choice, HealthWatch, Job, Lease, LeaseBackend, Outcome, PairLost, run_jobs
from switchover.runner.listener import RunListener
from switchover.runner.plan_runner import add_earlier, needs_retry, report_unrun
from switchover.runner.turns import Turn
from switchover.scenarios.preflight import decide, foresee

NONE: HostNames = ("", "")


@dataclass(frozen=True)
class PairPlace:
    """A pair of hosts. ``open``: its hosts, for the time of a ``with`` block, and only under the lease."""

    choice: Choice
    open: Callable[[], AbstractContextManager[LeasedHosts]]


def execute_on_pairs(
    turns: Sequence[Turn],
    directory: RunDirectory,
    places: Sequence[PairPlace],
    backend: LeaseBackend,
    listener: RunListener,
    *,
    durations: Mapping[str, float],
    retries: int = 0,
    look: Callable[[LeasedHosts], str] | None = None,
) -> None:
    """Run all turns, each on whichever pair is free, the longest first; ``plan.json`` must be there.

    ``durations``: seconds of a repeat by id of its case, where earlier runs know them. ``retries``: so often a repeat
    that ended in an infrastructure error is run again. ``look``: why a pair is not fit for the next case; None: nobody
    looks. A pair that is lost is set aside; its case goes elsewhere once.

    An interruption, and a bug of ours, are raised again when everything has its record. An execution that goes on then
    has time to end, but is not tried again.
    """
    by_choice = {place.choice: place for place in places}
    by_id = {_name(turn): turn for turn in turns}
    lock, stop = threading.Lock(), threading.Event()
    listener.start(turns)

    def execute(job: Job, lease: Lease) -> Record:
        turn, place = by_id[job.id], by_choice[lease.choice]
        repeat = directory.repeat(turn.line.id, turn.number)
        repeat.set_aside()  # what there is of it is of a pair that was lost
        with lock:
            listener.begin(turn)
            say(f"{job.id}: on {place.choice.name}{f', after {lease.waited_s:.0f} s' if lease.waited_s >= 1 else ''}")
        left = retries
        while True:
            record = add_earlier(_run(turn, place, repeat, directory), repeat)
            if not left or stop.is_set() or not needs_retry(record):
                return record
            left -= 1
            repeat.set_aside()
            say(f"{job.id} is tried again: {record.mismatch}")

    bugs: list[BaseException] = []

    def report(outcome: Outcome[Record]) -> None:
        turn = by_id[outcome.job.id]
        if outcome.error is not None and not isinstance(outcome.error, SwitchoverError | PairLost):
            bugs.append(outcome.error)
        if outcome.result is None:
            report_unrun([turn], directory, outcome.lack or str(outcome.error or "it did not end"))
        # one that has no result may have left a record, of what ended it
        record = outcome.result or directory.find_record(turn.line.id, turn.number)
        if record is not None:
            with lock:
                listener.end(turn, record)

    def find_ailment(job: Job, lease: Lease) -> str:
        apart = by_id[job.id].apart
        if look is None or (apart is not None and not apart.needs_hosts):
            return ""
        with by_choice[lease.choice].open() as leased:
            return look(leased)

    choices = tuple(place.choice for place in places)
    jobs = [Job(_name(turn), _estimate(turn, durations), _make_setup(turn), choices) for turn in turns]
    run_jobs(jobs, backend, execute, report, find_ailment=find_ailment, stop=stop)
    if bugs:
        raise bugs[0]


def look_at_health(watch: HealthWatch) -> Callable[[LeasedHosts], str]:
    """Looks at both hosts of a pair, for :func:`execute_on_pairs`."""

    def look(leased: LeasedHosts) -> str:
        pair = leased.pair(NONE)
        hosts = {end.host.name: end.host for end in (pair.source, pair.destination)}
        return "; ".join(filter(None, (watch.find_ailment(host) for host in hosts.values())))

    return look


def _name(turn: Turn) -> str:
    return f"{turn.line.id} #{turn.number}"


def _estimate(turn: Turn, durations: Mapping[str, float]) -> float:
    return durations.get(turn.line.id, turn.line.seconds)


def _make_setup(turn: Turn) -> tuple[object, ...]:
    """What of a host is the same for cases that had better follow one another: binaries, kernel, driver, devices."""
    if turn.apart is not None:
        return ("apart",)
    return tuple((*side.programs, side.guest.driver, *side.mdev_types) for side in turn.case.sides)


def _run(turn: Turn, place: PairPlace, repeat: RepeatDirectory, directory: RunDirectory) -> Record:
    """:raises PairLost: its hosts are lost; the record of what was on them is set aside, and goes with it"""
    if turn.apart is not None and not turn.apart.needs_hosts:
        return turn.apart(turn.number, repeat, directory, {})
    try:
        with place.open() as leased:
            if turn.apart is not None:
                record = turn.apart(turn.number, repeat, directory, leased.address)
            else:
                record = _run_case(turn, leased, repeat)
            loss = leased.find_loss() if record.verdict.name is VerdictName.INFRASTRUCTURE_ERROR else ""
    except NotReady as error:
        record = make_unrun(turn.line, turn.number, str(error), datetime.now(UTC).isoformat())
        repeat.write_record(record)
        loss = str(error)
    if loss:
        raise PairLost(loss, add_earlier(record, repeat))
    return record


def _run_case(turn: Turn, leased: LeasedHosts, repeat: RepeatDirectory) -> Record:
    known = leased.ask([(turn.case, NONE)])
    case, _ = foresee(turn.case, turn.line.rule, NONE, known)
    decision = decide(case, NONE, known)
    if decision.verdict is not None:
        record = replace(make_skipped(turn.line, decision.verdict, datetime.now(UTC).isoformat()), repeat=turn.number)
        repeat.write_record(record)
        return record
    with Snapshots() as snapshots:
        context = RunContext(snapshots=snapshots)
        return run_repeat(
            case, turn.number, leased.pair(NONE), repeat, leased.fingerprint(case, NONE), context, leased.guest_place
        )
