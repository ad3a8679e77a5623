# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests with a device migrate between QEMUs of several versions, which lab hosts have side by side."""

from dataclasses import replace
from typing import Literal

import pytest
from tests.lab.case_runner import CaseRunner
from tests.lab.standard import DEVICE

from switchover import Case, GuestSpec, VerdictName, build_case

pytestmark = pytest.mark.toolchains("qemu-11.1", "qemu-x-allow-pre-copy")
Driver = Literal["qmp", "libvirt"]


def between(source: str, destination: str, driver: Driver = "qmp", **properties: str) -> Case:
    """A migration from one QEMU to another, with pre-copy of the device."""
    guest = GuestSpec(qemu=source, machine="pc-q35-10.0", driver=driver)
    return build_case(
        f"{source}-to-{destination}",
        guest=guest,
        destination_guest=replace(guest, qemu=destination),
        device=replace(DEVICE, properties={**DEVICE.properties, **properties}),
    )


def test_from_a_newer_to_an_older_one(run_case: CaseRunner) -> None:
    """11.1 to 10.0: the newer source asks its device for the new kind of pre-copy information, and does without it."""
    record = run_case(between("qemu-11.1", "qemu-10.0"))
    assert (record.verdict.name, record.mismatch) == (VerdictName.COMPLETED, "")
    assert [entry.name for entry in record.measurements if entry.value is None] == []


@pytest.mark.parametrize("driver", ["qmp", "libvirt"])
def test_with_the_property_off(run_case: CaseRunner, driver: Driver) -> None:
    """The patched QEMU honours x-allow-pre-copy=off: the device that offers PRE_COPY is never put into it. With both
    drivers it is this QEMU, and holds what it was given on both sides.
    """
    record = run_case(between("qemu-x-allow-pre-copy", "qemu-x-allow-pre-copy", driver, **{"x-allow-pre-copy": "off"}))
    assert [record.properties[side]["x-allow-pre-copy"] for side in ("source", "destination")] == ["off", "off"]
    assert (record.verdict.name, record.mismatch) == (VerdictName.COMPLETED, "")
    assert record.states["source"]
    assert not [state for state in record.states["source"] if state.startswith("pre-copy")]
