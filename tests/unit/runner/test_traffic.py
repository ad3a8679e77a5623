# SPDX-License-Identifier: GPL-2.0-or-later
"""DMA and interrupts at a rate that went on through a migration: what was lost or is wrong is found."""

from collections.abc import Sequence
from typing import cast

import pytest
from tests.unit.scripted_host import ScriptedHost, answer_questions

from switchover.devices.reference import KnobValue, ReferenceDevice
from switchover.hosts.questions import Answer
from switchover.runner import guest_checks
from switchover.runner.guest_checks import check_dma, check_interrupts, fire_interrupt, mend_device


class Device:
    """A device whose rates can be set."""

    def __init__(self) -> None:
        self.set: list[tuple[str, KnobValue]] = []

    def set_knob(self, name: str, value: KnobValue) -> None:
        self.set.append((name, value))


def make_guest(**files: str) -> ScriptedHost:
    """A guest whose driver's files read so."""

    def answer(argv: Sequence[str]) -> str:
        return "".join(f"==> {name} <==\n{text}\n" for name, text in files.items())

    return ScriptedHost(answer)


def make_interrupts(raised: str, hard: str, thread: str) -> ScriptedHost:
    return make_guest(irq_hard="0 5", irq_thread="0 5", irq_raised=f"0 {raised}", irq_seen=f"0 {hard} {thread}")


@pytest.mark.parametrize(
    ("raised", "hard", "thread", "passed"),
    [("9", "9", "9", True), ("9", "8", "9", False), ("9", "9", "8", False), ("0", "0", "0", False)],
)
def test_interrupts(monkeypatch: pytest.MonkeyPatch, raised: str, hard: str, thread: str, passed: bool) -> None:
    """Once the device stops, handler and thread have seen the last one; none at all proves nothing."""
    monkeypatch.setattr(guest_checks, "_CAUGHT_UP_S", 0.1)
    device = Device()
    check = check_interrupts(make_interrupts(raised, hard, thread), cast(ReferenceDevice, device), [])
    assert check.passed is passed
    assert device.set == [("irq_rates", ())]


@pytest.mark.parametrize(("text", "passed"), [("ok 12", True), ("ok 0", False), ("wrong 12 1\n3 0 0x1 0x2", False)])
def test_dma(text: str, passed: bool) -> None:
    """All pages are whole, and there were some; a wrong page is named."""
    check = check_dma(Answer(0, text))
    assert check.passed is passed
    if text.startswith("wrong"):
        assert "page=3" in check.observed


def test_dma_that_cannot_be_verified() -> None:
    """A driver that says something else fails the check, with its words."""
    check = check_dma(Answer(1, "cat: dma_verify: No such file or directory"), 1)
    assert (check.label, check.passed) == ("device.dma, device 2", False)
    assert "No such file" in check.observed


def test_a_driver_that_refuses_an_interrupt() -> None:
    """A device that was reset behind its guest fails the check, with the driver's words; the harness goes on."""
    guest = ScriptedHost(lambda argv: answer_questions(argv[-1], lambda name, script: "0 5\n0 5\nsh: write error\n"))
    check = fire_interrupt(guest)
    assert not check.passed
    assert check.label == "device.interrupt, device 1"
    assert "sh: write error" in check.observed
    silent = ScriptedHost(lambda argv: answer_questions(argv[-1], lambda name, script: 1))
    assert (fire_interrupt(silent).passed, fire_interrupt(silent).observed) == (False, "nothing")


@pytest.mark.parametrize(("enabled", "mended"), [("1", False), ("0", True)])
def test_only_a_device_that_was_reset_is_mended(enabled: str, mended: bool) -> None:
    """The driver sets it up again if it raises no interrupts any more, and only then."""
    guest = make_guest(enabled=enabled)
    mend_device(guest)
    assert any("reinit" in command[-1] for command in guest.commands) is mended
