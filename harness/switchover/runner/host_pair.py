# SPDX-License-Identifier: GPL-2.0-or-later
"""The pair of hosts that a case runs on."""

from dataclasses import dataclass, replace

from switchover.guests.qemu import GuestKeys
from switchover.guests.spec import GuestSpec
from switchover.hosts.heartbeat import Outlet
from switchover.hosts.host import Host
from switchover.hosts.ssh import SshLogin
from switchover.lab.lab import Lab
from switchover.lab.labhost import process_name
from switchover.record.errors import UsageError


@dataclass(frozen=True)
class Endpoint:
    """A host as one end of migrations. ``address``: where the other end's QEMU reaches it.

    ``link``: its network interface to the other end; empty if it is none of ours to disturb. ``outlet``: where what its
    guests send to the outside reaches the controller, if it does. ``login``: how the other end's host gets in.
    ``guest_words``: for the kernel command line of the lab's guests on it, see
    :func:`switchover.guests.spec.with_lab_words`. ``lab``: the one that it is of; ``process``: a word
    that is on its QEMU's command line and on no other one; empty: it is no lab host.
    """

    host: Host
    address: str
    link: str = ""
    outlet: Outlet | None = None
    login: SshLogin | None = None
    guest_words: str = ""
    lab: Lab | None = None
    process: str = ""


@dataclass(frozen=True)
class HostPair:
    """Source and destination, and how to get into guests on them."""

    source: Endpoint
    destination: Endpoint
    keys: GuestKeys

    def reversed(self) -> "HostPair":
        return HostPair(self.destination, self.source, self.keys)

    def lab_hosts(self) -> dict[str, str]:
        """By name, the word by which a lab host's process is found; hosts of an inventory have none."""
        return {end.host.name: end.process for end in (self.source, self.destination) if end.process}

    def outlets(self) -> dict[str, Outlet | None]:
        """By side."""
        return {"source": self.source.outlet, "destination": self.destination.outlet}

    def for_guest(self, spec: GuestSpec) -> "HostPair":
        """With the keys that a guest has of its own. :raises UsageError: they cannot be read"""
        keys = self.keys.for_guest(spec)
        return self if keys == self.keys else replace(self, keys=keys)


def pair_of_lab(lab: Lab, source: str = "", destination: str = "") -> HostPair:
    """Two hosts of a lab by their names, or one as both ends; the first two, or the only one, where none is named.

    :raises UsageError: the lab has no such host, or none at all
    """
    names = lab.file.hosts
    if not names:
        raise UsageError(f"The lab {lab.name} has 0 hosts; a migration needs a source and a destination.")
    source, destination = source or names[0], destination or names[:2][-1]
    for name in (source, destination):
        if name not in names:
            raise UsageError(f"The lab has no host {name!r}.", fix=f"one of: {', '.join(names)}")
    keys = GuestKeys(
        authorized=lab.authorized_key,
        login=lab.private_key,
        host_private=lab.guest_host_key.private,
        host_public=lab.guest_host_key.public,
    )
    return HostPair(_end_of_lab(lab, source, destination), _end_of_lab(lab, destination, source), keys)


def pairs_of_lab(lab: Lab) -> list[HostPair]:
    """Pairs of a lab that have no host in common, so that they can be used at the same time: the first two hosts, the
    next two. The third one of three is in none.

    :raises UsageError: the lab has no host
    """
    names = lab.file.hosts
    if len(names) < 2:
        return [pair_of_lab(lab)]
    return [pair_of_lab(lab, *names[first : first + 2]) for first in range(0, len(names) - 1, 2)]


def _end_of_lab(lab: Lab, name: str, peer: str) -> Endpoint:
    link = lab.link(peer) if name != peer else ""
    login = SshLogin(name, lab.private_key, lab.host_key)
    words = str(lab.file.accelerator.get("guest_words", ""))
    process = process_name(lab.file.token, name)
    return Endpoint(lab.host(name), lab.link_address(name), link, lab.outlet(name), login, words, lab, process)
