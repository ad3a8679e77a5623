# SPDX-License-Identifier: GPL-2.0-or-later
"""What a process of pytest has of a run: its directory, and hosts from when something needs them to the end."""

import contextlib
import shlex
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import pytest

from switchover.catalogue.case import CatalogueCase
from switchover.catalogue.conduct import TimedOut, conduct, make_hung, make_interrupted, make_lost
from switchover.catalogue.load import Catalogue, load_catalogue
from switchover.catalogue.outcome import Outcome, find_outcome
from switchover.catalogue.worker import limit_time
from switchover.fronts.pytest_debugger import Debugger
from switchover.fronts.pytest_reports import make_text, render_wrong
from switchover.fronts.pytest_words import name_run, note_used, say_command, split_pair
from switchover.hosts.inventory import Inventory, load_inventory
from switchover.hosts.waiting import stretch
from switchover.lab.acquire import acquire_lab
from switchover.lab.images import build_images
from switchover.lab.lab import Lab
from switchover.lab.toolchains import find_toolchains
from switchover.record.errors import NotReady, NotSupported, SwitchoverError, UsageError
from switchover.record.log import quieten_libraries, say
from switchover.record.record import Record, VerdictName, read_record
from switchover.record.rundir import RepeatDirectory, RunDirectory, make_run_directory
from switchover.report.history.keeping import OFF, find_history, keep_numbers
from switchover.runner.case_runner import RunContext
from switchover.runner.leased_hosts import LeasedHosts, LeasedLab
from switchover.runner.leased_inventory import lease_inventory_hosts
from switchover.runner.plan_runner import MOST_LOSSES
from switchover.runner.testbed import Testbed, open_testbed
from switchover.scenarios.building import build_case
from switchover.scenarios.case import Case
from switchover.scenarios.expand import PlannedCase

_RUN = pytest.StashKey["PytestRun"]()
_PACKAGE = Path(__file__).resolve().parent.parent


class NotAsExpected(Exception):
    """A case that a test ran is not as expected: the test fails with the case's own text."""

    def __init__(self, text: str, message: str) -> None:
        super().__init__(message)
        self.text = text


def require_run(config: pytest.Config) -> "PytestRun":
    """That of this process, made when it is first asked for."""
    if _RUN not in config.stash:
        config.stash[_RUN] = run = PytestRun(config)
        config.pluginmanager.register(RunHooks(run), "switchover-run")
    return config.stash[_RUN]


def load_hosts(config: pytest.Config) -> Inventory:
    """:raises UsageError: the inventory is wrong"""
    file = config.getoption("switchover_inventory")
    return load_inventory(Path(file) if file else None)


def find_directory(config: pytest.Config) -> RunDirectory | None:
    """The run directory, if a process of this session made it."""
    path = _output(config) / name_run(config)
    return RunDirectory(path) if (path / "run.json").exists() else None


def _output(config: pytest.Config) -> Path:
    from switchover.record.paths import runs_directory

    given = config.getoption("switchover_output")
    return Path(config.invocation_params.dir, given) if given else runs_directory()


def keep_session(config: pytest.Config, path: str) -> str:
    """Add the numbers of a run directory to the history that an option or the setting names; see ``keep_numbers``.

    A path of the option is from where pytest was started, and one of the setting from the directory of its file.
    """
    places = (
        (config.getoption("switchover_history"), config.invocation_params.dir),
        (config.getini("switchover_history"), config.inipath.parent if config.inipath else config.rootpath),
    )
    word, place = next((one for one in places if one[0]), ("", Path()))
    named = word if word in ("", OFF) else str(place / Path(word).expanduser())
    return keep_numbers(RunDirectory(Path(path)), find_history(named))


class PytestRun:
    """One for each process. Hosts that are lost are taken anew; those that cannot be had are not asked for again."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._testbed: Testbed | None = None
        self._hosts: contextlib.ExitStack | None = None
        self._failure = ""
        self._losses = 0
        self.debugger = Debugger(lambda: self.directory.word) if config.getoption("usepdb", False) else None
        self.programs: Sequence[str] = ()
        """QEMUs and kernels that may have to be built before a lab starts"""
        quieten_libraries()

    @cached_property
    def directory(self) -> RunDirectory:
        """:raises NotReady: it cannot be written"""
        made = make_run_directory(
            "pytest", _output(self._config), name=name_run(self._config), command=say_command(self._config)
        )
        note_used(self._config, str(made.path))
        return made

    @cached_property
    def catalogue(self) -> Catalogue:
        """All that tests can name. :raises UsageError: files are wrong"""
        return load_catalogue([Path(place) for place in self._config.getoption("switchover_cases")])

    def begin(self, item: pytest.Item) -> None:
        """A test that runs cases: the debugger is for it now."""
        if self.debugger is not None:
            self.debugger.watch(item)

    def find_case(self, wanted: str | Case | PlannedCase | None = None, *, name: str = "guest") -> Case:
        """:raises UsageError: no case of a scenario has such an id"""
        if wanted is None:
            return build_case(name)
        found = self.find_runnable(wanted)
        return replace(found.case, id=found.id) if isinstance(found, PlannedCase) else found

    def find_runnable(self, wanted: str | Case | PlannedCase) -> Case | PlannedCase:
        """:raises UsageError: no case of a scenario has such an id"""
        if not isinstance(wanted, str):
            return wanted
        found = self.catalogue.require(wanted)
        if found.planned is None:
            raise UsageError(f"{wanted} is a case in Python, and no migration.", why=found.place)
        return found.planned

    def require_expected(self, record: Record, test: str) -> Record:
        """``test``: its id.

        :raises NotAsExpected: it is not; :raises NotSupported: it was not run; :raises NotReady: hosts failed
        """
        outcome = find_outcome(record)
        if outcome is Outcome.PASS:
            return record
        if outcome is Outcome.SKIP:
            raise NotSupported(f"{record.case} cannot be run here.", why=record.verdict.reason)
        if outcome is Outcome.FAIL:
            raise NotAsExpected(
                render_wrong(self.directory, record, shlex.join(["pytest", test])), f"{record.case}: {record.mismatch}"
            )
        self._look_after(record)
        raise NotReady(f"{record.case}: {record.mismatch}")

    def require_testbed(self) -> Testbed:
        """:raises NotReady: hosts cannot be had, or could not when they were asked for before"""
        if self._failure:
            raise NotReady(f"The hosts of this session could not be had: {self._failure}")
        if self._testbed is None:
            with contextlib.ExitStack() as stack:
                try:
                    self._testbed = self._open(stack)
                except SwitchoverError as error:
                    self._failure = error.what
                    raise
                self._hosts = stack.pop_all()
        return self._testbed

    def _open(self, stack: contextlib.ExitStack) -> Testbed:
        leased: LeasedHosts
        lab: Lab | None = None
        if pair := self._find_pair():
            file = self._config.getoption("switchover_inventory")
            lease = lease_inventory_hosts(
                load_hosts(self._config), pair, pair, file=Path(file).absolute() if file else None
            )
            leased = stack.enter_context(lease)
        else:
            build_images(find_toolchains(self.programs))
            lab = stack.enter_context(acquire_lab())
            leased = LeasedLab(lab)
        context = RunContext()
        if self.debugger is not None:
            context = RunContext(listener=self.debugger, keeper=self.debugger.keeper)
        return stack.enter_context(open_testbed(leased, lab=lab, directory=self.directory, context=context))

    def _find_pair(self) -> tuple[str, str] | None:
        """A worker of pytest-xdist has been given its own."""
        pairs = self._config.getoption("switchover_pair")
        if hasattr(self._config, "workerinput"):
            pairs = [self._config.workerinput["switchover_pair"]] if pairs else []
        return split_pair(pairs[0]) if pairs else None

    def carry_out(self, case: CatalogueCase, item: pytest.Item) -> list[Record]:
        """All repeats of a case, each with its record on disk. An interruption is a record, too, and ends them."""
        records: list[Record] = []
        self.begin(item)
        for number in range(1, case.repeats + 1):
            record = self._carry_out_once(case, number)
            records.append(record)
            outcome = find_outcome(record)
            if outcome is Outcome.INTERRUPTED:
                item.session.shouldstop = "interrupted"
            if outcome is Outcome.SKIP or item.session.shouldstop:
                break
            self._look_after(record)
        return records

    def _carry_out_once(self, case: CatalogueCase, number: int) -> Record:
        place = self.directory.repeat(case.id, number)
        if self.debugger is not None and case.function is not None:
            case = replace(case, function=self.debugger.watched(case.function))
        try:
            testbed = self.require_testbed() if case.needs.hosts else None
            with _limit(stretch(case.timeout_s)):
                return conduct(case, number, place, testbed)
        except TimedOut:
            record = _complete(place, make_hung(case, number, stretch(case.timeout_s)))
        except KeyboardInterrupt:
            record = _complete(place, make_interrupted(case, number))
        except SwitchoverError as error:
            record = make_lost(case, number, str(error))
        place.write_record(record)
        return record

    def _look_after(self, record: Record) -> None:
        """Hosts that are lost are taken anew for the next case that needs some."""
        if self._testbed is None or record.verdict.name is not VerdictName.INFRASTRUCTURE_ERROR:
            return
        if loss := self._testbed.find_loss():
            say(f"the hosts are lost: {loss}")
            self._losses += 1
            if self._losses > MOST_LOSSES:
                self._failure = f"they were lost {self._losses} times: {loss}"
            self.give_back(NotReady(loss))

    def give_back(self, loss: NotReady | None = None) -> str:
        """End guests, and the lab if it was booted here. Returns what went wrong with it, in words."""
        hosts, self._hosts, self._testbed = self._hosts, None, None
        if hosts is None:
            return ""
        try:
            if loss is not None:
                hosts.__exit__(type(loss), loss, None)  # so that nobody takes them as in order
            else:
                hosts.close()
        except SwitchoverError as error:
            return "" if error is loss else str(error)
        return ""


@contextlib.contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """A signal ends what takes too long, and signals are the main thread's."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with limit_time(seconds):
        yield


def _complete(place: RepeatDirectory, made: Record) -> Record:
    """A record made here, with what the case's own has, if it came to one."""
    try:
        own = read_record(place.record_path)
    except (OSError, UsageError):
        return made
    return replace(own, verdict=made.verdict, mismatch=made.mismatch, ending=made.ending)


class RunHooks:
    """Registered once something of a run is used in this process: gives hosts back, and tells errors of tests that use
    fixtures of the ladder for what they are.
    """

    def __init__(self, run: PytestRun) -> None:
        self._run = run

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        error = call.excinfo.value if call.excinfo else None
        mine = any(name.startswith("switchover_") for name in getattr(item, "fixturenames", ()))
        if not mine or call.excinfo is None or not isinstance(error, SwitchoverError | NotAsExpected):
            return (yield)
        own = [entry for entry in call.excinfo.traceback if not Path(entry.path).is_relative_to(_PACKAGE)]
        report = yield
        path, line, _ = item.location
        place = next(
            ((str(entry.path), entry.lineno + 1) for entry in reversed(own) if item.path == Path(entry.path)),
            (path, (line or 0) + 1),
        )
        if isinstance(error, NotSupported):
            report.outcome, report.longrepr = "skipped", (*place, f"Skipped: {error}")
            return report
        text = error.text if isinstance(error, NotAsExpected) else str(error)
        report.longrepr = make_text(f"{place[0]}:{place[1]}\n{text}", str(error).splitlines()[0], place)
        if isinstance(error, NotReady) and report.when == "call":
            report.when = "setup"  # an error, and no failure: NATIVE[Outcome.ERROR]
        return report

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if wrong := self._run.give_back():
            print(f"switchover: {wrong}", file=sys.__stderr__, flush=True)
            if session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
