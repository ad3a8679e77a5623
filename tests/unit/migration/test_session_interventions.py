# SPDX-License-Identifier: GPL-2.0-or-later
"""Interventions in a migration, each in its phase, and the pause before the switchover; the QEMUs are scripted."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from tests.unit.migration.scripted import NOW, HostPair, intervene

from switchover.hosts.qmp import Event
from switchover.migration.phases import RESTORED, Intervened, Intervention, NotMade, Phase, Rejected
from switchover.record.errors import GuestCrashed


def test_interventions_are_made_once_and_in_their_phase() -> None:
    """Each is made once, however long its phase lasts; before the start is before ``migrate``; its status is kept."""
    pair = HostPair("setup", *["active"] * 10, "device", "completed")
    phases = (Phase.ACTIVE, Phase.BEFORE)
    told: list[Intervened] = []
    result = pair.migrate(NOW, interventions=[intervene(pair, phase) for phase in phases], on_intervened=told.append)
    lines = [line for line in pair.log if line.startswith(("in ", "source: migrate"))]
    assert lines == ["in before", "source: migrate to tcp:127.0.0.1:4444", "in active"]
    assert [(made.name, made.phase, made.status) for made in result.interventions] == [
        ("in before", Phase.BEFORE, None),
        ("in active", Phase.ACTIVE, "active"),
    ]
    assert all(made.began_ns <= made.ended_ns for made in result.interventions)
    assert (result.status, tuple(told)) == ("completed", result.interventions)
    assert [said.status for said in result.statuses["source"]] == ["setup", "active", "device", "completed"]


def test_an_intervention_whose_phase_does_not_come_is_not_made() -> None:
    """A phase that the migration never was in has no intervention."""
    pair = HostPair("setup", *["active"] * 5, "completed")
    result = pair.migrate(NOW, interventions=[intervene(pair, Phase.PRE_SWITCHOVER)])
    assert "in pre-switchover" not in pair.log
    assert result.interventions == ()


def test_an_intervention_that_cannot_be_made_is_none() -> None:
    """It is tried once, is not among those that were made, and the migration goes on."""
    pair = HostPair("active", *["active"] * 5, "completed")
    tried: list[str] = []

    def fail() -> None:
        tried.append("kill")
        raise NotMade("the QEMU had ended before")

    result = pair.migrate(NOW, interventions=[intervene(pair, Phase.ACTIVE, fail)])
    assert (result.status, result.interventions, tried) == ("completed", (), ["kill"])


def test_an_intervention_by_time() -> None:
    """Is made so long after the source said that it begins, whatever the phase, and is told so."""
    pair = HostPair("setup", *["active"] * 40, "completed")
    late, never = (
        Intervention(f"at {at_s}", None, partial(pair.log.append, f"at {at_s}"), at_s=at_s) for at_s in (0.5, 1000.0)
    )
    (made,) = pair.migrate(NOW, interventions=[late, never]).interventions
    began = next(one.arrived_ns for one in pair.source.events if one.name == "MIGRATION")
    assert (made.name, made.phase, made.at_s, made.label) == ("at 0.5", None, 0.5, "at 0.5 at 0.5 s")
    assert 0.5 <= (made.began_ns - began) / 1e9 < 2
    assert "at 1000.0" not in pair.log


def test_an_intervention_that_ends() -> None:
    """It is undone after its time, while the migration goes on, and that is told as well."""
    pair = HostPair("setup", *["active"] * 40, "completed")
    cut = replace(intervene(pair, Phase.ACTIVE), seconds=0.5, end=partial(pair.log.append, "whole again"))
    made = pair.migrate(NOW, interventions=[cut]).interventions
    assert [(one.name, one.phase) for one in made] == [("in active", Phase.ACTIVE), (RESTORED, Phase.ACTIVE)]
    assert 0.5 <= (made[1].began_ns - made[0].ended_ns) / 1e9 < 2
    assert pair.log.count("whole again") == 1


def test_an_intervention_whose_end_does_not_come() -> None:
    """A migration that is over before it leaves the end to whoever made it: nothing is told of it."""
    pair = HostPair("setup", "active", "completed")
    cut = replace(intervene(pair, Phase.ACTIVE), seconds=60, end=partial(pair.log.append, "whole again"))
    assert [one.name for one in pair.migrate(NOW, interventions=[cut]).interventions] == ["in active"]
    assert "whole again" not in pair.log


def test_an_intervention_that_is_rejected() -> None:
    """It is told with the words that reject it, is tried once, and has no end."""
    pair = HostPair("setup", *["active"] * 10, "completed")

    def reject() -> None:
        raise Rejected("not now", why="device_del not allowed while migrating")

    tried = replace(intervene(pair, Phase.ACTIVE, reject), seconds=0.1, end=partial(pair.log.append, "undone"))
    (made,) = pair.migrate(NOW, interventions=[tried]).interventions
    assert made.rejected == "device_del not allowed while migrating"
    assert "undone" not in pair.log


def test_interventions_before_a_crash_are_told() -> None:
    """Also where the migration has no result, as one whose source was killed."""
    pair = HostPair(*["active"] * 1000)
    told: list[Intervened] = []
    with pytest.raises(GuestCrashed):
        pair.migrate(NOW, interventions=[intervene(pair, Phase.ACTIVE, pair.source.kill)], on_intervened=told.append)
    assert [made.name for made in told] == ["in active"]


def test_interventions_in_the_devices_phases() -> None:
    """The device's pre-copy is seen by its bytes, its stop-copy by its own event."""
    pair = HostPair()
    moved = {"transferred": 0}

    def query(_: dict[str, Any]) -> object:
        return {"status": "active", "ram": {"remaining": 1}, "vfio": dict(moved)}

    def begin(_: dict[str, Any]) -> object:
        pair.source.emit("active")
        return {}

    def stop_copy() -> None:
        pair.source.events.append(Event("VFIO_MIGRATION", {"device-state": "stop-copy"}, 0, 0))

    pair.source.qmp.answers |= {"query-migrate": query, "migrate": begin}
    wanted = [
        intervene(pair, Phase.DEVICE_STOP_COPY, lambda: pair.source.emit("completed")),
        intervene(pair, Phase.DEVICE_PRE_COPY, stop_copy),
        intervene(pair, Phase.ACTIVE, lambda: moved.update(transferred=1)),
    ]
    result = pair.migrate(NOW, interventions=wanted)
    assert [made.phase for made in result.interventions] == [
        Phase.ACTIVE,
        Phase.DEVICE_PRE_COPY,
        Phase.DEVICE_STOP_COPY,
    ]


def test_a_pause_before_the_switchover_is_ended_once() -> None:
    """In pre-switchover the source is told to continue, once, however long it stays there."""
    pair = HostPair("active", *["pre-switchover"] * 10, "device", "completed")
    result = pair.migrate(replace(NOW, pause_before_switchover=True))
    assert pair.log.count("source: continue pre-switchover") == 1
    assert result.status == "completed"


def test_an_intervention_in_pre_switchover_comes_before_it_ends() -> None:
    """What is to be done in pre-switchover is done before the source is told to continue, whenever its status came."""
    pair = HostPair("active", *["pre-switchover"] * 5, "completed")
    pair.migrate(NOW, interventions=[intervene(pair, Phase.PRE_SWITCHOVER)])
    lines = [line for line in pair.log if line.startswith(("in ", "source: continue"))]
    assert lines == ["in pre-switchover", "source: continue pre-switchover"]


class ChangingEvents(list[Event]):
    """Events of which the next one arrives just after each look at them."""

    def __init__(self, *statuses: str) -> None:
        super().__init__()
        self.coming = list(statuses)

    def __getitem__(self, index: Any) -> Any:
        seen = super().__getitem__(index)
        if self.coming:
            self.append(Event("MIGRATION", {"status": self.coming.pop(0)}, 0, 0))
        return seen


def test_a_status_that_comes_between_two_looks() -> None:
    """A pause that begins between the look for interventions and the look for it does not pass an intervention over."""
    for looks in range(4):
        pair = HostPair()
        pair.source.events = ChangingEvents(*["active"] * looks, "pre-switchover")
        pair.source.qmp.answers["query-migrate"] = lambda _: {"status": "active", "ram": {"remaining": 0}}
        pair.source.ends_on_continue = True
        pair.migrate(NOW, interventions=[intervene(pair, Phase.PRE_SWITCHOVER)])
        lines = [line for line in pair.log if line.startswith(("in ", "source: continue"))]
        assert lines == ["in pre-switchover", "source: continue pre-switchover"]


def test_a_cancelled_pause_is_not_continued() -> None:
    """A migration that was cancelled in pre-switchover is not told to continue: QEMU would reject that."""
    pair = HostPair("active", "pre-switchover")
    result = pair.migrate(
        NOW, interventions=[intervene(pair, Phase.PRE_SWITCHOVER, lambda: pair.source.end("cancelled"))]
    )
    assert result.status == "cancelled"
    assert not any("continue" in line for line in pair.log)
