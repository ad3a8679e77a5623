# SPDX-License-Identifier: GPL-2.0-or-later
"""The receiver, as the process that it is, on real datagram sockets."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.unit.hosts.test_heartbeat import make_frame

from switchover.hosts.heartbeat import Heartbeat
from switchover.hosts.receiver import Receiver, _realtime_ahead_ns, start_receiver
from switchover.hosts.waiting import wait_until
from switchover.record.errors import NotReady

TOKEN = 0x1234_5678_9ABC_DEF0


@pytest.fixture
def sockets(tmp_path: Path) -> dict[str, str]:
    return {"source": str(tmp_path / "a"), "destination": str(tmp_path / "b")}


@pytest.fixture
def receiver(sockets: dict[str, str]) -> Iterator[Receiver]:
    with start_receiver(sockets, TOKEN) as receiver:
        yield receiver


def send(path: str, *frames: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        for frame in frames:
            sender.sendto(frame, path)


def find_process() -> psutil.Process:
    (process,) = [child for child in psutil.Process().children() if f"{TOKEN:x}" in child.cmdline()]
    return process


def test_arrivals_have_their_side_and_order(receiver: Receiver, sockets: dict[str, str]) -> None:
    """What arrives on a socket is of that socket's side; other senders and other frames are not counted."""
    before = time.monotonic_ns()
    send(sockets["source"], make_frame(Heartbeat(TOKEN, 0, 11)), b"noise", make_frame(Heartbeat(TOKEN + 1, 9, 9)))
    wait_until("the first", lambda: receiver.count() == {"source": 1, "destination": 0}, timeout=10)
    send(sockets["destination"], make_frame(Heartbeat(TOKEN, 1, 22)))
    wait_until("the second", lambda: receiver.count() == {"source": 1, "destination": 1}, timeout=10)
    after = time.monotonic_ns()
    arrivals = receiver.finish()
    assert [(one.side, one.sequence, one.guest_ns) for one in arrivals] == [("source", 0, 11), ("destination", 1, 22)]
    assert before <= arrivals[0].at_ns < arrivals[1].at_ns <= after


def test_the_clocks_are_compared_by_the_look_that_took_least(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that loses the CPU while it looks from one clock to the other does not stamp an arrival too early."""
    real, lost = time.time_ns, iter([50_000_000])

    def look() -> int:
        now = real()
        time.sleep(next(lost, 0) / 1e9)
        return now

    monkeypatch.setattr(time, "time_ns", look)
    ahead = _realtime_ahead_ns()
    monkeypatch.undo()
    assert abs(time.time_ns() - time.monotonic_ns() - ahead) < 10_000_000


def test_a_late_receiver_stamps_the_time_of_sending(receiver: Receiver, sockets: dict[str, str]) -> None:
    """A receiver that gets no CPU for a while still tells when each datagram was sent."""
    process = find_process()
    process.suspend()
    sent = []
    for sequence in range(3):
        sent.append(time.monotonic_ns())
        send(sockets["source"], make_frame(Heartbeat(TOKEN, sequence, 0)))
        end = time.monotonic() + 0.1
        wait_until("0.1 s", lambda end=end: time.monotonic() >= end, timeout=5)  # type: ignore[misc]
    process.resume()
    wait_until("all three", lambda: receiver.count()["source"] == 3, timeout=10)
    arrivals = receiver.finish()
    assert all(0 <= arrival.at_ns - at < 50_000_000 for arrival, at in zip(arrivals, sent, strict=True))


def test_a_count_that_was_interrupted(receiver: Receiver, sockets: dict[str, str]) -> None:
    """Ctrl-C between the question and its answer does not make the answer an arrival."""
    send(sockets["source"], make_frame(Heartbeat(TOKEN, 0, 11)))
    receiver._stream.sendall(b"\n")
    assert [(one.side, one.sequence) for one in receiver.finish()] == [("source", 0)]


def test_what_an_earlier_one_left_is_replaced(sockets: dict[str, str]) -> None:
    """The socket of a receiver that was killed does not stand in the way of the next; none is left at the end."""
    with start_receiver(sockets, TOKEN):
        process = find_process()
        process.send_signal(signal.SIGKILL)
        wait_until("its end", lambda: process.status() == psutil.STATUS_ZOMBIE, timeout=10)
        assert Path(sockets["source"]).exists()
        with start_receiver(sockets, TOKEN + 5) as second:
            send(sockets["source"], make_frame(Heartbeat(TOKEN + 5, 0, 0)))
            wait_until("the arrival", lambda: second.count()["source"] == 1, timeout=10)
    assert not any(Path(path).exists() for path in sockets.values())


@pytest.mark.parametrize("said", [b'{"source": ', b"Traceback (most recent call last):\n", None])
def test_a_receiver_that_does_not_answer(said: bytes | None) -> None:
    """One that is gone, or says something else, is an environment that is not ready, and no bug."""
    ours, theirs = socket.socketpair()
    ours.settimeout(0.2)
    theirs.sendall(b"{}\n")
    receiver = Receiver(ours)
    if said is None:
        theirs.close()
    else:
        theirs.sendall(said)
        theirs.shutdown(socket.SHUT_WR)
    for ask in (receiver.count, receiver.finish):
        with pytest.raises(NotReady, match="receiver of heartbeats"):
            ask()
        if said is not None:
            break
    receiver.close()
    theirs.close()


def test_it_ends_with_the_block(sockets: dict[str, str]) -> None:
    """No process is left when the block ends, finished or not."""
    with start_receiver(sockets, TOKEN):
        pid = find_process().pid
        os.kill(pid, 0)
    assert not psutil.pid_exists(pid)
