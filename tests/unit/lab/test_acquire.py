# SPDX-License-Identifier: GPL-2.0-or-later
"""Borrowing a lab: the one that is up if it fits and is free, else one of the run's own."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from switchover.hosts.journal import Change, DeadJournal, Outcome
from switchover.hosts.ownership import take_file
from switchover.hosts.waiting import stretch
from switchover.lab import acquire
from switchover.lab.acquire import acquire_lab
from switchover.lab.lab import LAB_HOSTS
from switchover.lab.recipes import LAB_IMAGES
from switchover.record.errors import HostLost, NotReady
from switchover.record.paths import labs_directory


class World:
    """A controller with or without a lab that is up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        self.up = True
        self.digest = "today"
        self.answers = True
        self.pace = 1.0
        self.count = 2
        self.log: list[str] = []
        self.remains: list[DeadJournal] = []
        self.started = 0
        monkeypatch.setattr(acquire, "clean_up_after_others", self.clean_up)
        monkeypatch.setattr(acquire, "is_running", lambda directory: self.up)
        monkeypatch.setattr(acquire, "read_lab_file", lambda directory: self.file())
        monkeypatch.setattr(acquire, "compute_digest", lambda name, images: "today")
        monkeypatch.setattr(acquire, "start_lab", self.start)
        monkeypatch.setattr(acquire, "Lab", self.find)

    def find(self, directory: Path) -> object:
        return SimpleNamespace(hosts=self.hosts, close=self.close, up=1, file=SimpleNamespace(pace=self.pace))

    def file(self) -> object:
        images = dict.fromkeys(LAB_IMAGES, "today") | {LAB_IMAGES[-1]: self.digest}
        return SimpleNamespace(images=images, hosts=list(LAB_HOSTS[: self.count]))

    def leave_behind(self, lab: str = "default") -> None:
        """A harness that was killed, whose changes in a lab cannot be undone."""
        address = {"kind": "lab", "directory": str(labs_directory() / lab)}
        left = Outcome(Change(1, address, "hosta", "tap", ("true",), ("true",)), "", "it is still there")
        self.remains = [DeadJournal(Path("x"), "process 7", (left,))]

    def hosts(self) -> None:
        if not self.answers:
            raise HostLost("Lab host hosta does not answer.")

    def close(self) -> None:
        self.log.append("close connections")

    def clean_up(self) -> list[DeadJournal]:
        self.log.append("clean up")
        return self.remains

    @contextlib.contextmanager
    def start(self, name: str, *, hosts: int, stays: bool = False) -> Iterator[object]:
        self.log.append(f"start {name}, which stays" if stays else "start own")
        self.started = hosts
        yield SimpleNamespace(up=0)
        self.log.append("stop own")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    return World(monkeypatch, tmp_path)


def test_the_lab_that_is_up_is_used_and_stays_up(world: World) -> None:
    """A lab that fits and is free is used; after it only the connections are closed."""
    with acquire_lab() as lab:
        assert vars(lab)["up"] == 1
    assert world.log == ["clean up", "close connections"]


def test_leftovers_elsewhere_do_not_matter(world: World) -> None:
    """What cannot be undone in another lab keeps nobody from using this one."""
    world.leave_behind("another")
    with acquire_lab() as lab:
        assert vars(lab)["up"] == 1


def test_a_lab_by_name(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lab that is asked for by name is that lab, for one at a time, or an error; never another."""
    monkeypatch.setattr(acquire, "require_lab", lambda name: SimpleNamespace(directory=labs_directory() / name))
    with acquire_lab("mine") as lab:
        assert vars(lab)["up"] == 1
        with pytest.raises(NotReady, match="'mine' cannot be used") as caught, acquire_lab("mine"):
            pytest.fail("it is in use")
    assert "it is in use by process" in caught.value.why
    world.leave_behind("mine")
    with pytest.raises(NotReady) as caught, acquire_lab("mine"):
        pytest.fail("it is not clean")
    assert "could not be undone" in caught.value.why
    assert "start own" not in world.log


@pytest.mark.parametrize("why", ["none is up", "older images", "does not answer", "in use", "has leftovers"])
def test_else_one_of_its_own(world: World, why: str) -> None:
    """Without a usable lab the run has its own, which it stops."""
    world.up = why != "none is up"
    world.digest = "yesterday" if why == "older images" else "today"
    world.answers = why != "does not answer"
    labs_directory().mkdir(parents=True)
    if why == "in use":
        assert take_file(labs_directory() / "default.lease")
    if why == "has leftovers":
        world.leave_behind()
    with acquire_lab() as lab:
        assert vars(lab)["up"] == 0
    assert [line for line in world.log if "own" in line] == ["start own", "stop own"]


@pytest.mark.parametrize(
    ("up", "wanted", "used", "started"),
    [(1, 2, True, 0), (2, 3, False, 3), (3, 4, False, 4), (4, 3, True, 0), (4, 2, True, 0)],
)
def test_as_many_hosts_as_are_wanted(world: World, up: int, wanted: int, used: bool, started: int) -> None:
    """Who wants more than a pair gets a lab that has as many; one of one host is both ends of a pair."""
    world.count = up
    with acquire_lab(hosts=wanted) as lab:
        assert bool(vars(lab)["up"]) is used
    assert world.started == started


def test_one_of_its_own_that_stays(world: World) -> None:
    """It becomes the lab that the next run finds, unless there is one of that name already."""
    world.up = False
    with acquire_lab(stays=True):
        pass
    (labs_directory() / "default").mkdir(parents=True)
    with acquire_lab(stays=True):
        pass
    started = [line for line in world.log if line.startswith("start")]
    assert started == ["start default, which stays", f"start run-{os.getpid()}, which stays"]


def test_its_own_is_stopped_after_an_error(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """An error in the run passes, after the lease is free again."""
    with pytest.raises(ValueError, match="in the run"), acquire_lab():
        raise ValueError("in the run")
    with acquire_lab() as lab:
        assert vars(lab)["up"] == 1


def test_deadlines_are_as_the_labs_pace(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """While it is borrowed; a lab that is clearly slow says so."""
    world.pace = 2.4
    with acquire_lab():
        assert stretch(10) == 24
    assert stretch(10) == 10
    assert "2.4 times as slow" in capsys.readouterr().err
    world.pace = 1.0
    with acquire_lab():
        assert stretch(10) == 10
    assert "slow" not in capsys.readouterr().err
