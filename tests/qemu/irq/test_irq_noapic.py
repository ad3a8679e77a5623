# SPDX-License-Identifier: GPL-2.0-or-later
"""Where an IRQ thread runs in a guest whose serial port has no effective CPU (XT-PIC)."""

import pytest
from tests.qemu.irq.test_irq_conditions import require_expected

from switchover.irq.placement import set_mask
from switchover.irq.provoke import LeasedHosts
from switchover.irq.sources import require_serial_port
from switchover.irq.state import read_state
from switchover.record.errors import NotSupported


@pytest.mark.parametrize("name", ["no-effective-cpu", "fifo-60-on-the-thread", "fifo-40-on-the-hard-cpu"])
def test_a_condition(noapic: LeasedHosts, name: str) -> None:
    """The thread may run anywhere: it stays where it is, until a real-time task is in its way."""
    require_expected(noapic, name)


def test_a_mask_that_nobody_may_set(noapic: LeasedHosts) -> None:
    """The PIC has none: the kernel refuses it, which is told as what it is, and stands in the state beforehand."""
    number = require_serial_port(noapic.host).number
    with pytest.raises(NotSupported) as caught:
        set_mask(noapic.host, number, "1")
    assert caught.value.why.startswith("its chip sets no mask: it arrives where the chip sends it (E")
    interrupt = read_state(noapic.host).find_interrupt(number)
    assert interrupt is not None
    assert (interrupt.fixed, interrupt.why_fixed) == (True, "its chip sets no mask")
