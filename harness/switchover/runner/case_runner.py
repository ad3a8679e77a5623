# SPDX-License-Identifier: GPL-2.0-or-later
"""One repeat of a case: devices, guests, migration, checks, record, release (always)."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from switchover.checks.faults import list_faults
from switchover.guests.places import GuestPlace, number_of
from switchover.guests.qemu import QemuGuest
from switchover.guests.snapshots import NotRestored, Snapshots
from switchover.hosts.loop import LoopThread
from switchover.hosts.qmp import QmpSession
from switchover.lab.starvation import StarvationMeter
from switchover.migration.phases import Action
from switchover.migration.session import Sample
from switchover.probes.probe import RunningProbe
from switchover.record.errors import Refused, SwitchoverError
from switchover.record.log import LOG, say
from switchover.record.measurement import NotChecked
from switchover.record.mismatch import Mismatch, render_mismatches
from switchover.record.record import Record, Verdict, VerdictName
from switchover.record.rundir import RepeatDirectory
from switchover.repro.script import SCRIPT, render_script
from switchover.runner.attempt import Attempt
from switchover.runner.chain import (
    TriedHop,
    expect_of_hop,
    find_chain_mismatches,
    judge_chain,
    merge_attempts,
    render_hops,
)
from switchover.runner.ending import find_ending
from switchover.runner.guest_session import GuestSession, migrate_again, start_guest_session
from switchover.runner.hold_on_failure import HoldOnFailure
from switchover.runner.host_pair import HostPair
from switchover.runner.listener import RunListener
from switchover.runner.shared_guest import SharedGuest
from switchover.runner.side import Side
from switchover.runner.verdict import judge_attempt, judge_error
from switchover.scenarios.case import Case, in_place
from switchover.scenarios.expectation import find_mismatches
from switchover.scenarios.recorded import render_settings


@dataclass
class Stopwatch:
    """Where the time goes: seconds by step, one after the other, and the step that is going on.

    ``hop``: of a chain, the number of the hop that is going on; the steps of the second one on have it in their names.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    step: str = ""
    hop: int = 1
    _name: str = ""
    _since: float = 0.0

    def begin(self, step: str) -> None:
        """End the step before and begin another."""
        self.end()
        self.step, self._since = step, time.monotonic()
        self._name = f"hop {self.hop}: {step}" if self.hop > 1 else step
        LOG.debug("step: %s", step)

    def end(self) -> None:
        if self.step:
            self.seconds[self._name] = round(time.monotonic() - self._since, 3)


@dataclass(frozen=True)
class RunContext:
    """What a repeat has of the run that it is in.

    ``listener``: is told where it is. ``keeper``: keeps the guests of a case that is not as expected; None: they are
    released. ``snapshots``: where warm guests come from and stay for the next repeat; see :func:`start_guest_session`.
    ``shared``: the guest that cases share; None: each has one of its own.
    """

    listener: RunListener = field(default_factory=RunListener)
    keeper: HoldOnFailure | None = None
    snapshots: Snapshots | None = None
    shared: SharedGuest | None = None

    def alone(self) -> "RunContext":
        """The same for a case with a guest of its own: one that is shared has the same address, and ends before."""
        if self.shared is not None:
            self.shared.end()
        return replace(self, shared=None)


def run_repeat(
    case: Case,
    number: int,
    pair: HostPair,
    directory: RepeatDirectory,
    fingerprint: Mapping[str, Any],
    context: RunContext | None = None,
    place: GuestPlace | None = None,
) -> Record:
    """Run a case once and leave its record in ``directory``, whatever happens.

    ``place``: where its guest is on the network (:func:`switchover.scenarios.case.in_place`); None: where the case
    says, and no other guest may be there. Its number is in the fingerprint; the settings are those of the case.

    Errors of the product and of the environment become verdicts; an interruption and a bug of ours are recorded and
    then raised again.
    """
    started, began_s = datetime.now(UTC).isoformat(), time.monotonic()
    watch = Stopwatch()
    attempt = Attempt(None, {}, {"reason": "there was no migration"})
    verdict = Verdict(VerdictName.INFRASTRUCTURE_ERROR, reason="the repeat did not end")
    found: dict[str, Any] = dict(fingerprint)
    meter = StarvationMeter(pair.lab_hosts())
    starved: list[str] = []
    ended_by: BaseException | None = None

    def find_starved(begin_s: float, end_s: float) -> str:
        if words := meter.find_starved(begin_s, end_s):
            starved.append(words)
        return words

    placed = in_place(case, place) if place else case
    tried: list[TriedHop] = []
    verdicts: list[Verdict] = []
    try:
        context = context or RunContext()
        try:
            _execute(placed, pair, watch, directory, found, context, tried)
        except NotRestored as error:
            say(f"{error.what} It is made again, once. {error.why}")
            _forget_saved(error, pair, context)
            found["guest_made_again"] = str(error)
            _execute(placed, pair, watch, directory, found, context, tried)
        verdicts = [judge_attempt(hop.attempt, find_starved, began_s) for hop in tried]
        verdict = judge_chain(verdicts) if case.then else verdicts[-1]
    except SwitchoverError as error:
        verdict, ended_by = judge_error(error, watch.step, find_starved), error
    except BaseException as error:
        verdict, ended_by = judge_error(error, watch.step), error
        raise
    finally:
        meter.close()
        watch.end()
        if tried:
            attempt = merge_attempts(tried) if case.then else tried[-1].attempt
        if case.then and len(verdicts) < len(tried):  # an error came after them
            verdicts = [judge_attempt(hop.attempt) for hop in tried]
        if case.then and ended_by is not None:
            verdict = replace(verdict, hop=watch.hop)
        result = attempt.result
        record = Record(
            case=case.id,
            repeat=number,
            started=started,
            verdict=verdict,
            expectation=asdict(case.expectation),
            mismatch=render_mismatches(mismatches := _find_mismatches(case, verdict, attempt, tried, verdicts)),
            mismatches=mismatches,
            deaths=attempt.deaths,
            settings=render_settings(case),
            fingerprint=found,
            seconds=watch.seconds,
            measurements=attempt.measurements,
            checks=attempt.checks,
            not_checked=attempt.not_checked,
            downtime=attempt.downtime,
            states=attempt.states,
            properties=attempt.properties,
            clocks={side: asdict(clock) for side, clock in result.clocks.items()} if result and not case.then else {},
            interventions=tuple(asdict(intervened) for intervened in attempt.interventions),
            limits=tuple(asdict(limit) for limit in result.limits) if result else (),
            driver=result.driver if result else {},
            ending=find_ending(verdict.name, attempt, ended_by, starved=bool(starved)),
            hops=render_hops(tried, verdicts) if case.then else (),
        )
        for number, hop in enumerate(tried, start=1):
            if hop.attempt.result and (samples := hop.attempt.result.job_samples):
                of_hop = directory.hop(number) if case.then else directory
                of_hop.write_lines("job.jsonl", ({"at_ns": one.at_ns, "job": dict(one.reply)} for one in samples))
        directory.write_record(record)
        _write_script(record, directory)
    return record


def _find_mismatches(
    case: Case, verdict: Verdict, attempt: Attempt, tried: Sequence[TriedHop], verdicts: Sequence[Verdict]
) -> tuple[Mismatch, ...]:
    """A case that its guest cannot take part in is like one that the preflight leaves out: neither right nor wrong."""
    if verdict.name is VerdictName.NOT_SUPPORTED:
        return ()
    if case.then:
        return find_chain_mismatches(case, verdict, tried, verdicts)
    return find_mismatches(
        case.expectation, verdict, attempt.checks, list_faults(case), attempt.deaths, attempt.not_checked
    )


class _Keeping(RunListener):
    """Keeps all that a repeat leaves, and tells the run's listener where it is.

    ``is_second``: what goes on is another migration, of which only evidence is kept.
    """

    def __init__(
        self,
        case: Case,
        pair: HostPair,
        watch: Stopwatch,
        directory: RepeatDirectory,
        found: dict[str, Any],
        context: RunContext,
    ) -> None:
        self._case, self._pair, self._watch, self._directory = case, pair, watch, directory
        self._found, self._context = found, context
        self._place = directory
        self._samples: list[Sample] = []
        self.qemu: dict[str, Any] = {}
        self.is_second = False

    @property
    def place(self) -> RepeatDirectory:
        """Where files of the migration that goes on are kept."""
        return self._place

    def begin_hop(self, number: int) -> None:
        """Of a chain: what comes from here on is of this hop, whose files are in a directory of its own."""
        self.keep_samples()
        self._place, self._watch.hop = self._directory.hop(number), number

    def keep_samples(self) -> None:
        if self._samples or not self._case.then:
            self._place.write_lines("samples.jsonl", _render_samples(self._samples))
        self._samples = []

    def step(self, step: str) -> None:
        if not self.is_second:
            self._watch.begin(step)
            self._context.listener.step(step)

    def sample(self, sample: Sample) -> None:
        if not self.is_second:
            self._samples.append(sample)
            self._context.listener.sample(sample)

    def sides_started(self, source: Side, destination: Side) -> None:
        """The versions of both QEMUs, what runs them, and the functions are facts of the repeat."""
        sides = (("source", source), ("destination", destination))
        self.qemu = {name: side.guest.qmp.execute("query-version") for name, side in sides if side.guest.has_begun}
        self._found.setdefault("qemu", self.qemu)
        if run_by := {name: side.guest.run_by for name, side in sides if side.guest.run_by}:
            self._found.setdefault("run by", run_by)
        for name, side in sides:
            for device, function in side.functions.items():
                self._found.setdefault("functions", {}).setdefault(f"{name} {device}", function.describe())

    def probe_ended(self, probe: RunningProbe) -> None:
        """Its evidence is kept, also of a migration that did not complete."""
        if not self.is_second:
            for name, lines in probe.collect().items():
                self._place.write_lines(name, lines)

    def attempted(self, case: Case, source: Side, destination: Side | None, came_to: Attempt | SwitchoverError) -> None:
        if self._context.keeper is not None:
            # of a second migration, too, what is kept belongs to the case
            tried = replace(case, id=self._case.id)
            if self._case.then:
                completed = isinstance(came_to, Attempt) and judge_attempt(came_to).name is VerdictName.COMPLETED
                tried = replace(tried, expectation=expect_of_hop(self._case, self._watch.hop, completed=completed))
            self._context.keeper.keep_if_wrong(tried, source, destination, came_to, self._pair, self._directory)

    def release(self, guest: QemuGuest, name: str) -> None:
        _keep_evidence(guest, name, self._place)


def _execute(
    case: Case,
    pair: HostPair,
    watch: Stopwatch,
    directory: RepeatDirectory,
    found: dict[str, Any],
    context: RunContext,
    tried: list[TriedHop],
) -> None:
    """``tried``: gets each migration that was tried, of a chain or a single one."""
    pair = pair.for_guest(case.source.guest)
    keeper = context.keeper
    listener = _Keeping(case, pair, watch, directory, found, context)
    with contextlib.ExitStack() as stack:
        stack.callback(listener.keep_samples)
        shared = context.shared
        if shared is not None and not shared.accepts(case.source):
            shared = context.alone().shared
        if shared is not None:
            stack.enter_context(_ended_on_error(shared))
            guest_session = shared.take(case, pair, listener, context.snapshots)
            _turn_facts(found, pair, guest_session)
        else:
            loop = stack.enter_context(LoopThread())
            guest_session = stack.enter_context(
                start_guest_session(case.source, pair, loop, listener, context.snapshots)
            )
        found["guest"] = _describe_guest(guest_session, case)
        for number, hop in enumerate(case.list_hops(), start=1):
            wanted = hop
            if case.then:
                listener.begin_hop(number)
                wanted = replace(hop, expectation=expect_of_hop(case, number))
            _try_hop(wanted, guest_session, listener, tried)
            if judge_attempt(tried[-1].attempt).name is not VerdictName.COMPLETED:
                break
        attempt = tried[-1].attempt
        kept = keeper is not None and keeper.used
        subject = shared is not None and shared.is_subject
        if not kept and not subject and _calls_for_another(attempt):
            listener.step("second migration")
            listener.is_second = True
            again = migrate_again(guest_session, tried[-1].case, "second destination")
            if isinstance(again, NotChecked):
                attempt = replace(attempt, not_checked=(*attempt.not_checked, again))
            else:
                attempt = replace(attempt, checks=(*attempt.checks, again))
            tried[-1] = replace(tried[-1], attempt=attempt)
        listener.is_second = False
        listener.step("release")
        if shared is not None:
            _leave(shared, guest_session, attempt, case, listener.place)


def _try_hop(hop: Case, guest_session: GuestSession, listener: _Keeping, tried: list[TriedHop]) -> None:
    """One migration, and what came of it among those that were tried."""
    ends = guest_session.pair
    hosts = {"source": ends.source.host.name, "destination": ends.destination.host.name}
    attempt = guest_session.attempt(hop, recordings=listener.place.path)
    tried.append(TriedHop(hop, attempt, hosts, listener.qemu))


@contextlib.contextmanager
def _ended_on_error(shared: SharedGuest) -> Iterator[None]:
    """A guest that an error left behind is not the next case's, unless it is the subject and lives."""
    try:
        yield
    except SwitchoverError:
        if not (
            shared.is_subject and shared.guest_session is not None and not shared.guest_session.side.guest.is_dead()
        ):
            shared.end()
        raise
    except BaseException:
        shared.end()
        raise


def _leave(
    shared: SharedGuest, guest_session: GuestSession, attempt: Attempt, case: Case, directory: RepeatDirectory
) -> None:
    """Let the next case have the guest, if nothing is wrong with it; what its QEMU left so far is kept here.

    One that has suspended itself is not the same any more: seen with QEMU 10.0 and q35, it does not suspend itself a
    second time (its kernel wakes at once, QEMU tells no SUSPEND), and lets no device go.
    """
    guest = guest_session.side.guest
    blocked = isinstance(attempt.error, Refused)
    well = (blocked or attempt.checks) and all(check.passed for check in attempt.checks)
    well = well and not case.does(Action.SUSPEND_GUEST)
    if attempt.ended != "source" and (well or shared.is_subject):
        _keep_evidence(guest, guest.side, directory)
        shared.leave()
    else:
        shared.end()


def _turn_facts(found: dict[str, Any], pair: HostPair, guest_session: GuestSession) -> None:
    """What the pair's hosts are is told by side, and a shared guest may go the other way."""
    if guest_session.pair.source.host.name != pair.source.host.name:
        found["source"], found["destination"] = found.get("destination", {}), found.get("source", {})


def _calls_for_another(attempt: Attempt) -> bool:
    """Whether a guest has stayed that a migration was started of."""
    completed = attempt.result is not None and attempt.result.status == "completed"
    return not completed and attempt.ended != "source" and not isinstance(attempt.error, Refused)


def _describe_guest(guest_session: GuestSession, case: Case) -> dict[str, Any]:
    """How the guest began, and which migration of its life this is, for the fingerprint: what it was restored from is
    part of what the repeat ran on.
    """
    beginning = guest_session.beginning
    told: dict[str, Any] = {"start": beginning.start, "migration": guest_session.migrations + 1}
    if beginning.reason:
        told["reason"] = beginning.reason
    if (place := number_of(case.source.guest)) > 1:
        told["place"] = place
    return {**told, **(guest_session.saved.describe() if guest_session.saved else {})}


def _forget_saved(error: NotRestored, pair: HostPair, context: RunContext) -> None:
    if context.shared is not None:
        context.shared.end()
    snapshots = context.snapshots or Snapshots()  # one of its own is gone, and its image is in the store
    snapshots.forget(error.saved, pair.source.lab)


def _render_samples(samples: Sequence[Sample]) -> Iterator[Mapping[str, Any]]:
    for sample in list(samples):
        yield {"at_ns": sample.at_ns, "query-migrate": dict(sample.reply)}


def _keep_evidence(guest: QemuGuest, name: str, directory: RepeatDirectory) -> None:
    """All that one side left, into the repeat's directory; never stands in the way of release."""
    name = name.replace(" ", "-")
    try:
        evidence = guest.collect_evidence()
        directory.write_text(f"{name}.command", evidence.command + "\n")
        directory.write_text(f"{name}.console", evidence.console)
        directory.write_text(f"{name}.trace", evidence.log)
        directory.write_text(f"{name}.stderr", evidence.stderr)
        if evidence.domain:
            directory.write_text(f"{name}.xml", evidence.domain)
            directory.write_lines(f"{name}.libvirt.jsonl", evidence.domain_events)
        if hasattr(guest, "qmp"):  # else its monitor never answered
            directory.write_lines(f"{name}.qmp.jsonl", _transcript(guest.qmp))
            directory.write_lines(f"{name}.events.jsonl", _events(guest.qmp))
    except Exception as error:
        LOG.debug("evidence of %s: %s", name, error)
        say(f"not all evidence of the {name} could be kept: {error}")


def _write_script(record: Record, directory: RepeatDirectory) -> None:
    """``repro.sh`` beside the record; never hides what ended the repeat."""
    try:
        directory.write_text(SCRIPT, render_script(record))
    except Exception as error:
        LOG.debug("%s", SCRIPT, exc_info=True)
        say(f"no {SCRIPT} could be written: {error}")


def _transcript(qmp: QmpSession) -> Iterator[Mapping[str, Any]]:
    for line in list(qmp.transcript):
        yield {"at_ns": line.at_ns, line.direction: dict(line.message)}


def _events(qmp: QmpSession) -> Iterator[Mapping[str, Any]]:
    for event in list(qmp.events):
        yield {"arrived_ns": event.arrived_ns, "qemu_ns": event.qemu_ns, "event": event.name, "data": dict(event.data)}
