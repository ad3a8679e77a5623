# SPDX-License-Identifier: GPL-2.0-or-later
"""What the patch that added VFIO pre-copy claims, and switchover-ack, as cases of the catalogue that share a guest.

Every case that completes is checked for the course of its device's migration (``harness/switchover/checks``).
"""

import pytest
from tests.lab.case_runner import CaseRunner
from tests.lab.standard import load_quiet
from tests.lab.verdicts import require_right

from switchover import VerdictName

LEFT_OUT = (
    # as with the ack off, or as one-sided devices with it on
    "saves=on,loads=on,ack=on",
    "saves=off,loads=off,ack=on",
    # hangs, six seconds each: hangs.toml has a case of either kind, pre-copy at the destination only, and an ack that
    # nobody gives
    "ack=both,pre_copy=destination,return=path",
    "ack=source,pre_copy=destination,return=path",
    "ack=source,pre_copy=none,return=path",
    # what they are about the others show
    "ack=source,pre_copy=source,return=path",
    "ack=source,pre_copy=both,return=none",
    "ack=destination,pre_copy=both,return=none",
    "ack=destination,pre_copy=source,return=path",
    "ack=destination,pre_copy=destination,return=path",
    "ack=destination,pre_copy=none,return=path",
    "ack=none,pre_copy=both,return=path",
    "ack=none,pre_copy=both,return=none",
    # as cases of the property, by the device's knob
    "course=pre-copy",
    "course=no-pre-copy",
    "course=pre-copy-at-destination-only",
)
CASES = {
    identity: case
    for identity, case in load_quiet("precopy-toggle", "precopy-by-machine", "switchover-ack", "precopy-course").items()
    if identity.partition(": ")[2] not in LEFT_OUT
}
pytestmark = pytest.mark.toolchains("qemu-x-allow-pre-copy")
PRE_COPY = ["pre-copy", "pre-copy-p2p", "stop-copy", "stop"]
WITHOUT = ("saves=off", "machine=pc-q35-8.0", "course=paused", "no-pre-copy", "destination-only", "pre_copy=none")
STOP_COPY = ["running-p2p", "stop", "stop-copy", "stop"]


@pytest.mark.parametrize("identity", CASES)
def test_case(run_case: CaseRunner, identity: str) -> None:
    """The verdict is the expected one for the expected reason, and all that knows of the course says the same."""
    record = run_case(CASES[identity])
    require_right(CASES[identity], record)
    if record.verdict.name is VerdictName.COMPLETED:
        path = " ".join(STOP_COPY if any(word in identity for word in WITHOUT) else PRE_COPY)
        assert record.check("device.states", "source").observed == path
        assert record.check("device.states-traced", "source").observed == path
