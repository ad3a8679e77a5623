# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of a migration while which the guest, its device or the network does something of its own. Pure."""

from collections.abc import Callable

from switchover.migration.phases import Action, Phase
from switchover.record.record import VerdictName
from switchover.scenarios.oracle.rule import make_rule
from switchover.scenarios.oracle.traits import Traits

V = VerdictName
_DEVICE_DEL = "QEMU 10.0, system/qdev-monitor.c: qdev_unplug, qdev_device_add_from_qdict"


def _does_meanwhile(*actions: Action) -> Callable[[Traits], bool]:
    return lambda traits: any(fault.action in actions and fault.is_on_the_way for fault in traits.faults)


def _does_before(*actions: Action) -> Callable[[Traits], bool]:
    return lambda traits: any(fault.action in actions and fault.phase is Phase.BEFORE for fault in traits.faults)


def _does(*actions: Action) -> Callable[[Traits], bool]:
    return lambda traits: any(fault.action in actions for fault in traits.faults)


_RESETS = (Action.RESET_DEVICE, Action.REBOOT_GUEST)


def _is_reset_in_pre_copy(traits: Traits) -> bool:
    """Whether a device is reset that is in PRE_COPY then."""
    return traits.source.pre_copy and _does_meanwhile(*_RESETS)(traits)


DOINGS = (
    make_rule(
        "guest-reboots-and-ends",
        "The guest reboots, and its QEMU has -no-reboot.",
        V.CRASHED,
        "source",
        reason="exit status 0",
        because="QEMU ends, with status 0, where it would reset the machine",
        source="QEMU 10.0, system/runstate.c: qemu_system_reset_request",
        when=lambda traits: traits.does(Action.REBOOT_GUEST) and traits.source.guest.on_reboot == "shutdown",
    ),
    make_rule(
        "device-reset-in-pre-copy",
        "A device is reset while it is in PRE_COPY: by its guest, or with it.",
        V.FAILED,
        "source",
        reason="Channel error|data_fd out of sync",
        because="VFIO_DEVICE_RESET takes the device to RUNNING and ends its stream; QEMU, which is not told, still "
        "takes it to be in PRE_COPY, and the next read of its state fails",
        source="QEMU 10.0, hw/vfio/migration.c: vfio_save_block, vfio_migration_set_state; Linux, "
        "include/uapi/linux/vfio.h",
        when=_is_reset_in_pre_copy,
    ),
)

DONE_WITHOUT_HARM = (
    make_rule(
        "device-reset-out-of-pre-copy",
        "A device is reset, by its guest or with it, that is not in PRE_COPY then.",
        V.COMPLETED,
        because="a reset takes the device to RUNNING, in which it is, and QEMU takes it to be, until the guest stops",
        source="QEMU 10.0, hw/vfio/migration.c: vfio_save_setup; hw/vfio/pci.c: vfio_pci_reset",
        when=_does(*_RESETS),
    ),
    make_rule(
        "guest-suspended",
        "The guest suspends itself to memory, before or while it migrates.",
        V.COMPLETED,
        because="its vCPUs stand still, and to migrate it is as to migrate any other; it arrives suspended, and "
        "system_wakeup lets it go on",
        source="QEMU 10.0, system/cpus.c: do_vm_stop, vm_start; migration/global_state.c",
        when=_does(Action.SUSPEND_GUEST),
    ),
    make_rule(
        "device-unplugged-before",
        "A device is unplugged before the migration, and may be plugged in after it.",
        V.COMPLETED,
        because="what is not there blocks nothing and has no state to be moved",
        source="QEMU 10.0, hw/vfio/migration.c: vfio_migration_exit",
        when=_does_before(Action.UNPLUG_DEVICE),
    ),
    make_rule(
        "failover-primary",
        "A PCI function of the source is the primary of a failover pair.",
        V.COMPLETED,
        because="QEMU has the guest give it back before anything is sent (status wait-unplug), so that it blocks "
        "nothing; the destination's is plugged in while the guest's state is loaded, in the downtime",
        source="QEMU 10.0, hw/net/virtio-net.c: virtio_net_handle_migration_primary, failover_add_primary; "
        "hw/vfio/pci.c: vfio_pci_realize",
        when=lambda traits: any(function.is_primary for function in traits.source.functions),
    ),
    make_rule(
        "device-not-unplugged-meanwhile",
        "A device is to be unplugged or plugged in while the migration goes on.",
        V.COMPLETED,
        because="QEMU says that it is not allowed while migrating, and goes on",
        source=_DEVICE_DEL,
        when=_does_meanwhile(Action.UNPLUG_DEVICE, Action.PLUG_DEVICE),
    ),
    make_rule(
        "link-comes-back",
        "Packets between the hosts are lost for a while, shorter than the bound of a hang.",
        V.COMPLETED,
        because="TCP sends again what was lost, later and later, and goes on once the link is back: twice as late at "
        "the most",
        source="Linux, Documentation/networking/ip-sysctl.rst: tcp_retries2; RFC 6298",
        when=_does(Action.CUT_LINK),
    ),
)
