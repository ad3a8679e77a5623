# SPDX-License-Identifier: GPL-2.0-or-later
"""Warm guests: restored, given their devices, and migrated as one that was booted; and guests that cases share."""

from dataclasses import replace

import pytest
from tests.lab.case_runner import CaseRunner
from tests.lab.standard import DEVICE, PRE_COPY_OFF, PRE_COPY_ON

from switchover import GuestSpec, VerdictName, build_case


@pytest.mark.quick
def test_a_restored_guest_is_as_good_as_one_that_booted(run_case: CaseRunner) -> None:
    """Both complete with the same checks and bytes; the restored one has booted for nobody, and the record says so."""
    cold = run_case.alone(build_case("cold", guest=GuestSpec(start="cold"), device=DEVICE))
    warm = [run_case.alone(case) for case in (PRE_COPY_OFF, PRE_COPY_ON)]
    for record in (cold, *warm):
        assert (record.verdict.name, record.mismatch) == (VerdictName.COMPLETED, "")
    assert [check.label for check in warm[1].checks] == [check.label for check in cold.checks]
    assert warm[1].measured("bytes.vfio.precopy") == cold.measured("bytes.vfio.precopy")
    assert cold.fingerprint["guest"] == {"start": "cold", "migration": 1}
    for record in warm:
        assert record.fingerprint["guest"]["start"] == "warm"
        assert record.fingerprint["guest"]["held"] is True, "it was saved before it had keys and an address"
        assert "guest boot" not in record.seconds
    # not by their boot ids: the kernel makes one when it is first read, which is after the restore
    canaries = {record.check("guest.canary").expected for record in warm}
    assert len(canaries) == 2, "each repeat has memory of its own"


@pytest.mark.quick
def test_cases_share_a_guest(run_case: CaseRunner) -> None:
    """The second case goes on with the guest where the first one left it, the other way, and with another device in the
    place of the first one's, which offers something else; its record is as complete as any.
    """
    first, second, third = (run_case(case) for case in (PRE_COPY_ON, PRE_COPY_OFF, PRE_COPY_OFF))
    number = first.fingerprint["guest"]["migration"]
    assert [record.fingerprint["guest"]["migration"] - number for record in (second, third)] == [1, 2]
    for record, precopy in ((first, PRE_COPY_ON.source.references[0].knobs.initial_bytes), (second, 0), (third, 0)):
        assert (record.verdict.name, record.mismatch) == (VerdictName.COMPLETED, "")
        assert record.measured("bytes.vfio.precopy") == precopy
        assert record.check("guest.connection-survives").passed
    assert first.fingerprint["source"] == third.fingerprint["source"] == second.fingerprint["destination"]
    assert (run_case.directory / "source.trace").stat().st_size > 0
    assert (run_case.directory / "destination.qmp.jsonl").stat().st_size > 0


def test_a_new_login_after_the_migration(run_case: CaseRunner) -> None:
    """Where that is asked for, the guest also lets in somebody who was not there before."""
    record = run_case(replace(PRE_COPY_ON, id="login-after", login_after=True, heartbeat_us=0))
    assert record.check("guest.new-login").passed
