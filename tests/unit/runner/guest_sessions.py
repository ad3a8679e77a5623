# SPDX-License-Identifier: GPL-2.0-or-later
"""A world in which a guest travels: all that a guest session calls is scripted, and leaves a line in one log."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.builders import make_answers, make_result, make_truth, render_view
from tests.unit.fakes import FaultyHost

from switchover.checks.evidence import Asked, DeviceEvidence, SideEvidence
from switchover.devices.reference import Knobs, Truth
from switchover.guests import questions
from switchover.guests.qemu import GuestEvidence, GuestKeys
from switchover.guests.snapshots import Beginning, Snapshot, Snapshots
from switchover.guests.spec import GuestSpec
from switchover.hosts.loop import LoopThread
from switchover.hosts.questions import Answer
from switchover.migration.downtime import UnexplainedDowntime
from switchover.migration.phases import Action, Intervened, Phase
from switchover.probes.probe import Ended
from switchover.probes.table import RunningProbes, find_all
from switchover.record.measurement import Check
from switchover.runner import examination, guest_session
from switchover.runner.attempt import Attempt, Migrated
from switchover.runner.examination import Departure
from switchover.runner.guest_session import GuestSession, start_guest_session
from switchover.runner.host_pair import Endpoint, HostPair
from switchover.runner.listener import RunListener
from switchover.runner.side import Side
from switchover.scenarios.case import DeviceSpec, SideSpec, make_case, with_one_device
from switchover.scenarios.faults import Fault

KEYS = GuestKeys("", "", "", "")
LOOP = cast(LoopThread, None)
CASE = make_case("x", with_one_device(Knobs(fail_at="STOP_COPY")), heartbeat_us=0)
CUT = replace(CASE, faults=(Fault(Action.CUT_LINK, Phase.ACTIVE),))


class TravellingGuest:
    """A guest whose QEMU was started as ``name``, and stays under that name in the log."""

    def __init__(self, world: "World", name: str, host: FaultyHost, spec: GuestSpec) -> None:
        self.world = world
        self.name = self.side = name
        self.host = host
        self.spec = spec
        self.has_begun = True
        self.run_by = ""
        self.qmp = SimpleNamespace(execute=self.execute, transcript=[], events=[])

    def execute(self, command: str) -> dict[str, str]:
        if command != "query-version":
            self.world.note(f"{command} {self.name}")
        return {"qemu": "10.0"}

    def collect_evidence(self) -> GuestEvidence:
        return GuestEvidence(f"started as {self.name} on {self.host.name}", "", "", "")

    def take_side(self, side: str) -> None:
        self.side = side

    def exit_status(self) -> int | None:
        return self.world.codes.get(self.name)

    @property
    def killed(self) -> bool:
        return self.name in self.world.killed

    def is_dead(self) -> bool:
        return self.name in self.world.codes

    def require_alive(self) -> None:
        """Invariant of waits, none of which is long here."""

    def wait_until_reachable(self) -> None:
        self.world.wait_for_destination()
        self.world.note(f"boot {self.name}")

    def open_ssh(self, keys: GuestKeys) -> "Login":
        self.world.logins.append(Login(self.world, self.host.name))
        return self.world.logins[-1]

    def resume(self) -> None:
        self.world.note(f"cont {self.name}")


@dataclass
class Login:
    """A connection to the guest, which runs through a host."""

    world: "World"
    name: str
    connected: bool = True

    def is_connected(self) -> bool:
        return self.connected

    def close(self) -> None:
        self.connected = False

    def __enter__(self) -> "Login":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class World:
    """What happens to sides and guests, in its order; ``outcomes`` of migrations, one after the other.

    ``fail``: what a line raises as it is noted; ``unable``: what a guest that was told to do it cannot do, by line.
    """

    log: list[str] = field(default_factory=list)
    outcomes: list[Any] = field(default_factory=list)
    fail: dict[str, BaseException] = field(default_factory=dict)
    unable: set[str] = field(default_factory=set)
    codes: dict[str, int] = field(default_factory=dict)
    killed: set[str] = field(default_factory=set)
    """by the harness"""
    made: list[Intervened] = field(default_factory=list)
    """in each migration"""
    before: list[Any] = field(default_factory=list)
    logins: list[Login] = field(default_factory=list)
    checks: tuple[Check, ...] = ()
    """of a migration that completed"""
    devices: int = 1
    asked_last: set[str] = field(default_factory=set)
    destination_started: threading.Event = field(default_factory=threading.Event)

    def note(self, line: str) -> None:
        self.log.append(line)
        if line in self.fail:
            raise self.fail.pop(line)

    def wait_for_destination(self) -> None:
        """A guest that boots, or is restored, does so while its first destination is started, and not before it."""
        assert self.destination_started.wait(10), "the destination is not started meanwhile"

    @contextlib.contextmanager
    def start_side(
        self,
        spec: SideSpec,
        host: FaultyHost,
        name: str,
        keys: GuestKeys,
        loop: LoopThread,
        *,
        incoming: bool,
        keep: Callable[[Any], None],
        saved: Any = None,
        words: str = "",
    ) -> Iterator[Side]:
        try:
            self.note(f"start {name} on {host.name}")
        finally:
            (self.destination_started.set if incoming else self.destination_started.clear)()
        assert incoming is (name != "source")
        self.devices = len(spec.references)
        guest = TravellingGuest(self, name, host, spec.guest)
        try:
            yield Side(spec, self.make_devices(name, self.devices), cast(Any, guest), saved)
        finally:
            try:
                keep(guest)
            finally:
                self.note(f"end {name}")

    def make_devices(self, name: str, count: int) -> Any:
        return tuple(
            SimpleNamespace(set_live_knobs=lambda knobs: self.note(f"knobs of {name}: fail_at {knobs.fail_at}"))
            for _ in range(count)
        )

    def exchange(self, side: Side, wanted: SideSpec) -> Side:
        self.note(f"exchange devices of {name_of(side)}")
        devices = self.make_devices(name_of(side), len(wanted.references))
        return replace(side, spec=replace(side.spec, devices=wanted.devices), devices=devices)

    def ask(self, guest: Any, questions: Mapping[str, str], **_: object) -> dict[str, Answer]:
        """A guest that is told, and asked, several things in one exchange."""
        self.asked_last = set(questions)
        return {name: self.answer(name) for name in questions}

    def answer(self, name: str) -> Answer:
        match name.split("-"):
            case ["boot"]:
                return Answer(0, f"{make_answers().boot_id}\n")
            case ["canary"]:
                return Answer(0, f"{make_answers().canary}  -\n")
            case ["macs"]:
                return Answer(0, "\n".join(make_answers().macs))
            case ["device", _]:
                return Answer(0, render_view(make_answers().devices[0]))
        told = {"place-canary": "canary", "devices-taken": f"{self.devices} devices taken"}
        line = told.get(name, name.replace("-", " "))
        self.note(line)
        return Answer(1, f"no {line}") if line in self.unable else Answer(0, "")

    def migrate(self, source: Side, destination: Side, address: str, *rest: Any) -> Migrated:
        self.note(f"migrate {name_of(source)} to {name_of(destination)} at {address}")
        for one in self.made:
            rest[-2](one)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        if outcome.status == "completed":
            rest[-1]()
        return Migrated(outcome, {})

    def examine(self, departure: Departure, migrated: Migrated, probes: RunningProbes) -> Attempt:
        guest = departure.destination.guest
        seen = probes.finish(guest, beside=False)
        self.note(f"examine {name_of(departure.destination)}")
        self.before.append(departure.before)
        seen += probes.finish(guest, beside=True)
        found = find_all(seen, Ended(departure.case, UnexplainedDowntime("no traces"), paused=False))
        checks, made = (*self.checks, *found.checks), tuple(departure.made)
        return Attempt(
            migrated.migration, {}, {}, found.measurements, checks, not_checked=found.not_checked, interventions=made
        )

    def restore(self, guest: TravellingGuest, saved: Any) -> None:
        self.wait_for_destination()
        self.note(f"restore {guest.name}")

    def ask_stayed(self, departure: Departure) -> Asked:
        self.note(f"examine {name_of(departure.source)}, which stayed")
        return Asked()


def read_truths(side: Side) -> tuple[Truth, ...]:
    return (make_truth(),) * len(side.devices)


def gather_side(name: str, _side: Side, before: tuple[Truth, ...], after: tuple[Truth, ...], *_: Any) -> SideEvidence:
    devices = [DeviceEvidence(name, DeviceSpec(), old, new) for old, new in zip(before, after, strict=False)]
    return SideEvidence(name, devices=tuple(devices))


def name_of(side: Side) -> str:
    return str(cast(Any, side.guest).name)


def make_world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(guest_session, "start_side", world.start_side)
    monkeypatch.setattr(guest_session, "migrate_sides", world.migrate)
    monkeypatch.setattr(guest_session, "examine", world.examine)
    monkeypatch.setattr(examination, "_ask_stayed", world.ask_stayed)
    monkeypatch.setattr(examination, "_gather_side", gather_side)
    monkeypatch.setattr(guest_session, "mend_device", lambda guest, number: world.note(f"mend {number}"))
    monkeypatch.setattr(guest_session, "finish_restore", world.restore)
    monkeypatch.setattr(guest_session, "exchange_devices", world.exchange)
    monkeypatch.setattr(questions, "ask_together", world.ask)
    monkeypatch.setattr(Side, "read_truths", read_truths)
    return world


class FakeSnapshots:
    """Stands where :class:`Snapshots` is used: a guest is warm where that is asked for, else cold for a reason."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.words: list[str] = []

    def decide(self, spec: GuestSpec, host: object, lab: object, obstacle: str) -> Beginning:
        return Beginning("warm") if spec.start == "warm" else Beginning("cold", obstacle or "there is no lab")

    def require(
        self,
        spec: GuestSpec,
        ports: int,
        host: FaultyHost,
        keys: object,
        loop: object,
        lab: object,
        words: str,
        keep: Callable[[Any], None],
    ) -> Snapshot:
        self.words.append(words)
        self.world.note(f"saved guest with {ports} ports on {host.name}")
        return SAVED


SAVED = Snapshot("key", "/tmp/x/guest", "5eed", 80, 20.5, "")


def make_saved_guests(world: World) -> Snapshots:
    return cast(Snapshots, FakeSnapshots(world))


def make_pair(world: World, link: str = "link0") -> HostPair:
    def label(method: str, argument: str) -> str:
        if "qdisc" in argument:
            world.note("disturb" if "replace" in argument else "restore")
        return argument

    hosts = [FaultyHost(label, "", name=name) for name in ("a", "b")]
    return HostPair(Endpoint(hosts[0], "at a", link), Endpoint(hosts[1], "at b", link), KEYS)


class Watch(RunListener):
    """Notes what is released, and that both sides have started."""

    def __init__(self, world: World) -> None:
        self.world = world

    def release(self, guest: Any, name: str) -> None:
        self.world.note(f"keep {name}")

    def sides_started(self, source: Any, destination: Any) -> None:
        self.world.note("both started")


def travel(
    world: World, use: Callable[[GuestSession], None], link: str = "link0", source: SideSpec = CASE.source
) -> None:
    with start_guest_session(source, make_pair(world, link), LOOP, Watch(world), make_saved_guests(world)) as made:
        use(made)


COMPLETED = make_result()
FAILED = make_result("failed")
FIRST = [
    "start source on a",
    "start destination on b",
    "boot source",
    "canary",
    "seed 0",
    "both started",
    "migrate source to destination at at b",
]
