# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests of the runner share."""

import pytest
from tests.unit.runner.examinations import read_truths

from switchover.runner.side import Side


@pytest.fixture
def truths_of_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """What devices know is asked of the devices of these tests, QEMU's log of the side's host."""
    monkeypatch.setattr(Side, "read_truths", read_truths)
    monkeypatch.setattr(
        Side,
        "read_truths_and_log",
        lambda side: (read_truths(side), side.guest.host.run(["cat", side.guest.files.log]).text),
    )
