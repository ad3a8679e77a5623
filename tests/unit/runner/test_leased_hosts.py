# SPDX-License-Identifier: GPL-2.0-or-later
"""A lab as the place where cases run."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from switchover.guests.spec import GuestSpec, Kernel
from switchover.lab.lab import Lab
from switchover.record.errors import HostLost, NotReady, UsageError
from switchover.runner import leased_hosts
from switchover.runner.leased_hosts import LeasedLab
from switchover.scenarios.case import Case, SideSpec


class World:
    """A lab with two hosts, and what is asked of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.lost: list[str] = []
        self.running = True
        self.hosts = {name: SimpleNamespace(name=name, run=lambda argv: None) for name in ("hosta", "hostb")}
        lab = SimpleNamespace(
            name="mine",
            directory=Path("lab"),
            host=self.host,
            file=SimpleNamespace(hosts=["hosta", "hostb"], token="t", accelerator={}),
            link_address=lambda name: f"address of {name}",
            link=lambda peer: f"link to {peer}",
            outlet=lambda name: None,
            authorized_key="",
            private_key="",
            guest_host_key=SimpleNamespace(private="", public=""),
            host_key="",
            hosts=lambda: [self.host(name) for name in self.hosts],
        )
        self.leased = LeasedLab(cast(Lab, lab))
        monkeypatch.setattr(leased_hosts, "is_running", lambda directory: self.running)
        monkeypatch.setattr(leased_hosts, "read_abilities", self.read_abilities)
        self.devices = SimpleNamespace(mdev_types=(SimpleNamespace(type="refdev-4vec"),))
        monkeypatch.setattr(leased_hosts, "read_devices", lambda host: self.devices)
        monkeypatch.setattr(leased_hosts, "collect_fingerprint", self.collect)
        monkeypatch.setattr(
            leased_hosts, "provide_toolchain", lambda lab, host, name: self.log.append(f"{name} to {host}")
        )

    def host(self, name: str) -> Any:
        if name in self.lost:
            raise HostLost(f"{name} does not answer.")
        return self.hosts[name]

    def read_abilities(self, host: Any, qemu: str) -> str:
        self.log.append(f"{qemu} of {host.name}")
        if qemu in ("missing", "qemu-9.9"):
            raise NotReady("there is none")
        return qemu

    def collect(self, lab: Any, pair: Any, *qemus: str, images: Sequence[str]) -> dict[str, Any]:
        self.log.append("fingerprint")
        return {"source": pair.source.host.name, "qemu": qemus, "images": images}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def make_case(source: str = "qemu", destination: str = "qemu", *, kernel: str = "") -> Case:
    first, second = (SideSpec(GuestSpec(qemu=name, kernel=Kernel(kernel))) for name in (source, destination))
    return Case("case", first, second)


def test_what_the_gate_has_to_know(world: World) -> None:
    """Each binary is asked once on each host where a case needs it; one that is not there is told as that."""
    known = world.leased.ask(
        [
            (make_case(), ("", "")),
            (make_case("qemu", "missing"), ("", "")),
            (make_case("other", "qemu"), ("hostb", "hostb")),
        ]
    )
    assert sorted(world.log) == ["missing of hostb", "other of hostb", "qemu of hosta", "qemu of hostb"]
    source, destination = known.pair
    assert (source.name, destination.name) == ("hosta", "hostb")
    assert destination.binaries["missing"] is None
    assert source.device_types == frozenset({"refdev-4vec"})
    assert cast(object, source.devices) is world.devices
    assert (source.kvm, source.link) == ("", True)
    assert known.named == {"hosta": source, "hostb": destination}


def test_toolchains_are_provided(world: World) -> None:
    """A toolchain that a case names is made to be there, on the host that needs it, before the binary is asked."""
    world.leased.ask([(make_case("qemu-11.1", "qemu"), ("", "")), (make_case("qemu-9.9", "qemu"), ("", ""))])
    assert [entry for entry in world.log if "qemu-11.1" in entry] == ["qemu-11.1 to hosta", "qemu-11.1 of hosta"]
    assert "qemu-9.9 to hosta" not in world.log


def test_kernels_are_provided(world: World) -> None:
    """A kernel that a case names is made to be on both hosts; a file is the host's own."""
    world.leased.ask([(make_case(kernel="kernel-6.12-rt"), ("", "")), (make_case(kernel="/boot/vmlinuz"), ("", ""))])
    assert [entry for entry in world.log if " to " in entry] == ["kernel-6.12-rt to hosta", "kernel-6.12-rt to hostb"]


def test_places_that_a_lab_host_may_lack(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is asked of the disks that a guest writes and of its firmware; of nothing else, since QEMU says what it
    lacks.
    """
    asked: list[str] = []

    def find(host: Any, places: Sequence[str]) -> frozenset[str]:
        asked.extend(places)
        return frozenset(places)

    monkeypatch.setattr(leased_hosts, "find_absent", find)
    side = SideSpec(GuestSpec(qemu="qemu", disk="/d", firmware="/f"))
    known = world.leased.ask([(Case("case", side, side), ("", ""))])
    assert asked == ["file:/f", "shared:/d"] * 2
    assert [facts.absent for facts in known.pair] == [frozenset({"file:/f", "shared:/d"})] * 2


def test_pairs(world: World) -> None:
    """The lab's two hosts, unless a case names others of them."""
    pair = world.leased.pair(("", ""))
    assert (pair.source.host.name, pair.destination.address) == ("hosta", "address of hostb")
    turned = world.leased.pair(("hostb", "hosta"))
    assert (turned.source.host.name, turned.destination.host.name) == ("hostb", "hosta")
    assert turned.source.link == "link to hosta"
    with pytest.raises(UsageError, match="no host 'rack1'"):
        world.leased.pair(("rack1", ""))


def test_fingerprints_are_taken_once(world: World) -> None:
    """For each pair of hosts and binaries, and each guest's kernel that is an image."""
    for hosts in (("", ""), ("", ""), ("hostb", "hosta")):
        assert world.leased.fingerprint(make_case(), hosts)["qemu"] == ("qemu", "qemu")
    assert world.log.count("fingerprint") == 2
    assert world.leased.fingerprint(make_case(), ("", ""))["images"] == []
    assert world.leased.fingerprint(make_case(kernel="kernel-7.x"), ("", ""))["images"] == ["kernel-7.x"]
    assert world.log.count("fingerprint") == 3


def test_whether_it_is_lost(world: World) -> None:
    """A lab host that ended, or does not answer, is a loss; else there is none."""
    assert world.leased.find_loss() == ""
    world.lost = ["hostb"]
    assert world.leased.find_loss() == "hostb does not answer."
    world.running = False
    assert world.leased.find_loss() == "a lab host ended"
