# SPDX-License-Identifier: GPL-2.0-or-later
"""Where an IRQ thread runs in a guest whose serial port has no effective CPU (XT-PIC)."""

import pytest
from tests.qemu.irq.test_irq_conditions import require_expected

from switchover.irq.provoke import LeasedHosts


@pytest.mark.parametrize("name", ["no-effective-cpu", "fifo-60-on-the-thread", "fifo-40-on-the-hard-cpu"])
def test_a_condition(noapic: LeasedHosts, name: str) -> None:
    """The thread may run anywhere: it stays where it is, until a real-time task is in its way."""
    require_expected(noapic, name)
