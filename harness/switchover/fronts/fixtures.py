# SPDX-License-Identifier: GPL-2.0-or-later
"""The fixtures of the plugin for pytest under short names, for suites that are about migration and nothing else.

``pytest_plugins = ["switchover.fronts.fixtures"]`` in the ``conftest.py`` of the root takes them.
"""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="session")
def inventory(switchover_inventory: Any) -> Any:
    """As ``switchover_inventory``."""
    return switchover_inventory


@pytest.fixture(scope="session")
def testbed(switchover_testbed: Any) -> Any:
    """As ``switchover_testbed``."""
    return switchover_testbed


@pytest.fixture(scope="session")
def lab(switchover_lab: Any) -> Any:
    """As ``switchover_lab``."""
    return switchover_lab


@pytest.fixture(scope="session")
def host_pair(switchover_host_pair: Any) -> Any:
    """As ``switchover_host_pair``."""
    return switchover_host_pair


@pytest.fixture(scope="session")
def source(switchover_source: Any) -> Any:
    """As ``switchover_source``."""
    return switchover_source


@pytest.fixture(scope="session")
def destination(switchover_destination: Any) -> Any:
    """As ``switchover_destination``."""
    return switchover_destination


@pytest.fixture
def guest(switchover_guest: Any) -> Any:
    """As ``switchover_guest``."""
    return switchover_guest


@pytest.fixture
def migration(switchover_migration: Any) -> Any:
    """As ``switchover_migration``."""
    return switchover_migration


@pytest.fixture
def migrated_guest(switchover_migrated_guest: Any) -> Any:
    """As ``switchover_migrated_guest``."""
    return switchover_migrated_guest


@pytest.fixture
def run_case(switchover_run_case: Callable[..., Any]) -> Callable[..., Any]:
    """As ``switchover_run_case``."""
    return switchover_run_case


@pytest.fixture
def irq_recorder(switchover_irq_recorder: Callable[..., Any]) -> Callable[..., Any]:
    """As ``switchover_irq_recorder``."""
    return switchover_irq_recorder
