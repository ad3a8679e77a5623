# SPDX-License-Identifier: GPL-2.0-or-later
"""switchover-ack and pre-copy on one side only. QEMU negotiates neither: each side looks at its own. Pure."""

from switchover.migration.progress import HangKind
from switchover.record.record import VerdictName
from switchover.scenarios.oracle.rule import make_rule
from switchover.scenarios.oracle.traits import SideTraits, Traits, is_by_libvirt, is_paused

V = VerdictName
_NOT_USED = "Received INIT_DATA_SENT but switchover ack is not used"
_LOAD_STATE = "QEMU 10.2, hw/vfio/migration.c: vfio_load_state"
_APPROVED = "QEMU 10.2, migration/migration.c: migration_can_switchover"
STARVED = str(HangKind.ACK_STARVED)


def _acks(traits: Traits) -> tuple[bool, bool]:
    """switchover-ack at the source and at the destination; of a guest that does not run none is waited for.

    libvirt turns it on by itself, on both sides if both have it.
    """
    source, destination = traits.capabilities
    if is_paused(traits):
        return False, False
    if is_by_libvirt(traits):
        return True, True
    return "switchover-ack" in source, "switchover-ack" in destination


def _has_reusable_ack(side: SideTraits, *, reusable: bool) -> bool:
    """Whether a side's QEMU is known to have that ack; one that is not known has neither."""
    return side.qemu is not None and side.qemu.reusable_ack is reusable


def _waits_for_any(traits: Traits) -> bool:
    """Whether the source waits for an ack of a destination that has no reason to give one; that of 11.1 does not."""
    return traits.source.qemu is None or not traits.source.qemu.reusable_ack


SWITCHOVER_ACK = (
    make_rule(
        "one-shot-ack-at-source-only",
        "switchover-ack is on at both sides, one-shot at the source (switchover-ack-legacy) and reusable at the "
        "destination, and the source's device has no pre-copy.",
        V.HUNG,
        "source",
        reason=STARVED,
        because="the source waits for one ack in any case, and such a destination gives one only if a device asks",
        source="QEMU 11.1, migration/migration.c: migration_can_switchover",
        when=lambda traits: (
            traits.switches_over
            and _acks(traits) == (True, True)
            and _has_reusable_ack(traits.source, reusable=False)
            and _has_reusable_ack(traits.destination, reusable=True)
            and not traits.source.pre_copy
        ),
    ),
    make_rule(
        "one-shot-ack-at-destination-only",
        "switchover-ack is on at both sides, reusable at the source and one-shot at the destination "
        "(switchover-ack-legacy), and the source's device has no pre-copy.",
        V.HUNG,
        "source",
        reason=f"{STARVED}|Switchover ack pending num underflowed",
        because="the destination acks what nobody asked for, the source takes that for an error, and its status stays "
        "active all the same",
        source="QEMU 11.1, migration/migration.c: source_return_path_thread",
        when=lambda traits: (
            _acks(traits) == (True, True)
            and _has_reusable_ack(traits.source, reusable=True)
            and _has_reusable_ack(traits.destination, reusable=False)
            and not traits.source.pre_copy
        ),
    ),
    make_rule(
        "ack-with-pre-copy-at-source-only",
        "switchover-ack is on at both sides, and only the source's device has pre-copy.",
        V.FAILED,
        "destination",
        aliases=("A4",),
        says=_NOT_USED,
        because="the source says that the initial bytes were sent, and the destination looks at its own device",
        source=_LOAD_STATE,
        when=lambda traits: (
            # without that the limit may let the switchover come before the initial bytes are sent
            traits.settles
            and _acks(traits) == (True, True)
            and traits.source.pre_copy
            and not traits.destination.pre_copy
        ),
    ),
    make_rule(
        "ack-with-pre-copy-at-destination-only",
        "switchover-ack is on at both sides, and only the destination's device has pre-copy.",
        V.HUNG,
        "source",
        aliases=("A5",),
        reason=STARVED,
        because="the destination waits for an INIT_DATA_SENT that a source without PRE_COPY never sends, and the "
        "source for the destination's ack; not so with the new ack of 11.1",
        source=_APPROVED,
        when=lambda traits: (
            _waits_for_any(traits)
            and traits.switches_over
            and _acks(traits) == (True, True)
            and not traits.source.pre_copy
            and traits.destination.pre_copy
        ),
    ),
    make_rule(
        "ack-at-source-only",
        "switchover-ack is on at the source only, and the source's device has pre-copy.",
        V.FAILED,
        "destination",
        aliases=("A6",),
        says=_NOT_USED,
        because="the source says that the initial bytes were sent, to a destination without switchover-ack",
        source=_LOAD_STATE,
        when=lambda traits: _acks(traits) == (True, False) and traits.source.pre_copy,
    ),
    make_rule(
        "ack-at-source-only-without-pre-copy",
        "switchover-ack is on at the source only, and the source's device has no pre-copy.",
        V.HUNG,
        "source",
        aliases=("A6 (no pre-copy)",),
        reason=STARVED,
        because="the source waits for an ack that nobody gives; 11.1.3 completes",
        source=_APPROVED,
        when=lambda traits: (
            _waits_for_any(traits)
            and traits.switches_over
            and _acks(traits) == (True, False)
            and not traits.source.pre_copy
        ),
    ),
)
