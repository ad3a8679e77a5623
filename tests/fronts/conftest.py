# SPDX-License-Identifier: GPL-2.0-or-later
"""Environments with the built wheel, for all tests of a front."""

from pathlib import Path

import pytest
from tests.fronts.environment import Environment, make_environment


@pytest.fixture(scope="session")
def with_pytest(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel, pytest and pytest-xdist."""
    return make_environment(tmp_path_factory.mktemp("pytest-front"), "pytest", ["pytest-xdist"])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory where pytest is at home: no file of the project's own is above it."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path
