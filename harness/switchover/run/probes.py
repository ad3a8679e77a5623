# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest is asked before and after a migration, and what must hold between the two answers."""

import random
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from switchover.devices.reference import GuestDriver, GuestView, InterruptCounts, ReferenceDevice, Truth, count_devices
from switchover.guests.console import find_trouble
from switchover.hosts.host import Host
from switchover.hosts.waiting import Invariant, wait_until
from switchover.migration.bytes import RESIDUAL_BOUND, MigrationBytes
from switchover.migration.downtime import ExplainedDowntime, UnexplainedDowntime
from switchover.migration.outside import OutsideDowntime, UnseenDowntime, find_standstill, tolerance
from switchover.record.errors import CommandFailed, Deadline
from switchover.record.measurement import Check, check_equal
from switchover.record.units import MIB
from switchover.run.needs import LAB_MEANS, GuestMeans, Need


@dataclass(frozen=True)
class GuestAnswers:
    """``boot_id`` tells one boot of a guest's kernel from all others; ``canary`` is the digest of what was put into
    its memory; ``devices`` in the order of their slots. What the guest lacks the ``means`` for is empty.
    """

    boot_id: str
    canary: str
    devices: tuple[GuestView, ...]
    means: GuestMeans = LAB_MEANS


def ask_guest(guest: Host, devices: int = 1, means: GuestMeans = LAB_MEANS) -> GuestAnswers:
    """What the guest says of itself and of its devices."""
    boot = f"cat {Need.BOOT_ID}" if Need.BOOT_ID in means.has else "echo"
    canary = f"; {means.digest} <{means.canary}" if means.has_canary else ""
    answers = [""]
    if means.has & {Need.BOOT_ID} or canary:
        answers = guest.run(["sh", "-c", f"{boot}{canary}"], timeout=60).text.splitlines()
    views = [GuestDriver(guest, number).read() for number in range(devices if means.has_device else 0)]
    return GuestAnswers(answers[0].strip(), answers[1].split()[0] if canary else "", tuple(views), means)


def place_canary(guest: Host, means: GuestMeans = LAB_MEANS) -> None:
    """Fill some MiB of the guest's memory with what no other guest has.

    Guests that were restored from one file would draw the same numbers: hence a word of the harness before them.
    """
    script = f"{{ echo {secrets.token_hex(32)}; head -c {_CANARY_BYTES} /dev/urandom; }} >{means.canary}"
    guest.run(["sh", "-c", script], timeout=60)


def set_clock(guest: Host) -> None:
    """A guest that was restored goes on at the time when it was saved: set its clock to the controller's."""
    guest.run(["date", "-u", "-s", f"@{round(time.time())}"])


def wait_for_devices(guest: Host, count: int, invariants: Sequence[Invariant]) -> None:
    """Until the guest's driver has taken all devices, which were plugged in.

    :raises Deadline: it has not
    """
    wait_until(
        f"the guest's driver to take {count} devices",
        lambda: count_devices(guest) == count,
        timeout=_PROBE_TIMEOUT_S,
        invariants=invariants,
        poll=0.2,
    )


_PROBE_TIMEOUT_S = 30


_CANARY_BYTES = 4 * MIB


def seed_device(guest: Host, generator: random.Random, number: int = 0) -> None:
    """Give a device a state that no other repeat has."""
    scratch = [generator.getrandbits(64) for _ in range(16)]
    GuestDriver(guest, number).write(scratch=scratch, seed=generator.getrandbits(64))


def reinitialise(guest: Host, number: int = 0) -> list[Check]:
    """Let the guest's driver set a device up again that was reset behind its back; a check only if it cannot."""
    try:
        GuestDriver(guest, number).reinitialise()
    except CommandFailed as error:
        name = f"device is set up again after its reset{_of(number)}"
        return [Check(name, passed=False, expected="yes", observed=error.why or error.what)]
    return []


def mend_device(guest: Host, number: int = 0) -> None:
    """Set a device up again if it was reset; what that comes to shows when it is used."""
    if not GuestDriver(guest, number).is_enabled():
        reinitialise(guest, number)


def fire_interrupt(guest: Host, invariants: Sequence[Invariant], number: int = 0) -> Check:
    """Let a device raise one interrupt and see it arrive, in the primary handler and in the thread."""
    driver = GuestDriver(guest, number)
    before = driver.read()
    vector = len(before.irq_hard) - 1
    name = f"interrupt of vector {vector} fires (primary handler, thread){_of(number)}"
    wanted = (before.irq_hard[vector] + 1, before.irq_thread[vector] + 1)
    try:
        driver.trigger(vector)
    except CommandFailed as error:  # the guest's driver refuses: the device was reset behind it
        return Check(name, passed=False, expected=str(wanted), observed=error.why or error.what)

    def arrived() -> tuple[int, int] | None:
        view = driver.read_interrupts()
        counts = (view.hard[vector], view.thread[vector])
        return counts if counts >= wanted else None

    try:
        observed = wait_until(name, arrived, timeout=15, invariants=invariants)
    except Deadline:
        view = driver.read_interrupts()
        observed = (view.hard[vector], view.thread[vector])
    return check_equal(name, wanted, observed)


_CAUGHT_UP_S = 10.0


def check_interrupts(guest: Host, device: ReferenceDevice, invariants: Sequence[Invariant], number: int = 0) -> Check:
    """Stop the device's interrupts at a rate, and see that the handlers have seen the last one of each vector."""
    device.set_knob("irq_rates", ())
    driver = GuestDriver(guest, number)
    name = f"no interrupt at a rate is lost{_of(number)}"

    def caught_up() -> InterruptCounts | None:
        counts = driver.read_interrupts()
        return counts if counts.seen == counts.raised else None

    try:
        counts = wait_until(name, caught_up, timeout=_CAUGHT_UP_S, invariants=invariants)
    except Deadline:
        counts = driver.read_interrupts()
    arrived = sum(counts.raised) > 0
    return Check(name, counts.seen == counts.raised and arrived, f"raised {counts.raised}", f"seen {counts.seen}")


def check_dma(guest: Host, number: int = 0) -> Check:
    """Compare all that the device wrote to the guest's memory, on whichever host it did."""
    found = GuestDriver(guest, number).verify_dma()
    observed = f"{found.wrong_pages} wrong pages of {found.sequence} written, first {found.first_wrong[:2]}"
    name = f"every page written by DMA is whole{_of(number)}"
    return Check(name, found.ok and found.sequence > 0, "all", "all" if found.ok and found.sequence else observed)


def compare_guest(before: GuestAnswers, after: GuestAnswers, *, loads: int) -> list[Check]:
    """The same guest with the same device states, so many ``loads`` (generations) later; of what it could say."""
    checks = [
        check_equal(name, old_words, new_words)
        for name, old_words, new_words in (
            ("guest is the same boot", before.boot_id, after.boot_id),
            ("guest memory keeps its canary", before.canary, after.canary),
        )
        if old_words
    ]
    for number, (old, new) in enumerate(zip(before.devices, after.devices, strict=True)):
        generation = "one more" if loads == 1 else "as before"
        checks += [
            check_equal(f"device generation is {generation}{_of(number)}", old.generation + loads, new.generation),
            check_equal(f"device scratch registers are kept{_of(number)}", old.scratch, new.scratch),
            check_equal(f"device seed is kept{_of(number)}", old.seed, new.seed),
            check_equal(f"device state checksum is the source's{_of(number)}", old.checksum, new.checksum),
            check_equal(f"guest computes the same checksum{_of(number)}", new.checksum, new.checksum_expected),
        ]
    return checks


def _of(number: int) -> str:
    """How a check names a device that is not the first."""
    return f", device {number + 1}" if number else ""


Truths = tuple[tuple[Truth, ...], tuple[Truth, ...]]
"""What the devices of the source and those of the destination know."""


def count_since(before: Sequence[Truth], after: Sequence[Truth]) -> dict[str, int]:
    """How much the counters of some devices grew, summed over the devices."""
    grown: dict[str, int] = {}
    for old, new in zip(before, after, strict=True):
        for name, count in new.counters.items():
            grown[name] = grown.get(name, 0) + count - old.counters.get(name, 0)
    return grown


def compare_bytes(moved: MigrationBytes, names: Sequence[str], before: Truths, after: Truths) -> list[Check]:
    """QEMU's traces and counters against the counters of the devices.

    ``names``: QEMU's of the source's devices; none if nothing was traced.
    """
    traced = {device.device: device for device in moved.devices}
    checks = []
    for number, (name, old, new) in enumerate(zip(names, before[0], after[0], strict=False)):
        grown, seen = count_since([old], [new]), traced.get(name)
        checks += [
            check_equal(f"traced {phase} bytes equal the device's{_of(number)}", grown[counter], found)
            for phase, counter, found in (
                ("pre-copy", "precopy_bytes_read", seen and seen.precopy),
                ("stop-copy", "stop_copy_bytes_read", seen and seen.stop_copy),
            )
            if phase == "pre-copy" or not (seen and seen.stop_copy is None)
        ]
    source, destination = (count_since(old, new) for old, new in zip(before, after, strict=True))
    read = source.get("precopy_bytes_read", 0) + source.get("stop_copy_bytes_read", 0)
    residual = moved.residual
    return [
        *checks,
        check_equal("destination's devices took every byte", read, destination.get("bytes_written", 0)),
        _compare_transferred(moved, read),
        *([] if residual is None and moved.multifd else [_check_residual(residual)]),
    ]


def _check_residual(residual: int | None) -> Check:
    claim = "wire - RAM - VFIO is what headers and other devices take"
    passed = residual is not None and 0 <= residual <= RESIDUAL_BOUND
    return Check(claim, passed, f"0 … {RESIDUAL_BOUND} bytes", str(residual))


def _compare_transferred(moved: MigrationBytes, read: int) -> Check:
    """Over multifd QEMU counts the headers of its packets too, and the device's configuration."""
    counted = moved.vfio_transferred or 0
    if not moved.saves_by_threads:
        return check_equal("query-migrate's vfio.transferred equals them", read, counted)
    claim = "query-migrate's vfio.transferred is these and what headers take"
    return Check(claim, 0 <= counted - read <= RESIDUAL_BOUND, f"{read} … {read + RESIDUAL_BOUND}", str(counted))


def compare_states(events: Sequence[str], truth: Truth, before: Truth, side: str) -> Check:
    """QEMU's VFIO_MIGRATION events against the device's own history, in QEMU's spelling.

    The device passes states on the way that QEMU did not ask for by name (STOP between RESUMING and RUNNING_P2P):
    QEMU's states must be a subsequence of the device's, which ends in the same one. That QEMU 11.1 gets ready for
    PRE_COPY_P2P is an event of the same kind (``pre-copy-p2p-prepare``) and no state of the device. That a QEMU which
    ended closed the device, as libvirt's source does, is none of its states either.
    """
    known = {change.sequence for change in before.history}
    history = [
        change.target.lower().replace("_", "-")
        for change in truth.history
        if change.sequence not in known and change.cause != "close"
    ]
    remaining = iter(history)
    passed = all(state in remaining for state in events if not state.endswith("-prepare")) and history[-1:] == list(
        events[-1:]
    )
    return Check(
        f"{side}: states by events are those of the device's history", passed, " ".join(history), " ".join(events)
    )


def check_console(side: str, console: str) -> Check:
    trouble = find_trouble(console)
    return Check(f"{side}: guest console is free of oopses", not trouble, "none", "; ".join(trouble) or "none")


def compare_with_outside(
    explained: ExplainedDowntime | UnexplainedDowntime, outside: OutsideDowntime | UnseenDowntime
) -> list[Check]:
    """The silence must last at least as long as no vCPU ran. No check if one of the two is missing.

    It may last longer: the guest has to be heard again after it was started.
    """
    if isinstance(explained, UnexplainedDowntime) or isinstance(outside, UnseenDowntime):
        return []
    least = find_standstill(explained) - tolerance(outside, explained)
    return [
        Check(
            "the outside hears nothing while no vCPU runs",
            outside.seconds >= least,
            f"silence of at least {least:.6f} s",
            f"{outside.seconds:.6f} s",
        )
    ]
