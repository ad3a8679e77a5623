# SPDX-License-Identifier: GPL-2.0-or-later
"""The probe of IRQ threads in the life of a guest: begun before the migration, finished where the guest arrived."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.runner.guest_sessions import CASE, COMPLETED, FAILED, FIRST, Watch, World, make_world, travel

from switchover.devices.reference import Knobs
from switchover.hosts.host import Host
from switchover.probes import irq_threads
from switchover.record.checks import CheckId
from switchover.record.errors import HostLost, NotSupported, SwitchoverError
from switchover.record.measurement import Check, Findings
from switchover.runner.attempt import Attempt
from switchover.runner.guest_session import GuestSession
from switchover.scenarios.case import Case, with_one_device

SIDE = with_one_device(Knobs(irq_rates=(0, 100)))
WATCHED = replace(CASE, source=SIDE, destination=SIDE, irq_seconds=2.0, irq_load="fair")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = make_world(monkeypatch)

    @contextlib.contextmanager
    def start(
        host: Host,
        numbers: Sequence[int],
        directory: Path,
        *,
        seconds: float,
        load: str,
        spread: bool,
        forbidden: frozenset[int],
    ) -> Iterator[SimpleNamespace]:
        more = f"{'' if spread else ', as they are'}{f', not on {sorted(forbidden)}' if forbidden else ''}"
        world.note(f"watch {list(numbers)} on {host.name} for {seconds:g} s, load {load}{more}")

        def finish(now: Host) -> Findings:
            world.note(f"finish on {now.name}")
            return Findings((Check(CheckId.IRQ_AFFINITY, "kept", True, "yes", "yes"),))

        try:
            yield SimpleNamespace(finish=finish)
        finally:
            world.note("watch ends")

    monkeypatch.setattr(irq_threads, "start_across", start)
    monkeypatch.setattr(irq_threads, "GuestDriver", lambda guest, number: SimpleNamespace(read_irqs=lambda: (27, 28)))
    return world


def attempt(world: World, case: Case, side: Any = SIDE) -> Attempt:
    attempts = []

    def use(made: GuestSession) -> None:
        made.side = replace(made.side, spec=side)
        attempts.append(made.attempt(case))

    travel(world, use)
    return attempts[0]


def test_it_is_finished_where_the_guest_arrived(world: World) -> None:
    """Of the vectors that have a rate; what it found is beside the other checks; its load ends before the next step."""
    world.outcomes = [COMPLETED]
    assert [check.label for check in attempt(world, WATCHED).checks] == ["irq.affinity"]
    told = [line for line in world.log if "watch" in line or "finish" in line or "migrate" in line or "examine" in line]
    assert told == [
        "watch [28] on a for 2 s, load fair",
        "migrate source to destination at at b",
        "finish on b",
        "examine destination",
        "watch ends",
    ]


def test_it_ends_where_the_guest_stayed(world: World) -> None:
    """Without completion it finds nothing, and is undone."""
    world.outcomes = [FAILED]
    assert [check.label for check in attempt(world, WATCHED).checks] == ["guest.not-on-destination", "guest.on-source"]
    assert "watch ends" in world.log
    assert not any(line.startswith("finish") for line in world.log)


def test_a_guest_that_cannot_be_watched_any_more(world: World) -> None:
    """Is a check that failed, with the reason; the others are made."""
    world.outcomes = [COMPLETED]
    world.fail = {"finish on b": HostLost("The trace broke off.")}
    (check,) = attempt(world, WATCHED).checks
    assert (check.passed, check.observed) == (False, "The trace broke off.")
    assert "examine destination" in world.log


def test_where_interrupts_may_be(world: World) -> None:
    """What the case says of their placement is what the probe is told."""
    world.outcomes = [COMPLETED]
    attempt(world, replace(WATCHED, irq_placement="default", irq_forbid_cpus="0,2-3"))
    assert "watch [28] on a for 2 s, load fair, as they are, not on [0, 2, 3]" in world.log


def test_without_the_probe_nothing_is_done(world: World) -> None:
    world.outcomes = [COMPLETED]
    attempt(world, replace(WATCHED, irq_seconds=0))
    assert not any("watch" in line for line in world.log)
    assert world.log[: len(FIRST)] == FIRST


def test_a_device_that_does_not_interrupt(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """There would be nothing to watch: the case cannot be run, and the migration is not begun; it ends in the probe's
    step.
    """
    steps: list[str] = []
    monkeypatch.setattr(Watch, "step", lambda listener, step: steps.append(step))
    with pytest.raises(SwitchoverError) as caught:
        attempt(world, WATCHED, CASE.source)
    assert isinstance(caught.value, NotSupported)
    assert ("irq_rates" in caught.value.what, steps[-1]) == (True, "IRQ threads before")
    assert not any("migrate" in line for line in world.log)
