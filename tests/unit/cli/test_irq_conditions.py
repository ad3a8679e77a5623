# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover irq conditions``: guests that crash on the way."""

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from switchover.cli import irqconditions
from switchover.cli.irqconditions import BOOTS
from switchover.irq.conditions import Condition, choose_conditions
from switchover.irq.expectation import Agreement, ConditionResult
from switchover.record.errors import GuestCrashed

NAMES = ["one-effective-cpu", "mask-changes", "no-effective-cpu"]


class Guests:
    """``crashes``: how many times each condition makes its guest crash before it is run to its end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **crashes: int) -> None:
        self.log: list[str] = []
        self._crashes = {name.replace("_", "-"): count for name, count in crashes.items()}
        monkeypatch.setattr(irqconditions, "build_images", lambda names: dict.fromkeys(names))
        monkeypatch.setattr(irqconditions, "start_irq_guest", self._start)
        monkeypatch.setattr(irqconditions, "read_stage", lambda host, directory: None)
        monkeypatch.setattr(irqconditions, "run_condition", self._run)

    @contextlib.contextmanager
    def _start(self, image: Any, boot: str, qemu: str) -> Iterator[SimpleNamespace]:
        self.log.append(f"boot {boot}")
        yield SimpleNamespace(host=None)

    def _run(self, stage: Any, condition: Condition) -> ConditionResult:
        self.log.append(condition.name)
        if self._crashes.get(condition.name):
            self._crashes[condition.name] -= 1
            raise GuestCrashed("The guest crashed: Oops")
        one = condition
        return ConditionResult(one.name, one.row, "", one.boot, "", "6.12", None, Agreement.AS_EXPECTED, "")


def run() -> list[str]:
    arguments = argparse.Namespace(qemu="qemu", json=True)
    results = irqconditions._boot_and_run("guest", Path("/"), choose_conditions(NAMES), arguments)
    return [result.name for result in results]


def test_one_boot_for_each_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    guests = Guests(monkeypatch)
    assert run() == NAMES
    boots = ["boot threadirqs", "one-effective-cpu", "mask-changes", "boot threadirqs noapic", "no-effective-cpu"]
    assert guests.log == boots


def test_a_guest_that_crashes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Another one goes on with what is left, the condition that was not ended first; it is said."""
    guests = Guests(monkeypatch, mask_changes=1)
    assert run() == NAMES
    assert guests.log[:5] == ["boot threadirqs", "one-effective-cpu", "mask-changes", "boot threadirqs", "mask-changes"]
    assert f"another one goes on with what is left (2 of {BOOTS})" in capsys.readouterr().err


def test_guests_that_crash_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no accident: it ends with the crash."""
    guests = Guests(monkeypatch, one_effective_cpu=BOOTS)
    with pytest.raises(GuestCrashed):
        run()
    assert guests.log.count("boot threadirqs") == BOOTS
