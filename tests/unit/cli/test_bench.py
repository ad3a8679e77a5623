# SPDX-License-Identifier: GPL-2.0-or-later
"""The kinds of ``switchover bench``."""

import importlib
from pathlib import Path

import pytest

from switchover.cli import bench
from switchover.cli.bench.figures import render_spread, tell_turns
from switchover.record.errors import ExitCode
from switchover.run.endurance import Turn


@pytest.mark.parametrize("kind", bench.KINDS)
def test_each_kind_is_a_module_of_its_name(kind: str) -> None:
    """It is found by its name, and can be run."""
    module = importlib.import_module(f"{bench.__name__}.{kind.replace('-', '_')}")
    assert callable(module.run)
    assert module.__doc__


def test_each_module_is_a_kind() -> None:
    """None is forgotten in the table; those that others share are no kinds."""
    names = {path.stem.replace("_", "-") for path in Path(bench.__file__).parent.glob("*.py")}
    assert names - {"--init--", "figures", "repeats"} == bench.KINDS.keys()


def test_turns_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Failures are counted and named, and are what the exit code is for."""
    turns = [Turn(1, 2.0, ""), Turn(2, 4.0, "lost")]
    assert tell_turns("boot", turns) == ExitCode.NOT_AS_EXPECTED
    assert capsys.readouterr().out.splitlines() == ["2 × boot: 1 failures; " + render_spread([2, 4]), "  #2: lost"]
    assert tell_turns("boot", turns[:1]) == ExitCode.AS_EXPECTED
