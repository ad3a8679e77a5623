# SPDX-License-Identifier: GPL-2.0-or-later
"""What a case came to, in the few words that test runners have; one table for all of them (docs/fronts.md). Pure."""

from dataclasses import dataclass
from enum import StrEnum

from switchover.record.ending import Ending
from switchover.record.errors import ExitCode
from switchover.record.record import Record, VerdictName


class Outcome(StrEnum):
    """``pass``: as expected. ``fail``: not as expected. ``error``: the environment failed. ``skip``: not supported.

    ``interrupted``: somebody ended the run. ``cancel``: avocado's word for a case that was called off.
    """

    PASS = "pass"
    FAIL = "fail"
    ERROR = "error"
    SKIP = "skip"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Native:
    """The words of each front for an outcome."""

    pytest: str
    junit: str
    avocado: str
    exit_code: ExitCode


NATIVE = {
    Outcome.PASS: Native("passed", "", "pass", ExitCode.AS_EXPECTED),
    Outcome.FAIL: Native("failed", "failure", "fail", ExitCode.NOT_AS_EXPECTED),
    Outcome.ERROR: Native("error", "error", "error", ExitCode.NOT_READY),
    Outcome.SKIP: Native("skipped", "skipped", "skip", ExitCode.AS_EXPECTED),
    Outcome.INTERRUPTED: Native("error", "error", "interrupted", ExitCode.INTERRUPTED),
}


MEANINGS = {
    Outcome.PASS: "the case ended as expected",
    Outcome.FAIL: "the case did not end as expected",
    Outcome.ERROR: "the environment failed: an infrastructure error, a host that was lost, a process that died",
    Outcome.SKIP: "not supported: what the case needs is not there",
    Outcome.INTERRUPTED: "somebody ended the run meanwhile",
}


def render_table() -> str:
    """Outcomes and the words of each front for them, in Markdown, for docs/fronts.md."""
    rows = [
        ("outcome", "what it means", "pytest", "JUnit", "avocado", "exit code of `switchover run`"),
        ("---",) * 6,
        *(
            (
                f"{outcome}",
                MEANINGS[outcome],
                native.pytest,
                (native.junit and f"`<{native.junit}>`") or "–",
                native.avocado.upper(),
                str(int(native.exit_code)),
            )
            for outcome, native in NATIVE.items()
        ),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def find_outcome(record: Record) -> Outcome:
    """Of a record. A case that was expected to end in an infrastructure error, and did, passes."""
    if record.verdict.name is VerdictName.NOT_SUPPORTED:
        return Outcome.SKIP
    if not record.mismatch:
        return Outcome.PASS
    if record.verdict.name is not VerdictName.INFRASTRUCTURE_ERROR or record.differs_alone:
        return Outcome.FAIL
    if record.ending in (Ending.INTERRUPTED, Ending.CALLED_OFF):
        return Outcome.INTERRUPTED
    return Outcome.ERROR


def find_worst(outcomes: "list[Outcome]") -> Outcome:
    """Of several repeats of a case: what went wrong comes before what did not run, and that before what passed."""
    order = [Outcome.INTERRUPTED, Outcome.FAIL, Outcome.ERROR, Outcome.SKIP, Outcome.PASS]
    return min(outcomes, key=order.index, default=Outcome.ERROR)
