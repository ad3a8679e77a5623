# SPDX-License-Identifier: GPL-2.0-or-later
"""Executing a plan: order, and a verdict for each planned repeat, whatever ends the run."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.builders import make_record
from tests.unit.fakes import FaultyHost
from tests.unit.scenarios.samples import HEAD

from switchover.guests.places import GuestPlace
from switchover.guests.qemu import GuestKeys
from switchover.record.ending import Ending
from switchover.record.errors import HostLost, NotReady, UsageError
from switchover.record.record import Record, Verdict, VerdictName, exit_code_of, read_record
from switchover.record.rundir import RepeatDirectory, RunDirectory, folder_of, make_run_directory
from switchover.report.rundata import read_run
from switchover.runner import plan_runner
from switchover.runner.case_runner import RunContext
from switchover.runner.host_pair import Endpoint, HostPair
from switchover.runner.leased_hosts import HostNames
from switchover.runner.listener import RunListener
from switchover.runner.plan_runner import MOST_LOSSES, execute, list_left, start_execution
from switchover.runner.turns import Turn, list_turns
from switchover.scenarios.case import Case
from switchover.scenarios.plan import Plan, make_plan
from switchover.scenarios.preflight import Decision, HostFacts, Known
from switchover.scenarios.scenario import Scenario, parse_scenario

HOST = FaultyHost(lambda method, argument: method, "")
PAIR = HostPair(Endpoint(HOST, "a"), Endpoint(HOST, "b"), GuestKeys("", "", "", ""))
THREE = "[axes]\nvcpus = [1, 2, 3]\n"


def plan_of(text: str = THREE, *, repeats: int = 1, interleave: str = "on", name: str = "one") -> Plan:
    head = f'{HEAD}repeats = {repeats}\ninterleave = "{interleave}"\n'
    scenario: Scenario = parse_scenario(head + text, f"{name}.toml")
    return make_plan(scenario)


class World(RunListener):
    """Hosts that may be lost, and cases that come to what they are told."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.outcomes: dict[str, list[VerdictName | BaseException]] = {}
        self.losses = 0
        self.lacking: frozenset[str] = frozenset()
        self.lease_errors: list[Exception | None] = []

    @contextlib.contextmanager
    def lease(self) -> Iterator["World"]:
        error = self.lease_errors.pop(0) if self.lease_errors else None
        if error:
            raise error
        self.log.append("lease")
        try:
            yield self
        finally:
            self.log.append("give back")

    guest_place: GuestPlace | None = None

    @property
    def address(self) -> Mapping[str, object]:
        return {}

    def ask(self, cases: Iterable[tuple[Case, HostNames]]) -> Known:
        self.log.append(f"ask for {len(list(cases))}")
        facts = HostFacts("hosta", dict.fromkeys(self.lacking))
        return Known((facts, facts))

    def pair(self, hosts: HostNames) -> HostPair:
        return PAIR

    def fingerprint(self, case: Case, hosts: HostNames) -> Mapping[str, Any]:
        return {"switchover": "0.1.0"}

    def find_loss(self) -> str:
        if self.losses:
            self.losses -= 1
            return "hosta does not answer"
        return ""

    def run(
        self,
        case: Case,
        number: int,
        pair: HostPair,
        directory: RepeatDirectory,
        found: Mapping[str, Any],
        see: RunContext,
    ) -> Record:
        self.log.append(f"{case.id} #{number}")
        see.listener.step("migrate")
        outcomes = self.outcomes.get(f"{case.id} #{number}", [])
        outcome = outcomes.pop(0) if outcomes else VerdictName.COMPLETED
        name = VerdictName.INFRASTRUCTURE_ERROR if isinstance(outcome, BaseException) else outcome
        record = make_record(case.id, number)
        if name is not VerdictName.COMPLETED:
            record = Record(case.id, number, "", Verdict(name), {}, {}, mismatch=f"expected completed, was {name}")
        directory.write_record(record)
        if isinstance(outcome, BaseException):
            raise outcome
        return record

    # what a listener is told

    def start(self, turns: Sequence[Turn]) -> None:
        self.log.append(f"{len(turns)} turns")

    def end(self, turn: Turn, record: Record) -> None:
        self.log.append(f"ended {record.case} #{record.repeat} {record.verdict.name}")

    @property
    def ran(self) -> list[str]:
        return [entry for entry in self.log if " #" in entry and not entry.startswith("ended")]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return make_run_directory("one", tmp_path / "runs")


def carry_out(
    world: World, directory: RunDirectory, *plans: Plan, unsupported: Callable[[Turn], str] = lambda turn: ""
) -> None:
    turns = start_execution(plans, directory)
    execute(turns, directory, world.lease, world, unsupported=unsupported, run=world.run)


def verdicts(directory: RunDirectory) -> dict[str, str]:
    return {f"{r.case} #{r.repeat}": r.verdict.reason or r.verdict.name for r in read_run(directory).records}


def test_repeats_are_interleaved_there_and_back(world: World, directory: RunDirectory) -> None:
    """Each turn goes over all cases, every other one the other way round; hosts are leased and asked once."""
    carry_out(world, directory, plan_of(repeats=2))
    assert world.ran == [
        f"one.vcpus-{case} #{number}" for number, cases in ((1, (1, 2, 3)), (2, (3, 2, 1))) for case in cases
    ]
    assert world.log[:3] == ["6 turns", "lease", "ask for 6"]
    assert world.log.count("lease") == 1
    assert set(verdicts(directory).values()) == {"completed"}


def test_case_by_case(world: World, directory: RunDirectory) -> None:
    """Without interleaving all repeats of a case come before the next case."""
    carry_out(world, directory, plan_of("[axes]\nvcpus = [1, 2]\n", repeats=2, interleave="off"))
    assert world.ran == ["one.vcpus-1 #1", "one.vcpus-1 #2", "one.vcpus-2 #1", "one.vcpus-2 #2"]


def test_the_plan_is_there_before_anything_is_run(directory: RunDirectory) -> None:
    """A run that was killed at once reports all its repeats as without a record."""
    start_execution([plan_of(repeats=2)], directory)
    found = read_run(directory)
    assert [case.id for case in found.cases] == ["one.vcpus-1", "one.vcpus-2", "one.vcpus-3"]
    assert len(found.records) == 6
    assert all("no record" in record.mismatch for record in found.records)
    assert exit_code_of(found.records) == 3


def test_several_scenarios(world: World, directory: RunDirectory) -> None:
    """Cases of equal ids in two scenarios stay apart."""
    carry_out(world, directory, plan_of(name="one"), plan_of(name="two"))
    assert world.ran == [f"{name}.vcpus-{case} #1" for name in ("one", "two") for case in (1, 2, 3)]
    assert {case.line.scenario for case in read_run(directory).cases} == {"one", "two"}


def test_cases_that_would_share_a_directory() -> None:
    """Two cases of one id are an error before anything is done; within a scenario no two have one."""
    with pytest.raises(UsageError, match="same id"):
        list_turns([plan_of(name="one"), plan_of(name="one")])
    alike = '[axes]\nappend = ["a/b", "a_b"]\n'
    assert len({folder_of(turn.line.id) for turn in list_turns([plan_of(alike)])}) == 2


def test_a_case_that_the_gate_leaves_out(world: World, directory: RunDirectory) -> None:
    """What is missing is named, once for a case however many repeats were planned; the others run."""
    world.lacking = frozenset({"/opt/qemu"})
    text = '[axes]\nqemu = ["qemu-system-x86_64", "/opt/qemu"]\n'
    carry_out(world, directory, plan_of(text, repeats=2))
    assert len(world.ran) == 2
    (left_out,) = [case for case in read_run(directory).cases if case.skipped]
    (record,) = left_out.records
    assert record.verdict == Verdict(VerdictName.NOT_SUPPORTED, reason="hosta has no /opt/qemu")
    assert record.mismatch == ""
    assert exit_code_of(read_run(directory).records, strict=True) == 0


def test_nothing_that_can_be_run(world: World, directory: RunDirectory) -> None:
    """If it is known before, no host is leased; with --strict it is an environment that is not ready."""
    carry_out(world, directory, plan_of(), unsupported=lambda turn: "a host of the inventory")
    assert "lease" not in world.log
    records = read_run(directory).records
    assert {record.verdict.name for record in records} == {VerdictName.NOT_SUPPORTED}
    assert (exit_code_of(records), exit_code_of(records, strict=True)) == (0, 3)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KeyboardInterrupt(), "not run: interrupted"),
        (ValueError("a bug"), "not run: ValueError: a bug"),
        (NotReady("The disk is full."), "not run: The disk is full."),
    ],
)
def test_what_ends_a_run(world: World, directory: RunDirectory, error: BaseException, reason: str) -> None:
    """What was not run has a record that says so and why; the one that was interrupted has its own; it is raised."""
    world.outcomes["one.vcpus-2 #1"] = [error]
    with pytest.raises(type(error)):
        carry_out(world, directory, plan_of())
    assert verdicts(directory) == {
        "one.vcpus-1 #1": "completed",
        "one.vcpus-2 #1": "infrastructure-error",
        "one.vcpus-3 #1": reason,
    }
    assert world.log[-1] == "give back" or "ended" in world.log[-1]
    assert len(list(directory.path.glob("*/*/record.json"))) == 3


def test_a_lab_that_does_not_start(world: World, directory: RunDirectory) -> None:
    """No case was run, and each says why."""
    world.lease_errors = [NotReady("No lab.")]
    with pytest.raises(NotReady):
        carry_out(world, directory, plan_of())
    assert set(verdicts(directory).values()) == {"not run: No lab."}


def test_a_lab_that_is_lost(world: World, directory: RunDirectory) -> None:
    """The case that ran on it is an infrastructure error; the run goes on in a new lab, which is asked too: it gets the
    toolchains of the cases that are left.
    """
    world.outcomes["one.vcpus-2 #1"] = [VerdictName.INFRASTRUCTURE_ERROR]
    world.losses = 1
    carry_out(world, directory, plan_of())
    assert world.ran == ["one.vcpus-1 #1", "one.vcpus-2 #1", "one.vcpus-3 #1"]
    assert [entry for entry in world.log if entry.startswith(("lease", "give back", "ask for"))] == [
        "lease",
        "ask for 3",
        "give back",
        "lease",
        "ask for 1",
        "give back",
    ]


def test_an_infrastructure_error_in_a_lab_that_lives(world: World, directory: RunDirectory) -> None:
    """It is no reason for a new lab."""
    world.outcomes["one.vcpus-2 #1"] = [VerdictName.INFRASTRUCTURE_ERROR]
    carry_out(world, directory, plan_of())
    assert world.log.count("lease") == 1


def test_a_lab_that_is_lost_again_and_again(world: World, directory: RunDirectory) -> None:
    """After some losses the run gives up, and says what was not run."""
    world.losses = 99
    count = MOST_LOSSES + 3
    world.outcomes = {f"one.vcpus-{n} #1": [VerdictName.INFRASTRUCTURE_ERROR] for n in range(1, count + 1)}
    with pytest.raises(NotReady, match="lost"):
        carry_out(world, directory, plan_of(f"[axes]\nvcpus = {list(range(1, count + 1))}\n"))
    assert len(world.ran) == MOST_LOSSES + 1
    assert len(read_run(directory).records) == count


def test_a_lab_that_is_lost_with_the_last_case(world: World, directory: RunDirectory) -> None:
    """There is no need of another."""
    world.outcomes["one.vcpus-3 #1"] = [VerdictName.INFRASTRUCTURE_ERROR]
    world.losses = 1
    carry_out(world, directory, plan_of())
    assert world.log.count("lease") == 1


def test_hosts_that_cannot_be_paired(world: World, directory: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that cannot be had is told in the case's record, and the lab is looked at."""

    def lose(hosts: HostNames) -> HostPair:
        world.losses = 1
        monkeypatch.undo()
        raise HostLost("hosta does not answer")

    monkeypatch.setattr(world, "pair", lose)
    carry_out(world, directory, plan_of())
    assert world.ran == ["one.vcpus-2 #1", "one.vcpus-3 #1"]
    assert verdicts(directory)["one.vcpus-1 #1"] == "not run: hosta does not answer"


class UsedKeeper:
    """A keeper that keeps the guests of a case."""

    used = False


def test_a_run_stops_where_guests_were_kept(world: World, directory: RunDirectory) -> None:
    """What comes after is reported as not run."""
    keeper = UsedKeeper()

    def run(case: Case, number: int, *others: Any) -> Record:
        keeper.used = number == 1 and case.id == "one.vcpus-2"
        return world.run(case, number, *others)

    turns = start_execution([plan_of()], directory)
    execute(turns, directory, world.lease, world, keeper=keeper, run=run)  # type: ignore[arg-type]
    assert world.ran == ["one.vcpus-1 #1", "one.vcpus-2 #1"]
    assert "kept" in verdicts(directory)["one.vcpus-3 #1"]


class Sharing:
    """Notes for each repeat whether it had the shared guest; ``alone``: what those come to that had their own."""

    def __init__(self, world: World, **alone: VerdictName) -> None:
        self.world = world
        self.alone = {f"one.{name.replace('_', '-')}": verdict for name, verdict in alone.items()}
        self.ran: list[str] = []
        self.places: list[Path] = []

    def run(
        self, case: Case, number: int, pair: HostPair, place: RepeatDirectory, found: Any, see: RunContext
    ) -> Record:
        self.ran.append(f"{case.id} {'alone' if see.shared is None else 'shared'}")
        self.places.append(place.path)
        if see.shared is None and case.id in self.alone:
            self.world.outcomes[f"{case.id} #{number}"] = [self.alone[case.id]]
        return self.world.run(case, number, pair, place, found, see)

    def carry_out(self, directory: RunDirectory, **options: Any) -> list[Record]:
        turns = start_execution([plan_of()], directory)
        execute(turns, directory, self.world.lease, self.world, share_guest=True, run=self.run, **options)
        return list(read_run(directory).records)


def test_without_sharing_nothing_is_run_again(world: World, directory: RunDirectory) -> None:
    """Each case has a guest of its own, and what is not as expected stays so."""
    sharing = Sharing(world)
    world.outcomes["one.vcpus-2 #1"] = [VerdictName.HUNG]
    turns = start_execution([plan_of()], directory)
    execute(turns, directory, world.lease, world, run=sharing.run)
    assert sharing.ran == [f"one.vcpus-{n} alone" for n in (1, 2, 3)]
    assert all(record.alone == {} for record in read_run(directory).records)


@pytest.mark.parametrize("name", [VerdictName.HUNG, VerdictName.INFRASTRUCTURE_ERROR])
def test_a_case_that_differs_alone(world: World, directory: RunDirectory, name: VerdictName) -> None:
    """What fails with the shared guest is run again with one of its own, at once; both records are kept, and the run is
    not in order though it passed, be the first an infrastructure error.
    """
    sharing = Sharing(world, vcpus_2=VerdictName.COMPLETED)
    world.outcomes["one.vcpus-2 #1"] = [name]
    records = sharing.carry_out(directory)
    assert sharing.ran == ["one.vcpus-1 shared", "one.vcpus-2 shared", "one.vcpus-2 alone", "one.vcpus-3 shared"]
    assert [record.case for record in records] == ["one.vcpus-1", "one.vcpus-2", "one.vcpus-3"]
    (record,) = [record for record in records if record.mismatch]
    assert record.verdict.name is name
    assert record.mismatch.startswith(f"expected completed, was {name}; differs alone: ")
    assert record.alone == {
        "verdict": {"name": "completed", "side": "", "reason": "", "race": "", "hop": 0},
        "mismatch": "",
    }
    assert record.differs_alone
    assert sharing.places[2] == sharing.places[1] / "alone"
    assert read_record(sharing.places[2] / "record.json").verdict.name is VerdictName.COMPLETED
    assert exit_code_of(records) == 1
    assert world.log.count(f"ended one.vcpus-2 #1 {name}") == 1


def test_a_case_that_is_wrong_alone_too(world: World, directory: RunDirectory) -> None:
    """It is wrong as it was, with what it came to alone beside it."""
    sharing = Sharing(world, vcpus_2=VerdictName.CHECKS_FAILED)
    world.outcomes["one.vcpus-2 #1"] = [VerdictName.HUNG]
    records = sharing.carry_out(directory)
    (record,) = [record for record in records if record.mismatch]
    assert record.mismatch == "expected completed, was hung"
    assert (record.alone["verdict"]["name"], record.alone["mismatch"]) == (
        "checks-failed",
        "expected completed, was checks-failed",
    )
    assert not record.differs_alone
    assert exit_code_of(records) == 1


def test_infrastructure_that_fails_twice(world: World, directory: RunDirectory) -> None:
    """Is an environment that is not ready, as without sharing."""
    sharing = Sharing(world, vcpus_2=VerdictName.INFRASTRUCTURE_ERROR)
    world.outcomes["one.vcpus-2 #1"] = [VerdictName.INFRASTRUCTURE_ERROR]
    assert exit_code_of(sharing.carry_out(directory)) == 3


def test_a_guest_that_is_kept_is_not_disturbed(world: World, directory: RunDirectory) -> None:
    """A case whose guests are kept to be looked at is not run again beside them."""
    keeper = UsedKeeper()
    sharing = Sharing(world)
    world.outcomes["one.vcpus-1 #1"] = [VerdictName.HUNG]

    def run(*given: Any) -> Record:
        record = sharing.run(*given)
        keeper.used = True
        return record

    turns = start_execution([plan_of()], directory)
    execute(turns, directory, world.lease, world, keeper=keeper, share_guest=True, run=run)  # type: ignore[arg-type]
    assert sharing.ran == ["one.vcpus-1 shared"]


def test_hosts_of_a_case_are_its_sides(world: World, directory: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A case that says which host is its source does not take a guest that may be on the other one."""
    monkeypatch.setattr(plan_runner, "decide", lambda *_: Decision())
    sharing = Sharing(world)
    turns = start_execution([plan_of()], directory)
    turns[1] = replace(turns[1], hosts=("hostb", "hosta"))
    execute(turns, directory, world.lease, world, share_guest=True, run=sharing.run)
    assert sharing.ran == ["one.vcpus-1 shared", "one.vcpus-2 alone", "one.vcpus-3 shared"]


def test_a_shared_guest_does_not_outlive_its_hosts(world: World, directory: RunDirectory) -> None:
    """After a loss the cases share another one, in the new lab."""
    seen: list[object] = []
    sharing = Sharing(world, vcpus_2=VerdictName.INFRASTRUCTURE_ERROR)
    world.outcomes["one.vcpus-2 #1"] = [VerdictName.INFRASTRUCTURE_ERROR]
    world.losses = 1

    def run(*given: Any) -> Record:
        seen.append(given[-1].shared)
        return sharing.run(*given)

    turns = start_execution([plan_of()], directory)
    execute(turns, directory, world.lease, world, share_guest=True, run=run)
    first, second, alone, third = seen
    assert first is second
    assert alone is None
    assert third not in (None, first)


def test_what_a_resumed_run_does_again(directory: RunDirectory) -> None:
    """What has no record, was not run, or was interrupted, as its ending says: the words of a reason do not matter."""
    turns = start_execution([plan_of(repeats=2)], directory)
    error = Verdict(VerdictName.INFRASTRUCTURE_ERROR, reason="x")
    for turn, ending, reason in zip(
        turns,
        (Ending.NOT_RUN, Ending.INTERRUPTED, Ending.HOST_LOST, Ending.BY_ITSELF, Ending.BY_ITSELF),
        ("x", "x", "x", "not run: x", "migrate: interrupted"),
        strict=False,
    ):
        record = replace(
            make_record(turn.line.id, turn.number), verdict=replace(error, reason=reason), mismatch="x", ending=ending
        )
        directory.repeat(turn.line.id, turn.number).write_record(record)
    assert list_left(turns, directory) == [turns[0], turns[1], turns[5]]
