# SPDX-License-Identifier: GPL-2.0-or-later
"""Which guests fit a condition, and sources that fire as they are told; the rest is for guests (tests/qemu/irq)."""

from pathlib import Path

import pytest
from tests.unit.scripted_host import ScriptedHost

from switchover.irq.conditions import choose_conditions
from switchover.irq.provoke import LeasedHosts, read_stage
from switchover.irq.sources import GpioLine
from switchover.record.errors import NotSupported


@pytest.mark.parametrize(
    ("name", "cmdline", "online", "why"),
    [
        ("mask-changes", "quiet threadirqs x=1", "0-3", ""),
        ("mask-changes", "quiet", "0-3", "it was not booted with threadirqs"),
        ("mask-changes", "threadirqs noapic", "0-3", "it was booted with noapic"),
        ("mask-changes", "threadirqs isolcpus=2", "0-3", "it was booted with isolcpus=2"),
        ("no-effective-cpu", "threadirqs", "0-3", "it was not booted with noapic"),
        ("boot-options", "threadirqs irqaffinity=1 isolcpus=2", "0-3", ""),
        ("mask-changes", "threadirqs", "0-1", "it has the CPUs 0-1, not 0-3"),
    ],
)
def test_which_guests_fit(name: str, cmdline: str, online: str, why: str) -> None:
    """Boot options that a condition wants, none that would change it, and its CPUs."""
    (condition,) = choose_conditions([name])
    stage = LeasedHosts(ScriptedHost(lambda argv: ""), Path(), "6.12.1 #1", cmdline, online)
    assert stage.find_misfit(condition) == why


def test_a_guest_without_our_program() -> None:
    with pytest.raises(NotSupported, match="has no switchover-hog"):
        read_stage(ScriptedHost(lambda argv: 127), Path())


def test_a_gpio_line_is_left_as_it_was() -> None:
    """An even number of changes, each from the next CPU, as a FIFO task where that is wanted."""
    host = ScriptedHost(lambda argv: "")
    GpioLine(5, "/a/pull").fire(host, 5, (0, 2), 40)
    assert host.commands == [["switchover-gpio", "pull", "/a/pull", "6", "40", "0", "2"]]
