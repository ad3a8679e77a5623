# SPDX-License-Identifier: GPL-2.0-or-later
"""Kinds of hosts: what their addresses mean to another process, and to a person. The table: ``lab/host_kinds.py``."""

from contextlib import AbstractContextManager
from typing import Protocol

from switchover.hosts.host import Address, Host


class HostKind(Protocol):
    """A kind of host. Its methods are called with addresses that have all its :attr:`keys`."""

    @property
    def name(self) -> str:
        """The ``kind`` of the addresses."""

    @property
    def keys(self) -> frozenset[str]:
        """What the addresses have besides."""

    def reach(self, address: Address) -> AbstractContextManager[Host] | None:
        """The host, for another process than the one that made the address; None if the host is gone for good, and all
        that was changed on it.

        :raises NotReady: this version cannot read the address

        Where the block begins, :raises HostLost: it does not answer
        """

    def build_login(self, address: Address) -> list[str]:
        """OpenSSH to the host, for a command to follow as one word; empty for this machine, where commands just run."""


def build_openssh(key: str, host_key: str, alias: str) -> list[str]:
    """OpenSSH with one key (a path) and one host key, whatever the user's own files say; options and whom to log in to
    are to follow. ``alias``: the name under which OpenSSH looks up the host key.
    """
    kind, text = host_key.split()[:2]
    return [
        *("ssh", "-F", "none", "-i", key, "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"),
        *("-o", f"HostKeyAlias={alias}", "-o", "StrictHostKeyChecking=yes"),
        *("-o", "GlobalKnownHostsFile=/dev/null", "-o", "UserKnownHostsFile=/dev/null"),
        *("-o", f"KnownHostsCommand=/bin/echo {alias} {kind} {text}"),
    ]
