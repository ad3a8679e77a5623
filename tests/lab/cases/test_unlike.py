# SPDX-License-Identifier: GPL-2.0-or-later
"""What the two sides may differ in, and settings that do not go together: each ends as the oracle says.

The cases share a guest; those that need a CPU, an accelerator or a machine of their own have it.
"""

import pytest
from tests.lab.case_runner import CaseRunner
from tests.lab.standard import load_quiet
from tests.lab.verdicts import require_right

SCENARIOS = (
    "unlike-guests", "cpu-models", "machine-options", "unlike-settings", "multifd-device-state",
    "cannot-migrate", "libvirt-compares",
)  # fmt: skip
OTHER_QEMUS = ("unlike-by-qemu", "unlike-qemu-7.2")
CASES = load_quiet(*SCENARIOS)
BY_QEMU = load_quiet(*OTHER_QEMUS)
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
