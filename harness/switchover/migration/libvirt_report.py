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
    """the name of the driver, `libvirt`"""
    versions: Mapping[str, str]
    """for each side, the version of libvirt's library on that host"""
    remarks: tuple[str, ...]
    """the marks that libvirt put on the source's domain because of a second monitor and of properties that bypass
    libvirt"""
    flags: tuple[str, ...]
    """the flags that were passed to libvirt's call"""
    parameters: Mapping[str, object]
    """the typed parameters that were passed to it, in libvirt's names and units, except the destination's XML, which is
    a file"""
    capabilities: Mapping[str, Sequence[str]]
    """for each side, the migration capabilities that were on in QEMU during the migration"""
    by_itself: Mapping[str, Sequence[str]]
    """for each side, those of them that libvirt set by itself: the case does not ask for them there, or wants them
    off"""
    held: Mapping[str, Mapping[str, object]]
    """for each side, what QEMU held then of the parameters that the case sets, in QEMU's names and units"""
    iterations: int
    """how many iterations libvirt reported"""
    samples: int
    """how often libvirt was asked about the progress of its job, which is the number of lines of `job.jsonl`"""
    statistics: Mapping[str, Mapping[str, Any]]
    """for each side, libvirt's own statistics of the completed job, in its names and units"""


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
