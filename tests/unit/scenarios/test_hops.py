# SPDX-License-Identifier: GPL-2.0-or-later
"""Chains of migrations in a scenario: what a hop has, what is expected of the chain, and what cannot be."""

from dataclasses import replace

import pytest

from switchover.devices.reference import Knobs
from switchover.guests.places import PLACES
from switchover.guests.spec import GuestSpec
from switchover.migration.phases import Action, Phase
from switchover.migration.settings import MigrationSettings
from switchover.record.errors import UsageError
from switchover.record.record import VerdictName
from switchover.scenarios.building import build_case
from switchover.scenarios.case import Case, DeviceSpec, Hop, SideSpec, in_place, with_driver
from switchover.scenarios.expand import expand
from switchover.scenarios.faults import Fault
from switchover.scenarios.plan import list_starts
from switchover.scenarios.preflight import HostFacts, Known, decide
from switchover.scenarios.scenario import parse_scenario

HEAD = 'version = 1\n[scenario]\ntitle = "t"\n'


def cases_of(text: str) -> list[Case]:
    return [entry.case for entry in expand(parse_scenario(HEAD + text, "s.toml"))]


def problem_of(text: str) -> str:
    with pytest.raises(UsageError) as raised:
        cases_of(text)
    return raised.value.what


CHAIN = """
[source]
qemu = "old"
[destination]
vcpus = 2
[migration]
downtime_limit_ms = 500
[[hops]]
qemu = "new"
[[hops]]
migration.downtime_limit_ms = 700
device.pre_copy = "off"
[[hops]]
qemu = "newer"
migration.capabilities.multifd = "on"
"""


def test_a_hop_has_what_all_have_and_its_own() -> None:
    """The more special wins; where each hop begins is where the one before it ended."""
    (case,) = cases_of(CHAIN)
    hops = case.list_hops()
    assert [hop.source.guest.qemu for hop in hops] == ["old", "new", GuestSpec.qemu]
    assert [hop.destination.guest.qemu for hop in hops] == ["new", GuestSpec.qemu, "newer"]
    assert [hop.destination.guest.vcpus for hop in hops] == [2, 2, 2]
    assert [hop.settings.downtime_limit_ms for hop in hops] == [500, 700, 500]
    assert [dict(hop.settings.capabilities) for hop in hops] == [{}, {}, {"multifd": True}]
    assert [hop.destination.references[0].knobs.pre_copy for hop in hops] == [True, False, True]
    assert not any(hop.then for hop in hops)


def test_a_single_migration_is_its_only_hop() -> None:
    """A case without a chain is not made anew; one with a single hop is as one without."""
    case = build_case("x")
    assert case.list_hops() == (case,)
    (one,) = cases_of("[[hops]]\nqemu = 'new'")
    assert (one.then, one.destination.guest.qemu) == ((), "new")


def test_an_axis_of_a_hop() -> None:
    """A key of one hop varies as any other does, alone or in a variant."""
    text = (
        CHAIN
        + '[axes]\nhops.2.qemu = ["a", "b"]\n[[axes.way]]\nname = "u"\nset = {hops.1.migration.transport = "unix"}\n'
    )
    cases = cases_of(text)
    assert [case.list_hops()[1].destination.guest.qemu for case in cases] == ["a", "b"]
    assert {case.settings.transport for case in cases} == {"unix"}


def test_a_fault_is_made_in_its_hop() -> None:
    """In the first, where nothing else is said."""
    (case,) = cases_of(
        CHAIN + '[[faults]]\naction="cancel"\nphase="active"\nhop=3\n[[faults]]\naction="cancel"\nphase="setup"'
    )
    assert [len(hop.faults) for hop in case.list_hops()] == [1, 0, 1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[axes]\nhops.1.qemu = ['a']", "s.toml:5: axes.hops.1.qemu: the scenario has no [[hops]]"),
        (
            "[[hops]]\n[axes]\nhops.2.qemu = ['a']",
            "a key of a hop has the form hops.NUMBER.KEY, with a number from 1 to 1",
        ),
        ("[[hops]]\nqemuu = 'a'", "s.toml:5: hops[0].qemuu: unknown key; did you mean 'qemu'?"),
        ("[[hops]]\nhost = 'a'", "s.toml:5: hops[0].host: unknown key"),
        ("[[hops]]\nmigration.capabilities.return-path = 'on'", "write migration.return_path"),
        ("[[hops]]\nmigration.downtime_limit_ms = -1", "must be 0 to 2000000 milliseconds"),
        ("[[faults]]\naction='cancel'\nphase='active'\nhop=2", "there is no hop 2: the scenario has no [[hops]]"),
        (
            "[[hops]]\n[[hops]]\n[[faults]]\naction='cancel'\nphase='active'\nhop=3",
            "must be 1 to 2, the number of [[hops]]",
        ),
        (
            "[[hops]]\n[[hops]]\n[expect]\nverdict='failed'\nhop=3\nbecause='x'",
            "s.toml:8: expect.hop: the scenario has 2",
        ),
        (
            "[[hops]]\n[expect]\nverdict='completed'\nhop=1\nbecause='x'",
            "hop is told of a chain that does not complete",
        ),
        (
            "[migration]\ndowntime_limit_ms = 5\n[[hops]]\nmigration.downtime_limit_ms = 6",
            "s.toml:5: migration.downtime_limit_ms: has no effect: each of [[hops]] sets it too",
        ),
        (
            "[[hops]]\n[[hops]]\nmigration.path = '/x'\n",
            'has no effect with the transport "tcp", which has no path',
        ),
    ],
)
def test_what_cannot_be(text: str, words: str) -> None:
    """Each mistake is told with its place and what is allowed."""
    assert words in problem_of(text)


def test_what_acts_at_one_end_acts_in_another_hop() -> None:
    """A device of a destination that is a source later may be slow to save; that of the last one may not."""
    assert len(cases_of("[[hops]]\ndevice.save_bytes_per_sec = 100\n[[hops]]")) == 1
    assert "acts on the source's device only" in problem_of("[[hops]]\n[[hops]]\ndevice.save_bytes_per_sec = 100")


def test_the_first_hop_that_does_not_complete_is_expected() -> None:
    """By the oracle, with the hop's number; the others of a chain do not matter then."""
    (case,) = cases_of("[[hops]]\n[[hops]]\nmemory_mib = 512\n[[hops]]\nmemory_mib = 128")
    assert (case.expectation.verdict, case.expectation.side, case.expectation.hop) == (
        VerdictName.FAILED,
        "destination",
        2,
    )
    (case,) = cases_of("[[hops]]\n[[hops]]")
    assert (case.expectation.verdict, case.expectation.hop) == (VerdictName.COMPLETED, 0)


@pytest.mark.parametrize(
    ("way", "hop"),
    [
        (("qemu-11.1", "qemu-11.1", "qemu-10.0", "qemu-11.1"), 0),
        (("qemu-10.0", "qemu-10.0", "qemu-11.1", "qemu-11.1"), 2),
        (("qemu-11.1", "qemu-10.0", "qemu-11.1", "qemu-10.0"), 0),
    ],
)
def test_what_a_guest_brings_along(way: tuple[str, ...], hop: int) -> None:
    """A queue keeps the length that the guest's first QEMU gave it: one of 11.1 goes to 10.0 and back, one of 10.0
    goes to no 11.1.
    """
    source, *others = way
    hops = "".join(f"[[hops]]\nqemu='{qemu}'\n" for qemu in others)
    (case,) = cases_of(f"[guest]\nmachine='pc-q35-10.0'\n[source]\nqemu='{source}'\n{hops}")
    verdict = VerdictName.FAILED if hop else VerdictName.COMPLETED
    assert (case.expectation.verdict, case.expectation.hop) == (verdict, hop)


def test_an_expectation_of_a_hop() -> None:
    """A scenario may say which hop it is, with a verdict or with a rule; without, any may be."""
    for word, hop in (("hop=2\n", 2), ("", 0)):
        for what in ("verdict='failed'", "oracle='other-virtio-queue-size'"):
            (case,) = cases_of(f"[[hops]]\n[[hops]]\n[expect]\n{what}\n{word}because='x'")
            assert case.expectation.hop == hop


def test_all_sides_are_the_same_guest() -> None:
    """In another place or by another driver, a chain is so at each of its ends."""
    case = build_case("x", then=[Hop(), Hop()])
    assert {side.guest.driver for side in with_driver(case, "libvirt").sides} == {"libvirt"}
    assert {side.guest.address for side in in_place(case, PLACES[2]).sides} == {PLACES[2].address}


def test_a_chain_of_python_is_checked_too() -> None:
    """A value that is out of its range, in whichever hop."""
    with pytest.raises(UsageError, match=r"then\.0\.settings\.downtime_limit_ms"):
        build_case("x", then=[Hop(settings=MigrationSettings(downtime_limit_ms=-1))])
    with pytest.raises(UsageError, match="must be 1 to 2"):
        build_case("x", then=[Hop()], faults=[Fault(Action.CANCEL, Phase.ACTIVE, hop=3)])
    slow = SideSpec(devices=(DeviceSpec(knobs=Knobs(load_initial_ms=5)),))
    assert build_case("x", then=[Hop(destination=slow)]).expectation.verdict is VerdictName.COMPLETED


def test_each_hop_needs_what_its_hosts_have() -> None:
    """The hosts alternate: the third migration goes where the first one went."""
    (case,) = cases_of("[[hops]]\nqemu='a'\n[[hops]]\nqemu='b'\n[[hops]]\nqemu='c'")
    first = HostFacts("hosta", {GuestSpec.qemu: None, "b": None})
    second = HostFacts("hostb", {"a": None, "c": None})
    missing = decide(case, ("", ""), Known((first, second), {"hosta": first, "hostb": second})).missing
    assert missing == (f"hosta has no {GuestSpec.qemu}", "hostb has no a", "hosta has no b", "hostb has no c")
    named = Known((HostFacts(""), HostFacts("")), {"hosta": first, "hostb": second})
    assert decide(case, ("hosta", "hostb"), named).missing == missing
    assert not decide(case, ("", ""), None).missing


def test_a_plan_shows_the_start_of_each_side() -> None:
    """By its hop."""
    (case,) = cases_of("[[hops]]\n[[hops]]\nqemu='b'")
    starts = list_starts(case)
    assert list(starts) == ["source", "destination of hop 1", "destination of hop 2"]
    assert starts["destination of hop 2"][0] == "b"
    assert list(list_starts(replace(case, then=()))) == ["source", "destination"]
