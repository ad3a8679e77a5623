# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU rejects before ``migrate``: when a device is realized, then when a capability is set. Pure."""

from collections.abc import Callable

from switchover.devices.binding import GENERIC
from switchover.record.record import VerdictName
from switchover.scenarios.case import PRE_COPY_PROPERTY
from switchover.scenarios.oracle.rule import make_rule
from switchover.scenarios.oracle.traits import DeviceTraits, SideTraits, Traits, is_by_libvirt, list_started

V = VerdictName
NO_STOP_COPY = "Migration couldn't be initialized|STOP_COPY is not supported"
"""The second text is that of 11.1."""
REALIZE = "QEMU 10.2, hw/vfio/migration.c: vfio_migration_realize"
NO_MIGRATION = "(?i)migration is not supported in kernel"
"""Before 11.1 the text is ``VFIO migration is not supported in kernel``, there ``VFIO migration init failed: migration
is not supported in kernel``."""


def lacks(side: SideTraits, enabled: str, condition: Callable[[DeviceTraits], bool]) -> bool:
    """Whether a device of known behaviour with this ``enable-migration`` meets a condition."""
    return side.any_device(
        lambda device: device.property_of("enable-migration", "auto") == enabled and condition(device)
    )


def has_generic_driver(side: SideTraits, enabled: str) -> bool:
    """Whether a PCI function with this ``enable-migration`` has the driver that migrates nothing."""
    return any(
        function.driver == GENERIC and function.property_of("enable-migration", "auto") == enabled
        for function in side.functions
    )


def list_enabled(side: SideTraits) -> set[str]:
    """Values of ``enable-migration`` over the devices of known behaviour."""
    return {device.property_of("enable-migration", "auto") for device in side.devices}


def knows_protocol_1_only(side: SideTraits) -> bool:
    """Whether a side has a device, and a QEMU that is known to speak version 1 of VFIO's migration protocol only."""
    return side.has_device and side.qemu is not None and not side.qemu.speaks_version_2


def _has_one_without_p2p(traits: Traits) -> bool:
    return any(
        len(side.devices) > 1 and side.any_device(lambda device: not device.p2p) and list_enabled(side) == {"on"}
        for side in traits.sides()
    )


def _has_blocker(side: SideTraits) -> bool:
    """Whether a device of a side blocks migrations, as far as is known of it."""
    return (
        "off" in side.all_of("enable-migration", "auto")
        or lacks(side, "auto", lambda device: not (device.migration and device.stop_copy and device.logs_dma))
        or has_generic_driver(side, "auto")
    )


REFUSED = (
    make_rule(
        "x-allow-pre-copy-on-a-release",
        "A device is given x-allow-pre-copy, and its QEMU is a release.",
        V.REFUSED,
        aliases=("A16",),
        says="Property 'vfio-pci.x-allow-pre-copy' not found",
        because="no release of QEMU has the property: version 6 of the patches dropped it",
        source="qemu-devel, 2023-06-21, <20230621111201.29729-1-avihaih@nvidia.com>",
        when=lambda traits: any(side.all_of(PRE_COPY_PROPERTY, "") != {""} for side in traits.sides()),
        automatic=False,
    ),
    make_rule(
        "only-migratable",
        "QEMU has -only-migratable, and a device that would block migrations.",
        V.REFUSED,
        says="disallowing migration blocker (--only-migratable) for: ",
        because="with it nothing may add a migration blocker: realize of the device fails, with the blocker's text",
        source="QEMU 10.0, migration/migration.c: migrate_add_blocker_modes",
        when=lambda traits: any(side.guest.is_only_migratable and _has_blocker(side) for side in list_started(traits)),
    ),
    make_rule(
        "enable-migration-on-without-migration",
        "A device has enable-migration=on, and its driver on the host has no migration.",
        V.REFUSED,
        aliases=("B1 (realize)",),
        reason=NO_MIGRATION,
        because="what would block the migration of another device makes realize of this one fail",
        source=REALIZE,
        when=lambda traits: any(lacks(side, "on", lambda device: not device.migration) for side in traits.sides()),
    ),
    make_rule(
        "enable-migration-on-with-generic-driver",
        "A PCI function has enable-migration=on, and the driver vfio-pci on the host.",
        V.REFUSED,
        aliases=("B1 (realize, vfio-pci)",),
        reason=NO_MIGRATION,
        because="vfio-pci itself migrates nothing, only vendors' drivers do; realize fails",
        source=REALIZE,
        when=lambda traits: any(has_generic_driver(side, "on") for side in traits.sides()),
    ),
    make_rule(
        "enable-migration-on-without-stop-copy",
        "A device has enable-migration=on, and its driver on the host does not offer STOP_COPY.",
        V.REFUSED,
        aliases=("B2",),
        reason=NO_STOP_COPY,
        because="STOP_COPY is the least that a device must offer, and realize fails without it; the second text is "
        "that of 11.1",
        source="QEMU 10.2, hw/vfio/migration.c: vfio_migration_init",
        when=lambda traits: any(lacks(side, "on", lambda device: not device.stop_copy) for side in traits.sides()),
    ),
    make_rule(
        "several-devices-one-without-p2p",
        "A guest has several devices with enable-migration=on, and one of them does not offer P2P.",
        V.REFUSED,
        aliases=("B4",),
        says="Multiple VFIO devices migration is supported only if all of them support P2P migration",
        because="devices that may write to each other have to be quiesced before one is stopped; realize of the second "
        "device fails",
        source="QEMU 10.2, hw/vfio/migration.c: vfio_block_multiple_devices_migration",
        when=_has_one_without_p2p,
    ),
    make_rule(
        "ack-without-return-path",
        "switchover-ack is on, and return-path is not.",
        V.REFUSED,
        aliases=("A8",),
        says="Capability 'switchover-ack' requires capability 'return-path'",
        because="the destination's ack comes on the return path, which libvirt turns on by itself",
        source="QEMU, migration/options.c: migrate_caps_check",
        when=lambda traits: (
            not is_by_libvirt(traits)
            and any(
                "switchover-ack" in capabilities and "return-path" not in capabilities
                for capabilities in traits.capabilities
            )
        ),
    ),
    make_rule(
        "background-snapshot-with-return-path",
        "background-snapshot and return-path are on.",
        V.REFUSED,
        aliases=("B9 (return path)",),
        says="Background-snapshot is not compatible with return-path",
        because="a snapshot has no destination that could answer",
        source="QEMU, migration/options.c: check_caps_background_snapshot",
        when=lambda traits: {"background-snapshot", "return-path"} <= traits.capabilities[0],
    ),
)
