# SPDX-License-Identifier: GPL-2.0-or-later
"""The loop in a thread: results, errors, timeouts, and its end."""

import asyncio
import threading
import time

import pytest

from switchover.hosts.loop import LoopThread


async def answer(value: int) -> int:
    await asyncio.sleep(0)
    return value


def test_results_and_errors_reach_the_caller() -> None:
    """A coroutine's value is returned, its exception raised."""

    async def fail() -> None:
        raise ValueError("its own")

    with LoopThread() as loop:
        assert loop.call(answer(7), timeout=5) == 7
        with pytest.raises(ValueError, match="its own"):
            loop.call(fail(), timeout=5)


def test_a_timeout_cancels_the_coroutine() -> None:
    """A call that takes too long raises, and what it ran is cancelled, not left behind."""
    ended = threading.Event()

    async def hang() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    with LoopThread() as loop:
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            loop.call(hang(), timeout=0.1)
        assert time.monotonic() - start < 5
        assert ended.wait(5)
        assert loop.call(answer(1), timeout=5) == 1


def test_the_end_cancels_what_is_left() -> None:
    """Leaving the block ends its thread and every coroutine that still runs, quickly."""
    ended = threading.Event()

    async def hang() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    before = threading.active_count()
    start = time.monotonic()
    with LoopThread() as loop:
        loop.spawn(hang())
        loop.call(answer(1), timeout=5)
    assert ended.is_set()
    assert threading.active_count() == before
    assert time.monotonic() - start < 5


def test_an_unused_loop_ends() -> None:
    """A block in which nothing ran ends as well."""
    before = threading.active_count()
    with LoopThread():
        pass
    assert threading.active_count() == before
