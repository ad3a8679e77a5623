# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures for lab tests of the rooms themselves: what the testbed is made of; none is for ``cases/``."""

from typing import Any

import pytest

from switchover import Testbed
from switchover.lab.lab import Lab
from switchover.runner.fingerprint import collect_fingerprint
from switchover.runner.host_pair import HostPair, pair_of_lab


@pytest.fixture(scope="session")
def lab(testbed: Testbed) -> Lab:
    assert testbed.lab is not None
    return testbed.lab


@pytest.fixture(scope="session")
def pair(lab: Lab) -> HostPair:
    return pair_of_lab(lab)


@pytest.fixture(scope="session")
def fingerprint(lab: Lab, pair: HostPair) -> dict[str, Any]:
    return collect_fingerprint(lab, pair)
