# SPDX-License-Identifier: GPL-2.0-or-later
"""Pairs of a lab, and the standard cases."""

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from switchover.devices.reference import Knobs
from switchover.hosts.ssh import SshLogin
from switchover.lab.keys import KeyPair
from switchover.lab.lab import Lab
from switchover.migration.phases import Action, Phase
from switchover.migration.settings import MigrationSettings
from switchover.record.errors import UsageError
from switchover.record.record import VerdictName
from switchover.runner.host_pair import pair_of_lab, pairs_of_lab
from switchover.runner.standard import PRE_COPY_OFF, PRE_COPY_ON
from switchover.scenarios.case import DEVICE_PROPERTIES, Case, SideSpec, in_order, make_case, with_one_device
from switchover.scenarios.expectation import COMPLETES, Expectation
from switchover.scenarios.faults import Fault


def make_lab(*names: str) -> Lab:
    return cast(
        Lab,
        SimpleNamespace(
            name="default",
            file=SimpleNamespace(hosts=list(names), token="token", accelerator={"guest_words": "w=1"}),
            host=lambda name: f"host {name}",
            link_address=lambda name: f"address of {name}",
            link=lambda peer: f"link to {peer}",
            outlet=lambda name: f"outlet of {name}",
            authorized_key="public",
            private_key="private",
            host_key="host key",
            guest_host_key=KeyPair("guest private", "guest public"),
        ),
    )


def test_a_lab_of_two() -> None:
    """The first lab host is the source, the second the destination, each key where it belongs."""
    pair = pair_of_lab(make_lab("hosta", "hostb"))
    assert (str(pair.source.host), pair.source.address) == ("host hosta", "address of hosta")
    assert (str(pair.destination.host), pair.destination.address) == ("host hostb", "address of hostb")
    assert (str(pair.source.outlet), str(pair.destination.outlet)) == ("outlet of hosta", "outlet of hostb")
    assert (pair.source.guest_words, pair.destination.guest_words) == ("w=1", "w=1")
    assert pair.destination.login == SshLogin("hostb", "private", "host key")
    assert (pair.source.process, pair.destination.process) == ("token-hosta", "token-hostb")
    assert (pair.keys.authorized, pair.keys.login) == ("public", "private")
    assert (pair.keys.host_private, pair.keys.host_public) == ("guest private", "guest public")


def test_a_lab_of_one_is_both_ends() -> None:
    """One lab host is source and destination."""
    pair = pair_of_lab(make_lab("hosta"))
    assert pair.source == pair.destination


def test_a_lab_without_hosts() -> None:
    """It is the user's mistake."""
    with pytest.raises(UsageError, match="has 0 hosts"):
        pair_of_lab(make_lab())


def test_pairs_by_name() -> None:
    """Any two hosts of a lab are a pair, each with its link to the other one; where one is not named it is the first
    two. What is no host of the lab is told with those that are.
    """
    lab = make_lab("hosta", "hostb", "hostc", "hostd")
    pair = pair_of_lab(lab, "hostc", "hosta")
    assert (str(pair.source.host), pair.source.link) == ("host hostc", "link to hosta")
    assert (str(pair.destination.host), pair.destination.link) == ("host hosta", "link to hostc")
    assert str(pair_of_lab(lab).destination.host) == "host hostb"
    assert [str(end.host) for end in (pair_of_lab(lab, "hostd").source, pair_of_lab(lab, "hostd").destination)] == [
        "host hostd",
        "host hostb",
    ]
    assert str(pair_of_lab(lab, "", "hostc").source.host) == "host hosta"
    same = pair_of_lab(lab, "hostb", "hostb")
    assert (same.source, same.source.link) == (same.destination, "")
    with pytest.raises(UsageError, match="no host 'rack1'") as caught:
        pair_of_lab(lab, "hosta", "rack1")
    assert "hostd" in caught.value.fix


@pytest.mark.parametrize(("count", "pairs"), [(1, ["aa"]), (2, ["ab"]), (3, ["ab"]), (4, ["ab", "cd"])])
def test_pairs_of_neighbours(count: int, pairs: list[str]) -> None:
    """No host is in two of them, so that all can be used at a time."""
    found = pairs_of_lab(make_lab(*(f"host{letter}" for letter in "abcd"[:count])))
    ends = [[str(end.host)[-1] for end in (pair.source, pair.destination)] for pair in found]
    assert ["".join(names) for names in ends] == pairs


def test_the_standard_question_differs_in_one_value() -> None:
    """The two standard cases differ in the device's pre-copy and their id, and in nothing else."""
    assert (PRE_COPY_OFF.id, PRE_COPY_ON.id) == ("device.pre_copy=off", "device.pre_copy=on")
    assert PRE_COPY_OFF.settings == PRE_COPY_ON.settings
    knobs = []
    for case in (PRE_COPY_OFF, PRE_COPY_ON):
        assert case.source == case.destination
        (device,) = case.source.references
        knobs.append(vars(device.knobs))
        assert replace(case, id="", source=SideSpec(), destination=SideSpec()) == Case("")
        assert replace(case.source, devices=(replace(device, knobs=Knobs()),)) == SideSpec()
    differing = {name for name, value in knobs[0].items() if value != knobs[1][name]}
    assert differing == {"pre_copy"}


def test_the_link_of_a_lab_of_two() -> None:
    """Two lab hosts have a link that faults may disturb; one host has none towards itself."""
    two, one = pair_of_lab(make_lab("hosta", "hostb")), pair_of_lab(make_lab("hosta"))
    assert (two.source.link, two.destination.link) == ("link to hostb", "link to hosta")
    assert (one.source.link, one.destination.link) == ("", "")


def test_a_case_with_sides_alike() -> None:
    """Both sides are what was given, and the other fields are those of the case."""
    side = with_one_device(Knobs(pre_copy=False), type="refdev-1vec")
    fault = Fault(Action.CANCEL, Phase.ACTIVE)
    case = make_case("x", side, faults=(fault,))
    assert (case.source, case.destination, case.faults, case.expectation) == (side, side, (fault,), COMPLETES)
    (device,) = side.references
    assert (device.id, device.type, device.knobs.pre_copy) == ("dut", "refdev-1vec", False)
    assert device.properties == DEVICE_PROPERTIES


def test_a_migration_in_order() -> None:
    """The guest is the source's, both sides are alike, nothing fails on purpose, and the switchover may take long.
    What a stream needs stays, if both sides have it.
    """
    source = with_one_device(
        Knobs(fail_at="STOP_COPY", corrupt="stream", state_change_ms=7, initial_bytes=5), properties={"x-y": "1"}
    )
    source = replace(source, guest=replace(source.guest, machine="pc"))
    case = Case(
        "x",
        source,
        SideSpec(devices=()),
        MigrationSettings(switchover_ack=True, capabilities={"multifd": True, "zero-blocks": True}),
        (Fault(Action.KILL_DESTINATION, Phase.ACTIVE),),
        Expectation(VerdictName.FAILED, reason="because"),
    )
    healthy = in_order(case)
    assert healthy.id == "x, in order"
    assert healthy.source == healthy.destination
    assert healthy.source.guest == source.guest
    (device,) = healthy.source.references
    assert device == replace(source.references[0], knobs=source.references[0].knobs.in_order())
    assert (device.knobs.fail_at, device.knobs.corrupt, device.knobs.state_change_ms) == ("none", "none", 0)
    assert device.knobs.initial_bytes == 5
    assert (healthy.faults, healthy.expectation) == ((), COMPLETES)
    assert healthy.settings == MigrationSettings(downtime_limit_ms=120_000, capabilities={"multifd": True})
    on_one_side = replace(case, settings=replace(case.settings, destination_capabilities={"multifd": False}))
    assert in_order(on_one_side).settings == MigrationSettings(downtime_limit_ms=120_000)
    assert in_order(healthy).source == healthy.source
    without = in_order(replace(case, settings=replace(case.settings, switchover_bandwidth=0)))
    assert without.settings.switchover_bandwidth == 0
