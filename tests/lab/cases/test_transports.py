# SPDX-License-Identifier: GPL-2.0-or-later
"""Every way of the stream from the catalogue, with a device: sockets, files, TLS, and what is wrong with each."""

import pytest

from switchover import PlannedCase, Testbed, VerdictName, load_cases

NAMES = ("transports", "transport-faults", "tls", "save-and-restore")
CASES = [pytest.param(case, id=case.id) for name in NAMES for case in load_cases(name)]


@pytest.mark.parametrize("case", CASES)
def test_each_way(testbed: Testbed, case: PlannedCase) -> None:
    """It comes to what is expected; a guest that was saved has no downtime of a migration."""
    record = testbed.run(case)
    assert record.mismatch == "", f"{record.verdict}: {record.verdict.reason}"
    if record.verdict.name is VerdictName.COMPLETED:
        saved = record.settings["migration"]["transport"] == "file"
        assert (record.measured("downtime.explained") is None) is saved
        assert record.check("device.checksum", "device 1").passed
