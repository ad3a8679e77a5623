# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of a migration while which the guest, or its device, does something of its own. Pure."""

from switchover.migration.phases import Action, Phase
from switchover.record.record import VerdictName
from switchover.scenarios.oracle.rule import make_rule
from switchover.scenarios.oracle.traits import Traits

V = VerdictName


def _resets_in_pre_copy(traits: Traits) -> bool:
    """Whether a device is reset that is in PRE_COPY then."""
    if not traits.source.pre_copy:
        return False
    resets = (Action.RESET_DEVICE, Action.REBOOT_GUEST)
    return any(fault.action in resets and fault.phase is not Phase.BEFORE for fault in traits.faults)


def _reboots_and_ends(traits: Traits) -> bool:
    return traits.does(Action.REBOOT_GUEST) and traits.source.guest.on_reboot == "shutdown"


DOINGS = (
    make_rule(
        "guest-reboots-and-ends",
        "The guest reboots, and its QEMU has -no-reboot.",
        V.CRASHED,
        "source",
        because="QEMU ends, with status 0, where it would reset the machine",
        source="QEMU 10.0, system/runstate.c: qemu_system_reset_request",
        when=_reboots_and_ends,
    ),
    make_rule(
        "device-reset-in-pre-copy",
        "A device is reset while it is in PRE_COPY: by its guest, or with it.",
        V.FAILED,
        "source",
        because="VFIO_DEVICE_RESET takes the device to RUNNING and ends its stream; QEMU, which is not told, still "
        "takes it to be in PRE_COPY, and the next read of its state fails",
        source="QEMU 10.0, hw/vfio/migration.c: vfio_save_block; Linux, include/uapi/linux/vfio.h",
        when=_resets_in_pre_copy,
    ),
)
