# SPDX-License-Identifier: GPL-2.0-or-later
"""Ways of the stream from the catalogue, with a device: sockets, files, TLS, and what is wrong with each."""

import pytest
from tests.lab.case_runner import CaseRunner
from tests.lab.standard import load_quiet, take_one_of_each
from tests.lab.verdicts import require_right

from switchover import VerdictName

NAMES = ("transports", "transport-faults", "tls", "save-and-restore")
MORE = (
    "transports: way=unix,migration.capabilities.multifd=off",
    "transports: way=tcp-tls,migration.capabilities.multifd=on",
    "save-and-restore: file=stream",
    "save-and-restore: file=mapped-ram",
)
"""Ways that complete, of which each is another."""
CASES = take_one_of_each(load_quiet(*NAMES), *MORE)


@pytest.mark.parametrize("identity", CASES)
def test_each_way(run_case: CaseRunner, identity: str) -> None:
    """It comes to what is expected; a guest that was saved has no downtime of a migration."""
    record = run_case(CASES[identity])
    require_right(CASES[identity], record)
    if record.verdict.name is VerdictName.COMPLETED:
        saved = record.settings["migration"]["transport"] == "file"
        assert (record.measured("downtime.explained") is None) is saved
        assert record.check("device.checksum", "device 1").passed
