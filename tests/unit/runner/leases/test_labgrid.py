# SPDX-License-Identifier: GPL-2.0-or-later
"""Leases from labgrid, with its own coordinator on this machine, which is killed and started again in the middle."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from switchover.cli.main import main
from switchover.hosts.inventory import Inventory
from switchover.hosts.waiting import wait_until
from switchover.record.errors import NotReady
from switchover.runner.leases import labgrid
from switchover.runner.leases.flocks import FlockBackend
from switchover.runner.leases.labgrid import LabgridBackend, find_coordinator, name_user, release_stale_places
from switchover.runner.leases.resources import Choice

PAIRS = [Choice((pair[0], pair[-1]), frozenset(pair)) for pair in ("ab", "bc", "cd")]
DIE = """
import os, sys
from switchover.runner.leases.labgrid import LabgridBackend
from switchover.runner.leases.resources import Choice
LabgridBackend(sys.argv[1], "run-dead").acquire([Choice(("a", "b"), frozenset("ab"))], 20)
os._exit(9)
"""


class Coordinator:
    """labgrid's coordinator with a place for each pair, in a directory and on a port of its own."""

    def __init__(self, directory: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.address = f"127.0.0.1:{listener.getsockname()[1]}"
        self.directory = directory
        places = "".join(
            f"{pair.name}: {{aliases: [], comment: '', tags: {{}}, matches: [], created: 0.0, changed: 0.0}}\n"
            for pair in PAIRS
        )
        (directory / "places.yaml").write_text(places)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """It saves who has what every 15 s at most, and forgets it when it is started again."""
        argv = [sys.executable, "-m", "labgrid.remote.coordinator", "-l", self.address]
        self.process = subprocess.Popen(
            argv, cwd=self.directory, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=dict(os.environ)
        )
        assert self.process.stdout is not None
        assert b"listening" in self.process.stdout.readline()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def owners(self) -> dict[str, str]:
        """Places that somebody has."""
        with labgrid._open_session(labgrid._require_stubs(), self.address) as session:
            return {place: owner for place, owner in session.find_owners().items() if owner}

    def take(self, place: str) -> None:
        """For somebody else."""
        session = labgrid._Session(labgrid._require_stubs(), self.address, "desk/someone")
        session.acquire(place)
        session.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinator]:
    """One for all tests: it takes a second to start."""
    coordinator = Coordinator(tmp_path_factory.mktemp("coordinator"))
    coordinator.start()
    yield coordinator
    coordinator.kill()


@pytest.fixture
def coordinator(shared: Coordinator) -> Iterator[Coordinator]:
    yield shared
    with labgrid._open_session(labgrid._require_stubs(), shared.address) as session:
        for place, owner in session.find_owners().items():
            if owner:
                session.release(place, owner)


@pytest.fixture
def backend(coordinator: Coordinator) -> Iterator[LabgridBackend]:
    with LabgridBackend(coordinator.address, "run-7", poll_s=0.05) as backend:
        yield backend


def test_a_place_is_a_pair(coordinator: Coordinator, backend: LabgridBackend) -> None:
    """It is acquired under a name with the run's id, and given back; so are the locks of ours below it."""
    with backend.acquire(PAIRS[:1], 5) as lease:
        assert lease.pair == ("a", "b")
        assert coordinator.owners() == {"a-b": name_user("run-7")}
        assert [holder.resource for holder in FlockBackend().list_holders()] == ["a", "b"]
        assert lease.find_loss() == ""
    assert coordinator.owners() == {}
    assert FlockBackend().list_holders() == []


def test_the_first_free_place(coordinator: Coordinator, backend: LabgridBackend) -> None:
    """One that somebody else has is passed over, and one that overlaps with a lease of ours is too."""
    coordinator.take("a-b")
    with backend.acquire(PAIRS, 5) as first:
        assert first.pair == ("b", "c")
        told: list[str] = []
        with pytest.raises(NotReady) as caught:
            backend.acquire(PAIRS, 0.1, told.append)
        assert "a-b is leased by desk/someone" in caught.value.why or "a lock of this controller" in caught.value.why
    assert coordinator.owners() == {"a-b": "desk/someone"}


def test_who_has_a_place_is_told(coordinator: Coordinator, backend: LabgridBackend) -> None:
    """By the name that labgrid knows, and the lease is had when it is given back."""
    coordinator.take("c-d")
    told: list[str] = []

    def hear(text: str) -> None:
        told.append(text)
        with labgrid._open_session(labgrid._require_stubs(), coordinator.address) as session:
            session.release("c-d", "desk/someone")

    with backend.acquire(PAIRS[2:], 10, hear) as lease:
        assert lease.waited_s > 0
    assert told == ["c-d: c-d is leased by desk/someone"]


def test_a_place_that_there_is_not(backend: LabgridBackend) -> None:
    """Is said at once, with how to make it; nothing is held."""
    with pytest.raises(NotReady, match="has no place 'x-y'") as caught:
        backend.acquire([Choice(("x", "y"), frozenset("xy"))], 60)
    assert caught.value.fix == "labgrid-client -p x-y create"
    assert FlockBackend().list_holders() == []


def test_a_coordinator_that_is_started_again(coordinator: Coordinator, backend: LabgridBackend) -> None:
    """It has forgotten who has what: what is held is acquired again, and given back to the new one; what was given back
    while it was gone is free.
    """
    lease = backend.acquire(PAIRS[:1], 5)
    other = backend.acquire(PAIRS[2:], 5)
    coordinator.kill()
    try:
        assert lease.find_loss() == "", "nobody has taken it, and the locks below hold"
        other.release()
        with pytest.raises(NotReady) as caught:
            backend.acquire(PAIRS[2:], 0.1)
        assert "does not answer" in caught.value.why
    finally:
        coordinator.start()
    wait_until("the place", lambda: coordinator.owners() == {"a-b": name_user("run-7")}, timeout=10)
    assert lease.find_loss() == ""
    lease.release()
    assert coordinator.owners() == {}
    with backend.acquire(PAIRS[1:2], 5):
        assert list(coordinator.owners()) == ["b-c"]


def test_a_lease_that_is_lost(coordinator: Coordinator, backend: LabgridBackend) -> None:
    """A place that labgrid has taken from us and given to somebody else is not ours, and is not given back by us."""
    lease = backend.acquire(PAIRS[:1], 5)
    with backend._lock:
        with labgrid._open_session(labgrid._require_stubs(), coordinator.address) as session:
            session.release("a-b", name_user("run-7"))
        coordinator.take("a-b")
    assert lease.find_loss() == "labgrid has given the place a-b to desk/someone"
    lease.release()
    assert coordinator.owners() == {"a-b": "desk/someone"}


def test_places_of_runs_that_are_gone(coordinator: Coordinator, backend: LabgridBackend) -> None:
    """They stay acquired when a run is killed; clean gives them back, and no others."""
    argv = [sys.executable, "-c", DIE, coordinator.address]
    assert subprocess.run(argv, env=os.environ | {"PYTHONPATH": "harness"}, check=False).returncode == 9
    coordinator.take("c-d")
    assert coordinator.owners() == {"a-b": name_user("run-dead"), "c-d": "desk/someone"}
    line = f"place a-b of {name_user('run-dead')}, which is gone"
    assert release_stale_places(coordinator.address, dry_run=True) == [line]
    assert "a-b" in coordinator.owners()
    assert release_stale_places(coordinator.address) == [line]
    with backend.acquire(PAIRS[:1], 5):
        assert release_stale_places(coordinator.address) == []
        assert coordinator.owners().keys() == {"a-b", "c-d"}


def test_clean(coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The verb does it where a coordinator is named, and says so where that does not answer."""
    monkeypatch.setenv("LG_COORDINATOR", coordinator.address)
    session = labgrid._Session(labgrid._require_stubs(), coordinator.address, name_user("run-dead"))
    session.acquire("a-b")
    session.close()
    assert main(["clean", "--dry-run"]) == 3
    assert main(["clean"]) == 0
    assert "labgrid: place a-b of" in capsys.readouterr().out
    assert coordinator.owners() == {}
    assert main(["clean"]) == 0
    assert capsys.readouterr().out == "nothing was left\n"
    monkeypatch.setenv("LG_COORDINATOR", "127.0.0.1:1")
    assert main(["clean"]) == 3
    assert "labgrid: REMAINS: labgrid at 127.0.0.1:1 does not answer" in capsys.readouterr().out


def test_nobody_answers(tmp_path: Path) -> None:
    """A coordinator that is down is waited for as a pair is, and named when it does not come."""
    with LabgridBackend("127.0.0.1:1", "run-9", poll_s=0.05) as backend:
        with pytest.raises(NotReady) as caught:
            backend.acquire(PAIRS[:1], 0.1)
        assert "nobody: labgrid at 127.0.0.1:1 does not answer" in caught.value.why
        with pytest.raises(NotReady, match="Another process leases as the run 'run-9'"):
            LabgridBackend("127.0.0.1:1", "run-9")


def test_where_the_coordinator_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """In labgrid's own variable, then in the inventory; with labgrid's own port where none is said."""
    monkeypatch.delenv("LG_COORDINATOR", raising=False)
    inventory = Inventory(version=1, labgrid="lab:7")
    assert (find_coordinator(), find_coordinator(inventory)) == ("", "lab:7")
    for given, address in (("lab", "lab:20408"), ("lab:99", "lab:99"), ("", "lab:7")):
        monkeypatch.setenv("LG_COORDINATOR", given)
        assert find_coordinator(inventory) == address


def test_without_labgrid(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said what to install; nothing else needs it."""
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(NotReady, match="labgrid cannot be used") as caught:
        LabgridBackend("127.0.0.1:1", "run-10")
    assert caught.value.fix == "pip install 'switchover[labgrid]'"
