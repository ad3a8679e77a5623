# SPDX-License-Identifier: GPL-2.0-or-later
"""When an IRQ thread runs elsewhere than its hard handler: a guest whose serial port has no effective CPU (XT-PIC)."""

from tests.qemu.irq.conftest import IrqGuest

from switchover.irq.activations import Class
from switchover.irq.analysis import Placement
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
