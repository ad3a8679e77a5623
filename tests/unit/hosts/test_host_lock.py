# SPDX-License-Identifier: GPL-2.0-or-later
"""The exclusive right to a host, on this machine in place of one."""

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from switchover.hosts import host_lock
from switchover.hosts.host import Host
from switchover.hosts.host_lock import lock_host
from switchover.hosts.local import LocalHost
from switchover.hosts.waiting import wait_until
from switchover.record.errors import HostLost, NotReady


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_lock, "PLACE", str(tmp_path))
    monkeypatch.setattr(host_lock, "_GRACE_S", "0.2")


def test_one_at_a_time() -> None:
    """The second is told who has it; when that one is done, the next may; nothing is made on the host."""
    note = "rack9, process 1: switchover run"
    with lock_host(LocalHost(), note):
        with pytest.raises(NotReady, match="local is in use") as caught, lock_host(LocalHost(), "another"):
            raise AssertionError("two have it")
        assert note in caught.value.why
        assert "another" not in caught.value.why
    assert list(Path(host_lock.PLACE).iterdir()) == []

    def is_free() -> bool:
        try:
            with lock_host(LocalHost(), "the next"):
                return True
        except NotReady:
            return False

    wait_until("the end of who had it", is_free, timeout=10)


@pytest.mark.parametrize("words", [b"Welcome to hosta\n", b"held by nobody", None])
def test_other_words_are_no_right(words: bytes | None) -> None:
    """What a login shell prints is not taken for the lock, and a connection that breaks is a lost host."""
    ours, theirs = socket.socketpair()
    if words is None:
        ours.sendall(b"x")  # unread, it makes the close a reset
        theirs.close()
    else:
        theirs.sendall(words)
    host = cast(Host, SimpleNamespace(name="hosta", open_stream=lambda argv: ours))
    with theirs, pytest.raises(HostLost, match="hosta"), lock_host(host, "note"):
        raise AssertionError("it is held")
