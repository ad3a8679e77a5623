# SPDX-License-Identifier: GPL-2.0-or-later
"""The one connection to a guest: kept while it is there, opened anew where it is not."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from switchover.guests.connection import GuestConnection
from switchover.guests.qemu import GuestKeys, QemuGuest
from switchover.hosts.waiting import wait_until
from switchover.record.errors import GuestSilent

KEYS = GuestKeys("ssh-ed25519 AAAA login", "private", "host private", "host public")


class Login:
    """A login that may break, and may not close either."""

    def __init__(self) -> None:
        self.connected = True
        self.closed = 0
        self.error: Exception | None = None

    def is_connected(self) -> bool:
        return self.connected

    def close(self) -> None:
        self.closed += 1
        if self.error:
            raise self.error


class Guest:
    """A guest on a host, with all logins to it."""

    def __init__(self, host: str) -> None:
        self.host = SimpleNamespace(name=host)
        self.logins: list[Login] = []
        self.keys: list[GuestKeys] = []
        self.error: Exception | None = None
        self.dead = False

    def is_dead(self) -> bool:
        return self.dead

    def open_ssh(self, keys: GuestKeys) -> Any:
        if self.error:
            raise self.error
        self.keys.append(keys)
        self.logins.append(Login())
        return self.logins[-1]

    def made(self) -> QemuGuest:
        return cast(QemuGuest, self)


def test_it_is_opened_once_and_goes_along() -> None:
    """Where the guest is on another host, the connection is the one from before, and says through which it runs."""
    here, there = Guest("a"), Guest("b")
    connection = GuestConnection(KEYS)
    first = connection.require(here.made())
    assert connection.through == "a"
    assert connection.require(there.made()) is first
    assert connection.host is first
    assert (connection.through, len(here.logins), there.logins) == ("a", 1, [])
    assert here.keys == [KEYS]


def test_one_that_is_gone_is_opened_anew() -> None:
    """Through the host where the guest is then; the one that is gone is closed."""
    here, there = Guest("a"), Guest("b")
    connection = GuestConnection(KEYS)
    connection.require(here.made())
    here.logins[0].connected = False
    assert cast(Any, connection.require(there.made())) is there.logins[0]
    assert (connection.through, here.logins[0].closed) == ("b", 1)


def test_a_new_one_closes_the_old_one() -> None:
    """Though that is well; an old one that cannot be closed any more is left."""
    here, there = Guest("a"), Guest("b")
    connection = GuestConnection(KEYS)
    connection.open(here.made())
    here.logins[0].error = OSError("broken pipe")
    connection.open(there.made())
    assert (here.logins[0].closed, there.logins[0].closed, connection.through) == (1, 0, "b")
    connection.close()
    connection.close()
    assert there.logins[0].closed == 1


def test_there_is_none_before_and_after() -> None:
    """Nobody asks a guest over a connection that is not there: not before, not after the end, nor after a login that
    was refused.
    """
    guest = Guest("a")
    connection = GuestConnection(KEYS)
    with pytest.raises(AssertionError, match="not logged in"):
        _ = connection.host
    connection.open(guest.made())
    guest.error = GuestSilent("does not answer")
    with pytest.raises(GuestSilent):
        connection.open(guest.made())
    assert guest.logins[0].closed == 1
    with pytest.raises(AssertionError, match="not logged in"):
        _ = connection.host


def test_it_breaks_when_its_qemu_ends() -> None:
    """Whoever waits for an answer of a guest whose QEMU ended hears of it: the login is closed, though the connection
    goes on being the one. Of a QEMU that lives it is left open.
    """
    guest = Guest("a")
    connection = GuestConnection(KEYS)
    connection.open(guest.made())
    (login,) = guest.logins
    with connection.ending_with(guest.made()):
        pass
    assert login.closed == 0
    with connection.ending_with(guest.made()):
        guest.dead = True
        wait_until("the login to be closed", lambda: login.closed, timeout=10)
    assert cast(Any, connection.host) is login
