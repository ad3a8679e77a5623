# SPDX-License-Identifier: GPL-2.0-or-later
"""What devices wrote to the guest's memory by DMA, and how QEMU came to know of it."""

from collections.abc import Iterator

from switchover.checks.evidence import DeviceEvidence, Evidence
from switchover.checks.rule import LIVES, CheckRule, make_device_rule
from switchover.devices.guest_driver import parse_dma_verification
from switchover.guests.capabilities import DEVICE
from switchover.hosts.questions import Answer
from switchover.migration.precopy import count_bitmaps
from switchover.record.checks import CheckId, name_device
from switchover.record.measurement import Check, make_check
from switchover.scenarios.case import BITMAP_PROPERTY, Case


def check_dirty_tracking(device: DeviceEvidence, case: Case) -> Iterator[Check]:
    """A device that writes goes on with it in the migration, and dirty bitmaps are asked for as its property says."""
    if device.spec.knobs.dma_pages_per_sec and not case.pauses_first:
        pages = device.grown("dma_pages_written")
        yield make_check(CheckId.DEVICE_DMA_GOES_ON, pages > 0, "some pages", f"{pages} pages", device.place)
    word = device.properties.get(BITMAP_PROPERTY)
    if word is None or not device.name or case.pauses_first:
        return
    running, stopped = count_bitmaps(device.trace)
    if word == "off":
        claim, passed = "dirty bitmaps are asked for only after the guest was stopped", not running and stopped > 0
    else:
        claim, passed = "dirty bitmaps are asked for while the guest runs", running > 0
    yield make_check(
        CheckId.DEVICE_DIRTY_BITMAPS,
        passed,
        f"{BITMAP_PROPERTY}={word}",
        f"{running} before, {stopped} after",
        device.place,
        claim=claim,
    )


def check_pages(answer: Answer, number: int = 0) -> Check:
    """All that the device wrote to the guest's memory, on whichever host it did. ``answer``: to :data:`VERIFY_DMA`."""
    which, device = CheckId.DEVICE_DMA, name_device(number)
    try:
        found = parse_dma_verification(answer.text)
    except ValueError as error:
        return make_check(which, False, "all", str(error), device)
    passed = found.ok and found.sequence > 0
    observed = f"{found.wrong_pages} wrong pages of {found.sequence} written, first {found.first_wrong[:2]}"
    return make_check(which, passed, "all", "all" if passed else observed, device)


def _make(evidence: Evidence) -> Iterator[Check]:
    for number, answer in evidence.asked.reply.dma.items() if evidence.asked.reply else ():
        yield check_pages(answer, number)


def _writes(case: Case) -> bool:
    return any(device.knobs.dma_pages_per_sec for side in (case.source, case.destination) for device in side.references)


CHECKS = (
    make_device_rule(CheckId.DEVICE_DMA_GOES_ON, CheckId.DEVICE_DIRTY_BITMAPS, make=check_dirty_tracking),
    CheckRule((CheckId.DEVICE_DMA,), _make, LIVES, DEVICE, _writes),
)
