# SPDX-License-Identifier: GPL-2.0-or-later
"""The store of saved guests, of which one is damaged."""

from tests.lab.case_runner import CaseRunner
from tests.lab.standard import DEVICE

from switchover import GuestSpec, VerdictName, build_case
from switchover.lab.snapshot_store import StoredGuest, list_stored


def find_stored_of(key: str) -> StoredGuest:
    (stored,) = (stored for stored in list_stored() if stored.key == key)
    return stored


def test_a_saved_guest_that_does_not_restore(run_case: CaseRunner) -> None:
    """A damaged one is told of, made again, and the case runs with that."""
    guest = GuestSpec(memory_mib=160)  # of which no other test has a saved one
    case = build_case("damaged", guest=guest, device=DEVICE, heartbeat_us=0)
    before = run_case.alone(case)
    stored = find_stored_of(before.fingerprint["guest"]["key"])
    with stored.path.open("r+b") as file:
        file.write(bytes(1 << 20))
    again = run_case.alone(case)
    assert (again.verdict.name, again.mismatch) == (VerdictName.COMPLETED, "")
    assert "could not be restored" in again.fingerprint["guest_made_again"]
    assert find_stored_of(stored.key).made != stored.made
