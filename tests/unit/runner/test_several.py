# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases on several pairs at a time: each has its record, whatever happens to pairs, cases and the run."""

import _thread
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.builders import make_record
from tests.unit.runner.test_plan_runner import World, plan_of

from switchover.guests.places import PLACES, GuestPlace
from switchover.record.errors import HostLost, NotReady
from switchover.record.record import Record, Verdict, VerdictName, read_record
from switchover.record.rundir import RepeatDirectory, RunDirectory, make_run_directory
from switchover.report.rundata import read_run
from switchover.runner import several
from switchover.runner.case_runner import RunContext
from switchover.runner.host_pair import HostPair
from switchover.runner.leases.flocks import FlockBackend
from switchover.runner.leases.resources import Choice
from switchover.runner.listener import RunListener
from switchover.runner.plan_runner import start_execution
from switchover.runner.several import PairPlace, execute_on_pairs
from switchover.runner.turns import Turn
from switchover.scenarios.case import Case

BAD = VerdictName.INFRASTRUCTURE_ERROR
Cue = Callable[[str], None]


class PairStage(World):
    """One pair. ``lost``: why no more can run on it, once a case has failed there."""

    def __init__(self, name: str, number: int) -> None:
        super().__init__()
        self.name, self.guest_place = name, PLACES[number - 1]
        self.lost = ""

    @property
    def address(self) -> Mapping[str, object]:
        return {"hosts": [self.name]}

    def find_loss(self) -> str:
        return self.lost


class Pairs(RunListener):
    """Pairs ``a`` and ``b``, and what cases come to on them, one execution after the other."""

    def __init__(self, directory: Path) -> None:
        self.stages = {name: PairStage(name, number) for number, name in enumerate("ab", start=1)}
        self.outcomes: dict[str, list[VerdictName | BaseException]] = {}
        self.cues: dict[str, Cue] = {}
        self.ran: list[tuple[str, str, str]] = []
        self.ended: list[str] = []
        self.opening: dict[str, Exception] = {}
        self.lock = threading.Lock()
        self.backend = FlockBackend(directory, who="this run", poll_s=0.01)

    def list_places(self, names: str) -> list[PairPlace]:
        return [PairPlace(Choice((name, name), frozenset(name)), self.make_open(name)) for name in names]

    def make_open(self, name: str) -> Callable[[], Any]:
        @contextlib.contextmanager
        def opened() -> Iterator[PairStage]:
            if name in self.opening:
                raise self.opening[name]
            local.leased = self.stages[name]
            yield self.stages[name]

        return opened

    def run(
        self,
        case: Case,
        number: int,
        pair: HostPair,
        directory: RepeatDirectory,
        found: Mapping[str, Any],
        context: RunContext,
        place: GuestPlace | None,
    ) -> Record:
        with self.lock:
            self.ran.append((case.id, local.leased.name, place.address if place else ""))
            outcomes = self.outcomes.get(case.id, [])
            outcome = outcomes.pop(0) if outcomes else VerdictName.COMPLETED
        if case.id in self.cues:
            self.cues[case.id](local.leased.name)
        name = BAD if isinstance(outcome, BaseException) else outcome
        record = make_record(case.id, number)
        if name is not VerdictName.COMPLETED:
            reason = f"on {local.leased.name}"
            record = Record(case.id, number, "", Verdict(name, reason=reason), {}, {}, mismatch=f"was {name}")
        directory.write_record(record)
        if isinstance(outcome, BaseException):
            raise outcome
        return record

    # what a listener is told

    def end(self, turn: Turn, record: Record) -> None:
        self.ended.append(f"{record.case} {record.verdict.name}")


local = threading.local()
"""The leased hosts that a thread has."""


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pairs:
    pairs = Pairs(tmp_path / "leases")
    monkeypatch.setattr(several, "run_repeat", pairs.run)
    return pairs


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return make_run_directory("one", tmp_path / "runs")


def carry_out(pairs: Pairs, directory: RunDirectory, count: int = 4, *, names: str = "ab", retries: int = 0) -> None:
    text = f"[axes]\nvcpus = {list(range(1, count + 1))}\n"
    turns = start_execution([plan_of(text)], directory)
    places = pairs.list_places(names)
    execute_on_pairs(turns, directory, places, pairs.backend, pairs, durations={}, retries=retries)


def reasons(directory: RunDirectory) -> dict[str, str]:
    """By case, from its own file."""
    found = {}
    for case in read_run(directory).cases:
        record = read_record(directory.repeat_path(case.id, 1) / "record.json")
        found[case.id.removeprefix("one.vcpus-")] = record.verdict.reason or str(record.verdict.name)
    return found


def test_each_case_once(pairs: Pairs, directory: RunDirectory) -> None:
    """On whichever pair is free, with the guests' addresses of that pair; each is told when it has ended."""
    carry_out(pairs, directory, 6)
    assert sorted(case for case, _, _ in pairs.ran) == [f"one.vcpus-{number}" for number in range(1, 7)]
    assert {(name, address) for _, name, address in pairs.ran} <= {("a", "10.77.0.101"), ("b", "10.77.0.102")}
    assert len(pairs.ended) == 6
    assert set(reasons(directory).values()) == {"completed"}


def test_the_longest_first(pairs: Pairs, directory: RunDirectory) -> None:
    """By what earlier runs took; without them by the plan's estimate."""
    turns = start_execution([plan_of()], directory)
    durations = {"one.vcpus-2": 900.0, "one.vcpus-3": 500.0, "one.vcpus-1": 1.0}
    execute_on_pairs(turns, directory, pairs.list_places("a"), pairs.backend, pairs, durations=durations)
    assert [case for case, _, _ in pairs.ran] == ["one.vcpus-2", "one.vcpus-3", "one.vcpus-1"]


def test_a_case_that_cannot_be_run(pairs: Pairs, directory: RunDirectory) -> None:
    """The preflight leaves it out, with the reason, once for each repeat."""
    for leased in pairs.stages.values():
        leased.lacking = frozenset({"qemu-system-x86_64"})
    carry_out(pairs, directory, 2)
    assert pairs.ran == []
    assert set(reasons(directory).values()) == {"hosta has no qemu-system-x86_64"}


def test_a_pair_that_is_lost(pairs: Pairs, directory: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    """Its case goes elsewhere, once, and both executions are kept; the pair gets no other one."""
    pairs.outcomes["one.vcpus-1"] = [BAD]
    pairs.cues["one.vcpus-1"] = lose_first(pairs)
    carry_out(pairs, directory)
    first, second = [name for case, name, _ in pairs.ran if case == "one.vcpus-1"]
    assert first != second
    assert [name for _, name, _ in pairs.ran][-1] == second
    assert set(reasons(directory).values()) == {"completed"}
    place = directory.repeat_path("one.vcpus-1", 1)
    record = read_record(place / "record.json")
    assert record.earlier == ({"verdict": "infrastructure-error", "reason": f"on {first}"},)
    assert read_record(place / "earlier-1" / "record.json").verdict.reason == f"on {first}"
    assert sorted(pairs.ended) == [f"one.vcpus-{number} completed" for number in (1, 2, 3, 4)]
    assert f"{first} is set aside for the rest of the run: dead" in capsys.readouterr().err


def lose_first(pairs: Pairs) -> Cue:
    """Of a case: the pair that it is on first is lost with it."""

    def cue(name: str) -> None:
        if not any(leased.lost for leased in pairs.stages.values()):
            pairs.stages[name].lost = "dead"

    return cue


def test_a_case_that_loses_every_pair(pairs: Pairs, directory: RunDirectory) -> None:
    """It is an infrastructure error that tells of both; what no pair is left for says so. Everything is reported."""

    def lose(name: str) -> None:
        pairs.stages[name].lost = "dead"

    pairs.outcomes = {f"one.vcpus-{number}": [BAD, BAD] for number in range(1, 9)}
    pairs.cues = dict.fromkeys(pairs.outcomes, lose)
    carry_out(pairs, directory, 8)
    assert len(pairs.ended) == 8
    found = reasons(directory)
    lost = [case for case, reason in found.items() if reason.startswith("on ")]
    assert lost
    assert all("not run: no pair is left for it: " in found[case] for case in found if case not in lost)
    for case, count in ((case, len([c for c, _, _ in pairs.ran if c == f"one.vcpus-{case}"])) for case in lost):
        place = directory.repeat_path(f"one.vcpus-{case}", 1)
        assert len(read_record(place / "record.json").earlier) == count - 1 == len(list(place.glob("earlier-*")))


def test_hosts_that_cannot_be_had(pairs: Pairs, directory: RunDirectory) -> None:
    """A pair whose hosts are not ready is set aside with the reason; the others do its cases."""
    pairs.opening["a"] = HostLost("rack1 does not answer")
    carry_out(pairs, directory)
    assert {name for _, name, _ in pairs.ran} == {"b"}
    assert set(reasons(directory).values()) == {"completed"}


def test_no_hosts_at_all(pairs: Pairs, directory: RunDirectory) -> None:
    """Every case says what its last pair lacks, or that none is left."""
    pairs.opening = {"a": NotReady("a is in use"), "b": NotReady("b is in use")}
    carry_out(pairs, directory)
    assert pairs.ran == []
    assert all(reason.startswith("not run: ") and "in use" in reason for reason in reasons(directory).values())
    assert len(pairs.ended) == 4


def test_infrastructure_errors_are_tried_again(pairs: Pairs, directory: RunDirectory) -> None:
    """On the same pair, which is in order, as often as is said."""
    pairs.outcomes = {"one.vcpus-1": [BAD, BAD], "one.vcpus-2": [BAD, BAD, BAD]}
    carry_out(pairs, directory, 3, names="a", retries=2)
    assert reasons(directory) == {"1": "completed", "2": "on a", "3": "completed"}
    earlier = [len(read_record(directory.repeat_path(f"one.vcpus-{n}", 1) / "record.json").earlier) for n in (1, 2, 3)]
    assert earlier == [2, 2, 0]


def test_a_bug_is_raised_at_the_end(pairs: Pairs, directory: RunDirectory) -> None:
    """Everything else is run and reported before; the record that it left stays."""
    pairs.outcomes["one.vcpus-2"] = [ValueError("a bug")]
    with pytest.raises(ValueError, match="a bug"):
        carry_out(pairs, directory)
    assert len(pairs.ran) == 4
    assert sorted(pairs.ended) == [
        "one.vcpus-1 completed",
        "one.vcpus-2 infrastructure-error",
        "one.vcpus-3 completed",
        "one.vcpus-4 completed",
    ]
    assert reasons(directory)["2"] in ("on a", "on b")


def test_an_interruption(pairs: Pairs, directory: RunDirectory) -> None:
    """What runs has time to end, and is not tried again; what was not begun says that the run was interrupted."""
    begun = threading.Event()

    def interrupt(_: str) -> None:
        if not begun.is_set():
            begun.set()
            _thread.interrupt_main()
            stopped.wait(10)

    stopped = threading.Event()
    pairs.cues = {f"one.vcpus-{number}": interrupt for number in range(1, 7)}
    pairs.outcomes = {f"one.vcpus-{number}": [BAD] for number in range(1, 7)}
    timer = threading.Timer(0.5, stopped.set)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        carry_out(pairs, directory, 6, names="a", retries=5)
    timer.join()
    assert len(pairs.ran) == 1
    assert len(pairs.ended) == 6
    told = list(reasons(directory).values())
    assert (told.count("on a"), told.count("not run: interrupted")) == (1, 5)
