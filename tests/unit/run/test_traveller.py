# SPDX-License-Identifier: GPL-2.0-or-later
"""The traveller: it moves on completion, stays otherwise, and every side is released once, whatever fails."""

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
from switchover.guests.warm import SavedGuest, SavedGuests
from switchover.hosts.loop import LoopThread
from switchover.migration.phases import Phase
from switchover.record.errors import CommandFailed, Deadline, GuestCrashed, HostLost, NotReady, NotSupported, Refused
from switchover.record.measurement import Check
from switchover.run import traveller
from switchover.run.needs import LAB_MEANS, GuestMeans, Need
from switchover.run.pair import End, Pair
from switchover.run.passage import Migrated, Passage
from switchover.run.side import Side
from switchover.run.traveller import Traveller, Watchers, migrate_again, start_traveller
from switchover.scenarios.case import Case, SideSpec, in_order, make_case, with_one_device, with_start
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
        keep: Callable[[Any], None], saved: Any = None,
    ) -> Iterator[Side]:  # fmt: skip
        self.note(f"start {name} on {host.name}")
        assert incoming is (name != "source")
        devices = tuple(
            SimpleNamespace(
                read_truth=lambda: make_truth(),
                set_live_knobs=lambda knobs: self.note(f"knobs of {name}: fail_at {knobs.fail_at}"),
            )
            for _ in spec.devices
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


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
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
    monkeypatch.setattr(traveller, "ask_guest", lambda guest, count, means: make_answers(1, devices=count))
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


def test_it_moves_on_completion(world: World) -> None:
    """The guest boots while both sides are up; after completion the side that it left is released at once, its
    evidence first, and the one where it lives at the end.
    """
    world.outcomes = [COMPLETED]

    def use(made: Traveller) -> None:
        pair = made.pair
        assert made.attempt(CASE).result is COMPLETED
        assert made.pair == pair.reversed()
        assert name_of(made.side) == "destination"
        world.note("in use")

    travel(world, use)
    arrived = ["examine destination", "keep source", "end source", "in use", "keep destination", "end destination"]
    assert world.log == [*FIRST, *arrived]


@pytest.mark.parametrize("status", ["failed", "cancelled", None])
def test_it_stays_without_completion(world: World, status: str | None) -> None:
    """Without completion the guest is looked at where it stayed, and the side that waited for it is released."""
    world.outcomes = [make_result(status)]

    def use(made: Traveller) -> None:
        pair = made.pair
        passage = made.attempt(CASE)
        assert [check.name for check in passage.checks] == ["guest runs on the source"]
        assert (made.pair, name_of(made.side)) == (pair, "source")
        world.note("in use")

    travel(world, use)
    stayed = ["examine source, which stayed", "keep destination", "end destination"]
    assert world.log == [*FIRST, *stayed, "in use", "keep source", "end source"]


def test_there_and_back_and_there(world: World) -> None:
    """It boots once; each time the guest is to say what it said first, one generation later for each move."""
    world.outcomes = [COMPLETED, FAILED, COMPLETED]

    def use(made: Traveller) -> None:
        for number in range(3):
            made.attempt(CASE, f"hop {number}")

    travel(world, use)
    assert [line for line in world.log if line.startswith(("start", "boot", "migrate", "end"))] == [
        "start source on a",
        "start hop 0 on b",
        "boot source",
        "migrate source to hop 0 at at b",
        "end source",
        "start hop 1 on a",
        "migrate hop 0 to hop 1 at at a",
        "end hop 1",
        "start hop 2 on a",
        "migrate hop 0 to hop 2 at at a",
        "end hop 0",
        "end hop 2",
    ]
    assert [answers.devices[0].generation for answers in world.before] == [1, 2]


@pytest.mark.parametrize(
    ("code", "ended", "last"),
    [
        ({"source": -9}, "source", []),
        ({"source": -9, "destination": 1}, "source", []),
        ({"destination": -9}, "destination", ["examine source, which stayed"]),
        ({}, "", ["examine source, which stayed"]),
    ],
)
def test_a_crash_is_a_passage(world: World, code: dict[str, int], ended: str, last: list[str]) -> None:
    """A QEMU that ended, or a guest that panicked, is what the passage came to; a guest that may still run is asked."""
    world.outcomes = [error := GuestCrashed("ended")]
    world.codes = code
    found: list[Passage] = []
    travel(world, lambda made: found.append(made.attempt(CASE)))
    (passage,) = found
    assert (passage.result, passage.error, passage.ended) == (None, error, ended)
    assert passage.checks
    assert world.log == [*FIRST, *last, "keep destination", "end destination", "keep source", "end source"]


def test_a_blocked_migration_is_a_passage(world: World) -> None:
    """What QEMU rejects leaves the guest where it is, and it is looked at."""
    world.outcomes = [error := Refused("the source QEMU rejected migrate.")]
    found: list[Passage] = []
    travel(world, lambda made: found.append(made.attempt(CASE)))
    assert (found[0].error, found[0].ended) == (error, "")
    assert "examine source, which stayed" in world.log


STEPS = ["start source on a", *FIRST[1:], "examine destination", "keep source", "end source"]


@pytest.mark.parametrize("error", [HostLost("gone"), KeyboardInterrupt(), ValueError("a bug")])
@pytest.mark.parametrize("step", STEPS)
def test_whatever_fails_every_side_that_was_started_ends_once(world: World, step: str, error: BaseException) -> None:
    """An error at any step passes, and each side that was started has ended, once, its evidence having been kept."""
    world.outcomes = [COMPLETED]
    world.fail = {step: error}
    with pytest.raises(type(error)):
        travel(world, lambda made: cast(None, made.attempt(CASE)))
    started = [line.split()[1] for line in world.log if line.startswith("start ") and line != step]
    ended = [line.split()[1] for line in world.log if line.startswith("end ")]
    kept = [line.split()[1] for line in world.log if line.startswith("keep ")]
    assert sorted(ended) == sorted(started)
    assert sorted(kept) == sorted(started)


@pytest.mark.parametrize("outcome", [COMPLETED, FAILED, GuestCrashed("ended"), HostLost("gone"), ValueError("a bug")])
def test_links_are_restored_before_the_guest_is_asked(world: World, outcome: Any) -> None:
    """Whatever a migration with a fault of its link comes to, both ends are restored, and that before any guest is
    looked at over it.
    """
    world.outcomes = [outcome]
    with contextlib.suppress(HostLost, ValueError):
        travel(world, lambda made: cast(None, made.attempt(CUT)))
    after = world.log[world.log.index("migrate source to destination at at b") + 1 :]
    assert after[:2] == ["restore", "restore"]
    assert after.count("restore") == 2


def test_links_are_left_alone_without_a_fault_of_theirs(world: World) -> None:
    """A pair whose links are not ours to disturb is good enough for every other fault."""
    world.outcomes = [FAILED]
    travel(world, lambda made: cast(None, made.attempt(CASE)), link="")
    assert "restore" not in world.log
    with pytest.raises(NotReady, match="No network interface"):
        travel(world, lambda made: cast(None, made.attempt(CUT)), link="")


def test_faults_are_taken_when_it_hangs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that sees a hang can have the links restored before it cancels."""

    def migrate(source: Side, destination: Side, address: str, *rest: Any) -> Migrated:
        (*_, on_hang) = rest
        on_hang()
        world.note("cancel")
        return Migrated(FAILED, {}, ((), ()))

    monkeypatch.setattr(traveller, "migrate_sides", migrate)
    travel(world, lambda made: cast(None, made.attempt(CUT)))
    assert world.log[6:10] == ["restore", "restore", "cancel", "examine source, which stayed"]


@pytest.mark.parametrize("outcome", [FAILED, Refused("source rejected migrate.")])
def test_a_paused_guest_that_stays_is_let_run(world: World, outcome: Any) -> None:
    """The pause was the harness's own: it ends before the guest is asked how it is. One that went away is let run there
    by the session.
    """
    paused = replace(CASE, faults=(Fault(Action.PAUSE_GUEST, Phase.BEFORE),))
    world.outcomes = [outcome, COMPLETED]

    def use(made: Traveller) -> None:
        made.attempt(paused)
        assert world.log[-4:-2] == ["cont source", "examine source, which stayed"]
        world.log.clear()
        made.attempt(paused)
        assert not [line for line in world.log if line.startswith("cont")]

    travel(world, use)


def test_a_guest_that_runs_is_not_let_run(world: World) -> None:
    """Without a pause nothing is let run that stands still for another reason."""
    world.outcomes = [FAILED]
    travel(world, lambda made: cast(None, made.attempt(CASE)))
    assert not [line for line in world.log if line.startswith("cont")]


def test_healing(world: World) -> None:
    """The devices where the guest lives lose their faults and get a new state, which is then to be kept."""
    world.outcomes = [FAILED]

    def use(made: Traveller) -> None:
        made.attempt(CASE)
        made.before = None
        world.log.clear()
        made.heal()
        assert made.before == make_answers(1)

    travel(world, use)
    assert world.log[:3] == ["knobs of source: fail_at none", "mend 0", "seed 0"]


@pytest.mark.parametrize(
    ("outcome", "passed", "observed"),
    [
        (COMPLETED, True, "yes"),
        (FAILED, False, "failed: failed: "),
        (GuestCrashed("it ended"), False, "crashed: migrate: it ended"),
        (HostLost("it is gone"), False, "it is gone"),
    ],
)
def test_migrating_again(world: World, outcome: Any, passed: bool, observed: str) -> None:
    """The guest that stayed is healed and migrates in order; what it comes to is one check."""
    world.outcomes = [FAILED, outcome]
    checks: list[Check] = []

    def use(made: Traveller) -> None:
        made.attempt(CASE)
        checks.append(migrate_again(made, CASE, "second destination"))

    travel(world, use)
    (check,) = checks
    assert (check.passed, check.observed) == (passed, observed)
    after = world.log[world.log.index("end destination") + 1 :]
    assert after[:4] == ["knobs of source: fail_at none", "mend 0", "seed 0", "start second destination on b"]
    assert "canary" not in after


def test_a_guest_that_cannot_be_healed(world: World) -> None:
    """A device that does not take its knobs is a failed check, and no destination is started."""
    world.outcomes = [FAILED]
    world.fail = {"knobs of source: fail_at none": CommandFailed("device busy")}
    checks: list[Check] = []

    def use(made: Traveller) -> None:
        made.attempt(CASE)
        checks.append(migrate_again(made, CASE))

    travel(world, use)
    assert (checks[0].passed, checks[0].observed) == (False, "device busy")
    assert world.log.count("start destination on b") == 1


WARM = with_start(CASE, "warm")


class FakeSavedGuests:
    """Stands where :class:`SavedGuests` is used."""

    def __init__(self, world: World) -> None:
        self.world = world

    def require(self, spec: Any, ports: int, host: FaultyHost, *_: Any, **__: Any) -> SavedGuest:
        self.world.note(f"saved guest with {ports} ports on {host.name}")
        return SavedGuest("key", "/tmp/x/guest", "5eed", 80, 20.5, "")

    def start(self, use: Callable[[Traveller], None]) -> None:
        saved_guests = cast(SavedGuests, self)
        pair = make_pair(self.world)
        with start_traveller(WARM.source, pair, LOOP, watch(self.world), saved_guests) as made:
            use(made)


def test_a_warm_guest_is_restored_while_the_destination_starts(world: World) -> None:
    """It is given its devices, the time and its state; nothing waits for a boot, and everything is there to migrate."""
    world.outcomes = [COMPLETED, COMPLETED]

    def use(made: Traveller) -> None:
        made.attempt(WARM)
        made.attempt(WARM, "source again")

    FakeSavedGuests(world).start(use)
    assert world.log[:2] == ["saved guest with 1 ports on a", "start source on a"]
    begun = world.log.index("both started")
    assert sorted(world.log[2:begun]) == sorted(
        ["start destination on b", "restore source", "clock", "1 devices taken", "canary", "seed 0"]
    )
    assert [line for line in world.log[2:begun] if not line.startswith("start")] == [
        "restore source", "clock", "1 devices taken", "canary", "seed 0",
    ]  # fmt: skip
    assert world.log[begun + 1] == "migrate source to destination at at b"
    again = world.log[world.log.index("start source again on a") :]
    assert again[:3] == ["start source again on a", "both started", "migrate destination to source again at at a"]


@pytest.mark.parametrize("step", ["start destination on b", "restore source", "1 devices taken"])
def test_a_warm_start_that_fails_releases_both_sides(world: World, step: str) -> None:
    """Whichever of the two that are started together fails, each side that was started ends once."""
    world.fail = {step: Refused("no")}

    def use(made: Traveller) -> None:
        with pytest.raises(Refused, match="no"):
            made.attempt(WARM)

    FakeSavedGuests(world).start(use)
    assert world.log.count("end source") == 1
    assert world.log.count("end destination") == (step != "start destination on b")


def test_the_second_destination_is_as_the_source(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second migration has the case's guest, and none of its faults."""
    tried: list[Case] = []
    attempt = Traveller.attempt

    def keep(self: Traveller, case: Case, name: str = "destination") -> Passage:
        tried.append(case)
        return attempt(self, case, name)

    monkeypatch.setattr(Traveller, "attempt", keep)
    world.outcomes = [COMPLETED]
    travel(world, lambda made: cast(None, migrate_again(made, CUT)))
    assert tried == [in_order(CUT)]


@pytest.mark.parametrize("outcome", [COMPLETED, FAILED, GuestCrashed("it ended")])
def test_an_attempt_is_told_while_both_sides_are_there(world: World, outcome: Any) -> None:
    """However it went: nothing is released before, so that somebody may look."""
    world.outcomes = [outcome]

    def use(made: Traveller) -> None:
        made.watchers.attempted = lambda case, source, destination, came_to: world.note(
            f"attempted {case.id}: {name_of(source)}, {name_of(destination) if destination else 'nobody'}"
        )
        made.attempt(CASE)

    travel(world, use)
    told = world.log.index(f"attempted {CASE.id}: source, destination")
    assert not any(line.startswith(("keep", "end")) for line in world.log[:told])
    assert any(line.startswith("end") for line in world.log[told:])


def test_a_destination_that_did_not_come_up_is_told(world: World) -> None:
    """The source is there alone, and the error passes."""
    world.fail = {"start destination on b": Refused("no such property")}
    told: list[Any] = []

    def use(made: Traveller) -> None:
        made.watchers.attempted = lambda *came_to: told.append((came_to[2], type(came_to[3])))
        made.attempt(CASE)

    with pytest.raises(Refused):
        travel(world, use)
    assert told == [(None, Refused)]


OWN = make_case("own", replace(CASE.source, guest=replace(CASE.source.guest, initramfs="/own")), heartbeat_us=0)


def travel_with(world: World, monkeypatch: pytest.MonkeyPatch, case: Case, means: GuestMeans) -> list[Passage]:
    monkeypatch.setattr(traveller, "find_means", lambda guest, spec: means)
    monkeypatch.setattr(
        traveller, "ask_guest", lambda guest, count, means: replace(make_answers(1, devices=count), means=means)
    )
    world.outcomes = [COMPLETED]
    made: list[Passage] = []
    with start_traveller(case.source, make_pair(world), LOOP, watch(world)) as started:
        made.append(started.attempt(case))
    return made


def test_a_guest_of_the_user_is_only_asked_what_it_can(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without canary and driver it gets neither, migrates, and what is not checked goes with the passage."""
    means = LAB_MEANS.without(Need.DIGEST, Need.DRIVER)
    (passage,) = travel_with(world, monkeypatch, OWN, means)
    assert not {"canary", "seed 0", "1 devices taken"} & set(world.log)
    assert "examine destination" in world.log
    assert {entry.lacking for entry in passage.not_checked} == {Need.DIGEST, Need.DRIVER}


def test_a_driver_that_takes_no_device_is_lacking(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a guest of the user the driver may not fit; in the lab's that is an error. So is no room for the canary."""
    (passage,) = travel_with(world, monkeypatch, OWN, LAB_MEANS)
    assert passage.not_checked == ()
    assert "1 devices taken" in world.log
    world.log.clear()
    world.fail = {"1 devices taken": Deadline("no device"), "canary": CommandFailed("no room")}
    (passage,) = travel_with(world, monkeypatch, OWN, LAB_MEANS)
    assert "seed 0" not in world.log
    assert {entry.lacking for entry in passage.not_checked} == {Need.DRIVER, Need.MEMORY}
    world.fail = {"canary": CommandFailed("no room")}
    with pytest.raises(CommandFailed):
        travel_with(world, monkeypatch, CASE, LAB_MEANS)


def test_a_load_that_the_guest_cannot_take_part_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is migrated then, and both sides are released."""
    device = replace(OWN.source.devices[0], knobs=Knobs(irq_rates=(5,)))
    case = make_case("loaded", replace(OWN.source, devices=(device,)), heartbeat_us=0)
    with pytest.raises(NotSupported, match="irq_rates"):
        travel_with(world, monkeypatch, case, LAB_MEANS.without(Need.DRIVER))
    assert not any(line.startswith("migrate") for line in world.log)
    assert {"end source", "end destination"} <= set(world.log)


def test_a_state_takes_its_sizes_along(world: World) -> None:
    """Where the guest arrived its device has the sizes of the one that it left, whatever the case gave it."""
    world.outcomes = [COMPLETED]
    case = replace(CASE, destination=with_one_device(Knobs(initial_bytes=4096, save_bytes_per_sec=7)))

    def use(made: Traveller) -> None:
        made.attempt(case)
        (device,) = made.side.spec.devices
        assert device.knobs == replace(Knobs(), save_bytes_per_sec=7)

    travel(world, use)
