# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a case of the catalogue is as expected, for the tests that run it."""

from collections.abc import Sequence

from switchover import Case, Record

MOST_RACES = 4
"""How many cancels of a whole run may be decided by QEMU's own race: none to two in a run were seen to be."""
_RACES: list[str] = []


def require_right(case: Case, record: Record) -> None:
    """What came of a case must be as expected. A cancel that QEMU's own race decided, and nothing else went wrong in
    (docs/concepts.md, Faults), is counted instead: nobody can set who wins, and it is rare.
    """
    labels = [check.label for check in record.checks]
    assert len(set(labels)) == len(labels), "each check is there once"
    if record.verdict.race:
        _RACES.append(f"{case.id}: {record.verdict.race}")
        assert len(_RACES) <= MOST_RACES, f"so many races are none: {_RACES}"
    else:
        assert not record.mismatch, f"{record.verdict}\n" + "\n".join(describe_failures(record))


def describe_failures(record: Record) -> Sequence[str]:
    return [
        f"{check.name} [{check.label}]: expected {check.expected}, observed {check.observed}"
        for check in record.failed_checks
    ]
