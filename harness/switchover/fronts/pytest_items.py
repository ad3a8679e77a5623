# SPDX-License-Identifier: GPL-2.0-or-later
"""The catalogue as tests of pytest: collected, chosen, carried out, reported; planned = reported."""

import contextlib
import os
import shlex
from collections.abc import Generator, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from switchover.catalogue.case import CatalogueCase
from switchover.catalogue.load import load_catalogue
from switchover.fronts.pytest_words import find_word
from switchover.record.errors import SwitchoverError, UsageError

NODE = "switchover"
"""What ids of tests begin with: ``switchover::CASE-ID``."""
BUILT_IN = {"filterwarnings", "parametrize", "skip", "skipif", "usefixtures", "xfail"}
"""Marks that mean something to pytest: a tag of that name is none."""


class CatalogueNode(pytest.Collector):
    """All cases that are chosen."""

    def __init__(self, *, cases: Sequence[CatalogueCase], **fields: Any) -> None:
        super().__init__(**fields)
        self._cases = cases

    def collect(self) -> "Iterator[CaseItem]":
        for case in self._cases:
            yield CaseItem.from_parent(self, name=case.id, case=case)


class CaseItem(pytest.Item):
    """A case, with all its repeats."""

    def __init__(self, *, case: CatalogueCase, **fields: Any) -> None:
        super().__init__(**fields)
        self.case = case
        self.records: list[Any] = []
        for tag in sorted(case.tags - BUILT_IN):
            self.add_marker(getattr(pytest.mark, tag))

    @property
    def place(self) -> tuple[str, int]:
        """File and line."""
        return find_place(self.case)

    def reportinfo(self) -> tuple[str | os.PathLike[str], int | None, str]:
        path, line = self.place
        return path, line - 1, describe(self.case)

    def runtest(self) -> None:
        """What came of it is in its records; nothing is raised, and the report is made from them."""
        from switchover.fronts.pytest_reports import list_properties
        from switchover.fronts.pytest_run import require_run

        run = require_run(self.config)
        self.records = run.carry_out(self.case, self)
        self.user_properties += list_properties(self.records, run.directory)


def find_place(case: CatalogueCase) -> tuple[str, int]:
    """File and line where a case is written."""
    path, _, line = case.place.rpartition(":")
    return (path, int(line)) if path and line.isdigit() else (case.place, 1)


def describe(case: CatalogueCase) -> str:
    """For headlines: its id, and where it is. It must not end as the id of the test does: pytest would take the dots
    of a case's id as those between a class and its method.
    """
    path, line = find_place(case)
    return f"{case.id} ({Path(path).name}:{line})"


class CataloguePlugin:
    """Registered if cases are to be collected, in each process of a session."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @property
    def _works(self) -> bool:
        """Whether cases run in this process; not where workers of pytest-xdist run them."""
        return hasattr(self._config, "workerinput") or not self._config.pluginmanager.has_plugin("dsession")

    @cached_property
    def cases(self) -> list[CatalogueCase]:
        """Those that options and arguments choose. :raises pytest.UsageError: they choose none, or files are wrong"""
        words = [word for argument in self._config.args if (word := find_word(argument))]
        more = [Path(self._config.invocation_params.dir, place) for place in self._option("switchover_cases")]
        try:
            catalogue = load_catalogue(more, only=bool(more) and not self._option("switchover"))
            return catalogue.select(words, self._option("switchover_tag"))
        except UsageError as error:
            raise pytest.UsageError(str(error)) from error

    def _option(self, name: str) -> Any:
        return self._config.getoption(name)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection(self) -> Generator[None, object, object]:
        """Arguments of ours are no paths. Where none is one, nothing else is collected."""
        config = self._config
        for tag in sorted({tag for case in self.cases for tag in case.tags} - BUILT_IN):
            config.addinivalue_line("markers", f"{tag}: cases of switchover's catalogue with this tag")
        named = config.args_source is pytest.Config.ArgsSource.ARGS
        config.args = [argument for argument in config.args if named and find_word(argument) is None]
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        report = yield
        if isinstance(collector, pytest.Session) and report.passed:
            node = CatalogueNode.from_parent(collector, name=NODE, nodeid=NODE, cases=self.cases)
            report.result = [*report.result, node]
        return report

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """What is planned is what is left when all have chosen. Each worker has the same, and writes the same."""
        chosen = [item.case for item in session.items if isinstance(item, CaseItem)]
        if not chosen or not self._works or self._option("collectonly"):
            return
        from switchover.catalogue.planning import make_plan_file
        from switchover.fronts.pytest_run import require_run
        from switchover.record.planfile import write_plan

        run = require_run(self._config)
        run.programs = sorted({program for case in chosen for program in case.needs.programs})
        try:
            plan = make_plan_file(chosen)
            write_plan(run.directory, plan)
            for line in plan.cases:  # so that records of tests that run the same cases come after theirs
                for number in range(1, line.repeats + 1):
                    run.directory.repeat(line.id, number)
        except SwitchoverError as error:
            raise pytest.UsageError(str(error)) from error

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if isinstance(item, CaseItem) and call.when == "call":
            if call.excinfo is None:
                self._shape(report, item)
            elif report.failed:
                report.when = "setup"  # a bug of the harness is no failure of a case
        return report

    def _shape(self, report: pytest.TestReport, item: CaseItem) -> None:
        from switchover.catalogue.outcome import find_outcome, find_worst
        from switchover.fronts.pytest_reports import shape_report
        from switchover.fronts.pytest_run import require_run

        outcome = find_worst([find_outcome(record) for record in item.records])
        again = self._say_again(item.case)
        shape_report(report, outcome, item.records, require_run(self._config).directory, item.place, again)

    def _say_again(self, case: CatalogueCase) -> str:
        """The command that runs a case again, to be pasted."""
        more = [f"--switchover-cases={place}" for place in self._option("switchover_cases")]
        return shlex.join(["pytest", *more, f"{NODE}::{case.id}", *(["--pdb"] if case.needs.hosts else [])])

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport) -> None:
        """A worker died with a case: an error, with a record in its place."""
        case = next((case for case in self.cases if f"{NODE}::{case.id}" == crashitem), None)
        if case is None:
            return
        from switchover.catalogue.conduct import make_lost, make_plan_line
        from switchover.catalogue.outcome import Outcome
        from switchover.fronts.pytest_reports import shape_report
        from switchover.fronts.pytest_run import find_directory
        from switchover.record.planfile import list_missing

        path, line = find_place(case)
        report.location = (path, line - 1, describe(case))
        directory = find_directory(self._config)
        if directory is None:
            report.when = "setup"
            return
        number = next(iter(list_missing(directory, make_plan_line(case))), case.repeats)
        record = make_lost(case, number, f"the process of the case died: {report.longrepr}")
        directory.repeat(case.id, number).write_record(record)
        shape_report(report, Outcome.ERROR, [record], directory, (path, line), self._say_again(case))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """What was planned and not run has a record that says so."""
        if hasattr(self._config, "workerinput") or self._option("collectonly"):
            return
        from switchover.fronts.pytest_run import find_directory
        from switchover.fronts.pytest_words import note_used
        from switchover.record.planfile import find_plan, list_missing, make_unrun

        directory = find_directory(self._config)
        plan = find_plan(directory) if directory else None
        if directory is None or plan is None:
            return
        note_used(self._config, str(directory.path))
        reason = str(session.shouldstop or session.shouldfail or "the session ended before it")
        for line in plan.cases:
            for number in list_missing(directory, line):
                with contextlib.suppress(SwitchoverError):
                    directory.repeat(line.id, number).write_record(make_unrun(line, number, reason))
