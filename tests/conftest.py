# SPDX-License-Identifier: GPL-2.0-or-later
"""Tiers by folder: every test under tests/unit, tests/qemu, tests/lab and tests/fronts carries that marker.

A test of the tiers qemu, lab and fronts with the marker ``quick`` is in the quick set: ``-m "unit or quick"``, as
``switchover test`` has it.
"""

from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest

from switchover.cli.test import list_images
from switchover.lab.recipes import is_compiled

_HERE = Path(__file__).parent
_WEIGHTS = {"unit": 1, "qemu": 100, "lab": 300, "fronts": 100}
"""How long a test of a tier takes, about, against one of another."""


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, None, None]:
    """Markers come before others choose by them; where files run side by side, the longest of these start first."""
    for item in items:
        tier = _find_tier(item)
        item.add_marker(getattr(pytest.mark, tier))
        _require_fitting(item, tier)
    yield
    if hasattr(config, "workerinput"):  # a process of pytest-xdist, which hands out files in this order
        order = order_files([(str(item.path), _find_tier(item)) for item in items])
        items.sort(key=lambda item: order.index(str(item.path)))


def order_files(tests: Sequence[tuple[str, str]]) -> list[str]:
    """Files, those first that take longest by the number of their tests. ``tests``: file and tier of each."""
    times: Counter[str] = Counter()
    for file, tier in tests:
        times[file] += _WEIGHTS.get(tier, 1)
    return [file for file, _ in times.most_common()]


def _find_tier(item: pytest.Item) -> str:
    return item.path.relative_to(_HERE).parts[0]


def _require_fitting(item: pytest.Item, tier: str) -> None:
    """What a test takes is among what is looked for, and built, before anything starts; the quick set compiles nothing.

    :raises pytest.UsageError: it is not so
    """
    for name in {name for mark in item.iter_markers("toolchains") for name in mark.args}:
        if name not in list_images([tier], everything=True):
            raise pytest.UsageError(
                f"{item.nodeid} takes {name!r}, of which list_images() of cli/test.py knows nothing"
            )
        if is_compiled(name) and any(item.iter_markers("quick")):
            raise pytest.UsageError(f"{item.nodeid} is in the quick set and takes {name!r}, which is compiled")
