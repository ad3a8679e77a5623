# SPDX-License-Identifier: GPL-2.0-or-later
"""Reference devices as the guest sees them: their state is the one from before, and their interrupts arrive."""

from collections.abc import Iterator

from switchover.checks.evidence import Evidence, Whereabouts
from switchover.checks.rule import LIVES, NO_REGISTERS, CheckRule
from switchover.devices.guest_driver import GuestView, InterruptCounts, parse_fired
from switchover.guests.capabilities import DEVICE
from switchover.hosts.questions import Answer
from switchover.record.checks import CheckId, name_device
from switchover.record.measurement import Check, check_equal, make_check
from switchover.scenarios.case import Case


def compare_views(old: GuestView, new: GuestView, number: int, *, loads: int) -> list[Check]:
    """A device before and after the migration, which has loaded its state so many times since."""
    device = name_device(number)
    claim = f"device generation is {'one more' if loads == 1 else 'as before'}"
    return [
        check_equal(CheckId.DEVICE_GENERATION, old.generation + loads, new.generation, device, claim=claim),
        check_equal(CheckId.DEVICE_SCRATCH, old.scratch, new.scratch, device),
        check_equal(CheckId.DEVICE_SEED, old.seed, new.seed, device),
        check_equal(CheckId.DEVICE_CHECKSUM, old.checksum, new.checksum, device),
        check_equal(CheckId.DEVICE_CHECKSUM_BY_GUEST, new.checksum, new.checksum_expected, device),
    ]


_LOST_BY_RESET = (CheckId.DEVICE_GENERATION, CheckId.DEVICE_SCRATCH, CheckId.DEVICE_SEED, CheckId.DEVICE_CHECKSUM)
"""What is about the state that a device had; of a new one the guest can still tell whether its checksum is right."""


def _compare(evidence: Evidence) -> Iterator[Check]:
    """Of a device that the guest has. One that was reset, or unplugged and plugged in, has another state."""
    if evidence.asked.reply is None:
        return
    loads = 1 if evidence.guest is Whereabouts.ARRIVED else 0
    views = evidence.asked.reply.answers.devices
    numbers = range(len(views)) if evidence.asked.present is None else evidence.asked.present
    for number, new in zip(numbers, views, strict=True):
        is_new = evidence.asked.was_reset or number in evidence.asked.renewed
        for check in compare_views(evidence.before.devices[number], new, number, loads=loads):
            if check.id not in _LOST_BY_RESET or not is_new:
                yield check


def _check_mended(evidence: Evidence) -> Iterator[Check]:
    """A check only of a device that the driver could not set up again."""
    for number, why in evidence.asked.reply.not_mended.items() if evidence.asked.reply else ():
        yield make_check(CheckId.DEVICE_REINITIALISED, False, "yes", why, name_device(number))


def _check_fired(evidence: Evidence) -> Iterator[Check]:
    for number, answer in evidence.asked.reply.fired.items() if evidence.asked.reply else ():
        yield check_fired(answer, number)


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


def _check_rates(evidence: Evidence) -> Iterator[Check]:
    for number, counts in evidence.asked.reply.at_a_rate.items() if evidence.asked.reply else ():
        yield check_rates(counts, number)


def check_rates(counts: InterruptCounts, number: int = 0) -> Check:
    """The handlers have seen the last interrupt of each vector; none at all proves nothing."""
    passed = counts.seen == counts.raised and sum(counts.raised) > 0
    which = CheckId.DEVICE_INTERRUPTS_AT_A_RATE
    return make_check(which, passed, f"raised {counts.raised}", f"seen {counts.seen}", name_device(number))


def _has_devices(case: Case) -> bool:
    return bool(case.source.references)


def _interrupts(case: Case) -> bool:
    return any(device.knobs.irq_rates for side in (case.source, case.destination) for device in side.references)


CHECKS = (
    CheckRule((CheckId.DEVICE_REINITIALISED,), _check_mended, LIVES),
    CheckRule(
        (*_LOST_BY_RESET, CheckId.DEVICE_CHECKSUM_BY_GUEST),
        _compare,
        LIVES,
        DEVICE,
        _has_devices,
        dict.fromkeys((*_LOST_BY_RESET, CheckId.DEVICE_CHECKSUM_BY_GUEST), NO_REGISTERS),
    ),
    CheckRule((CheckId.DEVICE_INTERRUPTS_AT_A_RATE,), _check_rates, LIVES, DEVICE, _interrupts),
    CheckRule(
        (CheckId.DEVICE_INTERRUPT,),
        _check_fired,
        LIVES,
        DEVICE,
        _has_devices,
        {CheckId.DEVICE_INTERRUPT: NO_REGISTERS},
    ),
)
