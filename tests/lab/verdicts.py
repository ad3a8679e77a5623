# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a case of the catalogue is as expected, for the tests that run it."""

from collections.abc import Sequence

from switchover import Action, Case, Phase, Record, VerdictName

FAILED_BY_CANCEL = "failed once it was to be cancelled"
"""How the reason of such a verdict begins."""


def require_right(case: Case, record: Record) -> None:
    """What came of a case must be as expected."""
    labels = [check.label for check in record.checks]
    assert len(set(labels)) == len(labels), "each check is there once"
    if not is_told_race(case, record):
        assert not record.mismatch, f"{record.verdict}\n" + "\n".join(describe_failures(record))


def is_told_race(case: Case, record: Record) -> bool:
    """Whether QEMU's own race decided what came of a cancel, and the harness told it (docs/concepts.md, Faults): a
    source that failed on its stream where it was cancelled, or, in stop-copy, a guest that runs at both ends, with one
    address, or a cancel that was heard only when all was done. Nobody can set whether that happens.
    """
    in_stop_copy = any(fault.action is Action.CANCEL and fault.phase is Phase.DEVICE_STOP_COPY for fault in case.faults)
    failed = {str(check.id) for check in record.failed_checks}
    twice = in_stop_copy and "guest.not-on-destination" in failed
    verdict = record.verdict
    if in_stop_copy and verdict.name is VerdictName.COMPLETED:
        return not failed and [made["name"] for made in record.interventions] == [Action.CANCEL]
    told = verdict.reason.startswith(FAILED_BY_CANCEL) or (verdict.name is VerdictName.CANCELLED and twice)
    # of two guests with one address, either answers
    excused = (
        {"guest.connection-survives", "guest.not-on-destination", "device.generation", "migration.again"}
        if twice
        else set()
    )
    return told and verdict.side == "source" and failed <= excused


def describe_failures(record: Record) -> Sequence[str]:
    return [
        f"{check.name} [{check.label}]: expected {check.expected}, observed {check.observed}"
        for check in record.failed_checks
    ]
