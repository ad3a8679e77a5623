# SPDX-License-Identifier: GPL-2.0-or-later
"""What the destination does not accept of a stream, since its guest is made otherwise or its QEMU is older. Pure."""

from switchover.record.record import VerdictName
from switchover.scenarios.oracle.qemus import is_one_of
from switchover.scenarios.oracle.refused import has_generic_driver, knows_protocol_1_only, lacks
from switchover.scenarios.oracle.rule import UNKNOWN_SECTION, make_rule
from switchover.scenarios.oracle.traits import SideTraits, Traits, has_other_machine, has_other_memory

V = VerdictName
_NO_SECTION = "QEMU, migration/savevm.c: qemu_loadvm_section_start_full"


def _has_unmigratable(side: SideTraits) -> bool:
    """Whether a device's QEMU has registered nothing that could load its state."""
    return (
        "off" in side.all_of("enable-migration", "auto")
        or lacks(side, "auto", lambda device: not (device.migration and device.stop_copy))
        or has_generic_driver(side, "auto")
    )


def _sends_longer_queues(traits: Traits) -> bool:
    """A queue that came with a guest is as long as the QEMU made it that the guest was started by."""
    made = (traits.began or traits.source).qemu
    source, destination = (side.qemu for side in traits.sides())
    return all(map(is_one_of("10.0.13"), (made, source))) and is_one_of("11.1.3")(destination)


STREAM_HEADS = (
    make_rule(
        "other-machine",
        "The two sides have different machine types, by their versioned names.",
        V.FAILED,
        "destination",
        aliases=("A15",),
        says="Machine type received is '%s' and local is '%s'",
        because="the stream begins with the name of the source's machine type; what the source says of it varies",
        source="QEMU, migration/savevm.c: configuration_post_load",
        when=has_other_machine,
    ),
    make_rule(
        "other-memory",
        "The two sides have different amounts of memory.",
        V.FAILED,
        "destination",
        aliases=("A15 (memory)",),
        says="Size mismatch: pc.ram",
        because="the stream has the size of each block of RAM in its setup",
        source="QEMU, migration/ram.c: parse_ramblock",
        when=has_other_memory,
    ),
)
"""What a destination looks at first, in this order."""

DEVICE_SECTIONS = (
    make_rule(
        "old-protocol-at-destination",
        "The destination's QEMU knows version 1 of VFIO's migration protocol only, and the device has version 2.",
        V.FAILED,
        "destination",
        aliases=("B1 (destination)",),
        reason=UNKNOWN_SECTION,
        because="such a QEMU registers no handler for the section of a device that it takes for one without migration",
        source="QEMU 7.2, migration/savevm.c: qemu_loadvm_section_start_full",
        when=lambda traits: knows_protocol_1_only(traits.destination),
    ),
    make_rule(
        "device-not-migratable-at-destination",
        "A device of the destination has enable-migration=off, or auto and a driver on the host without migration or "
        "without STOP_COPY.",
        V.FAILED,
        "destination",
        reason=f"{UNKNOWN_SECTION} '.*/vfio'",
        because="what would block a migration from there leaves the section of the source's device without anybody who "
        "takes it",
        source=f"QEMU 10.0, hw/vfio/migration.c: vfio_migration_realize; {_NO_SECTION}",
        when=lambda traits: traits.source.has_device and _has_unmigratable(traits.destination),
    ),
)
"""Sections of devices begin when a migration is set up."""

OTHER_SECTIONS = (
    make_rule(
        "other-virtio-queue-size",
        "The source's QEMU gives virtio queues more entries than the destination's.",
        V.FAILED,
        "destination",
        aliases=("A15 (virtio queues)",),
        says="vring.num %s exceeds allocated max",
        because="every queue of a virtio device has 1024 entries at the source (10.0.13, by a fix for releases before "
        "11.1, unless the guest came from another QEMU), and at the destination what the device asks for, 256 in "
        "virtio-net: it refuses more",
        source="QEMU, hw/virtio/virtio.c: virtio_add_queue, virtio_load",
        when=_sends_longer_queues,
    ),
)
"""All other sections come in the downtime."""


def _has_other_ids(traits: Traits) -> bool:
    """Whether vfio-pci shows the guest of a side another id of a device or its vendor."""
    pairs = zip(traits.source.devices, traits.destination.devices, strict=False)
    return any(
        source.property_of(name, "") != destination.property_of(name, "")
        for source, destination in pairs
        for name in _SHOWN
    )


_SHOWN = ("x-pci-vendor-id", "x-pci-device-id")
"""Of vfio-pci: ids in the configuration space, instead of those of the device. Those of the subsystem are not compared:
hw/pci/pci.c: pci_init_cmask."""

DEVICE_CONFIGURATION = (
    make_rule(
        "other-device-configuration",
        "vfio-pci shows another id of a device or its vendor at the destination (x-pci-device-id, x-pci-vendor-id).",
        V.FAILED,
        "destination",
        says="Failed to load device config space",
        because="a device's configuration space comes with its state, and what a guest cannot write there must be the "
        "same",
        source="QEMU 10.0, hw/vfio/migration.c: vfio_load_device_config_state; hw/pci/pci.c: get_pci_config_device",
        when=_has_other_ids,
    ),
)
"""It comes at the end of a device's state."""
