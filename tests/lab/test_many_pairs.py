# SPDX-License-Identifier: GPL-2.0-or-later
"""A lab of four hosts: pairs at the same time, apart and overlapping, each with a guest in a place of its own."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path

import pytest

from switchover.guests.places import PLACES
from switchover.guests.snapshots import Snapshots
from switchover.hosts.host import Host
from switchover.hosts.loop import LoopThread
from switchover.hosts.waiting import stretch
from switchover.lab.lab import Lab, start_lab
from switchover.lab.release import list_leftovers
from switchover.record.checks import CheckId
from switchover.record.record import Record, VerdictName
from switchover.record.rundir import make_run_directory
from switchover.runner.case_runner import RunContext, run_repeat
from switchover.runner.guest_session import start_guest_session
from switchover.runner.host_pair import HostPair, pair_of_lab, pairs_of_lab
from switchover.runner.interventions import start_link
from switchover.runner.listener import RunListener
from switchover.runner.standard import PRE_COPY_ON
from switchover.runner.verdict import judge_attempt
from switchover.scenarios.case import in_place

_MEETING_S = 120


@pytest.fixture(scope="module")
def four() -> Iterator[Lab]:
    """Four lab hosts, for the tests of this file."""
    with start_lab(f"four-{os.getpid()}", hosts=4) as lab:
        yield lab


@pytest.fixture(autouse=True)
def clean(four: Lab) -> Iterator[None]:
    """Instead of that of the lab of two, which these tests do without: nothing is left on any of the four hosts."""
    yield
    assert {host.name: list_leftovers(host) for host in four.hosts()} == {host.name: [] for host in four.hosts()}


@pytest.fixture(scope="module")
def saved() -> Iterator[Snapshots]:
    with Snapshots() as guests:
        yield guests


@dataclass
class Meeting:
    """Repeats that wait for each other before they migrate, and when each of them migrated."""

    barrier: threading.Barrier
    times: dict[int, list[float]] = field(default_factory=dict)

    def note(self, number: int, step: str) -> None:
        if step == "migrate":
            with contextlib.suppress(threading.BrokenBarrierError):  # the other one's record says why
                self.barrier.wait(_MEETING_S)
            self.times[number] = [time.monotonic()]
        elif len(self.times.get(number, ())) == 1:
            self.times[number].append(time.monotonic())

    def was_one(self) -> bool:
        """Whether there was a moment at which all of them migrated."""
        begun, ended = zip(*self.times.values(), strict=True)
        return bool(max(begun) < min(ended))


@dataclass
class Guest(RunListener):
    """One of those that meet."""

    meeting: Meeting
    number: int

    def step(self, step: str) -> None:
        self.meeting.note(self.number, step)


def run_together(pairs: Sequence[HostPair], saved: Snapshots, parent: Path) -> list[Record]:
    """The same case on each of the pairs, all at the same time, each guest in a place of its own."""
    meeting = Meeting(threading.Barrier(len(pairs)))
    directory = make_run_directory("test", parent)

    def run(number: int) -> Record:
        context = RunContext(Guest(meeting, number), snapshots=saved)
        repeat = directory.repeat(PRE_COPY_ON.id, number + 1)
        return run_repeat(PRE_COPY_ON, number + 1, pairs[number], repeat, {}, context, PLACES[number])

    with ThreadPoolExecutor(len(pairs)) as threads:
        records = list(threads.map(run, range(len(pairs))))
    assert [(record.verdict.name, record.mismatch) for record in records] == [(VerdictName.COMPLETED, "")] * len(pairs)
    assert meeting.was_one()
    return records


def require_heard(record: Record) -> None:
    """A guest that was heard from outside, at the right ends, and answered over the connection from before."""
    assert record.measured("downtime.outside") is not None, [one.note for one in record.measurements]
    assert record.measured("outside.lost") == record.measured("outside.duplicated") == 0
    passed = {check.name for check in record.checks if check.passed}
    assert len(passed) == len(record.checks)
    assert {CheckId.GUEST_CONNECTION_SURVIVES.claim, CheckId.DOWNTIME_OUTSIDE.claim} <= passed


def test_two_pairs_at_the_same_time(four: Lab, saved: Snapshots, tmp_path: Path) -> None:
    """Both migrations complete with all checks, both guests answer, and of each the outside heard when it was silent.
    Both were restored from one saved guest.
    """
    first, second = run_together(pairs_of_lab(four), saved, tmp_path)
    for record in (first, second):
        require_heard(record)
        assert record.fingerprint["guest"]["start"] == "warm"
    assert first.fingerprint["guest"]["key"] == second.fingerprint["guest"]["key"]
    assert [record.fingerprint["guest"].get("place") for record in (first, second)] == [None, 2]
    assert first.settings == second.settings
    assert [check.name for check in first.checks] == [check.name for check in second.checks]


def test_pairs_that_overlap(four: Lab, saved: Snapshots, tmp_path: Path) -> None:
    """Two guests leave one host for two others at the same time: each is heard by itself."""
    pairs = [pair_of_lab(four, "hosta", "hostb"), pair_of_lab(four, "hosta", "hostc")]
    for record in run_together(pairs, saved, tmp_path):
        require_heard(record)


def test_a_guest_has_the_addresses_of_its_place(four: Lab, saved: Snapshots) -> None:
    """One that was saved with others: in its kernel and in QEMU's NIC, as it was restored and as it has migrated."""
    case, pair = in_place(PRE_COPY_ON, PLACES[4]), pair_of_lab(four, "hostd", "hosta")
    with LoopThread() as loop, start_guest_session(case.source, pair, loop, snapshots=saved) as guest_session:
        for end in ("hosta", "hostd"):
            assert judge_attempt(guest_session.attempt(case, f"to {end}")).name is VerdictName.COMPLETED
            guest = guest_session.side.guest
            assert guest.host.name == end
            shell = guest_session.connection.require(guest)
            assert shell.run(["cat", "/sys/class/net/eth0/address"]).text.strip() == PLACES[4].mac
            (nic,) = guest.qmp.execute("query-rx-filter")
            assert nic["main-mac"] == PLACES[4].mac


def reaches(host: Host, address: str) -> bool:
    script = f"exec 3<>/dev/tcp/{address}/22"
    return host.run(["timeout", "3", "bash", "-c", script], check=False).returncode == 0


def test_each_host_reaches_each_other_one(four: Lab) -> None:
    """By a link of the two alone: one that is cut separates these two, and no other ones."""
    names = four.file.hosts
    cut = pair_of_lab(four, "hosta", "hostc")
    assert all(reaches(four.host(one), four.link_address(other)) for one, other in permutations(names, 2))
    with start_link(cut.source.host, cut.source.link) as link:
        link.disturb("netem", "loss", "100%")
        silent = {(a, b) for a, b in permutations(names, 2) if not reaches(four.host(a), four.link_address(b))}
    assert silent == {("hosta", "hostc"), ("hostc", "hosta")}
    assert reaches(cut.source.host, cut.destination.address)


def test_frames_of_a_pair_pass_no_other_host(four: Lab) -> None:
    """What two hosts send each other is counted on their link, and on none of a third one."""

    def count(name: str) -> dict[str, int]:
        script = 'cd /sys/class/net; for link in link*; do echo "$link $(cat "$link/statistics/rx_bytes")"; done'
        lines = four.host(name).run(["sh", "-c", script]).text.splitlines()
        return {line.split()[0]: int(line.split()[1]) for line in lines}

    assert reaches(four.host("hostc"), four.link_address("hostd"))  # and neighbours are known
    before = {name: count(name) for name in four.file.hosts}
    send = f"dd if=/dev/zero bs=64k count=64 status=none | socat -u - TCP:{four.link_address('hostd')}:7001"
    with four.host("hostd").open_stream(["sh", "-c", "timeout 30 socat -u TCP-LISTEN:7001 STDOUT | wc -c"]) as sink:
        four.host("hostc").run(["sh", "-c", f"for n in 1 2 3 4 5 6 7 8 9; do {send} && exit; sleep 0.3; done; exit 1"])
        sink.settimeout(stretch(40))
        received = sink.recv(100)
    assert int(received) == 64 << 16
    after = {name: count(name) for name in four.file.hosts}
    grown = {(name, link) for name in after for link in after[name] if after[name][link] - before[name][link] > 1 << 20}
    assert grown == {("hostd", "link3")}
