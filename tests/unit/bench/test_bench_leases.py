# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover bench leases``: that it would notice a double use, and a case that is lost."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from switchover.bench import leases
from switchover.bench.leases import is_running, mark, measure_double_uses, measure_speed_up
from switchover.record.errors import NotReady
from switchover.runner.leases.protocol import Lease


class Careless:
    """A backend that gives everything to everybody."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        pass

    def acquire(self, choices: Any, timeout_s: float, *others: Any) -> Lease:
        return Lease(choices[0], lambda: None)


def test_no_double_uses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With holders that are killed every few leases, the locks let nobody in twice, and nobody waits for ever."""
    monkeypatch.setattr(leases, "_UNTIL_KILLED", 10)
    figures = measure_double_uses(60, tmp_path, 1)
    assert (figures.doubles, figures.leases >= 60, figures.kills >= 3) == (0, True, True)
    assert "0 double uses" in str(figures)


def test_double_uses_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without locks there are some, and they are counted."""
    monkeypatch.setattr(leases, "FlockBackend", Careless)
    monkeypatch.setattr(leases, "_HOLD_S", 0.02)
    assert measure_double_uses(40, tmp_path, 1).doubles > 0


def test_marks(tmp_path: Path) -> None:
    """One of a process that lives is a double use; one of a process that has been killed is none, gone or not."""
    with mark(tmp_path, ["a", "b"]) as double:
        assert not double
        with mark(tmp_path, ["b"]) as second:
            assert second
    assert list(tmp_path.iterdir()) == []
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert is_running(str(process.pid))
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not is_running(str(process.pid)), "a process that nobody has waited for"
    process.communicate()
    assert not is_running(str(process.pid))
    assert is_running("")


def test_speed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told in units of the number of pairs, and a case without a result is no figure."""
    monkeypatch.setattr(leases, "_SCALE", 0.001)
    found = measure_speed_up(2, tmp_path, 1)
    assert found.cases == 40
    assert found.factor == found.work_s / found.took_s
    assert f"= {found.factor / 2:.2f} K" in str(found)
    monkeypatch.setattr(leases, "run_jobs", lambda *arguments: None)
    with pytest.raises(NotReady, match="lost"):
        measure_speed_up(1, tmp_path, 1)
