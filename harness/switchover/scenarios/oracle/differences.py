# SPDX-License-Identifier: GPL-2.0-or-later
"""What the destination does not accept of a stream, since its guest is made otherwise or its QEMU is older. Pure."""

from switchover.record.record import VerdictName
from switchover.scenarios.oracle.rule import LAB, make_rule
from switchover.scenarios.oracle.traits import has_other_machine, has_other_memory

V = VerdictName

DIFFERENCES = (
    make_rule(
        "old-protocol-at-destination",
        "The destination's QEMU knows version 1 of VFIO's migration protocol only, and the device has version 2.",
        V.FAILED,
        "destination",
        aliases=("B1 (destination)",),
        says="Unknown savevm section or instance",
        because="such a QEMU registers no handler for the section of a device that it takes for one without migration",
        source="QEMU 7.2, migration/savevm.c: qemu_loadvm_section_start_full",
        automatic=False,
    ),
    make_rule(
        "other-machine",
        "The two sides have different versioned machine types.",
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
        seen=LAB,
    ),
    make_rule(
        "other-virtio-queue-size",
        "The source's QEMU gives virtio queues more entries than the destination's.",
        V.FAILED,
        "destination",
        aliases=("A15 (virtio queues)",),
        says="vring.num %s exceeds allocated max",
        because="every queue of a virtio device has 1024 entries at the source (10.0.13, by a fix for releases before "
        "11.1), and at the destination what the device asks for, 256 in virtio-net: it refuses more",
        source="QEMU, hw/virtio/virtio.c: virtio_add_queue, virtio_load",
        automatic=False,
        seen=(("QEMU", "10.0.13 to 11.1.3"),),
    ),
)
