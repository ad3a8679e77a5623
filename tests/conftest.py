# SPDX-License-Identifier: GPL-2.0-or-later
"""Tiers by folder: every test under tests/unit, tests/qemu and tests/lab carries that marker."""

from pathlib import Path

import pytest

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        tier = item.path.relative_to(_HERE).parts[0]
        item.add_marker(getattr(pytest.mark, tier))
