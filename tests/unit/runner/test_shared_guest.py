# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that cases share: who goes on with it, who gets another one, and what of it is left where."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.fakes import FaultyHost
from tests.unit.runner.guest_sessions import (
    CASE,
    COMPLETED,
    FAILED,
    Watch,
    World,
    make_pair,
    make_saved_guests,
    make_world,
    name_of,
)

from switchover.devices.reference import Knobs
from switchover.guests.spec import GuestSpec
from switchover.migration.phases import Action, Phase
from switchover.migration.settings import MigrationSettings
from switchover.record.checks import CheckId
from switchover.record.errors import HostLost, Refused
from switchover.record.measurement import Check
from switchover.record.record import Record, VerdictName
from switchover.record.rundir import RepeatDirectory
from switchover.runner.case_runner import RunContext, run_repeat
from switchover.runner.guest_session import GuestSession
from switchover.runner.host_pair import HostPair
from switchover.runner.shared_guest import SharedGuest, can_share, name_extras
from switchover.scenarios.case import Case, DeviceSpec, FunctionSpec, SideSpec, make_case, with_one_device, with_start
from switchover.scenarios.faults import Fault

GOOD, BAD = (
    Check(CheckId.GUEST_BOOT_ID, "guest is the same", True, "yes", "yes"),
    Check(CheckId.GUEST_BOOT_ID, "guest is the same", False, "yes", "no"),
)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = make_world(monkeypatch)
    world.checks = (GOOD,)
    return world


@pytest.fixture
def shared() -> Iterator[SharedGuest]:
    with SharedGuest() as shared:
        yield shared


class Cases:
    """Cases in a row with a guest that they share."""

    def __init__(self, world: World, shared: SharedGuest) -> None:
        self.world, self.shared = world, shared
        self.pair = make_pair(world)

    def take(self, case: Case, pair: HostPair | None = None) -> GuestSession:
        return self.shared.take(case, pair or self.pair, Watch(self.world), make_saved_guests(self.world))

    def run(self, case: Case, outcome: Any = COMPLETED) -> GuestSession:
        guest_session = self.take(case)
        self.world.outcomes = [outcome]
        guest_session.attempt(case)
        self.shared.leave()
        return guest_session


@pytest.fixture
def cases(world: World, shared: SharedGuest) -> Cases:
    return Cases(world, shared)


def test_the_next_case_goes_on_where_the_guest_is(cases: Cases, world: World) -> None:
    """It is started once; directions alternate, and after a case that did not complete the next one starts there."""
    first = cases.run(CASE)
    assert cases.run(CASE, FAILED) is first
    assert cases.run(CASE) is first
    started = [line for line in world.log if line.startswith(("start", "boot", "migrate"))]
    assert started == [
        "start source on a",
        "start destination on b",
        "boot source",
        "migrate source to destination at at b",
        "start destination on a",
        "migrate destination to destination at at a",
        "start destination on a",
        "migrate destination to destination at at a",
    ]
    assert first.migrations == 2
    assert not any(line.startswith(("exchange", "saved guest")) for line in world.log)
    cases.shared.end()
    assert [line for line in world.log if line.startswith("end")][-1] == "end destination"


def test_a_case_gets_its_knobs(cases: Cases, world: World) -> None:
    """Those of the case before are not left on the device; what it offers stays, so that it is not exchanged."""
    cases.run(CASE)
    guest_session = cases.take(make_case("y", with_one_device(Knobs(fail_at="read:7")), heartbeat_us=0))
    assert "knobs of destination: fail_at read:7" in world.log
    assert guest_session.side.spec.references[0].knobs.fail_at == "read:7"


def case_of(**guest: Any) -> Case:
    return make_case("y", replace(CASE.source, guest=replace(CASE.source.guest, **guest)), heartbeat_us=0)


SIDE = CASE.source
OTHERS = {
    "memory": case_of(memory_mib=512),
    "qemu": case_of(qemu="qemu-11.1"),
    "a boot": with_start(CASE, "cold"),
    "libvirt": case_of(driver="libvirt"),
    "another device": make_case("y", replace(SIDE, devices=(*SIDE.devices, DeviceSpec("more"))), heartbeat_us=0),
    "another NIC": case_of(nic={"host_uso": "off"}),
    "other vCPUs": case_of(vcpus=2, topology={"cores": 2}),
    "an IOMMU": case_of(iommu="intel-iommu"),
    "no device": make_case("y", SideSpec(devices=()), heartbeat_us=0),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_the_guest_cannot_be(cases: Cases, world: World, name: str) -> None:
    """A case with another guest does not go on with this one, which ends before the next is started."""
    first = cases.run(CASE)
    world.log.clear()
    second = cases.take(OTHERS[name])
    assert second is not first
    assert world.log[:2] == ["end destination", "start source on a"]


def test_a_guest_that_came_to_another_qemu(cases: Cases) -> None:
    """It has what its first QEMU made of it: a case that starts on the QEMU where it is now gets a guest of its own."""
    newer = replace(CASE.source, guest=replace(CASE.source.guest, qemu="qemu-11.1"))
    first = cases.run(replace(CASE, destination=newer))
    assert cases.take(replace(CASE, source=newer, destination=newer)) is not first


def test_a_guest_that_came_to_other_hardware(cases: Cases, world: World) -> None:
    """It has taken what it was offered when it booted: a case whose source is as the side that it is on now, but not
    as the one that it booted on, gets a guest of its own; on a source as that it goes on.
    """
    offers_more = replace(CASE.source, guest=replace(CASE.source.guest, nic={"packed": "on"}))
    first = cases.run(replace(CASE, destination=offers_more))
    assert first.side.spec.guest.nic == {"packed": "on"}
    second = cases.run(replace(CASE, source=offers_more, destination=offers_more))
    assert second is not first
    assert cases.take(replace(CASE, source=offers_more)) is second


@pytest.mark.parametrize("start", ["auto", "warm"])
def test_how_the_guest_began_is_no_matter(cases: Cases, start: Any) -> None:
    """A case whose guest may be restored takes one that was booted, or restored, for the case before."""
    first = cases.run(CASE)
    assert cases.take(with_start(CASE, start)) is first


def test_other_hosts(cases: Cases, world: World) -> None:
    """A guest goes on only between the hosts that the case is for; which of them is the source is no matter."""
    first = cases.run(CASE)
    assert cases.take(CASE, cases.pair.reversed()) is first
    third = FaultyHost(lambda method, argument: argument, "", name="c")
    other = replace(cases.pair, source=replace(cases.pair.source, host=third))
    assert cases.take(CASE, other) is not first
    assert world.log[-1] == "start source on c"


def test_a_guest_that_ended_meanwhile(cases: Cases, world: World) -> None:
    """Between two cases: the next one gets another."""
    first = cases.run(CASE)
    world.codes["destination"] = -9
    assert cases.take(CASE) is not first


def with_settings(**settings: Any) -> Case:
    return replace(CASE, settings=replace(MigrationSettings(), **settings))


EXTRAS = {"parameters": {"max-postcopy-bandwidth": 7}}
SWITCHED_OFF: list[dict[str, Any]] = [
    {"capabilities": {"auto-converge": True}},
    {"destination_capabilities": {"x-ignore-shared": True}},
]
"""What the next case's settings undo by themselves."""


@pytest.mark.parametrize("outcome", [COMPLETED, FAILED])
def test_what_a_qemu_keeps_of_a_case(cases: Cases, outcome: Any) -> None:
    """A parameter of some cases stays in a QEMU: who does not set it gets another guest, who does goes on."""
    case, more = with_settings(**EXTRAS), with_settings(**EXTRAS, downtime_limit_ms=200)
    first = cases.run(CASE)
    assert cases.run(case, outcome) is first
    assert cases.run(more, outcome) is first
    assert cases.take(CASE) is not first


@pytest.mark.parametrize("extras", SWITCHED_OFF)
def test_what_a_qemu_is_relieved_of(cases: Cases, extras: dict[str, Any]) -> None:
    """A capability is switched off by the next case that does not ask for it: the guest goes on."""
    first = cases.run(with_settings(**extras))
    assert cases.take(CASE) is first


def test_names_of_extras() -> None:
    """Those by name, whatever their value; none by default."""
    assert name_extras(MigrationSettings()) == frozenset()
    assert name_extras(with_settings(**EXTRAS).settings) == {"max-postcopy-bandwidth"}


@pytest.mark.parametrize(
    ("source", "can"),
    [
        (SideSpec(), True),
        (SideSpec(GuestSpec(start="warm")), True),
        (SideSpec(GuestSpec(start="cold")), False),
        (SideSpec(GuestSpec(driver="libvirt")), False),
        (SideSpec(devices=(FunctionSpec("function", pci="0000:01:00.0"),)), False),
    ],
)
def test_who_can_share(source: SideSpec, can: bool) -> None:
    """No case whose boot is the subject, no domain of libvirt, no PCI function, which the harness does not plug."""
    assert can_share(source) is can


def test_one_that_boots(world: World) -> None:
    """For a demonstration the first guest is booted though it could be restored, and the next case still shares it."""
    with SharedGuest(boots=True) as shared:
        cases = Cases(world, shared)
        first = cases.run(with_start(CASE, "warm"))
        assert "boot source" in world.log
        assert not any(line.startswith("saved guest") for line in world.log)
        assert cases.take(with_start(CASE, "warm")) is first


@pytest.mark.parametrize("step", ["start source on a", "knobs of destination: fail_at STOP_COPY"])
def test_a_guest_that_cannot_be_had(cases: Cases, world: World, step: str) -> None:
    """The error passes, and nothing of it is left once the guest is ended."""
    if step.startswith("knobs"):
        cases.run(CASE)
    world.fail = {step: HostLost("gone")}
    with pytest.raises(HostLost):
        cases.take(CASE)
    cases.shared.end()
    started = [line for line in world.log if line.startswith("start ") and line != step]
    assert len(started) == sum(line.startswith("end ") for line in world.log)
    assert cases.take(CASE).migrations == 0


# as repeats, with their records


RunCase = Callable[..., tuple[Record, Path]]


@pytest.fixture
def run_case(world: World, shared: SharedGuest, tmp_path: Path) -> RunCase:
    pair, numbers = make_pair(world), iter(range(1, 99))

    def run(outcome: Any = COMPLETED, case: Case = CASE) -> tuple[Record, Path]:
        world.outcomes = outcome if isinstance(outcome, list) else [outcome]
        directory = tmp_path / str(next(numbers))
        directory.mkdir()
        facts = {"source": {"kernel": "of a"}, "destination": {"kernel": "of b"}}
        context = RunContext(snapshots=make_saved_guests(world), shared=shared)
        return run_repeat(case, 1, pair, RepeatDirectory(directory), facts, context), directory

    return run


def test_a_record_of_a_shared_guest(run_case: RunCase) -> None:
    """It says which migration of the guest's life it was, and of which host its sides were: the second goes back."""
    (first, _), (second, _) = run_case(), run_case()
    assert [record.verdict.name for record in (first, second)] == [VerdictName.COMPLETED] * 2
    assert [record.fingerprint["guest"]["migration"] for record in (first, second)] == [1, 2]
    assert first.fingerprint["guest"]["reason"] == "there is no lab"
    assert [record.fingerprint["source"]["kernel"] for record in (first, second)] == ["of a", "of b"]
    assert [record.fingerprint["destination"]["kernel"] for record in (first, second)] == ["of b", "of a"]


def test_evidence_of_a_shared_guest(run_case: RunCase, shared: SharedGuest) -> None:
    """Each repeat has what both its QEMUs left, by the sides that they were of it; of what happens to the guest after
    it, nothing is written there.
    """
    places = [run_case()[1], run_case()[1], run_case([FAILED, COMPLETED])[1]]
    shared.end()

    def told(directory: Path) -> dict[str, str]:
        return {path.name: path.read_text().strip() for path in directory.glob("*.command")}

    assert told(places[0]) == {
        "source.command": "started as source on a",
        "destination.command": "started as destination on b",
    }
    assert told(places[1]) == {
        "source.command": "started as destination on b",
        "destination.command": "started as destination on a",
    }
    assert told(places[2]) == {
        "source.command": "started as destination on a",
        "destination.command": "started as destination on b",
        "second-destination.command": "started as second destination on b",
    }


def test_a_blocked_migration_leaves_the_guest(run_case: RunCase, world: World) -> None:
    """What QEMU rejects has done nothing to the guest: it is the next case's."""
    run_case(Refused("the source QEMU rejected migrate."))
    record, _ = run_case()
    assert record.fingerprint["guest"]["migration"] == 1
    assert world.log.count("boot source") == 1


def test_a_guest_that_has_slept_is_not_shared(run_case: RunCase, world: World) -> None:
    """It has woken up as another one: the next case has a guest that never slept."""
    run_case(case=replace(CASE, faults=(Fault(Action.SUSPEND_GUEST, Phase.BEFORE),)))
    record, _ = run_case()
    assert record.fingerprint["guest"]["migration"] == 1
    assert world.log.count("boot source") == 2


@pytest.mark.parametrize("trouble", ["check", "second migration", "lost", "bug"])
def test_a_guest_that_something_is_wrong_with_ends(run_case: RunCase, world: World, trouble: str) -> None:
    """A failed check, a second migration that is not in order, an error: the guest ends with that case, its evidence
    kept there, and the next one has another.
    """
    run_case()
    if trouble == "check":
        world.checks = (BAD,)
    outcomes = {"check": COMPLETED, "second migration": [FAILED, FAILED], "lost": HostLost("gone")}
    if trouble in outcomes:
        _, place = run_case(outcomes[trouble])
        assert {"source.command", "destination.command"} <= {path.name for path in place.iterdir()}
    else:
        with pytest.raises(ValueError, match="a bug"):
            run_case(ValueError("a bug"))
    ended = [line for line in world.log if line.startswith("end ")]
    assert len(ended) == sum(line.startswith("start ") for line in world.log)
    world.checks = (GOOD,)
    record, _ = run_case()
    assert record.fingerprint["guest"]["migration"] == 1
    assert world.log.count("boot source") == 2


def test_devices_that_cannot_be_plugged_in(run_case: RunCase, world: World) -> None:
    """The guest is the source of the case that it was to be for, and its evidence is there."""
    run_case()
    world.fail = {"exchange devices of destination": Refused("no")}
    record, place = run_case(case=make_case("y", with_one_device(Knobs(pre_copy=False)), heartbeat_us=0))
    assert record.verdict.name is VerdictName.REFUSED
    assert (place / "source.command").read_text() == "started as destination on b\n"
    assert world.log[-1] == "end destination"


def test_a_case_with_a_guest_of_its_own(run_case: RunCase, world: World) -> None:
    """The shared one ends before: both have the same address. The next case has another one to share."""
    run_case()
    run_case(case=with_start(CASE, "cold"))
    steps = [line for line in world.log if line.startswith(("start source", "end"))]
    assert steps == [
        "start source on a",
        "end source",
        "end destination",
        "start source on a",
        "end source",
        "end destination",
    ]
    record, _ = run_case()
    assert record.fingerprint["guest"]["migration"] == 1


def test_the_guest_is_where_it_is(cases: Cases) -> None:
    """Who asks is told which guest there is."""
    told = [cases.shared.guest_session]
    guest_session = cases.run(CASE)
    told.append(cases.shared.guest_session)
    cases.shared.end()
    assert [*told, cases.shared.guest_session] == [None, guest_session, None]
    assert name_of(guest_session.side) == "destination"
