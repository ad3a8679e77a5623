# SPDX-License-Identifier: GPL-2.0-or-later
"""Examples in docstrings say what the code does."""

import doctest
import importlib
from pathlib import Path

import pytest

import switchover

_ROOT = Path(switchover.__file__).parent
MODULES = sorted(
    ".".join(("switchover", *path.relative_to(_ROOT).with_suffix("").parts))
    for path in _ROOT.rglob("*.py")
    if "\n    >>> " in path.read_text() or "\n>>> " in path.read_text()
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    """Each example of the module gives what the docstring says."""
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0
    assert results.failed == 0
