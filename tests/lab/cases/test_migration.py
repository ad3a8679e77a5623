# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrations of a guest with a real VFIO device between two lab hosts, and ones that must not happen."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.expected_checks import EXPECTED_CHECKS
from tests.lab.case_runner import CaseRunner
from tests.lab.standard import DEVICE, KNOBS, PRE_COPY_OFF, PRE_COPY_ON

from switchover import (
    MIB,
    Expectation,
    GuestSpec,
    MigrationSettings,
    Record,
    Testbed,
    VerdictName,
    build_case,
    read_records,
)

STATE = KNOBS.initial_bytes + KNOBS.stop_copy_bytes


@pytest.mark.quick
def test_without_pre_copy_all_state_moves_in_the_downtime(run_case: CaseRunner) -> None:
    """With device pre-copy off the source never enters PRE_COPY and every byte of the device moves in STOP_COPY."""
    record = run_case(PRE_COPY_OFF)
    assert record.verdict.name is VerdictName.COMPLETED, record.verdict
    assert record.states["source"] == ["running-p2p", "stop", "stop-copy", "stop"]
    assert record.states["destination"] == ["resuming", "running-p2p", "running"]
    assert record.measured("bytes.vfio.precopy") == 0
    assert record.measured("bytes.vfio.stop_copy") == STATE
    saving = STATE / KNOBS.save_bytes_per_sec
    downtime = record.measured("downtime.explained")
    assert downtime is not None
    assert downtime > saving, "the device cannot save faster than its knob says"


@pytest.mark.quick
def test_with_pre_copy_only_the_rest_moves_in_the_downtime(testbed: Testbed, run_case: CaseRunner) -> None:
    """With device pre-copy on, the initial bytes move while the guest runs; the record and its files are complete."""
    record = run_case(PRE_COPY_ON)
    assert record.verdict.name is VerdictName.COMPLETED, record.verdict
    assert record.states["source"] == ["pre-copy", "pre-copy-p2p", "stop-copy", "stop"]
    assert record.measured("bytes.vfio.precopy") == KNOBS.initial_bytes
    assert record.measured("bytes.vfio.stop_copy") == KNOBS.stop_copy_bytes
    assert record.failed_checks == ()
    labels = [check.label for check in record.checks]
    assert sorted(labels) == sorted(set(labels))
    assert set(labels) >= EXPECTED_CHECKS
    assert {entry.id for entry in record.not_checked} <= {"downtime.outside"}
    _explained_adds_up_and_agrees_with_qemu(testbed, record)
    _evidence_is_complete(testbed.directory_of(record))


def _explained_adds_up_and_agrees_with_qemu(testbed: Testbed, made: Record) -> None:
    """By the record as it is read back."""
    record = next(
        read for read in read_records(testbed.directory) if (read.case, read.repeat) == (made.case, made.repeat)
    )
    explained, reported = record.measured("downtime.explained"), record.measured("downtime.qemu")
    assert explained is not None
    assert reported is not None
    assert sum(part["seconds"] for part in record.downtime["parts"]) == pytest.approx(explained)
    assert record.driver == {}
    assert record.downtime["ends_at"] == "dst-precopy-bh-vm-started"
    # QEMU's ends when the return path is closed, after the guest runs: longer by some messages under emulation
    assert -0.01 - record.downtime["bound_s"] <= reported - explained < 0.25


def _evidence_is_complete(directory: Path) -> None:
    names = {path.name for path in directory.iterdir()}
    kinds = ("command", "console", "trace", "stderr", "qmp.jsonl", "events.jsonl")
    of_sides = {f"{side}.{kind}" for side in ("source", "destination") for kind in kinds}
    assert names == {"record.json", "samples.jsonl", "outside.jsonl", "repro.sh", *of_sides}
    transcript = [json.loads(line) for line in (directory / "source.qmp.jsonl").read_text().splitlines()]
    sent = [line["sent"]["execute"] for line in transcript if "sent" in line]
    assert sent.count("migrate") == 1
    assert any("QMP" in line.get("received", {}) for line in transcript), "the greeting is part of the transcript"
    assert "vmstate_downtime_checkpoint src-downtime-start" in (directory / "source.trace").read_text()


def test_switchover_ack_is_given_by_the_destination(run_case: CaseRunner) -> None:
    """With switchover-ack on both sides the source waits for the destination's word, and gets it."""
    settings = MigrationSettings(switchover_ack=True)
    record = run_case(replace(PRE_COPY_ON, id="switchover-ack=on", settings=settings))
    assert record.verdict.name is VerdictName.COMPLETED, record.verdict
    assert "source_return_path_thread_switchover_acked" in (run_case.directory / "source.trace").read_text()


@pytest.mark.quick
def test_migration_off_is_a_blocker(run_case: CaseRunner) -> None:
    """``enable-migration=off`` makes QEMU reject the migrate command with its own text."""
    properties = {"enable-migration": "off", "migration-events": "on"}
    record = run_case(build_case("enable-migration=off", device=replace(DEVICE, properties=properties)))
    assert (record.verdict.name, record.mismatch) == (VerdictName.BLOCKED, "")
    assert "Migration is disabled for VFIO device" in record.verdict.reason


@pytest.mark.quick
def test_unknown_property_is_refused(run_case: CaseRunner) -> None:
    """A release QEMU has no ``x-allow-pre-copy`` and refuses to start with it."""
    properties = {"enable-migration": "on", "x-allow-pre-copy": "off"}
    device, expectation = replace(DEVICE, properties=properties), Expectation(VerdictName.REFUSED)
    record = run_case(build_case("x-allow-pre-copy=off", device=device, expectation=expectation))
    assert (record.verdict.name, record.mismatch) == (VerdictName.REFUSED, "")
    assert "Property 'vfio-pci.x-allow-pre-copy' not found" in record.verdict.reason


def test_a_qemu_that_does_not_start_leaves_its_words(testbed: Testbed, run_case: CaseRunner) -> None:
    """Of a destination that is refused at its start there is the command and what QEMU said, as of any other."""
    wrong = replace(DEVICE, properties={**DEVICE.properties, "x-no-such-property": "on"})
    expectation = Expectation(VerdictName.REFUSED, reason="Property 'vfio-pci.x-no-such-property' not found")
    record = run_case(build_case("refused", device=DEVICE, destination_device=wrong, expectation=expectation))
    assert (record.verdict.name, record.mismatch) == (VerdictName.REFUSED, "")
    directory = testbed.directory_of(record)
    assert "x-no-such-property=on" in (directory / "destination.command").read_text()
    assert "Property 'vfio-pci.x-no-such-property' not found" in (directory / "destination.stderr").read_text()
    assert (directory / "source.qmp.jsonl").stat().st_size > 0


def test_too_small_a_downtime_limit_never_converges(run_case: CaseRunner) -> None:
    """A device that saves in stop-copy only, and a limit too small for its state: no end, and the harness says why, at
    its bound and long before the deadline.
    """
    settings = MigrationSettings(downtime_limit_ms=100, settle=False, hang_s=10, timeout_s=120)
    expectation = Expectation(VerdictName.HUNG, "source", "^not converging: pending .* stays above the threshold")
    record = run_case(replace(PRE_COPY_OFF, id="downtime-limit=100", settings=settings, expectation=expectation))
    assert (record.verdict.name, record.verdict.side) == (VerdictName.HUNG, "source"), record.verdict
    assert not record.mismatch
    assert record.seconds["migrate"] < 60


def test_guest_that_panics_is_a_crash(run_case: CaseRunner) -> None:
    """A guest whose kernel panics at boot ends the wait at once, with the panic's own words."""
    guest, expectation = GuestSpec(append="rdinit=/missing init=/missing"), Expectation(VerdictName.CRASHED)
    record = run_case(build_case("no-init", guest=guest, device=DEVICE, expectation=expectation))
    assert record.verdict.name is VerdictName.CRASHED, record.verdict
    assert record.seconds["guest boot"] < guest.boot_timeout_s / 2


def test_guest_that_never_answers_is_reported(run_case: CaseRunner) -> None:
    """A guest that boots but never says that its SSH listens ends in the named wait's deadline."""
    guest = GuestSpec(append="rdinit=/bin/busybox -- sleep 1000", boot_timeout_s=30)
    record = run_case.alone(build_case("silent", guest=guest, device=DEVICE))
    assert record.verdict.name is VerdictName.INFRASTRUCTURE_ERROR, record.verdict
    assert "to listen for SSH" in record.verdict.reason


def test_there_and_back(testbed: Testbed) -> None:
    """The same guest migrates to the other host and back, all checks passing both times."""
    small = replace(DEVICE, knobs=replace(KNOBS, initial_bytes=4 * MIB, save_bytes_per_sec=0))
    with testbed.start_guest(build_case("small", device=small)) as guest:
        here, records = guest.host, [guest.migrate(), guest.migrate()]
        assert (guest.host, guest.migrations) == (here, 2)
    for record in records:
        assert (record.verdict.name, record.mismatch, record.failed_checks) == (VerdictName.COMPLETED, "", ())
