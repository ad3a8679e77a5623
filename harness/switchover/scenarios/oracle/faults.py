# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of a migration that is disturbed on purpose: from outside, or by a knob of the device. Pure."""

import os
from collections.abc import Callable

from switchover.migration.phases import Action, Phase
from switchover.migration.progress import HangKind
from switchover.record.checks import CheckId
from switchover.record.record import VerdictName
from switchover.scenarios.oracle.reach import Reach
from switchover.scenarios.oracle.rule import make_rule
from switchover.scenarios.oracle.traits import DeviceTraits, SideTraits, Traits

V = VerdictName
LOADS = r"/vfio|^[^;]*load of migration failed"
"""The section of a VFIO device has an id that ends in ``/vfio``. libvirt passes on the last words only: those by
themselves, without words of another section before them, may be about the device too."""

LOST_BY_RESET = (
    CheckId.DEVICE_GENERATION,
    CheckId.DEVICE_SCRATCH,
    CheckId.DEVICE_SEED,
    CheckId.DEVICE_CHECKSUM,
    CheckId.DEVICE_INTERRUPT,
)
"""Checks that fail of a device that QEMU has reset while the guest used it."""


_AFTER_SWITCHOVER = (Phase.PRE_SWITCHOVER, Phase.DEVICE_STOP_COPY)


def _does(action: Action, *, but: tuple[Phase, ...] = ()) -> Callable[[Traits], bool]:
    """Whether an action is done, in a phase that the migration comes to, and in none of ``but``."""
    return lambda traits: any(
        fault.action is action
        and fault.phase not in but
        and (traits.switches_over or fault.phase not in _AFTER_SWITCHOVER)
        for fault in traits.faults
    )


def _cuts_for_good(traits: Traits) -> bool:
    """Nobody waits for a link that is away for longer than the harness waits for anything to be sent."""
    cuts = [fault for fault in traits.faults if fault.action is Action.CUT_LINK]
    return any(fault.seconds is None or fault.seconds > traits.hang_s for fault in cuts)


def _fails_before_it_is_saved(device: DeviceTraits) -> bool:
    """With pre-copy STOP is the last of the states, else it comes before STOP_COPY."""
    return device.fail_at in ("PRE_COPY", "PRE_COPY_P2P", "RUNNING_P2P", "STOP_COPY") or (
        device.fail_at == "STOP" and not device.pre_copy
    )


def _name_errno(traits: Traits) -> str:
    """What the errno is called that the driver gave; empty: several devices fail, each with one of its own."""
    numbers = {device.fail_errno for device in traits.source.devices if _fails_before_it_is_saved(device)}
    return os.strerror(numbers.pop()) if len(numbers) == 1 else ""


def _fails_at(side: SideTraits, *points: str) -> bool:
    """Whether a device has one of these as its point of failure."""
    return side.any_device(lambda device: device.fail_at in points)


MADE_FAULTS = (
    make_rule(
        "source-killed",
        "The source's QEMU is killed.",
        V.CRASHED,
        "source",
        aliases=("D kill source",),
        because="its QEMU ends by SIGKILL, and the guest with it",
        source="signal(7): SIGKILL cannot be caught",
        when=_does(Action.KILL_SOURCE),
    ),
    make_rule(
        "destination-killed",
        "The destination's QEMU is killed.",
        V.CRASHED,
        "destination",
        aliases=("D kill destination",),
        because="its QEMU ends by SIGKILL; the guest stays on the source",
        source="signal(7): SIGKILL cannot be caught",
        when=_does(Action.KILL_DESTINATION),
    ),
    make_rule(
        "guest-panics",
        "The guest's kernel is made to panic.",
        V.CRASHED,
        "source",
        aliases=("D panic guest",),
        reason="panic",
        because="the guest's kernel says so on its console before it stops",
        source="Linux, drivers/tty/sysrq.c: sysrq_handle_crash",
        when=_does(Action.PANIC_GUEST),
    ),
    make_rule(
        "cancelled",
        "The migration is cancelled while it goes on.",
        V.CANCELLED,
        "source",
        aliases=("D cancel",),
        reason="^$|Channel error|Unable to (?:read from|write to) socket|cancell?ed",
        because="migrate_cancel shuts the stream down and sets the status; QEMU says nothing of it, or that the stream "
        "broke, and libvirt that its job was cancelled",
        source="QEMU 10.0, migration/migration.c: migration_cancel; libvirt 11.3, qemu/qemu_migration.c: "
        "qemuMigrationJobCheckStatus",
        when=_does(Action.CANCEL, but=(Phase.BEFORE,)),  # there is nothing to cancel yet
    ),
    make_rule(
        "link-cut",
        "All packets between the hosts are lost, from some moment on or for longer than the bound of a hang.",
        V.HUNG,
        "destination",
        aliases=("D cut link",),
        reason=str(HangKind.NO_PROGRESS),
        because="TCP sends again and again for much longer than the harness waits (net.ipv4.tcp_retries2: 15 times, 15 "
        "minutes or more), and QEMU does not look at the time",
        source="Linux, Documentation/networking/ip-sysctl.rst",
        when=_cuts_for_good,
    ),
)

DEVICE_FAULTS = (
    make_rule(
        "device-fails-state-change-at-source",
        "A device of the source fails a change of its state on the way to STOP_COPY.",
        V.FAILED,
        "source",
        aliases=("D source device",),
        says="Failed setting device state to",
        because="QEMU tells which state the device did not take, resets it or takes it back to RUNNING, and the "
        "migration fails",
        source="QEMU 10.0, hw/vfio/migration.c: vfio_migration_set_state",
        when=lambda traits: traits.source.any_device(_fails_before_it_is_saved),
        words=_name_errno,
    ),
    make_rule(
        "dma-logging-that-nobody-reads",
        "A device says that it logs its DMA, QEMU is to ask it, and the host's kernel has no CONFIG_IOMMUFD_DRIVER.",
        V.FAILED,
        "source",
        reason="ram_save_setup failed: Operation not supported|Failed to get DMA logging report",
        because="logging is started without an error, and without that option, as in Debian's kernels, every report of "
        "dirty pages is EOPNOTSUPP, which fails RAM's setup; what a host's kernel has of it a case does not know",
        source="Linux 6.12, include/linux/iova_bitmap.h; drivers/vfio/vfio_main.c: "
        "vfio_ioctl_device_feature_logging_report; QEMU 10.0, hw/vfio/container-base.c",
        when=lambda traits: traits.source.any_device(lambda device: device.logs_dma),
        automatic=False,
    ),
    make_rule(
        "device-fails-read",
        "A device of the source fails a read of its state.",
        V.FAILED,
        "source",
        says="Channel error",
        because="QEMU has no words of its own for it: the errno of read() becomes the error of the stream",
        source="QEMU 10.0, hw/vfio/migration.c: vfio_save_block; migration/qemu-file.c: qemu_file_get_error_obj",
        when=lambda traits: _fails_at(traits.source, "read"),
    ),
    make_rule(
        "device-fails-state-change-at-destination",
        "A device of the destination fails a change of its state on the way to RESUMING.",
        V.FAILED,
        "destination",
        aliases=("D destination device",),
        reason=rf"Failed setting device state to RESUMING|{LOADS}",
        because="the device is put into RESUMING when the destination begins to load, from RUNNING by RUNNING_P2P and "
        "STOP",
        source="QEMU 10.0, hw/vfio/migration.c: vfio_load_setup",
        when=lambda traits: _fails_at(traits.destination, "RESUMING", "RUNNING_P2P", "STOP"),
    ),
    make_rule(
        "device-fails-write",
        "A device of the destination fails a write of its state.",
        V.FAILED,
        "destination",
        reason=LOADS,
        because="the errno of write() is that of the section, and QEMU names the section",
        source="QEMU 10.0, hw/vfio/migration.c: vfio_load_buffer; migration/savevm.c: qemu_loadvm_section_part_end",
        when=lambda traits: _fails_at(traits.destination, "write"),
    ),
    make_rule(
        "device-refuses-stream",
        "A device of the source spoils its stream.",
        V.FAILED,
        "destination",
        aliases=("D stream corrupt",),
        reason=LOADS,
        because="the destination's device compares a checksum, and fails the last write; QEMU names the section",
        source="images/modules/refdev/load.c; QEMU 10.0, migration/savevm.c: qemu_loadvm_section_part_end",
        when=lambda traits: traits.source.any_device(lambda device: device.corrupt == "stream"),
    ),
    make_rule(
        "other-device-type",
        "The destination's device is of another type.",
        V.FAILED,
        "destination",
        aliases=("D device type",),
        reason=LOADS,
        because="the stream's header has the number of vectors, or of mtty the number of ports, and the destination's "
        "device fails the write of a wrong one; QEMU names the section",
        source="images/modules/refdev/load.c; Linux 6.12, samples/vfio-mdev/mtty.c: mtty_resume_write; QEMU 10.0, "
        "migration/savevm.c: qemu_loadvm_section_part_end",
        when=lambda traits: [d.type for d in traits.source.devices] != [d.type for d in traits.destination.devices],
    ),
)

FOUND_BY_CHECKS = (
    make_rule(
        "device-fails-once-it-is-loaded",
        "A device of the destination fails a change of its state on the way from RESUMING to RUNNING.",
        V.CHECKS_FAILED,
        checks=LOST_BY_RESET,
        because="a change on the way to RUNNING cannot undo the migration any more: QEMU resets the device, the guest "
        "runs with one that has lost its state, and only the checks find it",
        source="QEMU 10.0, hw/vfio/migration.c: vfio_vmstate_change",
        when=lambda traits: _fails_at(traits.destination, "load", "RUNNING"),
    ),
    make_rule(
        "device-state-corrupt",
        "A device of the destination spoils the state that it loaded.",
        V.CHECKS_FAILED,
        aliases=("D state corrupt",),
        checks=(CheckId.DEVICE_CHECKSUM, CheckId.DEVICE_CHECKSUM_BY_GUEST),
        because="nothing fails; the guest sees another state than was saved",
        source="images/modules/refdev/load.c",
        when=lambda traits: traits.destination.any_device(lambda device: device.corrupt == "state"),
    ),
    make_rule(
        "device-fails-once-it-is-saved",
        "A device of the source with pre-copy fails the change to STOP.",
        V.COMPLETED,
        because="it is the last change, after all was sent: QEMU resets the device that the guest has left",
        source="QEMU 10.0, hw/vfio/migration.c: vfio_save_cleanup",
        when=lambda traits: traits.source.any_device(lambda device: device.fail_at == "STOP" and device.pre_copy),
    ),
    make_rule(
        "fault-that-never-happens",
        "A device is to fail where the migration does not come to: in a state that it does not pass, or at a byte "
        "after the end of the stream.",
        V.COMPLETED,
        because="without pre-copy a device does not go through PRE_COPY, without P2P through none of the states for "
        "it, and its stream has initial_bytes and stop_copy_bytes",
        source="QEMU 10.0, hw/vfio/migration.c: vfio_save_setup, vfio_vmstate_change_prepare; "
        "images/modules/refdev/fault.c",
        when=lambda traits: any(side.any_device(lambda device: device.reach is Reach.NEVER) for side in traits.sides()),
    ),
)
