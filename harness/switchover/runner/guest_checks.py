# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest is asked before and after a migration, and what must hold between the two answers."""

import random
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from switchover.devices.reference import (
    ENABLE_DMA,
    FIRE,
    READ_VIEW,
    VERIFY_DMA,
    GuestDriver,
    GuestView,
    InterruptCounts,
    ReferenceDevice,
    Truth,
    ask_devices_taken,
    find_driven,
    parse_dma_verification,
    parse_fired,
    parse_view,
    write_state,
)
from switchover.guests.capabilities import LAB_CAPABILITIES, GuestCapabilities, Need
from switchover.guests.console import find_trouble
from switchover.hosts.host import Host
from switchover.hosts.questions import Answer, ask_together
from switchover.hosts.waiting import Invariant, wait_until
from switchover.migration.bytes import RESIDUAL_BOUND, MigrationBytes
from switchover.record.checks import CheckId, name_device
from switchover.record.errors import CommandFailed, Deadline
from switchover.record.measurement import Check, check_equal, make_check
from switchover.record.units import MIB
from switchover.scenarios.case import DeviceSpec


@dataclass(frozen=True)
class GuestAnswers:
    """``boot_id`` tells one boot of a guest's kernel from all others; ``canary`` is the digest of what was put into
    its memory; ``devices`` in the order of their slots. What the guest lacks the ``means`` for is empty.
    """

    boot_id: str
    canary: str
    devices: tuple[GuestView, ...]
    means: GuestCapabilities = LAB_CAPABILITIES
    functions: tuple[str, ...] = ()
    """PCI functions that were passed through, ``8086:10d3 e1000e``, with the drivers that they have in the guest."""


PLACE_CANARY = "place-canary"
TAKEN = "devices-taken"
"""Questions whose failure tells what a guest of the user lacks."""


class Unanswered(CommandFailed):
    """Of what a guest was asked or told in an exchange, one failed; ``question``: its name."""

    def __init__(self, what: str, why: str, question: str) -> None:
        super().__init__(what, why=why)
        self.question = question


@dataclass(frozen=True)
class GuestReply:
    """What a guest answered to one exchange; ``fired``: by device, what came of an interrupt that it was to raise, and
    ``dma``: what its driver says of the pages that it wrote, each as text with its exit status.
    """

    answers: GuestAnswers
    fired: Mapping[int, Answer] = field(default_factory=dict)
    dma: Mapping[int, Answer] = field(default_factory=dict)


def ask_guest(
    guest: Host,
    devices: int = 1,
    means: GuestCapabilities = LAB_CAPABILITIES,
    functions: Sequence[str] = (),
    *,
    fire: Sequence[int] = (),
    dma: Sequence[int] = (),
    first: Mapping[str, str] | None = None,
) -> GuestReply:
    """What the guest says of itself and of its devices, in one exchange. ``functions``: ids of the PCI functions that
    were passed through. ``fire``: numbers of devices that are to raise an interrupt; ``dma``: of those whose
    pages are verified. ``first``: scripts that are run before.

    :raises Unanswered: the guest could not say it, or one of ``first`` failed
    """
    numbers = range(devices if means.has_device else 0)
    questions = dict(first or {})
    if Need.BOOT_ID in means.has:
        questions["boot"] = f"cat {Need.BOOT_ID}"
    if means.has_canary:
        questions["canary"] = f"{means.digest} <{means.canary}"
    questions |= {f"device-{number}": f"{find_driven(number)} {READ_VIEW}" for number in numbers}
    if functions and Need.PCI in means.has:
        questions["functions"] = _LIST_FUNCTIONS
    required = list(questions)
    questions |= {f"fire-{number}": f"{find_driven(number)} {FIRE}" for number in fire if number in numbers}
    questions |= {f"dma-{number}": f"{find_driven(number)} {VERIFY_DMA}" for number in dma if number in numbers}
    told = ask_together(guest, questions, timeout=_EXCHANGE_S)
    if failed := [name for name in required if not told[name].ok]:
        raise Unanswered(f"{guest.name} cannot answer: {failed[0]}", told[failed[0]].text.strip()[-300:], failed[0])
    answers = GuestAnswers(
        told["boot"].text.strip() if "boot" in told else "",
        told["canary"].text.split()[0] if "canary" in told else "",
        tuple(parse_view(told[f"device-{number}"].text) for number in numbers),
        means,
        parse_functions(told["functions"].text, functions) if "functions" in told else (),
    )
    fired, verified = (
        {number: told[f"{name}-{number}"] for number in asked if number in numbers}
        for name, asked in (("fire", fire), ("dma", dma))
    )
    return GuestReply(answers, fired, verified)


_EXCHANGE_S = 60


_LIST_FUNCTIONS = r"""
for path in /sys/bus/pci/devices/*; do
    read -r vendor <"$path/vendor" && read -r device <"$path/device" && driver=$(readlink "$path/driver")
    echo "${vendor#0x}:${device#0x} ${driver##*/}"
done
"""


def read_functions(guest: Host, wanted: Sequence[str]) -> tuple[str, ...]:
    """Of the guest's PCI functions those with ``wanted`` ids, with their drivers (``none``), in the order of slots."""
    return parse_functions(guest.run(["sh", "-c", _LIST_FUNCTIONS], timeout=60).text, wanted)


def parse_functions(text: str, wanted: Sequence[str]) -> tuple[str, ...]:
    """Lines ``VENDOR:DEVICE DRIVER`` of functions with ``wanted`` ids; one without a driver has ``none``. Pure."""
    found = (line.split() for line in text.splitlines())
    return tuple(f"{words[0]} {words[1] if words[1:] else 'none'}" for words in found if words and words[0] in wanted)


def wait_for_functions(guest: Host, wanted: Sequence[str], invariants: Sequence[Invariant]) -> None:
    """Until the guest has seen what was plugged in, and its drivers have had a look at it.

    :raises Deadline: it has not
    """
    seen: list[tuple[str, ...]] = []

    def is_settled() -> bool:
        seen.append(read_functions(guest, wanted))
        return len(seen[-1]) >= len(wanted) and seen[-2:] == seen[-1:] * 2

    wait_until("the guest to see its PCI functions", is_settled, timeout=30, invariants=invariants, poll=0.5)


def compare_functions(wanted: Sequence[str], before: GuestAnswers, after: GuestAnswers) -> list[Check]:
    """``wanted``: ids of what was passed through. A guest may see more of the same kind."""
    if not wanted or Need.PCI not in after.means.has:
        return []
    missing = [numbers for numbers in dict.fromkeys(wanted) if not _sees(after, numbers, wanted.count(numbers))]
    return [
        make_check(CheckId.GUEST_PCI_FUNCTIONS, not missing, ", ".join(wanted), ", ".join(after.functions) or "none"),
        check_equal(CheckId.GUEST_PCI_DRIVERS, ", ".join(before.functions), ", ".join(after.functions)),
    ]


def _sees(answers: GuestAnswers, numbers: str, count: int) -> bool:
    return sum(seen.startswith(f"{numbers} ") for seen in answers.functions) >= count


def write_canary(means: GuestCapabilities) -> str:
    """A script that fills a MiB of the guest's memory with what no other guest has.

    Guests that were restored from one file may draw the same numbers: hence a word of the harness before them.
    """
    return f"{{ echo {secrets.token_hex(32)}; head -c {_CANARY_BYTES} /dev/urandom; }} >{means.canary}"


def set_clock() -> str:
    """A script for a guest that was restored, and goes on at the time when it was saved: the controller's time."""
    return f"date -u -s @{round(time.time())}"


_CANARY_BYTES = 1 * MIB


def prepare_guest(
    guest: Host,
    devices: Sequence[DeviceSpec],
    means: GuestCapabilities,
    functions: Sequence[str] = (),
    *,
    restored: bool = False,
    awaits: bool = False,
    canary: bool = True,
) -> GuestReply:
    """Before the first migration, in one exchange: a canary, each device with a state that no other repeat has, DMA
    where it is wanted; and what the guest says of all this then.

    ``restored``: its clock is set; ``awaits``: its driver may still have to take the devices; ``canary``: it has none.

    :raises Unanswered: one of these could not be done, with the guest's words
    """
    generator = random.Random()
    first: dict[str, str] = {}
    if restored and not means.lacks((Need.CLOCK, Need.ROOT)):
        first["clock"] = set_clock()
    if canary and means.has_canary:
        first[PLACE_CANARY] = write_canary(means)
    if means.has_device and awaits:
        first[TAKEN] = ask_devices_taken(len(devices), _PROBE_TIMEOUT_S)
    for number, device in enumerate(devices if means.has_device else ()):
        scratch = [generator.getrandbits(64) for _ in range(16)]
        first[f"seed-{number}"] = find_driven(number) + write_state(scratch, generator.getrandbits(64))
        if device.knobs.dma_pages_per_sec:
            first[f"enable-dma-{number}"] = find_driven(number) + ENABLE_DMA
    return ask_guest(guest, len(devices), means, functions, first=first)


_PROBE_TIMEOUT_S = 30


def reinitialise(guest: Host, number: int = 0) -> list[Check]:
    """Let the guest's driver set a device up again that was reset behind its back; a check only if it cannot."""
    try:
        GuestDriver(guest, number).reinitialise()
    except CommandFailed as error:
        why = error.why or error.what
        return [make_check(CheckId.DEVICE_REINITIALISED, False, "yes", why, name_device(number))]
    return []


def mend_device(guest: Host, number: int = 0) -> None:
    """Set a device up again if it was reset; what that comes to shows when it is used."""
    if not GuestDriver(guest, number).is_enabled():
        reinitialise(guest, number)


def fire_interrupt(guest: Host, number: int = 0) -> Check:
    """Let a device raise one interrupt and see it arrive, in the primary handler and in the thread: one, so that the
    device must raise none at a rate meanwhile.
    """
    return check_fired(ask_together(guest, {"fire": f"{find_driven(number)} {FIRE}"})["fire"], number)


def check_fired(answer: Answer, number: int = 0) -> Check:
    """``answer``: to :data:`FIRE`. A guest's driver refuses where the device was reset behind it."""
    which, device = CheckId.DEVICE_INTERRUPT, name_device(number)
    try:
        fired = parse_fired(answer.text)
    except ValueError:
        return make_check(which, False, "one more of each", answer.text.strip()[-300:] or "nothing", device)
    wanted = (fired.before[0] + 1, fired.before[1] + 1)
    claim = f"interrupt of vector {fired.vector} fires (primary handler, thread)"
    return make_check(which, answer.ok and fired.after == wanted, str(wanted), str(fired.after), device, claim=claim)


_CAUGHT_UP_S = 10.0


def check_interrupts(guest: Host, device: ReferenceDevice, invariants: Sequence[Invariant], number: int = 0) -> Check:
    """Stop the device's interrupts at a rate, and see that the handlers have seen the last one of each vector."""
    device.set_knob("irq_rates", ())
    driver = GuestDriver(guest, number)
    which, subject = CheckId.DEVICE_INTERRUPTS_AT_A_RATE, name_device(number)

    def caught_up() -> InterruptCounts | None:
        counts = driver.read_interrupts()
        return counts if counts.seen == counts.raised else None

    try:
        counts = wait_until(which.say(subject), caught_up, timeout=_CAUGHT_UP_S, invariants=invariants)
    except Deadline:
        counts = driver.read_interrupts()
    passed = counts.seen == counts.raised and sum(counts.raised) > 0
    return make_check(which, passed, f"raised {counts.raised}", f"seen {counts.seen}", subject)


def check_dma(answer: Answer, number: int = 0) -> Check:
    """All that the device wrote to the guest's memory, on whichever host it did. ``answer``: to :data:`VERIFY_DMA`."""
    which, device = CheckId.DEVICE_DMA, name_device(number)
    try:
        found = parse_dma_verification(answer.text)
    except ValueError as error:
        return make_check(which, False, "all", str(error), device)
    passed = found.ok and found.sequence > 0
    observed = f"{found.wrong_pages} wrong pages of {found.sequence} written, first {found.first_wrong[:2]}"
    return make_check(which, passed, "all", "all" if passed else observed, device)


def compare_guest(before: GuestAnswers, after: GuestAnswers, *, loads: int) -> list[Check]:
    """The same guest with the same device states, so many ``loads`` (generations) later; of what it could say."""
    checks = [
        check_equal(which, old_words, new_words)
        for which, old_words, new_words in (
            (CheckId.GUEST_BOOT_ID, before.boot_id, after.boot_id),
            (CheckId.GUEST_CANARY, before.canary, after.canary),
        )
        if old_words
    ]
    for number, (old, new) in enumerate(zip(before.devices, after.devices, strict=True)):
        device = name_device(number)
        claim = f"device generation is {'one more' if loads == 1 else 'as before'}"
        checks += [
            check_equal(CheckId.DEVICE_GENERATION, old.generation + loads, new.generation, device, claim=claim),
            check_equal(CheckId.DEVICE_SCRATCH, old.scratch, new.scratch, device),
            check_equal(CheckId.DEVICE_SEED, old.seed, new.seed, device),
            check_equal(CheckId.DEVICE_CHECKSUM, old.checksum, new.checksum, device),
            check_equal(CheckId.DEVICE_CHECKSUM_BY_GUEST, new.checksum, new.checksum_expected, device),
        ]
    return checks


Truths = tuple[tuple[Truth, ...], tuple[Truth, ...]]
"""What the devices of the source and those of the destination know."""


def count_since(before: Sequence[Truth], after: Sequence[Truth]) -> dict[str, int]:
    """How much the counters of some devices grew, summed over the devices."""
    grown: dict[str, int] = {}
    for old, new in zip(before, after, strict=True):
        for name, count in new.counters.items():
            grown[name] = grown.get(name, 0) + count - old.counters.get(name, 0)
    return grown


def compare_bytes(
    moved: MigrationBytes, names: Sequence[str], before: Truths, after: Truths, functions: Sequence[str] = ()
) -> list[Check]:
    """QEMU's traces and counters against the counters of the devices.

    ``names``: QEMU's of the source's reference devices; none if nothing was traced. ``functions``: those of its PCI
    functions, which count nothing that could be asked for: of them QEMU's traces are taken.
    """
    traced = {device.device: device for device in moved.devices}
    checks = []
    for number, (name, old, new) in enumerate(zip(names, before[0], after[0], strict=False)):
        grown, seen = count_since([old], [new]), traced.get(name)
        checks += [
            check_equal(which, grown[counter], found, name_device(number))
            for which, counter, found in (
                (CheckId.BYTES_VFIO_PRECOPY, "precopy_bytes_read", seen and seen.precopy),
                (CheckId.BYTES_VFIO_STOP_COPY, "stop_copy_bytes_read", seen and seen.stop_copy),
            )
            if which is CheckId.BYTES_VFIO_PRECOPY or not (seen and seen.stop_copy is None)
        ]
    source, destination = (count_since(old, new) for old, new in zip(before, after, strict=True))
    read = source.get("precopy_bytes_read", 0) + source.get("stop_copy_bytes_read", 0)
    residual = moved.residual
    return [
        *checks,
        check_equal(CheckId.BYTES_VFIO_LOADED, read, destination.get("bytes_written", 0)),
        *_compare_transferred(moved, read, functions),
        *([] if residual is None and moved.multifd else [_check_residual(residual)]),
    ]


def _check_residual(residual: int | None) -> Check:
    passed = residual is not None and 0 <= residual <= RESIDUAL_BOUND
    return make_check(CheckId.BYTES_RESIDUAL, passed, f"0 … {RESIDUAL_BOUND} bytes", str(residual))


def _compare_transferred(moved: MigrationBytes, read: int, functions: Sequence[str]) -> Iterator[Check]:
    """``read``: from the reference devices. Of a PCI function that is saved by threads nobody knows how much it is.

    Over multifd QEMU counts the headers of its packets too, and the device's configuration.
    """
    counted = moved.vfio_transferred or 0
    for device in moved.devices:
        if device.device in functions:
            if device.stop_copy is None:
                return
            read += device.precopy + device.stop_copy
    which = CheckId.BYTES_VFIO_TRANSFERRED
    if moved.saves_by_threads:
        claim = "query-migrate's vfio.transferred is the bytes read and what headers take"
        passed, expected = 0 <= counted - read <= RESIDUAL_BOUND, f"{read} … {read + RESIDUAL_BOUND}"
        yield make_check(which, passed, expected, str(counted), claim=claim)
    else:
        yield check_equal(which, read, counted)


def compare_states(events: Sequence[str], truth: Truth, before: Truth, place: str) -> Check:
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
    return make_check(CheckId.DEVICE_STATES, passed, " ".join(history), " ".join(events), place)


def check_console(side: str, console: str) -> Check:
    trouble = find_trouble(console)
    return make_check(CheckId.GUEST_CONSOLE, not trouble, "none", "; ".join(trouble) or "none", side)
