# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest is told and asked before and after a migration, each in one exchange with it."""

import contextlib
import random
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from switchover.devices.guest_driver import (
    ENABLE_DMA,
    FIRE,
    READ_VIEW,
    VERIFY_DMA,
    GuestDriver,
    GuestView,
    InterruptCounts,
    ask_devices_taken,
    find_driven,
    parse_view,
    write_state,
)
from switchover.devices.reference import Knobs, ReferenceDevice
from switchover.guests.capabilities import LAB_CAPABILITIES, GuestCapabilities, Need
from switchover.hosts.host import Host
from switchover.hosts.questions import Answer, ask_together
from switchover.hosts.waiting import Invariant, wait_until
from switchover.record.errors import CommandFailed, Deadline
from switchover.record.units import MIB


@dataclass(frozen=True)
class GuestAnswers:
    """``boot_id`` tells one boot of a guest's kernel from all others; ``canary`` is the digest of what was put into
    its memory; ``devices`` in the order of their slots. What the guest lacks the ``capabilities`` for is empty.
    """

    boot_id: str
    canary: str
    devices: tuple[GuestView, ...]
    capabilities: GuestCapabilities = LAB_CAPABILITIES
    functions: tuple[str, ...] = ()
    """PCI functions that were passed through, ``8086:10d3 e1000e``, with the drivers that they have in the guest."""
    macs: tuple[str, ...] = ()
    """MAC addresses of its network interfaces, in lower case."""


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
    """What a guest answered when it was asked after a migration. All but ``answers`` is by the device's number."""

    answers: GuestAnswers
    fired: Mapping[int, Answer] = field(default_factory=dict)
    """What came of an interrupt that a device was to raise, to :data:`FIRE`."""
    dma: Mapping[int, Answer] = field(default_factory=dict)
    """What the driver says of the pages that a device wrote, to :data:`VERIFY_DMA`."""
    at_a_rate: Mapping[int, InterruptCounts] = field(default_factory=dict)
    """Interrupts of devices that raised them at a rate, once that was stopped."""
    not_mended: Mapping[int, str] = field(default_factory=dict)
    """Of devices that were reset, why the driver could not set one up again."""


def ask_guest(
    guest: Host,
    devices: int = 1,
    capabilities: GuestCapabilities = LAB_CAPABILITIES,
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
    numbers = range(devices if capabilities.has_device else 0)
    questions = dict(first or {})
    if Need.BOOT_ID in capabilities.has:
        questions["boot"] = f"cat {Need.BOOT_ID}"
    if capabilities.has_canary:
        questions["canary"] = f"{capabilities.digest} <{capabilities.canary}"
    questions |= {f"device-{number}": f"{find_driven(number)} {READ_VIEW}" for number in numbers}
    if functions and Need.PCI in capabilities.has:
        questions["functions"] = _LIST_FUNCTIONS
    if Need.NETWORK in capabilities.has:
        questions["macs"] = _LIST_MACS
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
        capabilities,
        parse_functions(told["functions"].text, functions) if "functions" in told else (),
        tuple(told["macs"].text.lower().split()) if "macs" in told else (),
    )
    fired, verified = (
        {number: told[f"{name}-{number}"] for number in asked if number in numbers}
        for name, asked in (("fire", fire), ("dma", dma))
    )
    return GuestReply(answers, fired, verified)


_EXCHANGE_S = 60
_LIST_MACS = """
for path in /sys/class/net/*/address; do read -r address <"$path" && echo "$address"; done; true
"""


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


def write_canary(capabilities: GuestCapabilities) -> str:
    """A script that fills a MiB of the guest's memory with what no other guest has.

    Guests that were restored from one file may draw the same numbers: hence a word of the harness before them.
    """
    return f"{{ echo {secrets.token_hex(32)}; head -c {_CANARY_BYTES} /dev/urandom; }} >{capabilities.canary}"


def set_clock() -> str:
    """A script for a guest that was restored, and goes on at the time when it was saved: the controller's time."""
    return f"date -u -s @{round(time.time())}"


_CANARY_BYTES = 1 * MIB


def prepare_guest(
    guest: Host,
    devices: Sequence[Knobs],
    capabilities: GuestCapabilities,
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
    if restored and not capabilities.lacks((Need.CLOCK, Need.ROOT)):
        first["clock"] = set_clock()
    if canary and capabilities.has_canary:
        first[PLACE_CANARY] = write_canary(capabilities)
    if capabilities.has_device and awaits:
        first |= ask_until_taken(len(devices))
    for number, knobs in enumerate(devices if capabilities.has_device else ()):
        scratch = [generator.getrandbits(64) for _ in range(16)]
        first[f"seed-{number}"] = find_driven(number) + write_state(scratch, generator.getrandbits(64))
        if knobs.dma_pages_per_sec:
            first[f"enable-dma-{number}"] = find_driven(number) + ENABLE_DMA
    return ask_guest(guest, len(devices), capabilities, functions, first=first)


_PROBE_TIMEOUT_S = 30


def ask_until_taken(count: int) -> dict[str, str]:
    """A question that the guest answers once its driver has taken so many devices."""
    return {TAKEN: ask_devices_taken(count, _PROBE_TIMEOUT_S)}


def wait_until_taken(guest: Host, count: int) -> None:
    """Until the guest's driver has taken so many devices. :raises Unanswered: it does not"""
    told = ask_together(guest, ask_until_taken(count), timeout=_EXCHANGE_S)[TAKEN]
    if not told.ok:
        raise Unanswered(f"{guest.name} does not take its {count} devices.", told.text.strip()[-300:], TAKEN)


def reinitialise(guest: Host, number: int = 0) -> str:
    """Let the guest's driver set a device up again that was reset behind its back; why it cannot, or empty."""
    try:
        GuestDriver(guest, number).reinitialise()
    except CommandFailed as error:
        return error.why or error.what
    return ""


def mend_device(guest: Host, number: int = 0) -> None:
    """Set a device up again if it was reset; what that comes to shows when it is used."""
    if not GuestDriver(guest, number).is_enabled():
        reinitialise(guest, number)


def fire_interrupt(guest: Host, number: int = 0) -> Answer:
    """Let a device raise one interrupt; the counts before and after it, as :data:`FIRE` tells them. The device must
    raise none at a rate meanwhile.
    """
    return ask_together(guest, {"fire": f"{find_driven(number)} {FIRE}"})["fire"]


_CAUGHT_UP_S = 10.0


def stop_interrupts(
    guest: Host, device: ReferenceDevice, invariants: Sequence[Invariant], number: int = 0
) -> InterruptCounts:
    """Stop a device's interrupts at a rate, and count them once the handlers have seen the last one of each vector; or
    as they are after a time in which they would have.
    """
    device.set_knob("irq_rates", ())
    driver = GuestDriver(guest, number)

    def caught_up() -> InterruptCounts | None:
        counts = driver.read_interrupts()
        return counts if counts.seen == counts.raised else None

    with contextlib.suppress(Deadline):
        return wait_until("the guest to see all interrupts", caught_up, timeout=_CAUGHT_UP_S, invariants=invariants)
    return driver.read_interrupts()
