# SPDX-License-Identifier: GPL-2.0-or-later
"""A job of avocado's: its run directory and its hosts, from before its first test until after its last.

avocado loads this whenever it starts: nothing of ours is imported before a test is ours.
"""

import contextlib
import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from switchover.fronts.avocado_api import JobPost, JobPre, Runnable
from switchover.fronts.avocado_resolver import HISTORY, HOSTS, INVENTORY, KIND
from switchover.fronts.avocado_version import find_misfit

if TYPE_CHECKING:
    from switchover.catalogue.case import CatalogueCase
    from switchover.fronts.avocado_hosts import Place, Turn
    from switchover.record.rundir import RunDirectory

DIRECTORY = "switchover"
"""Name of the run directory among the results of the job."""
_SOFT = "runner.task.interval.from_soft_to_hard_termination"
_LOG_UI = logging.getLogger("avocado.app")
Test = tuple[Runnable, "CatalogueCase", "Place"]


class SwitchoverJob(JobPre, JobPost):  # type: ignore[misc]
    """Hosts are taken once for a job, and each test waits for its turn on them."""

    name = "switchover"
    description = "Run directory and hosts of the cases of Switchover"

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._directory: RunDirectory | None = None
        self._turns: list[Turn] = []
        self._planned: dict[str, tuple[CatalogueCase, int]] = {}

    def pre(self, job: Any) -> None:
        """Before the first test. What goes wrong here is told by each test that it concerns."""
        ours = [
            (runnable, suite) for suite in job.test_suites for runnable in suite.tests or () if runnable.kind == KIND
        ]
        if not ours or find_misfit():
            return
        from switchover.catalogue.worker import RELEASE_S, require_case
        from switchover.fronts.avocado_hosts import Place
        from switchover.record.errors import SwitchoverError
        from switchover.record.rundir import make_run_directory

        for suite in {id(suite): suite for _, suite in ours}.values():
            # so that a test that is told to end can give back what it has
            suite.config[_SOFT] = max(int(suite.config.get(_SOFT) or 0), round(RELEASE_S) + 5)
        try:
            self._directory = make_run_directory("avocado", Path(job.logdir), name=DIRECTORY)
            tests = [
                (
                    runnable,
                    require_case(Path(runnable.kwargs["source"]), runnable.uri),
                    Place(suite.config.get(HOSTS) or "", suite.config.get(INVENTORY) or ""),
                )
                for runnable, suite in ours
            ]
            self._prepare(tests)
        except SwitchoverError as error:
            _LOG_UI.error("%s", error)

    def _prepare(self, tests: list[Test]) -> None:
        from switchover.catalogue.planning import make_plan_file
        from switchover.record.planfile import write_plan

        if self._directory is None:
            raise AssertionError("there is a run directory")
        numbers = self._hand_over(tests)
        self._planned = {case.id: (case, numbers[case.id]) for _, case, _ in tests}
        plan = make_plan_file([case for case, _ in self._planned.values()])
        lines = tuple(replace(line, repeats=numbers[line.id]) for line in plan.cases)
        write_plan(self._directory, replace(plan, cases=lines))

    def _hand_over(self, tests: list[Test]) -> Counter[str]:
        """How many repeats each case has, over all of its tests."""
        from switchover.fronts.avocado_execution import Task, hand_over
        from switchover.fronts.avocado_hosts import Turn, take_hosts
        from switchover.record.errors import SwitchoverError

        if self._directory is None:
            raise AssertionError("there is a run directory")
        numbers: Counter[str] = Counter()
        found: dict[Place, Task] = {}
        for runnable, case, place in tests:
            run = str(self._directory.path)
            task = Task(run)
            if case.needs.hosts and place not in found:
                lock = self._directory.path / f".hosts-{len(found)}.lock"
                programs = {name for _, other, at in tests if at == place for name in other.needs.programs}
                try:
                    testbed = self._stack.enter_context(take_hosts(place, sorted(programs)))
                    found[place] = Task(run, testbed=testbed, lock=str(lock))
                    self._turns.append(Turn(lock))
                except SwitchoverError as error:
                    _LOG_UI.error("%s", error)
                    found[place] = Task(run, lack=str(error))
            if case.needs.hosts:
                task = found[place]
            hand_over(runnable, Task(run, numbers[case.id] + 1, task.testbed, task.lock, task.lack))
            numbers[case.id] += case.repeats
        return numbers

    def post(self, job: Any) -> None:
        """After the last test, and after tests that were ended have given back what they had."""
        if self._directory is None:
            return
        from switchover.catalogue.conduct import make_plan_line
        from switchover.catalogue.worker import RELEASE_S
        from switchover.record.planfile import make_unrun

        with self._stack:
            for turn in self._turns:
                _wait_for(turn, RELEASE_S)
            reason = f"avocado did not run it: {job.interrupted_reason or 'see its log'}"
            for case, count in self._planned.values():
                for number in range(1, count + 1):
                    if not self._directory.has_record(case.id, number):
                        unrun = make_unrun(make_plan_line(case), number, reason)
                        self._directory.repeat(case.id, number).write_record(unrun)
            _LOG_UI.info("SWITCHOVER : %s", self._directory.path)
        self._keep_numbers(job)

    def _keep_numbers(self, job: Any) -> None:
        """In the history that the job names, else in that of the first suite that names one."""
        from switchover.report.history.keeping import find_history, keep_numbers

        if self._directory is None:
            raise AssertionError("there is a run directory")
        words = [job.config.get(HISTORY), *(suite.config.get(HISTORY) for suite in job.test_suites)]
        if trouble := keep_numbers(self._directory, find_history(next(filter(None, words), ""))):
            _LOG_UI.warning("SWITCHOVER : %s", trouble)


def _wait_for(turn: "Turn", seconds: float) -> None:
    """Tests that were ended give back what they had; one that does not is not waited for any longer."""
    from switchover.hosts.waiting import wait_until
    from switchover.record.errors import Deadline

    with contextlib.suppress(Deadline):
        wait_until("the end of the last test on the hosts", lambda: turn.take("the end of the job"), timeout=seconds)
