# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks of a host: all pass on one that has everything, and each fails for the one thing it is about."""

from dataclasses import replace

import pytest
from tests.unit.surveys import ABILITIES, FUNCTION, MACHINE, MDEV, QEMU, SURVEY, with_machine

from switchover.devices.checks import host_checks
from switchover.devices.migratability import Migratability
from switchover.devices.survey import HostSurvey, lost_host
from switchover.hosts.checks import CheckResult, Outcome, find_blocking, run_checks
from switchover.hosts.inventory import DeviceEntry
from switchover.hosts.kvm import KvmProbe
from switchover.record.errors import HostLost

FAILED, UNVERIFIABLE = Outcome.FAILED, Outcome.UNVERIFIABLE


def run(survey: HostSurvey, *devices: DeviceEntry) -> dict[str, CheckResult]:
    """Results by name, the host's own name left out."""
    results = run_checks(host_checks(survey, list(devices)))
    return {result.name.removeprefix("rack1: "): result for result in results}


def test_a_host_that_has_everything() -> None:
    """Every check passes, so that each failure below has one cause; all of them are the host's."""
    results = run(SURVEY, FUNCTION, MDEV)
    assert [result for result in results.values() if result.outcome is not Outcome.PASSED] == []
    assert {result.blocks for result in results.values()} == {("host rack1",)}
    assert len(results) == 12


MACHINE_CASES = [
    ("kernel", {"kernel": "5.14.0-503.el9 #1"}, UNVERIFIABLE, "older than 6.2", ""),
    ("kernel", {"kernel": ""}, UNVERIFIABLE, "unknown", ""),
    ("programs", {"programs": ("bash", "ip", "sha256sum", "perl")}, FAILED, "setpriv, socat", "util-linux socat"),
    ("programs", {"programs": MACHINE.programs[:-1]}, UNVERIFIABLE, "without perl", "perl-base"),
    ("memory", {"memory_available": 100 << 20}, FAILED, "100.0 MiB available", "nr_hugepages"),
    ("memory", {"memory_available": None}, UNVERIFIABLE, "does not tell", ""),
    ("locked memory", {"memlock": 8 << 20}, FAILED, "8.0 MiB for user 1000", "limits.d"),
    ("clock", {"clock_offset_s": -3600.0}, FAILED, "-3600.00 s", "timedatectl"),
    ("VFIO", {"modules": ("vfio",)}, FAILED, "vfio_iommu_type1, vfio_pci", "modprobe -a vfio_iommu_type1 vfio_pci"),
    ("IOMMU", {"iommus": ()}, FAILED, "off", "intel_iommu=on"),
    ("IOMMU", {"iommus": (), "cpu": "AMD EPYC"}, FAILED, "off", "amd_iommu=on"),
]


@pytest.mark.parametrize(("name", "changes", "outcome", "seen", "fix"), MACHINE_CASES)
def test_facts_that_are_wrong(name: str, changes: dict[str, object], outcome: Outcome, seen: str, fix: str) -> None:
    """One wrong fact fails its check alone, with what was seen and the command that mends it."""
    results = run(with_machine(**changes), FUNCTION)
    assert {key for key, result in results.items() if result.outcome is not Outcome.PASSED} == {name}
    assert results[name].outcome is outcome
    assert seen in results[name].seen
    assert fix in results[name].fix


def test_what_is_not_needed_is_not_asked_for() -> None:
    """Root is not bound by memlock; without a PCI function neither IOMMU nor vfio-pci is needed; iommufd will do."""
    assert run(with_machine(uid=0, memlock=1))["locked memory"].outcome is Outcome.PASSED
    without = run(with_machine(iommus=(), modules=("vfio", "iommufd"), nodes=("/dev/iommu",)), MDEV)
    assert {result.outcome for result in without.values()} == {Outcome.PASSED}


@pytest.mark.parametrize(
    ("probe", "outcome", "fix"),
    [
        (KvmProbe(False, "/dev/kvm opens, but hangs"), FAILED, "modprobe kvm_intel"),
        (KvmProbe(None, "no kernel"), UNVERIFIABLE, ""),
        (None, UNVERIFIABLE, ""),
    ],
)
def test_kvm(probe: KvmProbe | None, outcome: Outcome, fix: str) -> None:
    """KVM that hangs is a failure; KVM that could not be tried is not verified."""
    result = run(replace(SURVEY, kvm=probe))["KVM"]
    assert result.outcome is outcome
    assert fix in result.fix


def test_qemu() -> None:
    """A binary that does not answer, has no vfio-pci or cannot migrate it fails under its own path."""
    silent = run(replace(SURVEY, qemus={}, problems={f"qemu {QEMU}": "it is no QEMU"}))[f"QEMU {QEMU}"]
    assert (silent.outcome, silent.seen) == (FAILED, "it is no QEMU")
    for properties, seen in ({}, "no vfio-pci"), ({"sysfsdev": "str"}, "cannot migrate"):
        changed = replace(SURVEY, qemus={QEMU: replace(ABILITIES, vfio_pci=properties)})
        result = run(changed)[f"QEMU {QEMU}"]
        assert result.outcome is FAILED
        assert seen in result.seen
    old = replace(SURVEY, qemus={QEMU: replace(ABILITIES, vfio_pci={"x-enable-migration": "bool"})})
    assert run(old)[f"QEMU {QEMU}"].outcome is Outcome.PASSED


@pytest.mark.parametrize(
    ("address", "seen", "fix"),
    [
        ("99:00.0", "no PCI function 0000:99:00.0", "lspci -D"),
        ("00:00.0", "in no IOMMU group", "intel_iommu=on"),
        ("5e:00.0", "and 0000:5e:00.1 is with snd_hda_intel", "whole_group"),
    ],
)
def test_functions_that_cannot_be_used(address: str, seen: str, fix: str) -> None:
    """A function that is not there, or that VFIO cannot have, fails with what stands in the way."""
    entry = DeviceEntry(pci=f"0000:{address}")
    result = run(SURVEY, entry)[f"device 0000:{address}"]
    assert result.outcome is FAILED
    assert seen in result.seen
    assert fix in result.fix


def test_functions_that_vfio_gets_when_they_are_needed() -> None:
    """A function of the host's, or a virtual one that is not made yet, is in order; more shows when it is bound."""
    for entry, seen in (
        (DeviceEntry(pci="0000:5e:00.1"), "snd_hda_intel has it"),
        (DeviceEntry(pci="0000:3b:00.0", vf=3), "made when it is needed"),
    ):
        result = run(SURVEY, entry)[f"device {entry.describe()}"]
        assert result.outcome is UNVERIFIABLE
        assert seen in result.seen
    there = DeviceEntry(pci="0000:3b:00.0", vf=0, vfio_driver="mlx5_vfio_pci")
    assert run(SURVEY, there)[f"device {there.describe()}"].outcome is Outcome.PASSED
    for entry, seen in (
        (DeviceEntry(pci="0000:5e:00.0", vf=0), "no SR-IOV"),
        (DeviceEntry(pci="0000:3b:00.2", vfio_driver="x_vfio_pci"), "no driver x_vfio_pci"),
    ):
        result = run(SURVEY, entry)[f"device {entry.describe()}"]
        assert (result.outcome, result.fix != "") == (FAILED, True)
        assert seen in result.seen


@pytest.mark.parametrize(
    ("flags", "outcome", "seen"),
    [
        (Migratability(0), FAILED, "has no migration"),
        (Migratability(3), Outcome.PASSED, "(no pre-copy)"),
        (Migratability(None, why="in use"), UNVERIFIABLE, "in use"),
    ],
)
def test_migration_of_a_function(flags: Migratability, outcome: Outcome, seen: str) -> None:
    """A driver without migration fails; one that could not be asked is not verified."""
    result = run(replace(SURVEY, migratability={"0000:3b:00.2": flags}), FUNCTION)["device vf (0000:3b:00.2)"]
    assert result.outcome is outcome
    assert seen in result.seen


@pytest.mark.parametrize(
    ("parent", "mdev_type", "seen"),
    [
        ("/sys/devices/platform/refdev", "refdev-9vec", "there are: /sys/devices/platform/refdev refdev-16vec"),
        ("/sys/devices/platform/refdev", "refdev-16vec", "no instance is left"),
    ],
)
def test_mediated_types_that_cannot_be_used(parent: str, mdev_type: str, seen: str) -> None:
    """A type that is not there is told with those that are; one that is used up fails too."""
    entry = DeviceEntry.model_validate({"mdev": {"parent": parent, "type": mdev_type}})
    result = run(SURVEY, entry)[f"device {parent} {mdev_type}"]
    assert result.outcome is FAILED
    assert seen in result.seen


def test_a_host_that_is_down() -> None:
    """The first check fails with the way out; the others are there and not verified, none has passed."""
    survey = lost_host("rack1", "inventory", HostLost("rack1 does not answer.", why="refused", fix="switch it on"))
    first, *others = run_checks(host_checks(survey, [FUNCTION]))
    assert (first.outcome, first.seen, first.fix) == (FAILED, "rack1 does not answer. refused", "switch it on")
    assert {(result.outcome, result.seen) for result in others} == {(UNVERIFIABLE, "the host was not reached")}
    assert find_blocking([first, *others], ["host rack1"]) == [first]
