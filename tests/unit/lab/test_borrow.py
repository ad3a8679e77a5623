# SPDX-License-Identifier: GPL-2.0-or-later
"""Borrowing a lab: the one that is up if it fits and is free, else one of the run's own."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import filelock
import pytest

from switchover.lab import borrow
from switchover.lab.borrow import borrow_lab
from switchover.record.errors import HostLost
from switchover.record.paths import labs_directory


class World:
    """A controller with or without a lab that is up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        self.up = True
        self.digest = "today"
        self.answers = True
        self.log: list[str] = []
        monkeypatch.setattr(borrow, "is_running", lambda directory: self.up)
        monkeypatch.setattr(borrow, "read_lab_file", lambda directory: SimpleNamespace(images={"labhost": self.digest}))
        monkeypatch.setattr(borrow, "compute_digest", lambda name, images: "today")
        monkeypatch.setattr(borrow, "start_lab", self.start)
        monkeypatch.setattr(borrow, "Lab", lambda directory: SimpleNamespace(hosts=self.hosts, close=self.close, up=1))

    def hosts(self) -> None:
        if not self.answers:
            raise HostLost("Lab host hosta does not answer.")

    def close(self) -> None:
        self.log.append("close connections")

    @contextlib.contextmanager
    def start(self, name: str) -> Iterator[object]:
        self.log.append("start own")
        yield SimpleNamespace(up=0)
        self.log.append("stop own")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    return World(monkeypatch, tmp_path)


def test_the_lab_that_is_up_is_used_and_stays_up(world: World) -> None:
    """A lab that fits and is free is used; after it only the connections are closed."""
    with borrow_lab() as lab:
        assert vars(lab)["up"] == 1
    assert world.log == ["close connections"]


@pytest.mark.parametrize("why", ["none is up", "older images", "does not answer", "in use"])
def test_else_one_of_its_own(world: World, why: str) -> None:
    """Without a usable lab the run has its own, which it stops."""
    world.up = why != "none is up"
    world.digest = "yesterday" if why == "older images" else "today"
    world.answers = why != "does not answer"
    labs_directory().mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        if why == "in use":
            stack.enter_context(filelock.FileLock(labs_directory() / "default.lease"))
        with borrow_lab() as lab:
            assert vars(lab)["up"] == 0
    assert [line for line in world.log if "own" in line] == ["start own", "stop own"]


def test_its_own_is_stopped_after_an_error(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """An error in the run passes, after the lease is free again."""
    with pytest.raises(ValueError, match="in the run"), borrow_lab():
        raise ValueError("in the run")
    with borrow_lab() as lab:
        assert vars(lab)["up"] == 1
