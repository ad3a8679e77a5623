# SPDX-License-Identifier: GPL-2.0-or-later
"""Bytes of a migration: who moved how many, and whether the sources of these numbers agree. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from switchover.migration.traces import DeviceBytes
from switchover.record.units import MIB

RESIDUAL_BOUND = MIB
"""Wire bytes that are neither RAM nor VFIO data: section headers, and the state of all other devices."""


@dataclass(frozen=True)
class MigrationBytes:
    """In bytes; None: QEMU did not tell. ``wire`` is the whole stream, VFIO included (``ram.transferred``).

    ``multifd`` is what its channels took: RAM that ``ram_precopy`` and ``ram_downtime`` do not count then, and devices
    that were saved by threads.
    """

    devices: tuple[DeviceBytes, ...]
    vfio_transferred: int | None
    ram_precopy: int | None
    ram_downtime: int | None
    wire: int | None
    multifd: int | None = 0

    @property
    def vfio_precopy(self) -> int | None:
        return sum(device.precopy for device in self.devices) if self.devices else None

    @property
    def vfio_stop_copy(self) -> int | None:
        parts = [device.stop_copy for device in self.devices]
        return sum(part for part in parts if part is not None) if parts and None not in parts else None

    @property
    def saves_by_threads(self) -> bool:
        """Whether a device's state went over multifd, where no trace counts it."""
        return any(device.stop_copy is None for device in self.devices)

    @property
    def residual(self) -> int | None:
        """Wire − RAM − VFIO; without what multifd's channels took, whatever it was."""
        # a guest without a VFIO device has no counter for one
        vfio = self.vfio_transferred if self.devices else self.vfio_transferred or 0
        if self.saves_by_threads:
            vfio = sum(device.precopy + (device.stop_copy or 0) for device in self.devices)
        elif self.multifd and not self.devices and vfio:
            return None  # nothing was traced that tells which way it went
        parts = (self.wire, self.ram_precopy, self.ram_downtime, self.multifd, vfio)
        if None in parts:
            return None
        wire, *others = (part for part in parts if part is not None)
        return wire - sum(others)


def account_bytes(devices: Sequence[DeviceBytes], reply: Mapping[str, Any]) -> MigrationBytes:
    """From the source's traces and its last ``query-migrate`` reply."""
    ram = reply.get("ram", {})
    return MigrationBytes(
        devices=tuple(devices),
        vfio_transferred=reply.get("vfio", {}).get("transferred"),
        ram_precopy=ram.get("precopy-bytes"),
        ram_downtime=ram.get("downtime-bytes"),
        wire=ram.get("transferred"),
        multifd=ram.get("multifd-bytes"),
    )
