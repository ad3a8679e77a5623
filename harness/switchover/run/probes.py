# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest is asked before and after a migration, and what must hold between the two answers."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from switchover.devices.reference import GuestDriver, GuestView, Truth
from switchover.guests.console import find_trouble
from switchover.hosts.host import Host
from switchover.hosts.waiting import Invariant, wait_until
from switchover.migration.bytes import RESIDUAL_BOUND, MigrationBytes
from switchover.record.errors import Deadline
from switchover.record.measurement import Check, check_equal


@dataclass(frozen=True)
class GuestAnswers:
    """``boot_id`` tells one boot of a guest's kernel from all others."""

    boot_id: str
    device: GuestView


def ask_guest(guest: Host) -> GuestAnswers:
    """What the guest says of itself and of the device."""
    boot_id = guest.run(["cat", "/proc/sys/kernel/random/boot_id"]).text.strip()
    return GuestAnswers(boot_id, GuestDriver(guest).read())


def seed_device(guest: Host, generator: random.Random) -> None:
    """Give the device a state that no other repeat has."""
    GuestDriver(guest).write(scratch=[generator.getrandbits(64) for _ in range(16)], seed=generator.getrandbits(64))


def fire_interrupt(guest: Host, invariants: Sequence[Invariant]) -> Check:
    """Let the device raise one interrupt and see it arrive, in the primary handler and in the thread."""
    driver = GuestDriver(guest)
    before = driver.read()
    vector = len(before.irq_hard) - 1
    driver.trigger(vector)
    wanted = (before.irq_hard[vector] + 1, before.irq_thread[vector] + 1)

    def arrived() -> tuple[int, int] | None:
        view = driver.read_interrupts()
        counts = (view.hard[vector], view.thread[vector])
        return counts if counts >= wanted else None

    name = f"interrupt of vector {vector} fires (primary handler, thread)"
    try:
        observed = wait_until(name, arrived, timeout=15, invariants=invariants)
    except Deadline:
        view = driver.read_interrupts()
        observed = (view.hard[vector], view.thread[vector])
    return check_equal(name, wanted, observed)


def compare_guest(before: GuestAnswers, after: GuestAnswers) -> list[Check]:
    """The same guest with the same device state, one generation later."""
    return [
        check_equal("guest is the same boot", before.boot_id, after.boot_id),
        check_equal("device generation is one more", before.device.generation + 1, after.device.generation),
        check_equal("device scratch registers are kept", before.device.scratch, after.device.scratch),
        check_equal("device seed is kept", before.device.seed, after.device.seed),
        check_equal("device state checksum is the source's", before.device.checksum, after.device.checksum),
        check_equal("guest computes the same checksum", after.device.checksum, after.device.checksum_expected),
    ]


def compare_bytes(moved: MigrationBytes, before: tuple[Truth, Truth], after: tuple[Truth, Truth]) -> list[Check]:
    """QEMU's traces and counters against the counters of the devices, (source, destination)."""
    source, destination = ({name: count - old.counters.get(name, 0) for name, count in new.counters.items()}
                           for old, new in zip(before, after, strict=True))  # fmt: skip
    read = source["precopy_bytes_read"] + source["stop_copy_bytes_read"]
    residual = moved.residual
    return [
        check_equal("traced pre-copy bytes equal the device's", source["precopy_bytes_read"], moved.vfio_precopy),
        check_equal("traced stop-copy bytes equal the device's", source["stop_copy_bytes_read"], moved.vfio_stop_copy),
        check_equal("destination's device took every byte", read, destination["bytes_written"]),
        check_equal("query-migrate's vfio.transferred equals them", read, moved.vfio_transferred),
        Check(
            "wire - RAM - VFIO is what headers and other devices take",
            residual is not None and 0 <= residual <= RESIDUAL_BOUND,
            f"0 … {RESIDUAL_BOUND} bytes",
            str(residual),
        ),
    ]


def compare_states(events: Sequence[str], truth: Truth, before: Truth, side: str) -> Check:
    """QEMU's VFIO_MIGRATION events against the device's own history, in QEMU's spelling.

    The device passes states on the way that QEMU did not ask for by name (STOP between RESUMING and RUNNING_P2P):
    QEMU's states must be a subsequence of the device's, which ends in the same one.
    """
    known = {change.sequence for change in before.history}
    history = [change.target.lower().replace("_", "-") for change in truth.history if change.sequence not in known]
    remaining = iter(history)
    passed = all(state in remaining for state in events) and history[-1:] == list(events[-1:])
    return Check(
        f"{side}: states by events are those of the device's history", passed, " ".join(history), " ".join(events)
    )


def check_console(side: str, console: str) -> Check:
    trouble = find_trouble(console)
    return Check(f"{side}: guest console is free of oopses", not trouble, "none", "; ".join(trouble) or "none")
