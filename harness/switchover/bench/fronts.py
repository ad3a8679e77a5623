# SPDX-License-Identifier: GPL-2.0-or-later
"""The same cases by the API, the command line, pytest and avocado: whether they say the same, and what each costs.

All four are programs of one environment with the built package, and use one lab in turns. What a front costs is the
time of its process outside the steps of repeats: what those take is the lab's.
"""

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from switchover.bench.figures import render_spread
from switchover.hosts import processes
from switchover.record.errors import CommandFailed, ExitCode, UsageError
from switchover.record.log import say
from switchover.record.record import Record
from switchover.record.rundir import RunDirectory

SCENARIOS = ("precopy", "precopy-toggle", "refusals")
"""Migrations that complete and that fail, and some that never start: twenty cases."""
_LONGEST_S = 3600.0
_USE_OF_API = """
import sys
from switchover import load_cases, open_lab
with open_lab() as testbed:
    for case in [case for scenario in sys.argv[1:] for case in load_cases(scenario)]:
        testbed.run(case, alone=True)
"""


@dataclass(frozen=True)
class Environment:
    """``python``: its interpreter. ``state``: where its programs keep the lab and runs (``XDG_STATE_HOME``)."""

    python: Path
    state: Path

    def run(self, words: Sequence[str], directory: Path, *, check: bool = False) -> float:
        """Seconds that ``python WORDS`` took, in a directory that has what it said afterwards."""
        variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        variables |= {"XDG_STATE_HOME": str(self.state), "PYTHONDONTWRITEBYTECODE": "1"}
        argv = ["env", f"--chdir={directory}", str(self.python), *words]
        start = time.monotonic()
        processes.run(argv, env=variables, timeout=_LONGEST_S, check=check, output=directory / "said.txt")
        return time.monotonic() - start

    def find_run(self, directory: Path) -> RunDirectory:
        """That of the last program, which avocado has in ``directory`` and all others among the runs."""
        files = [*directory.glob("results/*/switchover/run.json"), *self.state.glob("switchover/runs/*/run.json")]
        return RunDirectory(max(files, key=lambda file: file.stat().st_mtime).parent)


Words = Callable[[Path], list[str]]
"""Those behind ``python``, for a directory that is the front's own."""


def _make_pytest_words(directory: Path) -> list[str]:
    (directory / "pytest.ini").write_text("[pytest]\n")
    return ["-m", "pytest", *(f"switchover:{name}" for name in SCENARIOS)]


def _make_avocado_words(directory: Path) -> list[str]:
    options = ["--job-results-dir", str(directory / "results"), "--disable-sysinfo", "--max-parallel-tasks", "1"]
    return ["-m", "avocado", "run", *options, *(f"switchover:{name}" for name in SCENARIOS)]


FRONTS: Mapping[str, Words] = {
    "API": lambda directory: ["-c", _USE_OF_API, *SCENARIOS],
    "command line": lambda directory: ["-m", "switchover", "run", *SCENARIOS],
    "pytest": _make_pytest_words,
    "avocado": _make_avocado_words,
}
Said = tuple[str, tuple[str, ...], tuple[str, ...]]
"""Of a record: verdict, measurements with their units, and checks with what they came to."""


def run(arguments: argparse.Namespace, scratch: Path) -> int:
    """:raises UsageError: the environment has no such programs"""
    environment = Environment(arguments.env / "bin" / "python", scratch / "state")
    for module in ("switchover", "pytest", "avocado"):
        _require_module(environment, module, scratch)
    environment.run(["-m", "switchover", "lab", "up"], scratch, check=True)
    try:
        return _compare(environment, arguments.count, scratch)
    finally:
        environment.run(["-m", "switchover", "lab", "down", "--force"], scratch)


def _require_module(environment: Environment, module: str, scratch: Path) -> None:
    try:
        environment.run(["-c", f"import {module}"], scratch, check=True)
    except CommandFailed as error:
        raise UsageError(
            f"{environment.python} has no {module}.",
            fix="a virtual environment with the wheel of this tree and its extras: pip install '.[pytest,avocado]'",
        ) from error


def _compare(environment: Environment, rounds: int, scratch: Path) -> int:
    """Rounds in turns, and which front is first in turns, too."""
    said: dict[str, dict[str, list[Said]]] = {name: {} for name in FRONTS}
    costs: dict[str, list[float]] = {name: [] for name in FRONTS}
    order = list(FRONTS)
    for number in range(1, rounds + 1):
        for name in order:
            directory = scratch / f"{name.replace(' ', '-')}-{number}"
            directory.mkdir()
            took = environment.run(FRONTS[name](directory), directory)
            records = environment.find_run(directory).records()
            steps = sum(sum(record.seconds.values()) for record in records)
            costs[name].append((took - steps) / max(1, len(records)))
            say(f"#{number} {name}: {len(records)} cases in {took:.1f} s, of which {steps:.1f} s are steps of repeats")
            for record in records:
                said[name].setdefault(record.case, []).append(tell(record))
        order = [*order[1:], order[0]]
    for name, seconds in costs.items():
        print(f"{name:<12} a case costs {render_spread(seconds, 2)} besides its steps")
    differing = [line for name in list(FRONTS)[1:] for line in find_differing(said["API"], said[name], name)]
    print("\n".join(differing) or f"{len(said['API'])} cases: ids, verdicts, measurements and checks are equal in all")
    return ExitCode.NOT_AS_EXPECTED if differing else ExitCode.AS_EXPECTED


def tell(record: Record) -> Said:
    """What of a record must not depend on the front that ran it. Pure."""
    measured = {f"{entry.name} [{entry.unit}]" for entry in record.measurements}
    checks = {f"{check.id} {check.subject} {'passed' if check.passed else 'failed'}" for check in record.checks}
    return str(record.verdict.name), tuple(sorted(measured)), tuple(sorted(checks))


def find_differing(here: Mapping[str, Sequence[Said]], there: Mapping[str, Sequence[Said]], name: str) -> list[str]:
    """A line for each case in which a front does not say what the API says. Pure.

    >>> find_differing({"a": [("completed", (), ())]}, {"a": [("hung", (), ())], "b": []}, "pytest")
    ['pytest: a: hung, and not completed', 'pytest: b: one of the two has no such case']
    """
    lines = []
    for case in sorted({*here, *there}):
        mine, others = here.get(case), there.get(case)
        if not mine or not others:
            lines.append(f"{name}: {case}: one of the two has no such case")
            continue
        for one, other in zip(mine, others, strict=False):
            if one[0] != other[0]:
                lines.append(f"{name}: {case}: {other[0]}, and not {one[0]}")
            elif differing := {*one[1], *one[2]} ^ {*other[1], *other[2]}:
                lines.append(f"{name}: {case}: {', '.join(sorted(differing))}")
    return lines
