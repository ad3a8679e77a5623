# SPDX-License-Identifier: GPL-2.0-or-later
"""Interrupts and DMA of devices after a migration: what was lost or is wrong is found."""

import pytest

from switchover.checks.device import check_fired, check_rates
from switchover.checks.dma import check_pages
from switchover.devices.guest_driver import InterruptCounts
from switchover.hosts.questions import Answer


def fire(hard: int, thread: int) -> Answer:
    """What came of an interrupt of vector 1, of which each had seen 7 before."""
    return Answer(0, f"1 3 4\n1 3 4\n1 3 {4 + hard}\n1 3 {4 + thread}\n")


def test_an_interrupt_that_arrives() -> None:
    """One interrupt of the last vector, in the primary handler and in the thread, passes."""
    check = check_fired(fire(1, 1))
    assert check.passed
    assert "vector 1" in check.name
    assert check.label == "device.interrupt, device 1"


@pytest.mark.parametrize(("fires", "observed"), [((0, 0), "(7, 7)"), ((1, 0), "(8, 7)"), ((0, 1), "(7, 8)")])
def test_an_interrupt_that_is_lost(fires: tuple[int, int], observed: str) -> None:
    """An interrupt that does not arrive in both fails, with what was seen."""
    check = check_fired(fire(*fires))
    assert not check.passed
    assert (check.expected, check.observed) == ("(8, 8)", observed)


def test_an_interrupt_that_fires_twice() -> None:
    """More interrupts than were raised are not in order either."""
    check = check_fired(fire(2, 2))
    assert not check.passed
    assert check.observed == "(9, 9)"


def test_counts_of_a_script_that_failed() -> None:
    """Counts that look right are not believed of a script that says it failed."""
    text = "1 7\n1 7\n1 8\n1 8\n"
    assert check_fired(Answer(0, text)).passed
    assert not check_fired(Answer(2, text)).passed


@pytest.mark.parametrize("text", ["0 5\n0 5\nsh: write error\n", ""])
def test_a_driver_that_refuses_an_interrupt(text: str) -> None:
    """A device that was reset behind its guest fails the check, with the driver's words, if it has any."""
    check = check_fired(Answer(1, text), 1)
    assert (check.label, check.passed) == ("device.interrupt, device 2", False)
    assert ("sh: write error" if text else "nothing") in check.observed


@pytest.mark.parametrize(
    ("raised", "hard", "thread", "passed"), [(9, 9, 9, True), (9, 8, 9, False), (9, 9, 8, False), (0, 0, 0, False)]
)
def test_interrupts(raised: int, hard: int, thread: int, passed: bool) -> None:
    """Handler and thread have seen the last one; none at all proves nothing."""
    counts = InterruptCounts((5,), (5,), (raised,), (hard,), (thread,))
    assert check_rates(counts).passed is passed


@pytest.mark.parametrize(("text", "passed"), [("ok 12", True), ("ok 0", False), ("wrong 12 1\n3 0 0x1 0x2", False)])
def test_dma(text: str, passed: bool) -> None:
    """All pages are whole, and there were some; a wrong page is named."""
    check = check_pages(Answer(0, text))
    assert check.passed is passed
    if text.startswith("wrong"):
        assert "page=3" in check.observed


def test_dma_that_cannot_be_verified() -> None:
    """A driver that says something else fails the check, with its words."""
    check = check_pages(Answer(1, "cat: dma_verify: No such file or directory"), 1)
    assert (check.label, check.passed) == ("device.dma, device 2", False)
    assert "No such file" in check.observed
