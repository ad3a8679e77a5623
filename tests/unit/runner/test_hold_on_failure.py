# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that are kept: which, how to get to them, and that nothing of it stays."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.builders import make_result

from switchover.guests.qemu import GuestKeys
from switchover.guests.spec import GuestFiles, GuestSpec
from switchover.hosts.journal import Change, parse_journal
from switchover.record.errors import HostLost, Refused, SwitchoverError
from switchover.record.paths import journals_directory
from switchover.record.record import VerdictName
from switchover.record.rundir import RepeatDirectory
from switchover.runner.attempt import Attempt, make_failed
from switchover.runner.hold_on_failure import Held, HoldOnFailure
from switchover.runner.host_pair import HostPair
from switchover.runner.side import Side
from switchover.scenarios.case import Case
from switchover.scenarios.expectation import Expectation

COMPLETED = Attempt(make_result(), {}, {})
FAILED = make_failed(make_result("failed", error="x"), {})
PAIR = cast(HostPair, SimpleNamespace(keys=GuestKeys("public", "PRIVATE", "", "ssh-ed25519 AAAA\n")))


def make_side(name: str, log: list[str], code: int | None = None) -> Side:
    host = SimpleNamespace(name=f"host of {name}", address={"kind": "lab", "host": name})
    guest = SimpleNamespace(
        host=host,
        pid=7,
        files=GuestFiles(f"/tmp/{name}", "tap"),
        spec=GuestSpec(),
        exit_status=lambda: code,
        has_begun=True,
        qmp=SimpleNamespace(close=lambda: log.append(f"close monitor of {name}")),
    )
    return cast(Side, SimpleNamespace(guest=guest))


def read_changes(path: Path) -> tuple[Change, ...]:
    return parse_journal(path.read_bytes()).changes


class World:
    """A keeper, and what was held."""

    def __init__(self, tmp_path: Path) -> None:
        self.path = tmp_path / "repeat"
        self.path.mkdir(exist_ok=True)
        self.log: list[str] = []
        self.held: list[Held] = []
        self.found: dict[str, Any] = {}
        self.modes: list[int] = []
        self.undone: list[tuple[str, ...]] = []
        self.ends: Callable[[], None] = lambda: None
        self.keeper = HoldOnFailure(self.hold)

    def hold(self, kept: Held) -> None:
        self.held.append(kept)
        self.found = json.loads((self.path / "kept.json").read_text())
        self.undone = [change.undo for path in journals_directory().iterdir() for change in read_changes(path)]
        self.modes = [Path(side.key).stat().st_mode & 0o777 for side in kept.sides.values()]
        self.log.append("hold")
        self.ends()

    def keep(self, outcome: Attempt | SwitchoverError, *, expected: str = "completed", dead: bool = False) -> None:
        case = Case("a", expectation=Expectation(VerdictName(expected)))
        source, destination = make_side("source", self.log), make_side("destination", self.log, -9 if dead else None)
        up = None if isinstance(outcome, Refused) else destination
        self.keeper.keep_if_wrong(case, source, up, outcome, PAIR, RepeatDirectory(self.path))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_both_sides(world: World) -> None:
    """Their hosts, monitors, consoles and keys are told; nobody is connected to the monitors; nothing stays.

    Nor does it if the harness is killed: the files are in the journal.
    """
    world.keep(FAILED)
    (kept,) = world.held
    assert kept.mismatch == "expected completed, was failed"
    assert world.log == ["close monitor of source", "close monitor of destination", "hold"]
    source = world.found["sides"]["source"]
    assert source["address"] == {"kind": "lab", "host": "source"}
    assert (source["monitor"], source["console"]) == ("/tmp/source/qmp", "/tmp/source/console.log")
    assert (source["guest_address"], source["host_key"]) == ("10.77.0.101", "ssh-ed25519 AAAA")
    assert world.modes == [0o600, 0o600]
    assert world.undone == [("rm", "-f", "--", str(world.path / "kept.json"), str(world.path / "kept.key"))]
    assert world.keeper.used
    assert list(world.path.iterdir()) == []


@pytest.mark.parametrize(("outcome", "expected"), [(COMPLETED, "completed"), (FAILED, "failed")])
def test_what_is_as_expected_is_not_kept(world: World, outcome: Attempt, expected: str) -> None:
    """A failure that was expected is no reason."""
    world.keep(outcome, expected=expected)
    assert world.held == []
    assert not world.keeper.used


def test_a_completion_that_was_not_expected(world: World) -> None:
    """It is one."""
    world.keep(COMPLETED, expected="blocked")
    assert len(world.held) == 1


def test_only_what_lives(world: World) -> None:
    """A QEMU that ended, or did not come up, cannot be kept."""
    world.keep(FAILED, dead=True)
    assert list(world.found["sides"]) == ["source"]
    other = World(world.path.parent)
    other.keep(Refused("no such property"))
    assert list(other.found["sides"]) == ["source"]


def test_a_lost_host(world: World) -> None:
    """There is nothing to look at."""
    world.keep(HostLost("gone"))
    assert world.held == []


def test_only_once(world: World) -> None:
    """What comes after the first one, such as its second migration, is not kept."""
    world.keep(FAILED)
    world.keep(FAILED)
    assert len(world.held) == 1


def test_an_interruption_leaves_no_key(world: World) -> None:
    """Whatever ends the wait, key and file go."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    world.ends = interrupt
    with pytest.raises(KeyboardInterrupt):
        world.keep(FAILED)
    assert list(world.path.iterdir()) == []
