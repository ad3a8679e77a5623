# SPDX-License-Identifier: GPL-2.0-or-later
"""The pair of hosts that a case runs on."""

from dataclasses import dataclass, replace

from switchover.guests.qemu import GuestKeys
from switchover.guests.spec import GuestSpec
from switchover.hosts.heartbeat import Outlet
from switchover.hosts.host import Host
from switchover.hosts.ssh import SshLogin
from switchover.lab.lab import Lab
from switchover.record.errors import UsageError


@dataclass(frozen=True)
class End:
    """A host as one end of migrations. ``address``: where the other end's QEMU reaches it.

    ``link``: its network interface to the other end; empty if it is none of ours to disturb. ``outlet``: where what its
    guests send to the outside reaches the controller, if it does. ``login``: how the other end's host gets in.
    ``guest_words``: for the kernel command line of the lab's guests on it, see
    :func:`switchover.guests.spec.with_lab_words`.
    """

    host: Host
    address: str
    link: str = ""
    outlet: Outlet | None = None
    login: SshLogin | None = None
    guest_words: str = ""


@dataclass(frozen=True)
class Pair:
    """Source and destination, and how to get into guests on them."""

    source: End
    destination: End
    keys: GuestKeys

    def reversed(self) -> "Pair":
        return Pair(self.destination, self.source, self.keys)

    def for_guest(self, spec: GuestSpec) -> "Pair":
        """With the keys that a guest has of its own. :raises UsageError: they cannot be read"""
        keys = self.keys.for_guest(spec)
        return self if keys == self.keys else replace(self, keys=keys)


def pair_of_lab(lab: Lab) -> Pair:
    """The two lab hosts of a lab, or one as both ends. :raises UsageError: the lab has more or none"""
    names = lab.file.hosts
    if not 1 <= len(names) <= 2:
        raise UsageError(f"The lab {lab.name} has {len(names)} hosts; a migration needs a source and a destination.")
    ends = [end_of_lab(lab, name) for name in names]
    keys = GuestKeys(
        authorized=lab.authorized_key,
        login=lab.private_key,
        host_private=lab.guest_host_key.private,
        host_public=lab.guest_host_key.public,
    )
    return Pair(ends[0], ends[-1], keys)


def end_of_lab(lab: Lab, name: str) -> End:
    """:raises UsageError: the lab has no host of this name"""
    link = LAB_LINK if len(lab.file.hosts) == 2 else ""
    login = SshLogin(name, lab.private_key, lab.host_key)
    words = str(lab.file.accelerator.get("guest_words", ""))
    return End(lab.host(name), lab.link_address(name), link, lab.outlet(name), login, words)


LAB_LINK = "link0"
"""A lab host's NIC on the private link (images/labhost/rc)."""
