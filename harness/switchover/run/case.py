# SPDX-License-Identifier: GPL-2.0-or-later
"""A case with all its values fixed, and the pair of hosts it runs on."""

from dataclasses import dataclass, field

from switchover.devices.reference import Knobs
from switchover.guests.qemu import GuestKeys
from switchover.guests.spec import GuestSpec
from switchover.hosts.host import Host
from switchover.lab.lab import Lab
from switchover.migration.settings import MigrationSettings
from switchover.record.errors import UsageError


@dataclass(frozen=True)
class Case:
    """``id`` is derived from the values that distinguish the case. ``device_properties`` are vfio-pci's.

    Without device or IOMMU dirty tracking that QEMU accepts, ``enable-migration=auto`` is a blocker, ``on`` a warning.
    """

    id: str
    knobs: Knobs
    settings: MigrationSettings = field(default_factory=MigrationSettings)
    guest: GuestSpec = field(default_factory=GuestSpec)
    device_properties: tuple[tuple[str, str], ...] = (("enable-migration", "on"), ("migration-events", "on"))


@dataclass(frozen=True)
class End:
    """A host as one end of migrations. ``address``: where the other end's QEMU reaches it."""

    host: Host
    address: str


@dataclass(frozen=True)
class Pair:
    """Source and destination, and how to get into guests on them."""

    source: End
    destination: End
    keys: GuestKeys

    def reversed(self) -> "Pair":
        return Pair(self.destination, self.source, self.keys)


def pair_of_lab(lab: Lab) -> Pair:
    """The two lab hosts of a lab, or one as both ends. :raises UsageError: the lab has more or none"""
    ends = [End(lab.host(name), lab.link_address(name)) for name in lab.file.hosts]
    if not 1 <= len(ends) <= 2:
        raise UsageError(f"The lab {lab.name} has {len(ends)} hosts; a migration needs a source and a destination.")
    keys = GuestKeys(
        authorized=lab.authorized_key,
        login=lab.private_key,
        host_private=lab.guest_host_key.private,
        host_public=lab.guest_host_key.public,
    )
    return Pair(ends[0], ends[-1], keys)
