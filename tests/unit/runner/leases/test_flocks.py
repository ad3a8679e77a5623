# SPDX-License-Identifier: GPL-2.0-or-later
"""Leases by locked files: all or nothing, freed with their holder, and for everybody in the end."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.hosts.ownership import take_file
from switchover.hosts.waiting import wait_until
from switchover.record.errors import NotReady
from switchover.runner.leases.flocks import FlockBackend, Ticket, list_blocked
from switchover.runner.leases.protocol import Lease
from switchover.runner.leases.resources import Choice

HOLD = """
import sys, time
from pathlib import Path
from switchover.runner.leases.flocks import FlockBackend
from switchover.runner.leases.resources import Choice
lease = FlockBackend(Path(sys.argv[1]), who="the holder").acquire([Choice(("a", "b"), frozenset("ab"))], 5)
print("held", flush=True)
time.sleep(60)
"""


def choose(*pairs: str) -> list[Choice]:
    """Pairs by the letters of their hosts."""
    return [Choice((pair[0], pair[-1]), frozenset(pair)) for pair in pairs]


@pytest.fixture
def backend(tmp_path: Path) -> FlockBackend:
    return FlockBackend(tmp_path / "leases", who="us", poll_s=0.01)


@pytest.fixture
def aside() -> Iterator[Callable[[Callable[[], object]], threading.Thread]]:
    """Does something in a thread, and waits for it at the end."""
    threads = []

    def start(work: Callable[[], object]) -> threading.Thread:
        threads.append(threading.Thread(target=work))
        threads[-1].start()
        return threads[-1]

    yield start
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def holds(backend: FlockBackend) -> list[str]:
    return [holder.resource for holder in backend.list_holders()]


def test_all_or_nothing(backend: FlockBackend) -> None:
    """A pair of which one host is taken leaves the other one free, and names who has what."""
    with backend.acquire(choose("bc"), 1):
        with pytest.raises(NotReady) as caught:
            backend.acquire(choose("ab"), 0)
        assert caught.value.why.startswith("a-b: b is leased by us since 20")
        assert holds(backend) == ["b", "c"]
        with backend.acquire(choose("a"), 0):
            assert holds(backend) == ["a", "b", "c"]
    assert holds(backend) == []


def test_the_first_free_choice_wins(backend: FlockBackend) -> None:
    """In the order in which pairs were given, and of those only that one is taken."""
    with backend.acquire(choose("ab"), 0), backend.acquire(choose("bc", "cd", "ef"), 0) as lease:
        assert lease.pair == ("c", "d")
        assert holds(backend) == ["a", "b", "c", "d"]


def test_overlapping_pairs_never_at_once(backend: FlockBackend, aside: Callable[..., threading.Thread]) -> None:
    """Whoever has a host is its only user, with all pairs of four hosts wanted at once by many."""
    users = dict.fromkeys("abcd", 0)
    worst: list[int] = []
    pairs = choose("ab", "bc", "cd", "da", "ac", "bd")

    def work(number: int) -> None:
        for turn in range(10):
            with backend.acquire(pairs[(number + turn) % 6 :][:2], 20) as lease:
                for host in lease.pair:
                    users[host] += 1
                    worst.append(users[host])
                time.sleep(0.001)
                for host in lease.pair:
                    users[host] -= 1

    threads = [aside(lambda number=number: work(number)) for number in range(6)]
    for thread in threads:
        thread.join(20)
    assert len(worst) == 120
    assert max(worst) == 1


def test_a_killed_holder_holds_nothing(tmp_path: Path, backend: FlockBackend) -> None:
    """Who waits is told of the process that has it, and gets it when that is killed."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "leases")],
        env=os.environ | {"PYTHONPATH": "harness"},
        stdout=subprocess.PIPE,
    )
    told: list[str] = []

    def tell(text: str) -> None:
        told.append(text)
        holder.kill()

    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with holder, backend.acquire(choose("bc"), 10, tell) as lease:
        assert lease.pair == ("b", "c")
        assert told[0].startswith("b-c: b is leased by the holder since ")
        assert holds(backend) == ["b", "c"]


def test_names_that_look_alike(backend: FlockBackend) -> None:
    """Resources whose names differ in characters that a file cannot have are not one."""
    alike = [Choice(("x", "x"), frozenset({word})) for word in ("a/b", "a_b", "a:b", "A_b", "a_b" + 200 * "c")]
    leases = [backend.acquire([choice], 0) for choice in alike]
    assert len(backend.list_holders()) == 5
    for lease in leases:
        lease.release()


def test_who_waits_long_is_not_overtaken(tmp_path: Path, aside: Callable[..., threading.Thread]) -> None:
    """Two that take turns with one host each, never both free at once, do not keep out one who needs both."""
    directory = tmp_path / "leases"
    impatient = FlockBackend(directory, who="us", poll_s=0.01, patience_s=0.1)
    done = threading.Event()
    got: list[Lease] = []
    first = impatient.acquire(choose("a"), 1)

    def take_both() -> None:
        got.append(impatient.acquire(choose("ab"), 10))
        done.set()

    aside(take_both)
    held = {"a": first}
    turns = 0
    refusals: list[str] = []
    while not done.is_set() and turns < 200:
        turns += 1
        # the next one is taken before the one that is held is given back
        other = "b" if "a" in held else "a"
        try:
            held[other] = impatient.acquire(choose(other), 0)
        except NotReady as error:
            refusals.append(error.why)
            held.popitem()[1].release()
            break
        time.sleep(0.01)
        held.pop("a" if other == "b" else "b").release()
    assert done.wait(5), f"kept out by {turns} others"
    assert all("kept for one who has waited longer" in refusal for refusal in refusals)
    assert turns > 1, "before its patience ended it could be overtaken"
    got[0].release()


def test_what_the_dead_left_in_the_queue(tmp_path: Path) -> None:
    """A place in the queue whose owner is gone, also from before a reboot, keeps nothing and is removed."""
    backend = FlockBackend(tmp_path, poll_s=0.01, patience_s=0)
    (tmp_path / "waiting").mkdir()
    for number in (1, 10**19 - 1):
        (tmp_path / "waiting" / f"{number:020}-1-0").write_text('["a", "b"]')
    with backend.acquire(choose("ab"), 0):
        assert list((tmp_path / "waiting").iterdir()) == []


def test_a_turn_that_does_not_end(tmp_path: Path, backend: FlockBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was stopped while it looked is named as what is waited for."""
    monkeypatch.setattr("switchover.runner.leases.flocks._TURN_S", 0.02)
    turn = take_file(tmp_path / "leases" / "turn", note="a stopped process")
    assert turn is not None
    with pytest.raises(NotReady) as caught:
        backend.acquire(choose("ab"), 0.1)
    assert caught.value.why == "a-b: the list of leases is leased by a stopped process"
    turn.release()
    backend.acquire(choose("ab"), 0.1).release()


def test_nothing_is_left(tmp_path: Path, backend: FlockBackend, aside: Callable[..., threading.Thread]) -> None:
    """After leases that were waited for, and such that were not had, no file is there."""
    with backend.acquire(choose("ab"), 0):
        other = aside(lambda: backend.acquire(choose("bc"), 5).release())
        wait_until("the one who waits", lambda: list((tmp_path / "leases" / "waiting").glob("*")), timeout=5)
        with pytest.raises(NotReady):
            backend.acquire(choose("ab"), 0.05)
    other.join(5)
    assert holds(backend) == []
    assert [path.name for path in (tmp_path / "leases").rglob("*") if path.is_file()] == []


TICKETS = st.lists(
    st.builds(
        lambda age, who, resources: Ticket(f"{100 - age:020}-{who}", 100 - age, frozenset(resources)),
        st.integers(0, 100),
        st.integers(0, 9),
        st.sets(st.sampled_from("abc"), min_size=1),
    ),
    max_size=6,
    unique_by=lambda ticket: ticket.name,
)


@given(tickets=TICKETS, patience=st.integers(0, 100))
def test_what_is_kept(tickets: list[Ticket], patience: int) -> None:
    """The oldest who waits is kept from nothing; a newcomer from all that those who have lost patience want; nobody
    from something for the sake of one who came later.
    """
    by_age = sorted(tickets, key=lambda ticket: ticket.name)
    impatient = [ticket for ticket in tickets if 100 - ticket.since_s >= patience]
    assert list_blocked(tickets, None, 100, patience).keys() == frozenset().union(*(t.resources for t in impatient))
    for place, ticket in enumerate(by_age):
        blocked = list_blocked(tickets, ticket.name, 100, patience)
        assert set(blocked.values()) <= {other.name for other in by_age[:place]}
