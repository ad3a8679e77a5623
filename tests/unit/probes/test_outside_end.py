# SPDX-License-Identifier: GPL-2.0-or-later
"""The end of the probe from outside, whoever asks for it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import pytest

from switchover.probes import outside
from switchover.probes.outside import Heartbeats
from switchover.record.errors import NotReady


def test_two_that_end_it_at_once_end_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interruption releases the probe while a thread is about to end it: the receiver is finished once, and both
    find what arrived.
    """
    both_wait = threading.Event()
    finished: list[int] = []

    def stop(sender: object) -> str:
        both_wait.wait(0.2)  # set by nobody: time in which the other one comes along
        return "sent 1 skipped 0 failed 0"

    monkeypatch.setattr(outside, "_stop_sender", stop)

    def finish() -> list[Any]:
        finished.append(1)
        return ["arrival"]

    receiver = SimpleNamespace(finish=finish)
    probe = Heartbeats(10_000, receiver=cast(Any, receiver), sender=cast(Any, object()))
    with ThreadPoolExecutor(2) as pool:
        for ending in [pool.submit(probe.end) for _ in range(2)]:
            ending.result()
    assert finished == [1]
    assert list(map(str, probe.arrivals)) == ["arrival"]


@pytest.mark.parametrize(("heard", "asked"), [(3, 3), (None, 2)])
def test_a_guest_that_arrived_is_listened_for(heard: int | None, asked: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until its first heartbeat from the destination; for a short time only, and not with a receiver that is gone."""
    counts: list[int] = []

    def count() -> dict[str, int]:
        counts.append(1)
        if heard is None and len(counts) == asked:
            raise NotReady("gone")
        return {"source": 7, "destination": int(len(counts) == heard)}

    probe = Heartbeats(10_000, receiver=cast(Any, SimpleNamespace(count=count)), sender=cast(Any, object()))
    probe.settle()
    assert len(counts) == asked
    monkeypatch.setattr(outside, "RESUME_BOUND_S", 0.05)
    silent = Heartbeats(10_000, receiver=cast(Any, SimpleNamespace(count=lambda: {"source": 7})))
    silent.settle()
    Heartbeats(10_000, "the probe is off").settle()
