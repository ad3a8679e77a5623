# SPDX-License-Identifier: GPL-2.0-or-later
"""The probe that hears a guest from outside, by its parts: over a stop, and nothing else at the outlets."""

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.lab.case_runner import CaseRunner
from tests.lab.standard import PRE_COPY_ON

from switchover.hosts.loop import LoopThread
from switchover.hosts.waiting import wait_until
from switchover.migration.outside import count_traffic
from switchover.probes.outside import OUTSIDE
from switchover.probes.probe import Given
from switchover.record.record import VerdictName
from switchover.runner.host_pair import HostPair
from switchover.runner.side import start_side

PERIOD_US = 10_000
_ARP_OF_BRIDGE = (b"\xff" * 6, bytes.fromhex("5254005362"), b"\x08\x06")


def test_a_stopped_guest_is_silent_and_sends_no_burst(pair: HostPair) -> None:
    """A guest that QEMU stops for half a second is not heard in it; what it missed it does not send afterwards."""
    with (
        LoopThread() as loop,
        start_side(PRE_COPY_ON.source, pair.source.host, "source", pair.keys, loop, incoming=False) as side,
    ):
        side.guest.wait_until_reachable()
        case = replace(PRE_COPY_ON, heartbeat_us=PERIOD_US)
        with OUTSIDE.start(Given(case, side.guest, side.spec.references, pair.outlets(), pair.keys)) as probe:
            side.guest.qmp.execute("stop")
            stopped = time.monotonic_ns()
            _pass_time(0.5)
            continued = time.monotonic_ns()
            side.guest.qmp.execute("cont")
            _pass_time(1)
            probe.end()
    assert [arrival for arrival in probe.arrivals if stopped + 50_000_000 < arrival.at_ns < continued] == []
    traffic = count_traffic(probe.arrivals, 0.1, None)
    assert max(stall.seconds for stall in traffic.stalls) > 0.4
    assert (traffic.lost, traffic.duplicated) == (0, 0)
    after = [arrival for arrival in probe.arrivals if arrival.at_ns > continued]
    assert {arrival.side for arrival in probe.arrivals} == {"source"}
    passed_us = (after[-1].at_ns - continued) / 1000
    assert len(after) < passed_us / PERIOD_US + 5, "a burst"


def test_nothing_else_leaves_the_lab(run_case: CaseRunner, pair: HostPair) -> None:
    """Over a migration without heartbeats nothing of the stream comes out, and nothing else but ARP of a lab host."""
    with _listen(pair) as listeners:
        record = run_case(replace(PRE_COPY_ON, heartbeat_us=0))
        assert record.verdict.name is VerdictName.COMPLETED, record.verdict
        for listener in listeners:
            with contextlib.suppress(BlockingIOError):
                while frame := listener.recv(65536):
                    assert (frame[:6], frame[6:11], frame[12:14]) == _ARP_OF_BRIDGE, frame[:40].hex()
    assert record.measured("downtime.outside") is None
    assert not (run_case.directory / "outside.jsonl").exists()


@contextlib.contextmanager
def _listen(pair: HostPair) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        listeners = []
        for end in (pair.source, pair.destination):
            assert end.outlet is not None
            path = Path(end.outlet.sockets[0])
            listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK))
            listener.bind(str(path))
            stack.callback(path.unlink, missing_ok=True)
            listeners.append(listener)
        yield listeners


def _pass_time(seconds: float) -> None:
    end = time.monotonic() + seconds
    wait_until(f"{seconds} s to pass", lambda: time.monotonic() >= end, timeout=seconds + 5)
