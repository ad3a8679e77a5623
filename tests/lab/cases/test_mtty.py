# SPDX-License-Identifier: GPL-2.0-or-later
"""A device that is not ours: the kernel's sample mtty goes the same way as the reference device, by what QEMU tells."""

import pytest
from tests.lab.case_runner import CaseRunner
from tests.lab.standard import load_quiet
from tests.lab.verdicts import require_right

from switchover import Case, VerdictName

CASES = load_quiet("mtty", "mtty-hops")
WITH_PRE_COPY = "pre-copy pre-copy-p2p stop-copy stop"
PATHS = dict.fromkeys(("no-pre-copy", "x-allow-pre-copy-off"), "running-p2p stop stop-copy stop")
HEADER, PORT = 24, 36
pytestmark = pytest.mark.toolchains("mtty")


def mark(identity: str) -> object:
    needed = [name for name in ("qemu-11.1", "qemu-x-allow-pre-copy") if name in repr(CASES[identity].sides)]
    return pytest.param(identity, marks=[pytest.mark.toolchains(*needed)] if needed else [])


@pytest.mark.parametrize("identity", [mark(identity) for identity in CASES])
def test_case(run_case: CaseRunner, identity: str) -> None:
    """The verdict is the expected one for the expected reason, and of one that completed states and bytes are those of
    such a device, which counts nothing itself; what only the reference device can answer is told as not checked.
    """
    case = CASES[identity]
    record = run_case(case)
    require_right(case, record)
    assert {str(entry.id) for entry in record.not_checked} >= {"device.states", "bytes.vfio.precopy", "device.scratch"}
    if record.verdict.name is not VerdictName.COMPLETED or case.then:
        return
    question = identity.partition("question=")[2]
    seen = [state for state in record.states["source"] if not state.endswith("-prepare")]
    assert " ".join(seen) == PATHS.get(question, WITH_PRE_COPY)
    values = {entry.name: entry.value for entry in record.measurements}
    ports = count_ports(case)
    read = (values["bytes.vfio.precopy"], values["bytes.vfio.stop_copy"])
    assert read == ((HEADER, ports * PORT) if "pre-copy" in seen else (0, HEADER + ports * PORT))
    assert record.check("bytes.vfio.loaded").observed == str(HEADER + ports * PORT)
    assert record.check("guest.pci-functions").passed


def count_ports(case: Case) -> int:
    return int(case.source.mediated[0].type.removeprefix("mtty-"))
