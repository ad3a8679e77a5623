# SPDX-License-Identifier: GPL-2.0-or-later
"""Two hosts asked at the same time."""

import threading

import pytest

from switchover.hosts.parallel import do_both
from switchover.record.errors import HostLost


def test_both_at_the_same_time() -> None:
    """Each waits for the other: one after the other they would never end. The results come in the order of the calls."""
    meeting = threading.Barrier(2)

    def do(result: str) -> str:
        meeting.wait(10)
        return result

    assert do_both(lambda: do("one"), lambda: do("other")) == ("one", "other")


@pytest.mark.parametrize("fails", ["one", "other"])
def test_an_error_passes_once_both_have_ended(fails: str) -> None:
    """Nothing goes on behind the back of who handles the error."""
    failed, ended = threading.Event(), []

    def fail() -> None:
        failed.set()
        raise HostLost(f"{fails} is gone")

    def end() -> None:
        assert failed.wait(10)
        ended.append("ended")

    with pytest.raises(HostLost, match=f"{fails} is gone"):
        do_both(*((fail, end) if fails == "one" else (end, fail)))
    assert ended == ["ended"]


def test_of_two_errors_one_passes() -> None:
    """That of the second call."""

    def fail(words: str) -> None:
        raise HostLost(words)

    with pytest.raises(HostLost, match="other"):
        do_both(lambda: fail("one"), lambda: fail("other"))
