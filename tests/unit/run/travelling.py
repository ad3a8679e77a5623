# SPDX-License-Identifier: GPL-2.0-or-later
"""A world in which a guest travels: all that a traveller calls is scripted, and leaves a line in one log."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.builders import make_answers, make_result, make_truth
from tests.unit.fakes import FaultyHost

from switchover.devices.reference import Knobs
from switchover.guests.qemu import GuestKeys
from switchover.hosts.loop import LoopThread
from switchover.migration.phases import Phase
from switchover.record.measurement import Check
from switchover.run import traveller
from switchover.run.pair import End, Pair
from switchover.run.passage import Migrated, Passage
from switchover.run.side import Side
from switchover.run.traveller import Traveller, Watchers, start_traveller
from switchover.scenarios.case import SideSpec, make_case, with_one_device
from switchover.scenarios.faults import Action, Fault

KEYS = GuestKeys("", "", "", "")
LOOP = cast(LoopThread, None)
CASE = make_case("x", with_one_device(Knobs(fail_at="STOP_COPY")), heartbeat_us=0)
CUT = replace(CASE, faults=(Fault(Action.CUT_LINK, Phase.ACTIVE),))


@dataclass
class World:
    """What happens to sides and guests, in its order; ``outcomes`` of migrations, one after the other."""

    log: list[str] = field(default_factory=list)
    outcomes: list[Any] = field(default_factory=list)
    fail: dict[str, BaseException] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    before: list[Any] = field(default_factory=list)

    def note(self, line: str) -> None:
        self.log.append(line)
        if line in self.fail:
            raise self.fail.pop(line)

    @contextlib.contextmanager
    def start_side(
        self, spec: SideSpec, host: FaultyHost, name: str, keys: GuestKeys, loop: LoopThread, *, incoming: bool,
        keep: Callable[[Any], None], saved: Any = None, words: str = "",
    ) -> Iterator[Side]:  # fmt: skip
        self.note(f"start {name} on {host.name}")
        assert incoming is (name != "source")
        devices = tuple(
            SimpleNamespace(
                read_truth=lambda: make_truth(),
                set_live_knobs=lambda knobs: self.note(f"knobs of {name}: fail_at {knobs.fail_at}"),
            )
            for _ in spec.references
        )
        guest = SimpleNamespace(
            name=name,
            host=host,
            exit_status=lambda: self.codes.get(name),
            is_dead=lambda: name in self.codes,
            require_alive=lambda: None,
            wait_until_reachable=lambda: self.note(f"boot {name}"),
            open_ssh=lambda keys: contextlib.nullcontext(host),
            qmp=SimpleNamespace(execute=lambda command: self.note(f"{command} {name}")),
            resume=lambda: self.note(f"cont {name}"),
        )
        try:
            yield Side(spec, cast(Any, devices), cast(Any, guest), saved)
        finally:
            try:
                keep(guest)
            finally:
                self.note(f"end {name}")

    def migrate(self, source: Side, destination: Side, address: str, *rest: Any) -> Migrated:
        self.note(f"migrate {name_of(source)} to {name_of(destination)} at {address}")
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return Migrated(outcome, {}, ((), ()))

    def examine(
        self, source: Side, destination: Side, migrated: Migrated, outside: Any, before: Any, *_: Any
    ) -> Passage:
        self.note(f"examine {name_of(destination)}")
        self.before.append(before)
        return Passage(migrated.migration, {}, {})

    def examine_stayed(self, source: Side, destination: Side, truths: Any, before: Any, keys: Any) -> list[Check]:
        self.note(f"examine {name_of(source)}, which stayed")
        return [Check("guest runs on the source", True, "yes", "yes")]


def name_of(side: Side) -> str:
    return str(cast(Any, side.guest).name)


def make_world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(traveller, "start_side", world.start_side)
    monkeypatch.setattr(traveller, "migrate_sides", world.migrate)
    monkeypatch.setattr(traveller, "examine", world.examine)
    monkeypatch.setattr(traveller, "examine_stayed", world.examine_stayed)
    monkeypatch.setattr(traveller, "check_not_running", lambda side: Check("not running", True, "no", "no"))
    monkeypatch.setattr(traveller, "place_canary", lambda guest, means: world.note("canary"))
    monkeypatch.setattr(traveller, "mend_device", lambda guest, number: world.note(f"mend {number}"))
    monkeypatch.setattr(traveller, "seed_device", lambda guest, generator, number: world.note(f"seed {number}"))
    monkeypatch.setattr(traveller, "finish_restore", lambda guest: world.note(f"restore {guest.name}"))
    monkeypatch.setattr(traveller, "set_clock", lambda guest: world.note("clock"))
    monkeypatch.setattr(traveller, "wait_for_devices", lambda guest, count, _: world.note(f"{count} devices taken"))
    monkeypatch.setattr(traveller, "ask_guest", lambda guest, count, means, functions: make_answers(1, devices=count))
    return world


def make_pair(world: World, link: str = "link0") -> Pair:
    def label(method: str, argument: str) -> str:
        if "qdisc" in argument:
            world.note("disturb" if "replace" in argument else "restore")
        return argument

    hosts = [FaultyHost(label, "", name=name) for name in ("a", "b")]
    return Pair(End(hosts[0], "at a", link), End(hosts[1], "at b", link), KEYS)


def watch(world: World) -> Watchers:
    return Watchers(
        step=lambda step: None,
        release=lambda guest, name: world.note(f"keep {name}"),
        sides_started=lambda source, destination: world.note("both started"),
    )


def travel(world: World, use: Callable[[Traveller], None], link: str = "link0") -> None:
    with start_traveller(CASE.source, make_pair(world, link), LOOP, watch(world)) as made:
        use(made)


COMPLETED = make_result()
FAILED = make_result("failed")
FIRST = [
    "start source on a",
    "start destination on b",
    "both started",
    "boot source",
    "canary",
    "seed 0",
    "migrate source to destination at at b",
]
