# SPDX-License-Identifier: GPL-2.0-or-later
"""What makes QEMU reject ``migrate``: blockers of devices, and what they do not go with. Pure."""

from switchover.record.record import VerdictName
from switchover.scenarios.oracle.refused import (
    NO_MIGRATION,
    NO_STOP_COPY,
    REALIZE,
    has_generic_driver,
    knows_protocol_1_only,
    lacks,
)
from switchover.scenarios.oracle.rule import make_rule
from switchover.scenarios.oracle.traits import DeviceTraits, Traits

V = VerdictName
_SAVE_PREPARE = "QEMU 10.2, hw/vfio/migration.c: vfio_save_prepare"


def _has_capability(traits: Traits, name: str) -> bool:
    return name in traits.capabilities[0] and traits.source.has_device


def _is_untracked(device: DeviceTraits) -> bool:
    return not device.dirty_tracking or device.property_of("x-device-dirty-page-tracking", "on") == "off"


BLOCKERS = (
    make_rule(
        "old-protocol-at-source",
        "The source's QEMU knows version 1 of VFIO's migration protocol only, and the device has version 2.",
        V.BLOCKED,
        "source",
        aliases=("B1 (protocol 1)",),
        says="VFIO device doesn't support migration",
        because="to such a QEMU a device without the migration region of version 1 has no migration",
        source="QEMU 7.2, hw/vfio/migration.c: vfio_migration_probe",
        when=lambda traits: knows_protocol_1_only(traits.source),
    ),
    make_rule(
        "enable-migration-off",
        "A device of the source has enable-migration=off.",
        V.BLOCKED,
        "source",
        aliases=("B1",),
        says="Migration is disabled for VFIO device",
        because="the property adds a migration blocker",
        source=REALIZE,
        when=lambda traits: "off" in traits.source.all_of("enable-migration", "auto"),
    ),
    make_rule(
        "no-migration-in-kernel",
        "A device of the source has enable-migration=auto, and its driver on the host has no migration.",
        V.BLOCKED,
        "source",
        aliases=("B1 (kernel)",),
        reason=NO_MIGRATION,
        because="a device that cannot migrate adds a migration blocker",
        source=REALIZE,
        when=lambda traits: lacks(traits.source, "auto", lambda device: not device.migration),
    ),
    make_rule(
        "generic-vfio-pci-driver",
        "A PCI function of the source has enable-migration=auto, and the driver vfio-pci on the host.",
        V.BLOCKED,
        "source",
        aliases=("B1 (vfio-pci)",),
        reason=NO_MIGRATION,
        because="vfio-pci itself migrates nothing, only vendors' drivers do",
        source=REALIZE,
        when=lambda traits: has_generic_driver(traits.source, "auto"),
    ),
    make_rule(
        "no-stop-copy-in-kernel",
        "A device of the source has enable-migration=auto, and its driver on the host does not offer STOP_COPY.",
        V.BLOCKED,
        "source",
        reason=NO_STOP_COPY,
        because="a device that cannot migrate adds a migration blocker",
        source="QEMU 10.2, hw/vfio/migration.c: vfio_migration_init",
        when=lambda traits: lacks(traits.source, "auto", lambda device: not device.stop_copy),
    ),
    make_rule(
        "no-dirty-tracking",
        "A device of the source has enable-migration=auto, and neither it nor an IOMMU tracks what it writes by DMA.",
        V.BLOCKED,
        "source",
        aliases=("B3",),
        says="VFIO device doesn't support device and IOMMU dirty tracking",
        because="the reference device has no IOMMU, and where it does not log its DMA itself (dirty_tracking), only "
        "enable-migration=on allows that",
        source=REALIZE,
        when=lambda traits: lacks(traits.source, "auto", _is_untracked),
    ),
)
"""What devices tell QEMU as soon as it has them. libvirt asks for them before it compares the two sides."""

BLOCKED = (
    make_rule(
        "postcopy-with-vfio",
        "postcopy-ram is on, and the guest has a VFIO device.",
        V.BLOCKED,
        "source",
        aliases=("B8",),
        says="VFIO migration is not supported with postcopy migration",
        because="a device of the destination cannot wait for pages that have not arrived yet",
        source=_SAVE_PREPARE,
        when=lambda traits: _has_capability(traits, "postcopy-ram"),
    ),
    make_rule(
        "background-snapshot-with-vfio",
        "background-snapshot is on, and the guest has a VFIO device.",
        V.BLOCKED,
        "source",
        aliases=("B9",),
        says="VFIO migration is not supported with background snapshot",
        because="a snapshot protects pages from being written until they are saved, which does not see a device's DMA",
        source=_SAVE_PREPARE,
        when=lambda traits: _has_capability(traits, "background-snapshot"),
    ),
)
