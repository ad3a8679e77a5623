# SPDX-License-Identifier: GPL-2.0-or-later
"""What is between a migration and its stream: the table, and what socat says of itself."""

import typing
from dataclasses import dataclass

import pytest

from switchover.hosts.host import Running
from switchover.migration.proxies import find_port, wait_until_listening
from switchover.migration.settings import TransportName
from switchover.migration.transports import TRANSPORTS
from switchover.record.errors import NotReady


def test_every_name_has_its_transport() -> None:
    """What a scenario may name is what there is."""
    assert set(TRANSPORTS) == set(typing.get_args(TransportName))


@dataclass
class Said:
    """A process that has said something. ``ended``: its exit status; None: it runs."""

    text: str
    ended: int | None = None
    pid = 1

    def poll(self) -> int | None:
        return self.ended

    def wait(self, timeout: float) -> int | None:
        return self.ended

    def kill(self) -> None: ...

    def stderr(self) -> str:
        return self.text


# socat 1.8 and 1.7
TCP = "2026/11/30 17:28:00 stream-sw1[19438] N listening on AF=2 127.0.0.1:34739\n"
UNIX = '2026/11/30 17:28:00 stream-sw1[19445] N listening on AF=1 "/tmp/x/outgoing"\n'
TAKEN = "2026/11/30 17:28:00 stream-sw1[1] E bind(5, {AF=2 127.0.0.1:1}, 16): Address already in use\n"


def test_where_a_proxy_listens() -> None:
    """By socat's own words, since the kernel chose the port."""
    proxy: Running = Said(TCP)
    assert find_port(proxy, "the proxy") == 34739
    assert wait_until_listening(Said(UNIX), "the proxy") == '"/tmp/x/outgoing"'


def test_a_proxy_that_does_not_listen() -> None:
    """It has ended, and says why."""
    with pytest.raises(NotReady, match="The proxy ended") as raised:
        wait_until_listening(Said(TAKEN, 1), "The proxy")
    assert "Address already in use" in raised.value.why
