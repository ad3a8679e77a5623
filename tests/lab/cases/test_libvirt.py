# SPDX-License-Identifier: GPL-2.0-or-later
"""One contract, both drivers: guests started and migrated by QMP, and through libvirt's API.

Cases of the catalogue's scenario ``drivers`` run in a row with one guest for each driver, which migrates once more
after each of them: to and fro between the hosts. Left to ``switchover run drivers`` is what is like its neighbours, and
of QMP what the matrix of faults has too.
"""

from dataclasses import replace

import pytest
from tests.lab.case_runner import CaseRunner
from tests.lab.standard import KNOBS
from tests.lab.verdicts import require_right

from switchover import Record, Testbed, VerdictName, load_cases

DRIVERS = ("qmp", "libvirt")
FILES = ("xml", "command", "console", "trace", "stderr", "qmp.jsonl", "events.jsonl", "libvirt.jsonl")
NEIGHBOURS = ("completes", "auto-converge", "cancelled-active", "destination-RESUMING")
IN_THE_MATRIX = (
    "cancelled-setup",
    "cancelled-device-pre-copy",
    "cancelled-device-stop-copy",
    "destination-write",
    "destination-killed",
    "source-killed",
    "x-allow-pre-copy",
    "other-memory",
)
LEFT_OUT = {
    *(f"driver={driver},case={name}" for driver in DRIVERS for name in NEIGHBOURS),
    *(f"driver=qmp,case={name}" for name in IN_THE_MATRIX),
}
CASES = {
    entry.case.id: replace(entry.case, heartbeat_us=0)
    for entry in load_cases("drivers")
    if entry.case.id not in LEFT_OUT
}


@pytest.mark.quick
def test_a_migration_is_measured(testbed: Testbed, run_by_libvirt: Record) -> None:
    """As by QMP (test_migration): started, reached over SSH, migrated, checked; every number is there and they fit each
    other. What libvirt sets by itself is told, and waits that come of it are parts of their own.
    """
    record = run_by_libvirt
    assert record.verdict.name is VerdictName.COMPLETED, record.verdict
    assert record.states["source"] == ["pre-copy", "pre-copy-p2p", "stop-copy", "stop"]
    assert record.states["destination"] == ["resuming", "running-p2p", "running"]
    missing = {entry.name: entry.note for entry in record.measurements if entry.value is None}
    if missing:  # which depends on the clocks of this lab's hosts
        assert list(missing) == ["downtime.libvirt"]
        assert "behind" in missing["downtime.libvirt"]
        assert record.clocks["destination"]["offset_ns"] < record.clocks["source"]["offset_ns"]
    assert record.measured("bytes.vfio.precopy") == KNOBS.initial_bytes
    assert record.measured("bytes.vfio.stop_copy") == KNOBS.stop_copy_bytes
    explained, reported = record.measured("downtime.explained"), record.measured("downtime.qemu")
    assert explained is not None
    assert reported is not None
    assert sum(part["seconds"] for part in record.downtime["parts"]) == pytest.approx(explained)
    files = {f"{side}.{kind}" for side in ("source", "destination") for kind in FILES}
    assert files | {"job.jsonl"} <= {path.name for path in testbed.directory_of(record).iterdir()}
    assert any("tainted" in remark for remark in record.driver["remarks"]), record.driver["remarks"]
    assert {"pause-before-switchover", "return-path"} <= set(record.driver["capabilities"]["source"])
    assert "return-path" in record.driver["capabilities"]["destination"]
    assert record.downtime["ends_at"] == "vfio_vmstate_change running 1"
    parts = {part["name"]: part["seconds"] for part in record.downtime["parts"]}
    assert parts["pre-switchover"] > 0
    assert parts["wait for cont"] > 0
    moved = record.measured("bytes.vfio.transferred")
    statistics = record.driver["statistics"]
    assert statistics["source"]["vfio_data_transferred"] == moved
    assert statistics["destination"]["memory_total"] == statistics["source"]["memory_total"] > 0


@pytest.mark.parametrize("identity", CASES)
def test_contract(run_case: CaseRunner, identity: str) -> None:
    """The verdict is the expected one, by the expected side, for the expected reason; the guest runs where it must, is
    the same guest, and migrates again.
    """
    require_right(CASES[identity], run_case(CASES[identity]))
