# SPDX-License-Identifier: GPL-2.0-or-later
"""The kinds of ``switchover bench``."""

import argparse
import importlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from switchover.bench import labs
from switchover.bench.endurance import Turn
from switchover.bench.figures import render_spread, tell_turns
from switchover.cli import bench
from switchover.lab.accelerator import tcg
from switchover.record.errors import ExitCode, UsageError


@pytest.mark.parametrize("kind", bench.KINDS)
def test_each_kind_is_a_module_of_its_name(kind: str) -> None:
    """It is found by its name, and can be run."""
    module = importlib.import_module(f"switchover.bench.{kind.replace('-', '_')}")
    assert callable(module.run)
    assert module.__doc__


def test_each_module_is_a_kind() -> None:
    """None that can be run is forgotten in the table; those that others share are no kinds."""
    modules = [
        importlib.import_module(f"switchover.bench.{path.stem}") for path in Path(labs.__file__).parent.glob("*.py")
    ]
    found = {module.__name__.rpartition(".")[2].replace("_", "-") for module in modules if hasattr(module, "run")}
    assert found == bench.KINDS.keys()


def test_turns_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Failures are counted and named, and are what the exit code is for."""
    turns = [Turn(1, 2.0, ""), Turn(2, 4.0, "lost")]
    assert tell_turns("boot", turns) == ExitCode.NOT_AS_EXPECTED
    assert capsys.readouterr().out.splitlines() == ["2 × boot: 1 failures; " + render_spread([2, 4]), "  #2: lost"]
    assert tell_turns("boot", turns[:1]) == ExitCode.AS_EXPECTED


def read_arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return parser.parse_args(["labs", *words])


def test_the_second_lab_differs_in_what_was_asked_for() -> None:
    """Each option takes the place of the lab's own, an empty one too; what is not given stays."""
    own = replace(tcg(""), words="a=1")
    assert labs.change(own, read_arguments()) == own
    assert labs.change(own, read_arguments("--guest-append", "")) == replace(own, guest_words="")
    asked = read_arguments("--cpu", "max", "--accel", "tcg", "--append", "w", "--guest-append", "g")
    assert labs.change(own, asked) == replace(own, cpu="max", accel="tcg", words="w", guest_words="g")


def test_steps_of_two_labs() -> None:
    """By round: a step that one lab never had is missing, and saving a guest is in no case's time."""
    first = [{"boot": 10.0 + number, labs.SAVING: 30.0, "migrate": 2.0} for number in range(8)]
    second = [{"boot": 5.0 + number / 2, "migrate": 2.0 + (number % 2) / 2} for number in range(8)]
    lines = list(labs.render_arms(first, second))
    whole, boot, saving, migrate = (lines[start : start + 3] for start in range(0, 12, 3))
    assert "median 15.50 s" in whole[0]
    assert "0.500   95 %" in boot[2]
    assert "can't tell" not in boot[2]
    assert ("none" in saving[1], "missing" in saving[2]) == (True, True)
    assert "can't tell" in migrate[2]


def test_few_rounds_tell_nothing() -> None:
    """With fewer rounds than an interval needs nothing is told, however far apart the labs are."""
    assert "can't tell" in list(labs.render_arms([{"boot": 10.0}] * 5, [{"boot": 1.0}] * 5))[2]


def test_a_program_for_lab_hosts(tmp_path: Path) -> None:
    """A path is taken as it is; what is neither a program nor a toolchain is the user's mistake."""
    assert labs.find_program("/bin/sh", tmp_path) == "/bin/sh"
    with pytest.raises(UsageError, match="neither a program nor a toolchain"):
        labs.find_program("/dev/null", tmp_path)


def test_processor_time_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """What all processes of a lab took goes to the step that was on, a step that comes twice adds up."""
    took = iter([(1.0, 1.0), (2.0, 1.0), (5.0, 2.0), (6.0, 2.0), (6.0, 6.0)])
    times = SimpleNamespace(cpu_times=lambda: SimpleNamespace(**dict(zip(("user", "system"), next(took), strict=True))))
    monkeypatch.setattr(labs, "lab_processes", lambda file: [times])
    processors = labs.ProcessorTime(cast(Any, SimpleNamespace(file=None)))
    for step in ("boot", "migrate", "boot", ""):
        processors.step(step)
    assert processors.seconds == {"boot": 8.0, "migrate": 1.0}
