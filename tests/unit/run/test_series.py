# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases in a row with one guest: who is booted when, and what an outcome is made of."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.builders import make_result
from tests.unit.fakes import FaultyHost

from switchover.devices.reference import Knobs
from switchover.guests.qemu import GuestKeys
from switchover.guests.spec import GuestSpec
from switchover.record.errors import GuestCrashed, HostLost
from switchover.record.measurement import Check
from switchover.record.record import VerdictName
from switchover.run import series
from switchover.run.pair import End, Pair
from switchover.run.passage import Passage, make_failed
from switchover.run.series import run_series
from switchover.scenarios.case import Case, DeviceSpec, SideSpec, make_case, with_one_device
from switchover.scenarios.expectation import Expectation

HOST = FaultyHost(lambda method, argument: method, "")
PAIR = Pair(End(HOST, "a"), End(HOST, "b"), GuestKeys("", "", "", ""))
COMPLETED = Passage(make_result(), {}, {})
FAILED = make_failed(make_result("failed"), {})
ENDED = make_failed(None, {}, error=GuestCrashed("it ended"), ended="source")
GOOD, BAD = Check("again", True, "yes", "yes"), Check("again", False, "yes", "no")


class World:
    """``passages`` by case; ``again``: what each migration after a case comes to."""

    def __init__(self, passages: dict[str, Any], again: Check = GOOD) -> None:
        self.passages = passages
        self.again = again
        self.log: list[str] = []
        self.side = SimpleNamespace(spec=SideSpec())

    @contextmanager
    def start_traveller(self, spec: SideSpec, pair: Pair, loop: object, **_: object) -> Iterator[Any]:
        self.log.append("boot")
        yield self
        self.log.append("end")

    def take_knobs(self, spec: SideSpec) -> None:
        self.side.spec = spec

    def attempt(self, case: Case) -> Passage:
        self.log.append(case.id)
        found = self.passages[case.id]
        self.side.spec = case.destination
        if isinstance(found, BaseException):
            raise found
        return found  # type: ignore[no-any-return]

    def migrate_again(self, traveller: object, case: Case) -> Check:
        self.log.append(f"on to {case.id}")
        return self.again


def run(monkeypatch: pytest.MonkeyPatch, world: World, *names: VerdictName) -> list[str]:
    monkeypatch.setattr(series, "start_traveller", world.start_traveller)
    monkeypatch.setattr(series, "migrate_again", world.migrate_again)
    cases = [Case(id, expectation=Expectation(name)) for id, name in zip(world.passages, names, strict=True)]
    return [outcome.mismatch for outcome in run_series(cases, PAIR)]


def test_one_guest_lives_through_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a case that failed the guest goes on to a side made for the next one; one that completed has brought it to
    such a side already.
    """
    world = World({"x": FAILED, "y": COMPLETED, "z": FAILED})
    assert run(monkeypatch, world, VerdictName.FAILED, VerdictName.COMPLETED, VerdictName.FAILED) == ["", "", ""]
    assert world.log == ["boot", "x", "on to y", "y", "z", "on to z", "end"]


@pytest.mark.parametrize(
    "there",
    [
        DeviceSpec(knobs=Knobs(pre_copy=False)),
        DeviceSpec(type="refdev-16vec"),
        DeviceSpec(properties={}),
        DeviceSpec(allow_pre_copy="off"),
    ],
)
def test_a_side_that_the_next_case_cannot_start_from(monkeypatch: pytest.MonkeyPatch, there: DeviceSpec) -> None:
    """Where a case that completed brought the guest to other devices than the next one needs, it goes on once more."""
    world = World({"x": COMPLETED, "y": COMPLETED})
    monkeypatch.setattr(series, "start_traveller", world.start_traveller)
    monkeypatch.setattr(series, "migrate_again", world.migrate_again)
    cases = [Case("x", destination=SideSpec(devices=(there,))), Case("y")]
    assert [outcome.mismatch for outcome in run_series(cases, PAIR)] == ["", ""]
    assert world.log == ["boot", "x", "on to y", "y", "end"]


def test_a_guest_that_ended_is_booted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that crashed goes nowhere; the next case has a new guest."""
    world = World({"x": ENDED, "y": COMPLETED})
    assert run(monkeypatch, world, VerdictName.CRASHED, VerdictName.COMPLETED) == ["", ""]
    assert world.log == ["boot", "x", "end", "boot", "y", "end"]


def test_a_guest_that_cannot_go_on_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The verdict may be the expected one: a second migration that fails makes the case wrong, and a new guest."""
    world = World({"x": FAILED, "y": FAILED}, BAD)
    assert run(monkeypatch, world, VerdictName.FAILED, VerdictName.FAILED) == [
        "failed as expected, and then not in order: again",
        "failed as expected, and then not in order: again",
    ]
    assert world.log.count("boot") == 2


def test_another_guest_is_booted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A case with another guest than the one before has one of its own; so does one whose device does DMA, which the
    guest lets it from its start.
    """
    world = World({"x": COMPLETED, "y": COMPLETED})
    monkeypatch.setattr(series, "start_traveller", world.start_traveller)
    monkeypatch.setattr(series, "migrate_again", world.migrate_again)
    larger = Case("y", source=SideSpec(GuestSpec(memory_mib=512)), destination=SideSpec(GuestSpec(memory_mib=512)))
    assert [outcome.mismatch for outcome in run_series([Case("x"), larger], PAIR)] == ["", ""]
    assert world.log == ["boot", "x", "end", "boot", "y", "end"]
    world.log.clear()
    writing = make_case("y", with_one_device(Knobs(dma_pages_per_sec=100)))
    assert [outcome.mismatch for outcome in run_series([Case("x"), writing], PAIR)] == ["", ""]
    assert world.log == ["boot", "x", "end", "boot", "y", "end"]


def test_a_lost_host_is_infrastructure(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no failure of the case, and nothing more is tried with that guest."""
    world = World({"x": HostLost("it is gone")})
    assert run(monkeypatch, world, VerdictName.COMPLETED) == ["expected completed, was infrastructure-error"]
    assert world.log == ["boot", "x", "end"]
