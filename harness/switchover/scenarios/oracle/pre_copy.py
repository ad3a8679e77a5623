# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrations that complete, and whether their devices go through PRE_COPY. Pure."""

from collections.abc import Callable

from switchover.record.record import VerdictName
from switchover.scenarios.oracle.rule import make_rule
from switchover.scenarios.oracle.traits import Traits, is_paused

V = VerdictName
_PATCH = 'qemu-devel, "vfio/migration: Add VFIO migration pre-copy support", version 2, 2023-05-17'


def _by_machine(word: str) -> Callable[[Traits], bool]:
    return lambda traits: traits.source.any_device(lambda device: device.offers_pre_copy and device.by_machine == word)


PRE_COPY = (
    make_rule(
        "paused-before",
        "The guest is paused before it migrates.",
        V.COMPLETED,
        pre_copy="off",
        aliases=("A14",),
        because="the device of a paused guest is in STOP when it is to be saved, and is not put into PRE_COPY; an ack "
        "is not waited for while the guest does not run",
        source="QEMU 10.2, hw/vfio/migration.c: vfio_save_setup; migration/migration.c: migration_can_switchover",
        when=is_paused,
    ),
    make_rule(
        "x-allow-pre-copy-of-old-machines",
        "x-allow-pre-copy is left to the source's machine type, which is one of 8.0 or older.",
        V.COMPLETED,
        pre_copy="off",
        aliases=("A16 (8.0 and older)",),
        because="machine types of 8.0 and older have x-allow-pre-copy=false (hw/core/machine.c: hw_compat_8_0)",
        source=_PATCH,
        when=_by_machine("off"),
    ),
    make_rule(
        "x-allow-pre-copy-of-new-machines",
        "x-allow-pre-copy is left to the source's machine type, which is one of 8.1 or newer.",
        V.COMPLETED,
        pre_copy="on",
        aliases=("A16 (8.1 and newer)",),
        because="x-allow-pre-copy is true by default (hw/vfio/pci.c), and machine types of 8.1 and newer leave it so",
        source=_PATCH,
        when=_by_machine("on"),
    ),
)
