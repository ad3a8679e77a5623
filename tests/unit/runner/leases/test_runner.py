# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases on several pairs: each ends in one outcome, whatever happens to pairs, leases and the run."""

import _thread
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from switchover.record.errors import HostLost, NotReady, UsageError
from switchover.runner.leases import runner
from switchover.runner.leases.flocks import FlockBackend
from switchover.runner.leases.protocol import Lease
from switchover.runner.leases.resources import Choice
from switchover.runner.leases.runner import Outcome, PairLost, run_jobs
from switchover.runner.leases.scheduling import Job

RING = [Choice((pair[0], pair[1]), frozenset(pair)) for pair in ("ab", "bc", "cd", "da")]
APART = [Choice((pair[0], pair[1]), frozenset(pair)) for pair in ("ab", "cd", "ef")]


class World:
    """Pairs and what happens on them. Fails at once when two cases use one host."""

    def __init__(self, directory: Path) -> None:
        self.backend = FlockBackend(directory / "leases", who="this run", poll_s=0.01)
        self.outcomes: list[Outcome[str]] = []
        self.used: Counter[str] = Counter()
        self.doubles = 0
        self.most = 0
        self.ran: list[tuple[str, str]] = []
        self.do: Callable[[Job, Lease], None] = lambda job, lease: time.sleep(job.seconds)
        self._lock = threading.Lock()

    def execute(self, job: Job, lease: Lease) -> str:
        with self._lock:
            self.used.update(lease.choice.resources)
            self.doubles += max(self.used.values()) > 1
            self.most = max(self.most, sum(self.used.values()) // 2)
            self.ran.append((job.id, lease.choice.name))
        try:
            self.do(job, lease)
            return f"{job.id} on {lease.choice.name}"
        finally:
            with self._lock:
                self.used.subtract(lease.choice.resources)

    def run(self, jobs: Sequence[Job], **options: object) -> dict[str, Outcome[str]]:
        """Outcomes by job, when each has exactly one."""
        run_jobs(jobs, self.backend, self.execute, self.outcomes.append, **options)  # type: ignore[arg-type]
        return self.by_job(jobs)

    def by_job(self, jobs: Sequence[Job]) -> dict[str, Outcome[str]]:
        assert sorted(outcome.job.id for outcome in self.outcomes) == sorted(job.id for job in jobs)
        assert all((outcome.result is None) or not outcome.lack or outcome.error for outcome in self.outcomes)
        assert self.backend.list_holders() == []
        return {outcome.job.id: outcome for outcome in self.outcomes}


@pytest.fixture(autouse=True)
def interruption() -> Iterator[None]:
    """Python's own, whatever the command line has made of it in another test."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def make_jobs(count: int, choices: Sequence[Choice] = APART, seconds: float = 0.001) -> list[Job]:
    return [Job(f"j{number}", seconds, "", tuple(choices)) for number in range(count)]


def test_all_pairs_at_work(world: World) -> None:
    """Three pairs that have nothing in common are used at once, no host twice, and results are handed on."""
    three = threading.Barrier(3)

    def work(job: Job, lease: Lease) -> None:
        three.wait(10)
        time.sleep(0.01)

    world.do = work
    found = world.run(make_jobs(12))
    assert all(outcome.result == f"{name} on {'-'.join(outcome.pair or ())}" for name, outcome in found.items())
    assert (world.most, world.doubles) == (3, 0)
    assert len({pair for _, pair in world.ran}) == 3
    assert all(outcome.seconds >= 0.01 for outcome in found.values())


def test_pairs_that_overlap(world: World) -> None:
    """Of four pairs in a ring two at a time are used, and who waits for whom within the run is told nobody."""
    told: list[str] = []
    two = threading.Barrier(2)

    def work(job: Job, lease: Lease) -> None:
        two.wait(10)

    world.do = work
    world.run(make_jobs(20, RING), waiting=told.append)
    assert (world.most, world.doubles, told) == (2, 0, [])


def test_so_many_at_once(world: World) -> None:
    """No more than was asked for."""
    world.run(make_jobs(6, seconds=0.01), at_once=1)
    assert world.most == 1
    assert [name for name, _ in world.ran] == [f"j{number}" for number in range(6)]


def test_leases_are_given_back_before_the_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also that of a case whose outcome is there already, when its thread does not get to run after that."""
    real = runner._Run._run_one

    def run_one(self: Any, job: Job, lease: Lease) -> None:
        real(self, job, lease)
        time.sleep(0.5)

    monkeypatch.setattr(runner._Run, "_run_one", run_one)
    assert world.run(make_jobs(1))["j0"].result  # which sees to the leases


def test_a_pair_that_others_have(world: World) -> None:
    """It is waited for where nothing else can run the case, which is told, and is no time of the case."""
    told: list[str] = []
    times: list[float] = []
    other = FlockBackend(world.backend._directory, who="another run").acquire([APART[0]], 1)

    def hear(text: str) -> None:
        told.append(text)
        times.append(time.monotonic())
        time.sleep(0.05)
        times.append(time.monotonic())
        other.release()

    found = world.run([*make_jobs(1, APART[:1], 0.0)], waiting=hear)
    ended = time.monotonic()
    assert told[0].startswith("a-b: a is leased by another run since ")
    assert found["j0"].waited_s >= times[1] - times[0]
    assert found["j0"].seconds <= ended - times[1]


def test_a_pair_that_does_not_become_free(world: World) -> None:
    """Its cases end without a result, with who has it; others are not disturbed."""
    with FlockBackend(world.backend._directory, who="another run").acquire([APART[0]], 1):
        jobs = [Job("stuck", 1, "", (APART[0],)), Job("fine", 0.3, "", (APART[1],))]
        run_jobs(
            jobs, world.backend, world.execute, world.outcomes.append, lease_timeout_s=0.05, waiting=lambda t: None
        )
    found = world.by_job(jobs)
    assert "a is leased by another run" in found["stuck"].lack
    assert (found["stuck"].pair, found["fine"].result) == (None, "fine on c-d")


def test_a_lease_that_is_not_wanted_any_more(world: World) -> None:
    """Who waits for a pair that others have does so no longer than the run lasts, and leaves its place in the queue."""
    jobs = make_jobs(2, APART[:1])
    with FlockBackend(world.backend._directory, who="another run").acquire([APART[0]], 1):
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            run_jobs(
                jobs, world.backend, world.execute, world.outcomes.append, waiting=lambda _: _thread.interrupt_main()
            )
        assert time.monotonic() - start < 60
        assert list((world.backend._directory / "waiting").iterdir()) == []
    assert [outcome.lack for outcome in world.outcomes] == ["interrupted"] * 2


def test_ones_own_pairs_are_waited_for(world: World) -> None:
    """A case that waits for another one of the same run is not given up, however long that takes: nor if its time is up
    when the other has been given its lease and does not know yet, or has ended and is about to give it back.
    """
    timeouts = threading.Semaphore(0)
    first = threading.Lock()

    def wait_for_timeout() -> None:
        assert timeouts.acquire(timeout=60)

    def acquire(choices: Sequence[Choice], *arguments: Any) -> Lease:
        try:
            lease = real(choices, *arguments)
        except NotReady:
            timeouts.release()
            raise
        if not first.acquire(blocking=False):
            return lease
        wait_for_timeout()

        def give_back() -> None:
            wait_for_timeout()
            lease.release()

        return Lease(lease.choice, give_back)

    def work(job: Job, lease: Lease) -> None:
        if len(world.ran) == 1:
            wait_for_timeout()

    real = world.backend.acquire
    world.backend.acquire = acquire  # type: ignore[method-assign, assignment]
    world.do = work
    jobs = [Job("long", 0.3, "", (RING[0],)), Job("next", 0.0, "", (RING[1],))]
    found = world.run(jobs, lease_timeout_s=0.02)
    assert (found["long"].result, found["next"].result) == ("long on a-b", "next on b-c")


@pytest.mark.parametrize("loss", [PairLost("b is gone", "a record"), HostLost("b is gone")])
def test_a_pair_that_is_lost(world: World, loss: Exception) -> None:
    """The case runs once more elsewhere, both outcomes are told, and the pair is not used again."""

    def lose(job: Job, lease: Lease) -> None:
        if lease.choice is APART[0]:
            raise loss

    world.do = lose
    found = world.run(make_jobs(8))
    assert all(outcome.result for outcome in found.values())
    assert [pair for _, pair in world.ran].count("a-b") == 1
    (moved,) = [outcome for outcome in found.values() if outcome.earlier]
    assert (moved.earlier[0].pair, moved.earlier[0].lack) == (("a", "b"), "b is gone")
    assert moved.earlier[0].result == getattr(loss, "result", None)
    assert moved.pair != ("a", "b")


def test_a_lease_that_is_lost(world: World) -> None:
    """What came of the case says nothing, since others may have been on its hosts: it runs once more, and no more; the
    pair stays in use.
    """
    lost = Counter[str]()

    def acquire(choices: Sequence[Choice], *arguments: Any) -> Lease:
        lease = real(choices, *arguments)
        return Lease(lease.choice, lease.release, find_loss=find_loss)

    def find_loss() -> str:
        name = world.ran[-1][0]
        lost[name] += 1
        return "it was given to a person" if name == "bad" or (name == "j0" and lost[name] == 1) else ""

    real = world.backend.acquire
    world.backend.acquire = acquire  # type: ignore[method-assign, assignment]
    found = world.run([Job("bad", 0.01, "", (APART[0],)), *make_jobs(2, APART[:1])])
    assert Counter(name for name, _ in world.ran) == {"bad": 2, "j0": 2, "j1": 1}
    assert (found["bad"].result, found["bad"].lack) == ("bad on a-b", "it was given to a person")
    assert (found["j0"].result, found["j0"].lack, len(found["j0"].earlier)) == ("j0 on a-b", "", 1)


def test_a_case_that_loses_pairs(world: World) -> None:
    """It is not let loose on a third one."""

    def lose(job: Job, lease: Lease) -> None:
        if job.id == "bad":
            raise PairLost(f"{lease.choice.name} died", "infra")

    world.do = lose
    found = world.run([Job("bad", 0.01, "", tuple(APART)), *make_jobs(4)])
    assert [name for name, _ in world.ran].count("bad") == 2
    assert found["bad"].result == "infra"
    assert len(found["bad"].earlier) == 1
    assert all(found[f"j{number}"].result for number in range(4))


def test_no_pair_is_left(world: World) -> None:
    """Cases that a lost pair alone could run end with the reason; the one that was on it with what it came to."""

    def lose(job: Job, lease: Lease) -> None:
        raise PairLost("the wire was cut", "infra")

    world.do = lose
    found = world.run(make_jobs(3, APART[:1]))
    assert [found[f"j{number}"].result for number in range(3)] == ["infra", None, None]
    assert found["j0"].earlier == ()
    assert found["j2"].lack == "no pair is left for it: a-b: the wire was cut"


def test_a_pair_that_ails(world: World) -> None:
    """It is set aside before a case begins there; the case goes on looking, however many of them ail."""

    def probe(job: Job, lease: Lease) -> str:
        if lease.choice is APART[1]:
            raise HostLost("d does not answer")
        return "a QEMU of ours still runs" if lease.choice is APART[0] else ""

    jobs = [*make_jobs(5), Job("only", 1, "", (APART[0],))]
    quarantine = run_jobs(jobs, world.backend, world.execute, world.outcomes.append, find_ailment=probe)
    found = world.by_job(jobs)
    assert {pair for _, pair in world.ran} == {"e-f"}
    assert {choice.name: reason for choice, reason in quarantine.reasons.items()} == {
        "a-b": "a QEMU of ours still runs",
        "c-d": "d does not answer",
    }
    assert found["only"].lack == "no pair is left for it: a-b: a QEMU of ours still runs"
    assert all(found[f"j{number}"].earlier == () for number in range(5))


def test_an_execution_that_fails(world: World) -> None:
    """What it raised is its outcome; others go on, and on that pair too."""

    def fail(job: Job, lease: Lease) -> None:
        if job.id == "j1":
            raise ZeroDivisionError
        if job.id == "j2":
            raise NotReady("no image")

    world.do = fail
    found = world.run(make_jobs(4, APART[:1]))
    assert [found[f"j{number}"].lack for number in range(4)] == ["", "ZeroDivisionError", "no image", ""]


def test_interrupted(world: World) -> None:
    """Ctrl-C: what runs is told to stop and has its outcome, nothing else begins, and each case is reported."""
    stop = threading.Event()
    begun = threading.Event()

    def work(job: Job, lease: Lease) -> None:
        if not begun.is_set():
            begun.set()
            _thread.interrupt_main()
        assert stop.wait(10)

    world.do = work
    jobs = make_jobs(9)
    with pytest.raises(KeyboardInterrupt):
        world.run(jobs, stop=stop)
    found = world.by_job(jobs)
    ran = {name for name, _ in world.ran}
    assert 1 <= len(ran) <= 3
    assert all(found[name].result for name in ran)
    assert {found[job.id].lack for job in jobs if job.id not in ran} == {"interrupted"}


def test_an_execution_that_does_not_heed_the_stop(world: World) -> None:
    """It is waited for no longer than that, and is reported as what it is."""
    end = threading.Event()

    def work(job: Job, lease: Lease) -> None:
        _thread.interrupt_main()
        end.wait(60)

    world.do = work
    jobs = make_jobs(2, APART[:1])
    with pytest.raises(KeyboardInterrupt):
        run_jobs(jobs, world.backend, world.execute, world.outcomes.append, grace_s=0.1)
    end.set()
    lacks = {outcome.job.id: outcome.lack for outcome in world.outcomes}
    assert lacks == {"j0": "interrupted, and it did not end by itself", "j1": "interrupted"}


def test_interrupted_twice(world: World) -> None:
    """Who presses Ctrl-C again does not wait for executions."""
    stop, end = threading.Event(), threading.Event()

    def work(job: Job, lease: Lease) -> None:
        _thread.interrupt_main()
        assert stop.wait(10)
        _thread.interrupt_main()
        end.wait(60)

    world.do = work
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_jobs(make_jobs(1), world.backend, world.execute, world.outcomes.append, stop=stop, grace_s=600)
    assert time.monotonic() - start < 60
    end.set()
    assert [outcome.lack for outcome in world.outcomes] == ["interrupted, and it did not end by itself"]


def test_a_report_that_fails(world: World) -> None:
    """A full disk ends the run with its error, and all cases were handed on once all the same."""
    handed: list[str] = []

    def report(outcome: Outcome[str]) -> None:
        handed.append(outcome.job.id)
        if len(handed) == 2:
            raise OSError("no space")

    jobs = make_jobs(30, APART[:1])
    with pytest.raises(OSError, match="no space"):
        run_jobs(jobs, world.backend, world.execute, report)
    assert sorted(handed) == sorted(job.id for job in jobs)
    assert len(world.ran) < 30


def test_a_backend_that_breaks(world: World) -> None:
    """A bug of a backend ends the run with it, after each case was reported."""

    class Broken:
        def acquire(self, *arguments: object) -> Lease:
            raise ZeroDivisionError("broken")

    outcomes: list[Outcome[str]] = []
    with pytest.raises(ZeroDivisionError):
        run_jobs(make_jobs(3), Broken(), world.execute, outcomes.append)
    assert [outcome.lack for outcome in outcomes] == ["the run ended: broken"] * 3


def test_jobs_without_a_pair(world: World) -> None:
    """Nothing to run, a case with no pair to run on, and two cases of one id."""
    assert world.run([]) == {}
    assert world.run([Job("x", 1, "", ())])["x"].lack == "there is no pair that it may run on"
    with pytest.raises(UsageError):
        world.run([*make_jobs(1), *make_jobs(1)])


PLANS = st.lists(
    st.tuples(
        st.sampled_from(["fine", "loses", "fails"]),
        st.sampled_from(["k1", "k2"]),
        st.sets(st.sampled_from(range(4)), max_size=4),
    ),
    max_size=12,
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=PLANS, ailing=st.sets(st.sampled_from(range(4)), max_size=3), at_once=st.integers(1, 4))
def test_planned_is_reported(
    tmp_path: Path, rows: list[tuple[str, str, set[int]]], ailing: set[int], at_once: int
) -> None:
    """Whatever cases do to pairs, each ends in one outcome, runs at most twice, never beside another on one host."""
    world = World(tmp_path)

    def do(job: Job, lease: Lease) -> None:
        if "loses" in job.id:
            raise PairLost("lost")
        if "fails" in job.id:
            raise ValueError("failed")

    world.do = do
    jobs = [
        Job(f"{number}-{what}", 0.001, setup, tuple(RING[index] for index in sorted(on)))
        for number, (what, setup, on) in enumerate(rows)
    ]
    bad = [RING[index] for index in ailing]
    found = world.run(
        jobs,
        at_once=at_once,
        find_ailment=lambda job, lease: "ails" if lease.choice in bad else "",
        waiting=lambda t: None,
    )
    assert world.doubles == 0
    assert max(Counter(name for name, _ in world.ran).values(), default=0) <= 2
    for job in jobs:
        if "fine" in job.id and found[job.id].result is None:
            assert set(job.choices) <= set(bad) or any("loses" in other.id for other in jobs) or not job.choices
