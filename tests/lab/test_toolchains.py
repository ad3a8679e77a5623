# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMUs side by side in a lab host: each is its own."""

import pytest

from switchover.devices.abilities import QemuAbilities, read_abilities
from switchover.devices.known_qemus import NAMED, find_known_qemu, render_known
from switchover.lab.lab import Lab
from switchover.lab.toolchains import provide_toolchain

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
        "7.2": "7.2",
        "10.0": "10.0",
        "11.1": "11.1",
        "x-allow-pre-copy": "10.0",
    }
    assert all("kvm" in entry.accelerators for entry in found.values())
    assert "enable-migration" not in found["7.2"].vfio_pci
    assert "vfio_query_precopy_size" in found["11.1"].traces
    assert [name for name, entry in found.items() if "x-allow-pre-copy" in entry.vfio_pci] == ["x-allow-pre-copy"]


@pytest.mark.parametrize(("machine", "value"), [("pc-q35-8.0", "false"), ("pc-q35-8.1", None), ("pc-q35-10.0", None)])
def test_the_property_is_off_for_old_machines(lab: Lab, machine: str, value: str | None) -> None:
    """Machine types of 8.0 and older set x-allow-pre-copy to false, newer ones leave it."""
    assert abilities_of(lab, "qemu-x-allow-pre-copy").compat_value(machine, "vfio-pci", "x-allow-pre-copy") == value


def test_what_is_kept_of_each_is_what_it_says(lab: Lab) -> None:
    """Plans go by what is kept of the QEMUs that the project names: it is what the binaries of today answer. Otherwise
    ``switchover oracle qemus`` asks them again.
    """
    for name in NAMED:
        kept = find_known_qemu(name)
        assert kept is not None
        assert render_known(abilities_of(lab, name)) == render_known(kept), name
