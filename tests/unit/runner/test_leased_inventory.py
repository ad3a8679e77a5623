# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts of an inventory as the place where cases run: an SSH server of the test's own stands for both."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.fakes import start_ssh_server
from tests.unit.surveys import MACHINE, SURVEY

from switchover.guests.spec import GuestSpec, Kernel
from switchover.hosts import host_lock
from switchover.hosts.inventory import Inventory
from switchover.record.errors import HostLost, NotReady, UsageError
from switchover.record.rundir import make_run_directory
from switchover.runner import leased_inventory, testbed
from switchover.runner.case_runner import RunContext
from switchover.runner.host_pair import HostPair
from switchover.runner.leased_inventory import LeasedInventory, lease_inventory_hosts
from switchover.runner.testbed import reopen_testbed
from switchover.scenarios.case import Case, SideSpec


class World:
    """Two hosts, and what is known of them."""

    def __init__(self, inventory: Inventory, server: Any) -> None:
        self.inventory = inventory
        self.server = server
        self.survey = replace(SURVEY, machine=replace(MACHINE, uid=0))
        self.asked: list[tuple[str, Sequence[str]]] = []
        self.remains: list[Any] = []

    def ask(self, host: Any, origin: str, qemus: Sequence[str]) -> Any:
        self.asked.append((host.name, qemus))
        return replace(self.survey, name=host.name, origin=origin)

    @contextlib.contextmanager
    def lease(self, *names: str, pair: tuple[str, str] = ("rack1", "rack2")) -> Iterator[LeasedInventory]:
        with lease_inventory_hosts(self.inventory, names or pair, pair) as leased:
            yield leased


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with start_ssh_server() as server:
        key = tmp_path / "key"
        key.write_text(server.user_key.private)
        entry = {"address": "127.0.0.1", "port": server.port, "key": str(key), "host_key": server.host_key.public}
        # the same machine by a name that only who looks it up finds out
        hosts = {"rack1": entry, "rack2": {**entry, "address": "127.1", "link": "192.168.7.2"}}
        world = World(Inventory.model_validate({"version": 1, "host": hosts}), server)
        monkeypatch.setattr(leased_inventory, "survey_host", world.ask)
        monkeypatch.setattr(leased_inventory, "clean_up_after_others", lambda: world.remains)
        monkeypatch.setattr(leased_inventory, "lock_host", lambda host, note: contextlib.nullcontext())
        yield world


def make_case(tmp_path: Path, qemu: str = "q") -> Case:
    (tmp_path / "kernel").write_text("a kernel")
    kernel, initramfs = Kernel(str(tmp_path / "kernel")), str(tmp_path / "none")
    source = GuestSpec(qemu=qemu, kernel=kernel, initramfs=initramfs, bridge="nobr7")
    return Case("case", SideSpec(source), SideSpec(replace(source, qemu="q")))


def test_what_the_gate_has_to_know(world: World, tmp_path: Path) -> None:
    """Of each host its survey, with the binaries that cases name there, and which files and bridges are missing."""
    with world.lease() as leased:
        known = leased.ask([(make_case(tmp_path), ("", "")), (make_case(tmp_path, "other"), ("rack2", "rack1"))])
    assert world.asked == [("rack1", ["q"]), ("rack2", ["other", "q"])]
    assert [facts.name for facts in known.pair] == ["rack1", "rack2"]
    assert known.pair[0].absent == frozenset({f"file:{tmp_path}/none", "bridge:nobr7:10.77.0.101"})
    assert not known.pair[0].link, "faults do not disturb a network that is not the harness's"


def test_hosts_that_cases_name(world: World, tmp_path: Path) -> None:
    """A run that was given no pair has those alone; a case that names none, or another, has nowhere to be."""
    with world.lease("rack1", "rack2", pair=("", "")) as leased:
        assert set(leased.ask([(make_case(tmp_path), ("rack2", "rack1"))]).named) == {"rack1", "rack2"}
        pair = leased.pair(("rack2", "rack1"))
        assert (pair.source.host.name, pair.source.address) == ("rack2", "192.168.7.2")
        assert (pair.destination.address, pair.destination.link, pair.destination.outlet) == ("127.0.0.1", "", None)
        for hosts in (("", ""), ("rack1", "rack3")):
            with pytest.raises(UsageError, match="has no host"):
                leased.pair(hosts)


def test_another_user_than_root(world: World, tmp_path: Path) -> None:
    """Said before anything is tried: taps and devices are root's to make."""
    world.survey = SURVEY
    with world.lease() as leased, pytest.raises(NotReady, match="is not reached as root"):
        leased.ask([(make_case(tmp_path), ("", ""))])


def test_a_host_that_cannot_be_asked(world: World, tmp_path: Path) -> None:
    """It is lost, and lacks nothing that would be told in its place."""
    world.survey = replace(SURVEY, machine=None, problems={"machine": "no answer"})
    with world.lease() as leased, pytest.raises(HostLost, match="could not be examined") as caught:
        leased.ask([(make_case(tmp_path), ("", ""))])
    assert caught.value.why == "no answer"


def test_what_it_ran_on(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fingerprint has the digest of each file that guests boot from, once for each pair and its binaries."""
    told: list[str] = []

    def describe(pair: HostPair, *qemus: str) -> dict[str, object]:
        told.append(pair.source.host.name)
        return {"qemu": qemus}

    monkeypatch.setattr(leased_inventory, "describe_pair", describe)
    kernel = tmp_path / "kernel"
    kernel.write_text("a kernel")
    side = SideSpec(GuestSpec(kernel=Kernel(str(kernel)), disk="/d", qemu="q"))
    with world.lease() as leased:
        found = [
            leased.fingerprint(Case("case", side, side), hosts)
            for hosts in (("", ""), ("rack1", "rack2"), ("rack2", "rack1"))
        ]
    digest = "4fff0d3e643b3894c17a0738fbdc591953aa722c9d42774425090accc4377126"
    assert found[0] == {"qemu": ("q", "q"), "guest files": {str(kernel): digest}}
    assert told == ["rack1", "rack2"]


def test_whether_they_are_lost(world: World) -> None:
    """A connection that broke is a loss; else there is none."""
    with world.lease() as leased:
        assert leased.find_loss() == ""
        world.server.break_connections()
        assert "rack1" in leased.find_loss()


@pytest.mark.parametrize("place", [1, 2])
def test_a_child_finds_the_same_hosts(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    """What says where they are goes to a process of its own as JSON, and leads to the same ones and the same place."""
    monkeypatch.setattr(testbed, "load_inventory", lambda _: world.inventory)
    file = tmp_path / "inventory.toml"
    with lease_inventory_hosts(world.inventory, ("rack1",), ("rack1", "rack2"), file=file, place=place) as leased:
        address = json.loads(json.dumps(leased.address))
    assert address == {"hosts": ["rack1", "rack2"], "inventory": str(file), "place": place}
    with reopen_testbed(address, make_run_directory("x", tmp_path), RunContext()) as reopened:
        assert [host.name for host in reopened.hosts] == ["rack1", "rack2"]
        assert reopened.address["place"] == place


def test_one_run_at_a_time(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that another run has is refused, under whatever name."""
    monkeypatch.setattr(leased_inventory, "lock_host", host_lock.lock_host)
    monkeypatch.setattr(host_lock, "PLACE", str(tmp_path))
    monkeypatch.setattr(host_lock, "_GRACE_S", "0.2")
    with (
        world.lease(pair=("rack1", "rack1")),
        pytest.raises(NotReady, match="rack2 is in use"),
        world.lease(pair=("rack2", "rack2")),
    ):
        raise AssertionError("two have it")


def test_leftovers_that_stay(world: World) -> None:
    """A host on which something could not be undone is not used; another one's leftovers are in nobody's way."""

    def leave(address: str) -> None:
        change = SimpleNamespace(address={"kind": "inventory", "address": address})
        world.remains = [SimpleNamespace(owner="process 1", outcomes=[SimpleNamespace(remains=True, change=change)])]

    leave("10.0.0.99")
    with world.lease():
        pass
    leave("127.0.0.1")
    with pytest.raises(NotReady, match="rack1 cannot be used"), world.lease():
        raise AssertionError("it was used")
