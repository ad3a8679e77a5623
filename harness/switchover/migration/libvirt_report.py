# SPDX-License-Identifier: GPL-2.0-or-later
"""What libvirt was told, what it made of that in QEMU, and its own statistics: for the record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from switchover.hosts.qmp import QmpSession
from switchover.migration.settings import MigrationSettings
from switchover.record.errors import SwitchoverError


@dataclass(frozen=True)
class Held:
    """What a QEMU held while it migrated, as it said itself."""

    capabilities: Sequence[str]
    parameters: Mapping[str, object]


@dataclass(frozen=True)
class LibvirtReport:
    """Of a migration through libvirt."""

    name: str
    """of the driver: `libvirt`"""
    versions: Mapping[str, str]
    """by side: of libvirt's library on that host"""
    remarks: tuple[str, ...]
    """what libvirt had marked the source's domain with: a second monitor and properties that go past libvirt"""
    flags: tuple[str, ...]
    """what libvirt's call was given"""
    parameters: Mapping[str, object]
    """typed parameters that it was given, in libvirt's names and units, but the destination's XML, which is a file"""
    capabilities: Mapping[str, Sequence[str]]
    """by side: migration capabilities that were on in QEMU while it migrated: some libvirt sets by itself"""
    held: Mapping[str, Mapping[str, object]]
    """by side: what QEMU held then of the parameters that the case sets, in QEMU's names and units"""
    iterations: int
    """how many iterations libvirt told of"""
    samples: int
    """how often libvirt was asked how far its job was: lines of `job.jsonl`"""
    statistics: Mapping[str, Mapping[str, Any]]
    """by side: libvirt's own statistics of the completed job, in its names and units"""


def ask_held(qmp: QmpSession, settings: MigrationSettings) -> Held | None:
    """None if QEMU does not tell just now."""
    try:
        capabilities = qmp.execute("query-migrate-capabilities", timeout=5)
        parameters = qmp.execute("query-migrate-parameters", timeout=5)
    except SwitchoverError:
        return None
    return Held(
        sorted(entry["capability"] for entry in capabilities if entry["state"]),
        {name: parameters.get(name) for name in list_wanted(settings)},
    )


def list_wanted(settings: MigrationSettings) -> dict[str, object]:
    """Parameters that the source's QEMU must hold when its migration begins. Without a bound of the bandwidth libvirt
    sets one of its own, which is none.
    """
    wanted = settings.first_parameters()
    if not settings.max_bandwidth:
        del wanted["max-bandwidth"]
    return wanted
