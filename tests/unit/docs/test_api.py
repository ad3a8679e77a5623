# SPDX-License-Identifier: GPL-2.0-or-later
"""The public names: they are there, docs/api.md has all of them, and its example without hosts runs as it stands.

Its other examples are run in the lab (``tests/lab/cases/test_api_page.py``).
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from tests.unit.builders import make_record
from tests.unit.runs import make_run

import switchover

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
SOURCE = Path(switchover.__file__).read_text(encoding="utf-8")


def test_public_names_are_there() -> None:
    """Each can be had, and type checkers, ``dir`` and ``__all__`` know the same."""
    branch = next(node for node in ast.parse(SOURCE).body if isinstance(node, ast.If))
    typed = {alias.asname for node in branch.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert typed - {"__version__"} == set(switchover.__all__) == set(dir(switchover)) - {"__version__"}
    assert [name for name in switchover.__all__ if getattr(switchover, name, None) is None] == []


def test_the_page_has_all_names() -> None:
    """One row for each public name, and none for what is not there."""
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted(switchover.__all__)


def test_importing_the_package_imports_nothing_else() -> None:
    """Names are looked up when they are used, and who has the package installed pays nothing."""
    script = "import sys, switchover; print([name for name in sys.modules if name.startswith('switchover.')])"
    assert run_python(["-c", script], ROOT) == "[]\n"


def test_the_example_without_hosts(tmp_path: Path) -> None:
    """It tells the last run, with a check that failed, and a recording."""
    *_, example = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    runs = tmp_path / "switchover" / "runs"
    record = make_record()
    check = replace(record.checks[0], passed=False, observed="another one")
    make_run(runs, [replace(record, checks=(check,))])
    name = "6.12-one-effective-cpu-0.trace.gz"
    shutil.copy(ROOT / "tests" / "unit" / "data" / "irq" / name, tmp_path / name)
    lines = run_python(["-c", example], tmp_path).splitlines()
    assert lines[0] == f"{record.case} #1: completed, downtime 250.0 ms"
    assert lines[1] == f"  {check.id}: expected {check.expected}, observed {check.observed}"
    assert lines[2].startswith(f"{name}: ")


def run_python(words: list[str], directory: Path) -> str:
    """With the package, and a state directory below ``directory``."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "harness"), "XDG_STATE_HOME": str(directory)},
    ).stdout
