# SPDX-License-Identifier: GPL-2.0-or-later
"""Which case runs next: an order in which pairs are busy to the end and set-ups are made seldom."""

import heapq
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.record.errors import UsageError
from switchover.runner.leases.resources import Choice
from switchover.runner.leases.scheduling import Job, JobQueue

PAIRS = [Choice((name, name), frozenset({name})) for name in "abcd"]


def carry_out(jobs: Sequence[Job], pairs: Sequence[Choice]) -> tuple[float, list[tuple[float, Choice, Job]]]:
    """When the last job ends, and when and where each begins, without any waiting."""
    queue = JobQueue(jobs)
    free = [(0.0, number) for number in range(len(pairs))]
    setups: dict[Choice, str | None] = dict.fromkeys(pairs)
    begun: list[tuple[float, Choice, Job]] = []
    end_s = 0.0
    while free:
        now_s, number = heapq.heappop(free)
        at_work = [setups[pairs[other]] for _, other in free]
        job = queue.take(pairs[number], setups[pairs[number]], at_work, len(pairs))
        if job is not None:
            setups[pairs[number]] = str(job.setup)
            begun.append((now_s, pairs[number], job))
            end_s = max(end_s, now_s + job.seconds)
            heapq.heappush(free, (now_s + job.seconds, number))
    assert len(queue) == 0
    return end_s, begun


def count_setups(begun: Sequence[tuple[float, Choice, Job]]) -> int:
    """How often a pair has to be set up for a job."""
    last: dict[Choice, object] = {}
    count = 0
    for _, pair, job in begun:
        count += last.get(pair) != job.setup
        last[pair] = job.setup
    return count


JOBS = st.lists(
    st.tuples(
        st.integers(1, 50), st.sampled_from(["one", "two", "three"]), st.sets(st.sampled_from(PAIRS), min_size=1)
    ),
    min_size=1,
    max_size=20,
).map(
    lambda rows: [
        Job(str(n), s, setup, tuple(sorted(on, key=lambda c: c.pair))) for n, (s, setup, on) in enumerate(rows)
    ]
)


@given(jobs=JOBS)
def test_each_job_once_where_it_may(jobs: list[Job]) -> None:
    """Nothing is lost, nothing is done twice, and everything where it may run."""
    _, begun = carry_out(jobs, PAIRS)
    assert sorted(job.id for _, _, job in begun) == sorted(job.id for job in jobs)
    assert all(pair in job.choices for _, pair, job in begun)


@given(seconds=st.lists(st.integers(1, 50), min_size=1, max_size=20), count=st.integers(1, 4))
def test_longest_first(seconds: list[int], count: int) -> None:
    """With one set-up, in the order of their length; so it takes at most 4/3 of the shortest time (Graham 1969)."""
    pairs = PAIRS[:count]
    end_s, begun = carry_out([Job(str(n), s, "", tuple(pairs)) for n, s in enumerate(seconds)], pairs)
    assert [job.seconds for _, _, job in begun] == sorted(seconds, reverse=True)
    # no schedule is shorter than either of these, nor than the two that share a pair where there are more than pairs
    longest = sorted(seconds, reverse=True)
    shortest_s = max(
        sum(seconds) / count, longest[0], sum(longest[count - 1 : count + 1]) if len(seconds) > count else 0
    )
    assert end_s <= 4 / 3 * shortest_s + max(seconds) / 3


def test_one_setup_after_the_other() -> None:
    """Eight cases of each of four set-ups on four pairs: each pair is set up once, though their lengths are mixed."""
    jobs = [Job(f"{setup}{n}", 10 + n, setup, tuple(PAIRS)) for setup in ("k1", "k2", "k3", "k4") for n in range(8)]
    end_s, begun = carry_out(jobs, PAIRS)
    assert count_setups(begun) == 4
    assert end_s == sum(job.seconds for job in jobs) / 4


def test_pairs_help_each_other() -> None:
    """A set-up with far more to do than others is worked at by several pairs."""
    jobs = [Job(f"big{n}", 10, "big", tuple(PAIRS)) for n in range(28)]
    jobs += [Job(f"small{n}", 10, "small", tuple(PAIRS)) for n in range(4)]
    end_s, begun = carry_out(jobs, PAIRS)
    assert end_s == 80
    assert count_setups(begun) <= 5


def test_a_new_setup_comes_before_help() -> None:
    """Where a set-up at work and one that is not lack as much of a pair, the new one is begun."""
    jobs = [Job(f"k1-{n}", 10, "k1", tuple(PAIRS)) for n in range(3)] + [Job("k2", 10, "k2", tuple(PAIRS))]
    taken = JobQueue(jobs).take(PAIRS[0], None, ["k1"], 2)
    assert taken is not None
    assert taken.setup == "k2"


def test_a_long_case_is_not_left_for_the_end() -> None:
    """One that takes as long as a pair's share of the rest goes first, though another set-up has more to do."""
    jobs = [Job(f"k1-{n}", 10, "k1", tuple(PAIRS[:2])) for n in range(10)] + [Job("k2", 100, "k2", tuple(PAIRS[:2]))]
    end_s, begun = carry_out(jobs, PAIRS[:2])
    assert begun[0][2].id == "k2"
    assert end_s == 100


def test_cases_for_one_pair_alone() -> None:
    """What one pair alone can run is not left to it while it does what others could."""
    only = [Job(f"only{n}", 10, "", (PAIRS[0],)) for n in range(5)]
    anywhere = [Job(f"any{n}", 20, "", (PAIRS[0], PAIRS[1])) for n in range(2)]
    end_s, _ = carry_out([*anywhere, *only], PAIRS[:2])
    assert end_s == 50


def test_pairs_whose_setup_is_wanted_come_first() -> None:
    """Of several free pairs, the one that need not be set up again."""
    queue = JobQueue([Job("x", 1, "k2", tuple(PAIRS[:3]))])
    assert queue.list_choices({PAIRS[0]: "k1", PAIRS[1]: "k2"}) == [PAIRS[1], PAIRS[0], PAIRS[2]]
    taken = queue.take(PAIRS[1], None, [], 3)
    assert taken is not None
    assert queue.list_choices({}) == []
    assert not queue.has_any(PAIRS)
    assert queue.put_back(taken)
    assert queue.has_any([PAIRS[1]])
    assert queue.list_choices({PAIRS[2]: "k2"})[0] == PAIRS[2]


def test_a_setup_that_is_done_is_not_wanted() -> None:
    """A pair whose set-up no job is left for comes behind one whose set-up is."""
    queue = JobQueue([Job("x", 9, "k2", (PAIRS[1], PAIRS[0])), Job("y", 1, "k1", (PAIRS[1], PAIRS[0]))])
    setups = {PAIRS[1]: "k2", PAIRS[0]: "k1"}
    assert queue.list_choices(setups) == [PAIRS[1], PAIRS[0]]
    queue.take(PAIRS[1], "k2", [], 2)
    assert queue.list_choices(setups) == [PAIRS[0], PAIRS[1]]


def test_pairs_that_are_set_aside() -> None:
    """Their jobs stay for other pairs; those that have none are told, and so are those that come back."""
    both, one = Job("both", 1, "", (PAIRS[0], PAIRS[1])), Job("one", 1, "", (PAIRS[0],))
    queue = JobQueue([both, one])
    assert queue.set_aside(PAIRS[0]) == [one]
    assert (len(queue), queue.list_choices({})) == (1, [PAIRS[1]])
    assert queue.take(PAIRS[0], None, [], 1) is None
    assert queue.take(PAIRS[1], None, [], 1) == both
    assert queue.set_aside(PAIRS[1]) == []
    assert not queue.put_back(both)
    assert len(queue) == 0


def test_jobs_that_nothing_can_be_had_for() -> None:
    """Those that can run on the named pairs only, and no others."""
    jobs = [Job("a", 1, "", (PAIRS[0],)), Job("ab", 1, "", tuple(PAIRS[:2])), Job("abc", 1, "", tuple(PAIRS[:3]))]
    queue = JobQueue(jobs)
    assert queue.remove_all(PAIRS[:2]) == jobs[:2]
    assert queue.remove_all() == jobs[2:]
    assert len(queue) == 0


def test_ids_are_distinct() -> None:
    """Two jobs with one id would have one outcome."""
    with pytest.raises(UsageError, match="Two cases have the id 'x'"):
        JobQueue([Job("x", 1, "", (PAIRS[0],)), Job("x", 2, "", (PAIRS[0],))])
