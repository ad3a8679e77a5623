# SPDX-License-Identifier: GPL-2.0-or-later
"""Which case runs next on a pair that is free. Touches no host and no thread, as ``runner/leases/runner.py`` does.

Longest first, so that no long case is left for the end while other pairs have nothing to do; and cases with the same
set-up (kernel, QEMU, driver, devices) one after the other on a pair, so that a set-up is made seldom. Where the two
disagree, a case goes first that would be late otherwise: one that takes as long as all that is left takes on all pairs.
"""

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from switchover.record.errors import UsageError
from switchover.runner.leases.resources import Choice


@dataclass(frozen=True)
class Job:
    """A case, or a repeat of one, that is to be run once.

    ``seconds``: how long it is going to take; ``setup``: what it needs to be set up, equal where nothing has to change;
    ``choices``: the pairs that it may run on.
    """

    id: str
    seconds: float
    setup: Hashable
    choices: tuple[Choice, ...]


class JobQueue:
    """Jobs that are left, and the pairs that are in order.

    :raises UsageError: two jobs have one id
    """

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._left: dict[str, Job] = {}
        self._alone: dict[str, Job] = {}
        """Those that may run on one pair only."""
        self._on: dict[Choice, dict[str, Job]] = {}
        self._setups: dict[Choice, Counter[Hashable]] = {}
        self._aside: set[Choice] = set()
        for job in jobs:
            if job.id in self._left:
                raise UsageError(f"Two cases have the id {job.id!r}.")
            self.put_back(job)

    def __len__(self) -> int:
        return len(self._left)

    def put_back(self, job: Job) -> bool:
        """It is left again; False, and it is not: it has no pair."""
        places = self._places(job)
        if places:
            self._left[job.id] = job
        if len(places) == 1:
            self._alone[job.id] = job
        for choice in places:
            self._on.setdefault(choice, {})[job.id] = job
            self._setups.setdefault(choice, Counter())[job.setup] += 1
        return bool(places)

    def remove(self, job: Job) -> None:
        del self._left[job.id]
        self._alone.pop(job.id, None)
        for choice in self._places(job):
            del self._on[choice][job.id]
            self._setups[choice][job.setup] -= 1

    def set_aside(self, choice: Choice) -> list[Job]:
        """No more on this pair. Returns the jobs that no pair is left for, which are left no more."""
        self._aside.add(choice)
        self._setups.pop(choice, None)
        here = self._on.pop(choice, {})
        stranded = []
        for job in here.values():
            places = self._places(job)
            if len(places) == 1:
                self._alone[job.id] = job
            elif not places:
                stranded.append(job)
                del self._left[job.id], self._alone[job.id]
        return stranded

    def remove_all(self, choices: Collection[Choice] | None = None) -> list[Job]:
        """Those that can run on none but these pairs; without ``choices`` all. They are left no more."""
        jobs = [job for job in self._left.values() if choices is None or set(self._places(job)) <= set(choices)]
        for job in jobs:
            self.remove(job)
        return jobs

    def has_any(self, choices: Iterable[Choice]) -> bool:
        """Whether something is left that may run on one of them."""
        return any(self._on.get(choice) for choice in choices)

    def list_choices(self, setups: Mapping[Choice, Hashable]) -> list[Choice]:
        """Pairs that something is left for: first those whose present set-up (``setups``) is wanted as it is."""
        wanted = [choice for choice, jobs in self._on.items() if jobs]
        return sorted(wanted, key=lambda choice: not (choice in setups and self._setups[choice][setups[choice]] > 0))

    def take(self, choice: Choice, setup: Hashable | None, at_work: Sequence[Hashable], pairs: int) -> Job | None:
        """The next job for a pair that is free, which is left no more; None: nothing is left that may run there.

        ``setup``: the pair's present one, None: none; ``at_work``: set-ups of the other pairs where something runs;
        ``pairs``: so many are used at a time.
        """
        fitting = list(self._on.get(choice, {}).values())
        if not fitting:
            return None
        share_s = sum(job.seconds for job in self._left.values()) / max(pairs, 1)
        alone = [job for job in self._alone.values() if choice in job.choices]
        if alone and sum(job.seconds for job in alone) >= share_s:
            # what this pair alone can do takes as long as all that is left
            fitting = alone
        chosen = _longest(fitting)
        if chosen.seconds < share_s:
            same = [job for job in fitting if job.setup == setup]
            if not same:
                other = _choose_setup(fitting, at_work, share_s)
                same = [job for job in fitting if job.setup == other]
            chosen = _longest(same)
        self.remove(chosen)
        return chosen

    def _places(self, job: Job) -> list[Choice]:
        return [choice for choice in job.choices if choice not in self._aside]


def _longest(jobs: Iterable[Job]) -> Job:
    """By id where several are: the order is the same each time."""
    return min(jobs, key=lambda job: (-job.seconds, job.id))


def _choose_setup(jobs: Iterable[Job], at_work: Sequence[Hashable], share_s: float) -> Hashable:
    """The set-up that lacks most pairs: those that its jobs are worth, less those at work on it; new ones first."""
    seconds: dict[Hashable, float] = {}
    for job in jobs:
        seconds[job.setup] = seconds.get(job.setup, 0.0) + job.seconds
    return max(seconds, key=lambda setup: (seconds[setup] / share_s - at_work.count(setup), setup not in at_work))
