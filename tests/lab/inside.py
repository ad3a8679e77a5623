# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures for lab tests of the rooms themselves: what the testbed is made of; none is for ``cases/``."""

from typing import Any

import pytest

from switchover import Testbed
from switchover.lab.lab import Lab
from switchover.run.fingerprint import collect_fingerprint
from switchover.run.pair import Pair, pair_of_lab


@pytest.fixture(scope="session")
def lab(testbed: Testbed) -> Lab:
    assert testbed.lab is not None
    return testbed.lab


@pytest.fixture(scope="session")
def pair(lab: Lab) -> Pair:
    return pair_of_lab(lab)


@pytest.fixture(scope="session")
def fingerprint(lab: Lab, pair: Pair) -> dict[str, Any]:
    return collect_fingerprint(lab, pair)
