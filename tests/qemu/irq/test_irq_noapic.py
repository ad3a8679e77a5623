# SPDX-License-Identifier: GPL-2.0-or-later
"""When an IRQ thread runs elsewhere than its hard handler: a guest whose serial port has no effective CPU (XT-PIC)."""

from tests.qemu.irq.conftest import IrqGuest

from switchover.irq.activations import Class
from switchover.irq.analysis import Placement
from switchover.irq.loads import start_hog
from switchover.irq.placement import set_thread_affinity

SERIAL = "ttyS0"
IRQ = 4
HARD = 0
"""The CPU of every hard handler: the PIC has no other."""


def place(guest: IrqGuest, cpu: int) -> None:
    """Let the thread run on a CPU once, and then again wherever it likes: it stays there."""
    (thread,) = guest.state().threads_of(IRQ)
    set_thread_affinity(guest.host, thread, str(cpu))
    guest.serial(3)
    set_thread_affinity(guest.host, thread, "0-3")


def test_nothing_is_local(noapic: IrqGuest) -> None:
    """Without an effective CPU the thread may run anywhere; on a stock kernel it stays on a wrong CPU for ever: 0 %."""
    place(noapic, 2)
    state = noapic.state()
    interrupt, (thread,) = state.find_interrupt(IRQ), state.threads_of(IRQ)
    assert interrupt is not None
    assert (interrupt.chip, thread.cpus) == ("XT-PIC", "0-3")
    result = noapic.record("noapic", SERIAL, lambda _: noapic.serial(20)).result
    assert result.verdict is Placement.REMOTE
    assert set(result.total.matrix) == {(HARD, 2)}
    assert result.total.classes[Class.PLACED_REMOTE] >= 20


def test_a_pinned_hog_of_lower_priority_drives_it_away(noapic: IrqGuest) -> None:
    """A local thread leaves for good when a FIFO-40 hog, lower than itself, is pinned to the CPU."""
    place(noapic, HARD)
    before = noapic.record("noapic-local", SERIAL, lambda _: noapic.serial(10)).result
    assert before.verdict is Placement.LOCAL
    with start_hog(noapic.host, str(HARD), policy="fifo", priority=40):
        during = noapic.record("noapic-fifo-40", SERIAL, lambda _: noapic.serial(10)).result
    after = noapic.record("noapic-after-fifo-40", SERIAL, lambda _: noapic.serial(10)).result
    assert during.verdict is Placement.REMOTE
    assert after.verdict is Placement.REMOTE


def test_a_hog_of_higher_priority_drives_it_home(noapic: IrqGuest) -> None:
    """With a FIFO-60 hog on the thread's CPU the scheduler prefers the CPU that wakes it: local, and stays so."""
    place(noapic, 2)
    with start_hog(noapic.host, "2", policy="fifo", priority=60):
        during = noapic.record("noapic-fifo-60", SERIAL, lambda _: noapic.serial(10)).result
    after = noapic.record("noapic-after-fifo-60", SERIAL, lambda _: noapic.serial(10)).result
    assert during.verdict is Placement.LOCAL
    assert after.verdict is Placement.LOCAL
