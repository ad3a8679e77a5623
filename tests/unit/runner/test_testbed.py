# SPDX-License-Identifier: GPL-2.0-or-later
"""What a testbed says of its run directory and its hosts, without any."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.scripted_host import ScriptedHost

from switchover import MIB, DeviceSpec, GuestSpec, Kernel, Knobs, Testbed, VerdictName, build_case, read_records
from switchover.guests.qemu import GuestKeys
from switchover.guests.snapshots import Snapshots
from switchover.record.errors import UsageError
from switchover.runner.host_pair import Endpoint, HostPair
from switchover.runner.leased_hosts import HostNames
from switchover.runner.testbed import open_testbed
from switchover.scenarios.case import Case
from switchover.scenarios.preflight import HostFacts, Known

CASE = build_case("small", device=DeviceSpec(knobs=Knobs(initial_bytes=1 * MIB)))


class IdleHosts:
    """Two hosts that have no QEMU, or one that is both ends; ``left``: what is on each."""

    def __init__(self, *left: str) -> None:
        hosts = [_host(name, text) for name, text in zip("ab", left, strict=False)]
        self._pair = HostPair(Endpoint(hosts[0], ""), Endpoint(hosts[-1], ""), GuestKeys("", "", "", ""))

    address: Mapping[str, object] = {}
    guest_place = None

    def ask(self, cases: Iterable[tuple[Case, HostNames]]) -> Known:
        facts = HostFacts("a", {CASE.source.guest.qemu: None})
        return Known((facts, facts))

    def pair(self, hosts: HostNames) -> HostPair:
        return self._pair

    def fingerprint(self, case: Case, hosts: HostNames) -> Mapping[str, Any]:
        return {}

    def find_loss(self) -> str:
        return ""


def _host(name: str, text: str) -> ScriptedHost:
    return ScriptedHost(lambda argv: text, name)


def open_idle(output: Path, *left: str) -> Any:
    return open_testbed(IdleHosts(*(left or ("", ""))), output)


def test_each_run_of_a_case_has_a_directory(tmp_path: Path) -> None:
    """It is where the record is, also of a case that could not be run; all are read back, by the run's directory, its
    name, or a part of it.
    """
    with open_idle(tmp_path) as testbed:
        records = [testbed.run(CASE), testbed.run(CASE)]
    assert [record.verdict.name for record in records] == [VerdictName.NOT_SUPPORTED] * 2
    places = [testbed.directory_of(record) for record in records]
    assert places == [testbed.directory / "small" / "01", testbed.directory / "small" / "02"]
    assert all((place / "record.json").exists() for place in places)
    assert [record.repeat for record in read_records(testbed.directory)] == [1, 2]


def test_the_last_run_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default the run that was begun last, or the one of a name; a run that there is not is an error."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with open_testbed(IdleHosts("", ""), title="mine") as testbed:
        testbed.run(CASE)
    assert [record.case for record in read_records()] == ["small"]
    assert read_records("mine") == read_records(testbed.directory.name) == read_records()
    with pytest.raises(UsageError, match="no run 'yours'"):
        read_records("yours")


def test_leftovers_are_told_by_host(tmp_path: Path) -> None:
    """Each host once, also where one is both ends; nothing left is an empty list."""
    with open_idle(tmp_path) as testbed:
        assert testbed.list_leftovers() == []
    with open_idle(tmp_path, "sw0\n", "sw1\n/tmp/switchover-1\n") as testbed:
        assert testbed.list_leftovers() == ["a: sw0", "b: sw1", "b: /tmp/switchover-1"]
    with open_idle(tmp_path, "sw0\n") as testbed:
        assert testbed.list_leftovers() == ["a: sw0"]


def test_saved_guests_that_are_kept_are_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest of the user that was saved is there for further cases, and goes with the testbed."""
    monkeypatch.setattr(Snapshots, "directories", ["/tmp/switchover-saved-1"])
    with open_idle(tmp_path, "", "/tmp/switchover-saved-1\n/tmp/switchover-saved-2\n") as testbed:
        assert testbed.list_leftovers() == ["b: /tmp/switchover-saved-2"]


def test_a_testbed_is_no_test() -> None:
    """pytest does not take it for a class of tests by its name."""
    assert Testbed.__test__ is False


def test_hosts_are_asked_for_what_a_guest_needs(tmp_path: Path) -> None:
    """Once for a guest, and anew for one with another kernel, which may be missing where the first one is not."""
    leased, asked = IdleHosts("", ""), []

    class Counting(IdleHosts):
        def ask(self, cases: Iterable[tuple[Case, HostNames]]) -> Known:
            asked.append(1)
            return leased.ask(cases)

    other = build_case("other", guest=GuestSpec(kernel=Kernel("/boot/other")))
    with open_testbed(Counting("", ""), tmp_path) as testbed:
        for case in (CASE, CASE, other):
            testbed.find_missing(case)
    assert len(asked) == 2
