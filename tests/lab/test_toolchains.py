# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMUs side by side in a lab host: each is its own, and guests with a device migrate between them."""

from dataclasses import replace

import pytest
from tests.lab.case_runner import CaseRunner

from switchover.devices.abilities import QemuAbilities, read_abilities
from switchover.guests.spec import Driver, GuestSpec
from switchover.lab.lab import Lab
from switchover.lab.toolchains import provide_toolchain
from switchover.record.record import VerdictName
from switchover.run.standard import PRE_COPY_ON
from switchover.scenarios.case import Case, SideSpec, with_driver

pytestmark = pytest.mark.toolchains("qemu-7.2", "qemu-11.1", "qemu-x-allow-pre-copy")


def abilities_of(lab: Lab, name: str) -> QemuAbilities:
    host = lab.host("hosta")
    if name != "qemu-10.0":
        provide_toolchain(lab, host.name, name)
    return read_abilities(host, name)


def test_each_is_its_own(lab: Lab) -> None:
    """Every toolchain answers with its version, KVM, and the vfio-pci of its time."""
    found = {name: abilities_of(lab, f"qemu-{name}") for name in ("7.2", "10.0", "11.1", "x-allow-pre-copy")}
    assert {name: entry.version.rpartition(".")[0] for name, entry in found.items()} == {
        "7.2": "7.2", "10.0": "10.0", "11.1": "11.1", "x-allow-pre-copy": "10.0",
    }  # fmt: skip
    assert all("kvm" in entry.accelerators for entry in found.values())
    assert "enable-migration" not in found["7.2"].vfio_pci
    assert "vfio_query_precopy_size" in found["11.1"].traces
    assert [name for name, entry in found.items() if "x-allow-pre-copy" in entry.vfio_pci] == ["x-allow-pre-copy"]


@pytest.mark.parametrize(("machine", "value"), [("pc-q35-8.0", "false"), ("pc-q35-8.1", None), ("pc-q35-10.0", None)])
def test_the_property_is_off_for_old_machines(lab: Lab, machine: str, value: str | None) -> None:
    """Machine types of 8.0 and older set x-allow-pre-copy to false, newer ones leave it."""
    assert abilities_of(lab, "qemu-x-allow-pre-copy").compat_value(machine, "vfio-pci", "x-allow-pre-copy") == value


def between(source: str, destination: str, **properties: str) -> Case:
    """A migration from one QEMU to another, with pre-copy of the device."""

    def side(spec: SideSpec, qemu: str) -> SideSpec:
        devices = tuple(replace(device, properties={**device.properties, **properties}) for device in spec.devices)
        guest: GuestSpec = replace(spec.guest, qemu=qemu, machine="pc-q35-10.0")
        return replace(spec, guest=guest, devices=devices)

    case = PRE_COPY_ON
    return replace(
        case,
        id=f"{source}-to-{destination}",
        source=side(case.source, source),
        destination=side(case.destination, destination),
    )


def test_from_a_newer_to_an_older_one(lab: Lab, run_case: CaseRunner) -> None:
    """11.1 to 10.0: the newer source asks its device for the new kind of pre-copy information, and does without it."""
    provide_toolchain(lab, "hosta", "qemu-11.1")
    record = run_case(between("qemu-11.1", "qemu-10.0"))
    assert (record.verdict.name, record.mismatch) == (VerdictName.COMPLETED, "")
    assert [entry.name for entry in record.measurements if entry.value is None] == []


@pytest.mark.parametrize("driver", ["qmp", "libvirt"])
def test_with_the_property_off(lab: Lab, run_case: CaseRunner, driver: Driver) -> None:
    """The patched QEMU honours x-allow-pre-copy=off: the device that offers PRE_COPY is never put into it. With both
    drivers it is this QEMU, and holds what it was given on both sides.
    """
    for name in ("hosta", "hostb"):
        provide_toolchain(lab, name, "qemu-x-allow-pre-copy")
    case = between("qemu-x-allow-pre-copy", "qemu-x-allow-pre-copy", **{"x-allow-pre-copy": "off"})
    record = run_case(with_driver(case, driver))
    assert [record.properties[side]["x-allow-pre-copy"] for side in ("source", "destination")] == ["off", "off"]
    assert (record.verdict.name, record.mismatch) == (VerdictName.COMPLETED, "")
    assert record.states["source"]
    assert not [state for state in record.states["source"] if state.startswith("pre-copy")]
