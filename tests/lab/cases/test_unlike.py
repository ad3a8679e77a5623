# SPDX-License-Identifier: GPL-2.0-or-later
"""What the two sides may differ in, and settings that do not go together: each ends as the oracle says.

The cases share a guest; those that need a CPU, an accelerator or a machine of their own have it.
"""

import pytest
from tests.lab.case_runner import CaseRunner
from tests.lab.standard import load_quiet, take_one_of_each
from tests.lab.verdicts import require_right

SCENARIOS = (
    "unlike-guests", "cpu-models", "machine-options", "unlike-settings", "multifd-device-state",
    "cannot-migrate", "libvirt-compares",
)  # fmt: skip
BY_OTHERS = (
    "unlike-by-qemu: change=vcpus-2-to-1",
    "unlike-by-qemu: change=machine",
    "unlike-by-qemu: change=no-STOP_COPY",
    "unlike-by-qemu: change=mapped-ram",
    "unlike-by-qemu: change=ack-at-source-only-machine-11.0",
    "unlike-qemu-7.2: change=tls-creds",
)
"""What 11.1 and 7.2 say or do otherwise."""
BY_LIBVIRT = (
    "unlike-guests: driver=libvirt,change=vcpus-2-to-1",
    "unlike-guests: driver=libvirt,change=machine-aliases",
    "cannot-migrate: driver=libvirt,device=enable-migration-off",
)
CASES = take_one_of_each(load_quiet(*SCENARIOS), *BY_LIBVIRT)
BY_QEMU = {name: case for name, case in load_quiet("unlike-by-qemu", "unlike-qemu-7.2").items() if name in BY_OTHERS}
QUICK = ("unlike-settings: with=mapped-ram",)
"""migrate-incoming is rejected; nothing else in the quick set is about that command."""


@pytest.mark.parametrize(
    "identity", [pytest.param(name, marks=[pytest.mark.quick] * (name in QUICK)) for name in CASES]
)
def test_as_the_oracle_says(run_case: CaseRunner, identity: str) -> None:
    """The verdict is the expected one, by the expected side, for the expected reason; a guest that stayed runs on."""
    require_right(CASES[identity], run_case(CASES[identity]))


@pytest.mark.toolchains("qemu-11.1", "qemu-7.2")
@pytest.mark.parametrize("identity", BY_QEMU)
def test_as_the_oracle_says_of_other_qemus(run_case: CaseRunner, identity: str) -> None:
    """The same, of QEMUs whose texts and outcomes differ."""
    require_right(BY_QEMU[identity], run_case(BY_QEMU[identity]))
