# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases on several pairs at a time: each in a thread, under a lease of its own, and each with exactly one outcome."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from switchover.record.errors import HostLost, NotReady
from switchover.record.log import LOG, say
from switchover.runner.leases.protocol import Abandoned, Lease, LeaseBackend, NothingFree, Teller
from switchover.runner.leases.quarantine import Quarantine
from switchover.runner.leases.resources import Choice
from switchover.runner.leases.scheduling import Job, JobQueue

R = TypeVar("R")

INTERRUPTED = "interrupted"
_RELEASE_S = 10.0
"""To give back a lease, and to notice that one is not wanted any more."""
_LOOK_S = 0.2
"""How often the main thread looks whether it was interrupted, seconds."""


class PairLost(Exception):
    """The pair that a case was on cannot be used any more. ``result``: what the case came to all the same, or None."""

    def __init__(self, reason: str, result: object = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.result = result


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """How a case ended. ``result``: what its execution returned; None: there is none, and ``lack`` says why.

    ``pair``: names of source and destination, None: it was never begun. ``waited_s``: for the lease, and ``seconds``
    for the execution after that. ``error``: what the execution raised. ``earlier``: on a pair that was lost with it.
    """

    job: Job
    result: R | None = None
    lack: str = ""
    pair: tuple[str, str] | None = None
    waited_s: float = 0.0
    seconds: float = 0.0
    error: BaseException | None = None
    earlier: "tuple[Outcome[R], ...]" = ()


def run_jobs(
    jobs: Sequence[Job],
    backend: LeaseBackend,
    execute: Callable[[Job, Lease], R],
    report: Callable[[Outcome[R]], None],
    *,
    at_once: int | None = None,
    find_ailment: Callable[[Job, Lease], str] = lambda job, lease: "",
    lease_timeout_s: float = 24 * 3600.0,
    waiting: Callable[[str], None] = say,
    stop: threading.Event | None = None,
    grace_s: float = 120.0,
) -> Quarantine:
    """Run each job once, on as many pairs at a time as there are, at most ``at_once``. Returns what was set aside.

    ``execute``: runs a case on ``lease.pair``, in a thread; raises :class:`PairLost` or HostLost if the pair is lost:
    it is set aside, and the case runs once more on another one, if there is one. A case whose lease is lost meanwhile
    (:meth:`Lease.find_loss`) runs once more too. ``report``: is handed each outcome,
    one for each job whatever happens, one at a time, in a thread that no interruption reaches. ``find_ailment``: why a
    pair cannot be used, asked under the lease before a case begins; then the pair is set aside, and the case goes
    elsewhere, as often as that happens: it was not begun. ``lease_timeout_s``: a case for which no pair became free so
    long ends without a result. ``waiting``: is told who has what is waited for, unless that is this run itself.

    Interrupted, or if ``report`` raises: nothing new begins, ``stop`` is set for executions to see, which have
    ``grace_s`` seconds, none after a second interruption; all that is left is reported, and then it is raised.

    :raises UsageError: two jobs have one id
    """
    run = _Run(jobs, backend, execute, find_ailment, at_once, lease_timeout_s, waiting, stop or threading.Event())
    supervisor = threading.Thread(target=run.supervise, args=(report, grace_s), name="outcomes", daemon=True)
    interruption: KeyboardInterrupt | None = None
    while not run.over.is_set():
        try:
            with contextlib.suppress(RuntimeError):  # it was started, before an interruption
                supervisor.start()
            while not run.over.wait(_LOOK_S):
                pass
        except KeyboardInterrupt as error:
            run.end(INTERRUPTED)
            if interruption is not None:
                run.hurry()
            interruption = error
    raised = interruption or run.error
    if raised is not None:
        raise raised
    return run.quarantine


def _describe_end(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return f"the run ended: {str(error) or type(error).__name__}"


class _Run(Generic[R]):
    """What the threads of a run share, behind one lock."""

    def __init__(
        self,
        jobs: Sequence[Job],
        backend: LeaseBackend,
        execute: Callable[[Job, Lease], R],
        find_ailment: Callable[[Job, Lease], str],
        at_once: int | None,
        lease_timeout_s: float,
        waiting: Callable[[str], None],
        stop: threading.Event,
    ) -> None:
        self._backend = backend
        self._execute = execute
        self._find_ailment = find_ailment
        self._lease_timeout_s = lease_timeout_s
        self._teller = Teller(waiting)
        self._stop = stop
        self._changed = threading.Condition()
        self._queue = JobQueue(job for job in jobs if job.choices)
        self._earlier: dict[str, tuple[Outcome[R], ...]] = {}
        self._setups: dict[Choice, Hashable] = {}
        self._held: dict[Choice, Job] = {}
        self._outcomes: queue.SimpleQueue[Outcome[R]] = queue.SimpleQueue()
        self._reason = ""
        self._hurry = threading.Event()
        self._once = threading.Lock()
        self._jobs = jobs
        self.over = threading.Event()
        self.quarantine = Quarantine()
        self.error: BaseException | None = None
        pairs = {choice for job in jobs for choice in job.choices}
        self._pairs = max(1, min(at_once or len(pairs), len(pairs), len(jobs)))
        # daemons: one that waits for a lease, or does not heed the stop, must not keep the process
        self._threads = [
            threading.Thread(target=self._work, name=f"pair-{number}", daemon=True) for number in range(self._pairs)
        ]
        for job in jobs:
            if not job.choices:
                self._outcomes.put(Outcome(job, lack="there is no pair that it may run on"))

    def end(self, reason: str) -> None:
        """Nothing new begins. The first reason stays."""
        with self._changed:
            self._reason = self._reason or reason
            self._stop.set()
            self._changed.notify_all()

    def hurry(self) -> None:
        """What runs is waited for no longer."""
        self._hurry.set()

    def supervise(self, report: Callable[[Outcome[R]], None], grace_s: float) -> None:
        """Hand on one outcome for each job, as they come; then, for those that have none, why."""
        if not self._once.acquire(blocking=False):
            return
        missing = {job.id: job for job in self._jobs}
        for thread in self._threads:
            thread.start()

        def hand_on(outcome: Outcome[R]) -> None:
            if missing.pop(outcome.job.id, None) is None:
                return  # it was given up before
            try:
                report(outcome)
            except BaseException as error:
                self._fail(error)

        end_s: float | None = None
        while missing:
            try:
                hand_on(self._outcomes.get(timeout=_LOOK_S))
                continue
            except queue.Empty:
                pass
            if self._stop.is_set():
                end_s = end_s or time.monotonic() + grace_s
                late = self._hurry.is_set() or time.monotonic() >= end_s
                if (late or not self._is_executing()) and self._outcomes.empty():
                    break
            if not any(thread.is_alive() for thread in self._threads) and self._outcomes.empty():
                break
        self.end("the run ended before")
        given_up = frozenset(missing)
        for job in list(missing.values()):
            hand_on(self._lacking(job))
        # leases are given back before the run counts as over; but for those of executions that do not end
        end_s = time.monotonic() + _RELEASE_S
        while self._is_releasing(given_up) and time.monotonic() < end_s:
            for thread in self._threads:
                thread.join(_LOOK_S / 10)
        self.over.set()

    def _fail(self, error: BaseException) -> None:
        self.error = self.error if self.error is not None else error
        self.end(_describe_end(error))

    def _is_releasing(self, given_up: Collection[str]) -> bool:
        """Whether a thread is alive, but for those with a case that was ``given_up``: one whose case has its outcome is
        about to give back the lease, be it noted as held or not.
        """
        with self._changed:
            stuck = sum(job.id in given_up for job in self._held.values())
            return sum(thread.is_alive() for thread in self._threads) > stuck

    def _is_executing(self) -> bool:
        with self._changed:
            return bool(self._held)

    def _lacking(self, job: Job) -> Outcome[R]:
        """Of a job that has no outcome at the end."""
        with self._changed:
            begun = any(other is job for other in self._held.values())
        lack = f"{self._reason}, and it did not end by itself" if begun else self._reason
        return Outcome(job, lack=lack, earlier=self._earlier.get(job.id, ()))

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                with self._changed:
                    choices = self._queue.list_choices(self._setups)
                if not choices:
                    return  # what may still come back, since its pair is lost, has a thread already
                self._use_one_of(choices)
        except BaseException as error:
            self._fail(error)

    def _use_one_of(self, choices: Sequence[Choice]) -> None:
        try:
            lease = self._backend.acquire(
                choices,
                self._lease_timeout_s,
                self._tell,
                lambda: self._is_unwanted(choices),
            )
        except Abandoned:
            return
        except NotReady as error:
            self._give_up(choices, error)
            return
        with lease:
            if self._stop.is_set():
                return
            job = self._take(lease.choice)
            if job is None:
                return
            try:
                self._run_one(job, lease)
            finally:
                with self._changed:
                    del self._held[lease.choice]
                    self._changed.notify_all()

    def _is_unwanted(self, choices: Sequence[Choice]) -> bool:
        """The run ends, or others have done what was left for these pairs."""
        with self._changed:
            return self._stop.is_set() or not self._queue.has_any(choices)

    def _tell(self, text: str) -> None:
        """Several threads may wait for the same."""
        with self._changed:
            self._teller.tell(text, time.monotonic())

    def _give_up(self, choices: Sequence[Choice], error: NotReady) -> None:
        """Unless it is this run that has what was waited for: then it goes on. That is what the backend saw, if it says
        so: a thread of ours may have been given a lease, or be about to give it back, and not have it noted here.
        """
        seen_ours = isinstance(error, NothingFree) and not all(holder.news for holder in error.holders)
        with self._changed:
            if seen_ours or any(choice.overlaps(held) for choice in choices for held in self._held):
                self._changed.wait(_LOOK_S)
                return
            for job in self._queue.remove_all(choices):
                self._put(Outcome(job, lack=str(error), error=error))

    def _take(self, choice: Choice) -> Job | None:
        with self._changed:
            at_work = [self._setups[held] for held in self._held]
            job = self._queue.take(choice, self._setups.get(choice), at_work, self._pairs)
            if job is not None:
                self._held[choice] = job
                self._setups[choice] = job.setup
            return job

    def _run_one(self, job: Job, lease: Lease) -> None:
        ailment = self._ask(job, lease)
        if ailment:
            with self._changed:
                self._set_aside(lease.choice, ailment)
                self._move(job)
            return
        start = time.monotonic()

        def ended(result: R | None, lack: str = "", error: BaseException | None = None) -> Outcome[R]:
            seconds = time.monotonic() - start
            return Outcome(job, result, lack, lease.pair, lease.waited_s, seconds, error)

        try:
            result = self._execute(job, lease)
            outcome = ended(result)
            loss = lease.find_loss()
            if loss:
                # somebody else may have been on the hosts: what came of the case says nothing
                self._lose(ended(result, loss, PairLost(loss, result)))
                return
        except (PairLost, HostLost) as error:
            reason = error.reason if isinstance(error, PairLost) else str(error)
            with self._changed:
                self._set_aside(lease.choice, reason)
                self._lose(ended(getattr(error, "result", None), reason, error))
            return
        except KeyboardInterrupt as error:
            with self._changed:
                self._put(ended(None, INTERRUPTED, error))
            raise
        except BaseException as error:
            LOG.debug("%s", error, exc_info=error)
            outcome = ended(None, str(error) or type(error).__name__, error)
        with self._changed:
            self._put(outcome)

    def _lose(self, outcome: Outcome[R]) -> None:
        """The case runs once more; an outcome of its second try stays."""
        job = outcome.job
        with self._changed:
            if job.id in self._earlier or self._stop.is_set():
                self._put(outcome)
                return
            self._earlier[job.id] = (outcome,)
            self._move(job, outcome)

    def _ask(self, job: Job, lease: Lease) -> str:
        try:
            return self._find_ailment(job, lease)
        except NotReady as error:
            return str(error)

    def _set_aside(self, choice: Choice, reason: str) -> None:
        self.quarantine = self.quarantine.set_aside(choice, reason)
        say(f"{choice.name} is set aside for the rest of the run: {reason}")
        for job in self._queue.set_aside(choice):
            self._put(Outcome(job, lack=self._no_pair(job)))

    def _move(self, job: Job, outcome: Outcome[R] | None = None) -> None:
        """Elsewhere; without another pair it ends as it did, or without having begun."""
        if self._queue.put_back(job):
            return
        if outcome is not None:
            del self._earlier[job.id]
        self._put(outcome or Outcome(job, lack=self._no_pair(job)))

    def _no_pair(self, job: Job) -> str:
        return f"no pair is left for it: {self.quarantine.explain(job.choices)}"

    def _put(self, outcome: Outcome[R]) -> None:
        earlier = self._earlier.get(outcome.job.id, ())
        self._outcomes.put(
            Outcome(
                outcome.job,
                outcome.result,
                outcome.lack,
                outcome.pair,
                outcome.waited_s,
                outcome.seconds,
                outcome.error,
                earlier,
            )
        )
