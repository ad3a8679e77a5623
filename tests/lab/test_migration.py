# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrations of a guest with a real VFIO device between two lab hosts, and ones that must not happen."""

import json
from dataclasses import replace

import pytest
from tests.lab.case_runner import CaseRunner

from switchover.migration.settings import MigrationSettings
from switchover.record.record import VerdictName, read_record
from switchover.record.units import MIB
from switchover.run.endurance import migrate_there_and_back
from switchover.run.pair import Pair
from switchover.run.standard import KNOBS, PRE_COPY_OFF, PRE_COPY_ON
from switchover.scenarios.case import make_case, with_one_device

ON = replace(KNOBS, pre_copy=True)
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
def test_with_pre_copy_only_the_rest_moves_in_the_downtime(run_case: CaseRunner) -> None:
    """With device pre-copy on, the initial bytes move while the guest runs; the record and its files are complete."""
    record = run_case(PRE_COPY_ON)
    assert record.verdict.name is VerdictName.COMPLETED, record.verdict
    assert record.states["source"] == ["pre-copy", "pre-copy-p2p", "stop-copy", "stop"]
    assert record.measured("bytes.vfio.precopy") == KNOBS.initial_bytes
    assert record.measured("bytes.vfio.stop_copy") == KNOBS.stop_copy_bytes
    assert record.failed_checks == ()
    assert len({check.label for check in record.checks}) == len(record.checks) == 30
    _explained_adds_up_and_agrees_with_qemu(run_case)
    _evidence_is_complete(run_case)


def _explained_adds_up_and_agrees_with_qemu(run_case: CaseRunner) -> None:
    record = read_record(run_case.directory / "record.json")
    explained, reported = record.measured("downtime.explained"), record.measured("downtime.qemu")
    assert explained is not None
    assert reported is not None
    assert sum(part["seconds"] for part in record.downtime["parts"]) == pytest.approx(explained)
    assert record.driver == {}
    assert record.downtime["ends_at"] == "dst-precopy-bh-vm-started"
    # QEMU's ends when the return path is closed, after the guest runs: longer by some messages under emulation
    assert -0.01 - record.downtime["bound_s"] <= reported - explained < 0.25


def _evidence_is_complete(run_case: CaseRunner) -> None:
    names = {path.name for path in run_case.directory.iterdir()}
    kinds = ("command", "console", "trace", "stderr", "qmp.jsonl", "events.jsonl")
    of_sides = {f"{side}.{kind}" for side in ("source", "destination") for kind in kinds}
    assert names == {"record.json", "samples.jsonl", "outside.jsonl", "repro.sh", *of_sides}
    transcript = [json.loads(line) for line in (run_case.directory / "source.qmp.jsonl").read_text().splitlines()]
    sent = [line["sent"]["execute"] for line in transcript if "sent" in line]
    assert sent.count("migrate") == 1
    assert any("QMP" in line.get("received", {}) for line in transcript), "the greeting is part of the transcript"
    assert "vmstate_downtime_checkpoint src-downtime-start" in (run_case.directory / "source.trace").read_text()


def test_switchover_ack_is_given_by_the_destination(run_case: CaseRunner) -> None:
    """With switchover-ack on both sides the source waits for the destination's word, and gets it."""
    settings = MigrationSettings(switchover_ack=True)
    record = run_case(replace(PRE_COPY_ON, id="switchover-ack=on", settings=settings))
    assert record.verdict.name is VerdictName.COMPLETED, record.verdict
    assert "source_return_path_thread_switchover_acked" in (run_case.directory / "source.trace").read_text()


@pytest.mark.quick
def test_migration_off_is_a_blocker(run_case: CaseRunner) -> None:
    """``enable-migration=off`` makes QEMU reject the migrate command with its own text (oracle B1)."""
    properties = {"enable-migration": "off", "migration-events": "on"}
    record = run_case(make_case("enable-migration=off", with_one_device(ON, properties=properties)))
    assert record.verdict.name is VerdictName.BLOCKED
    assert "Migration is disabled for VFIO device" in record.verdict.reason


@pytest.mark.quick
def test_unknown_property_is_refused(run_case: CaseRunner) -> None:
    """A release QEMU has no ``x-allow-pre-copy`` and refuses to start with it (oracle A16)."""
    properties = {"enable-migration": "on", "x-allow-pre-copy": "off"}
    record = run_case(make_case("x-allow-pre-copy=off", with_one_device(ON, properties=properties)))
    assert record.verdict.name is VerdictName.REFUSED
    assert "Property 'vfio-pci.x-allow-pre-copy' not found" in record.verdict.reason


def test_too_small_a_downtime_limit_never_converges(run_case: CaseRunner) -> None:
    """A device that saves in stop-copy only, and a limit too small for its state: no end, a verdict in bounded time."""
    settings = MigrationSettings(downtime_limit_ms=100, settle=False, timeout_s=25)
    record = run_case(replace(PRE_COPY_OFF, id="downtime-limit=100", settings=settings))
    assert record.verdict.name is VerdictName.HUNG, record.verdict
    assert record.verdict.side == "source"


def test_guest_that_panics_is_a_crash(run_case: CaseRunner) -> None:
    """A guest whose kernel panics at boot ends the wait at once, with the panic's own words."""
    guest = replace(PRE_COPY_ON.source.guest, append="rdinit=/missing init=/missing")
    record = run_case(make_case("no-init", replace(PRE_COPY_ON.source, guest=guest)))
    assert record.verdict.name is VerdictName.CRASHED, record.verdict
    assert record.seconds["guest boot"] < guest.boot_timeout_s / 2


def test_guest_that_never_answers_is_reported(run_case: CaseRunner) -> None:
    """A guest that boots but never says that its SSH listens ends in the named wait's deadline."""
    guest = replace(PRE_COPY_ON.source.guest, append="rdinit=/bin/busybox -- sleep 1000", boot_timeout_s=30)
    record = run_case(make_case("silent", replace(PRE_COPY_ON.source, guest=guest)))
    assert record.verdict.name is VerdictName.INFRASTRUCTURE_ERROR, record.verdict
    assert "to listen for SSH" in record.verdict.reason


def test_there_and_back(pair: Pair) -> None:
    """The same guest migrates to the other host and back, all checks passing both times."""
    case = make_case("small", with_one_device(replace(KNOBS, initial_bytes=4 * MIB, save_bytes_per_sec=0)))
    turns = list(migrate_there_and_back(case, pair, 1))
    assert [turn.failure for turn in turns] == ["", ""]
