# SPDX-License-Identifier: GPL-2.0-or-later
"""Warm guests: restored, given their devices, and migrated as one that was booted."""

from pathlib import Path
from typing import Any

from switchover.guests.warm import SavedGuests
from switchover.lab.release import list_leftovers
from switchover.record.record import Record, VerdictName
from switchover.record.rundir import make_run_directory
from switchover.report.terminal import render_repeat
from switchover.run.pair import Pair
from switchover.run.repeat import Observer, run_repeat
from switchover.run.standard import PRE_COPY_OFF, PRE_COPY_ON
from switchover.scenarios.case import Case, with_start


def test_two_cases_from_one_saved_guest(pair: Pair, fingerprint: dict[str, Any], tmp_path: Path) -> None:
    """Both complete with the checks of a cold guest's same case; one boot is for both, and the record says so."""
    directory = make_run_directory("warm", tmp_path)

    def run(case: Case, number: int, observer: Observer) -> Record:
        record = run_repeat(case, number, pair, directory.repeat(case.id, number), fingerprint, observer)
        assert record.verdict.name is VerdictName.COMPLETED, record.verdict
        return record

    with SavedGuests() as saved_guests:
        observer = Observer(saved_guests=saved_guests)
        cold = run(PRE_COPY_ON, 1, observer)
        first, second = (run(with_start(case, "warm"), 2, observer) for case in (PRE_COPY_OFF, PRE_COPY_ON))
    assert list_leftovers(pair.source.host) == []
    assert [check.name for check in second.checks] == [check.name for check in cold.checks]
    for record in (first, second):
        assert record.settings["source"]["guest"]["start"] == "warm"
        assert record.fingerprint["guest"]["start"] == "warm"
        assert "warm guest" in render_repeat(record)
        assert "guest boot" not in record.seconds
    assert cold.fingerprint["guest"] == {"start": "cold"}
    assert first.fingerprint["guest"] == second.fingerprint["guest"]
    # not by their boot ids: the kernel makes one when it is first read, which is after the restore
    canaries = {check.expected for record in (first, second) for check in record.checks if "canary" in check.name}
    assert len(canaries) == 2, "each repeat has memory of its own"
    assert second.seconds["save guest"] < first.seconds["save guest"] / 2
    assert second.measured("bytes.vfio.precopy") == cold.measured("bytes.vfio.precopy")
