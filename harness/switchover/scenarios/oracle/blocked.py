# SPDX-License-Identifier: GPL-2.0-or-later
"""What makes libvirt or QEMU reject ``migrate``: libvirt's reasons first, since it looks before QEMU does. Pure."""

from switchover.record.record import VerdictName
from switchover.scenarios.oracle.refused import NO_MIGRATION, REALIZE, has_generic_driver, lacks, list_enabled
from switchover.scenarios.oracle.rule import LAB, LAB_LIBVIRT, make_rule
from switchover.scenarios.oracle.traits import Traits, has_other_machine, has_other_memory, is_by_libvirt

V = VerdictName
_STABLE_ABI = "libvirt 11.3, conf/domain_conf.c: virDomainDefCheckABIStability"
_SAVE_PREPARE = "QEMU 10.2, hw/vfio/migration.c: vfio_save_prepare"


def _has_capability(traits: Traits, name: str) -> bool:
    return name in traits.capabilities[0] and traits.source.has_device


BLOCKED = (
    make_rule(
        "libvirt-other-machine",
        "libvirt migrates, and the two sides have different versioned machine types.",
        V.BLOCKED,
        "source",
        aliases=("L1 (machine)",),
        says="Target domain machine type %s does not match source",
        because="libvirt compares what the guest sees of the two domains before it migrates",
        source=_STABLE_ABI,
        when=lambda traits: is_by_libvirt(traits) and has_other_machine(traits),
    ),
    make_rule(
        "libvirt-other-memory",
        "libvirt migrates, and the two sides have different amounts of memory.",
        V.BLOCKED,
        "source",
        aliases=("L1 (memory)",),
        says="Target domain max memory %s does not match source",
        because="libvirt compares what the guest sees of the two domains before it migrates",
        source=_STABLE_ABI,
        when=lambda traits: is_by_libvirt(traits) and has_other_memory(traits),
        seen=LAB_LIBVIRT,
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
        seen=LAB,
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
        seen=(*LAB_LIBVIRT, ("Linux", "6.12")),
    ),
    make_rule(
        "old-protocol-at-source",
        "The source's QEMU knows version 1 of VFIO's migration protocol only, and the device has version 2.",
        V.BLOCKED,
        "source",
        aliases=("B1 (protocol 1)",),
        says="VFIO device doesn't support migration",
        because="to such a QEMU a device without the migration region of version 1 has no migration",
        source="QEMU 7.2, hw/vfio/migration.c: vfio_migration_probe",
        automatic=False,
    ),
    make_rule(
        "no-dirty-tracking",
        "A device of the source has enable-migration=auto, and neither it nor an IOMMU tracks what it writes by DMA.",
        V.BLOCKED,
        "source",
        aliases=("B3",),
        says="VFIO device doesn't support device and IOMMU dirty tracking",
        because="the reference device logs no DMA itself and has no IOMMU, and only enable-migration=on allows that",
        source=REALIZE,
        when=lambda traits: "auto" in list_enabled(traits.source),
    ),
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
        seen=LAB_LIBVIRT,
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
