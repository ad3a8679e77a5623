# SPDX-License-Identifier: GPL-2.0-or-later
"""Which guests fit a condition, and sources that fire as they are told; the rest is for guests (tests/qemu/irq)."""

from pathlib import Path

import pytest
from tests.unit.scripted_host import ScriptedHost

from switchover.hosts.local import LocalHost
from switchover.irq.conditions import choose_conditions
from switchover.irq.provoke import Stage, read_stage
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
    stage = Stage(ScriptedHost(lambda argv: ""), Path(), "6.12.1 #1", cmdline, online)
    assert stage.find_misfit(condition) == why


def test_a_guest_without_our_program() -> None:
    with pytest.raises(NotSupported, match="has no switchover-hog"):
        read_stage(ScriptedHost(lambda argv: 127), Path())


def test_a_gpio_line_changes_each_time(tmp_path: Path) -> None:
    """Each write is another level, so that it is an edge, and the last leaves the line as it was; from each CPU."""
    path = tmp_path / "pull"
    path.write_text("pull-down\n")
    log = tmp_path / "log"
    line = GpioLine(5, str(path))
    # what is written, and where, is kept by a function in place of the program that goes to a CPU
    line._FIRE = f'taskset() {{ printf "%s " "$1" >>{log}; shift; "$@"; cat {path} >>{log}; }}\n' + GpioLine._FIRE
    line.fire(LocalHost(), 5, (0, 2), 0)
    assert log.read_text().splitlines() == ["1 pull-up", "4 pull-down"] * 3
