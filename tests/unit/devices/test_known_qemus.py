# SPDX-License-Identifier: GPL-2.0-or-later
"""What is kept of the QEMUs that the project names."""

from dataclasses import replace

from tests.unit.surveys import ABILITIES

from switchover.devices.abilities import Ability, MachineType
from switchover.devices.known_qemus import NAMED, find_known_qemu, parse_known, render_file, render_known


def test_each_named_qemu_is_known() -> None:
    """By its name, and that of lab hosts by the name in PATH too; a path and another name are not."""
    versions = {name: known.version for name in NAMED if (known := find_known_qemu(name))}
    assert {name: version.rpartition(".")[0] for name, version in versions.items()} == {
        "qemu-7.2": "7.2", "qemu-10.0": "10.0", "qemu-11.1": "11.1", "qemu-x-allow-pre-copy": "10.0",
    }  # fmt: skip
    assert find_known_qemu("qemu-system-x86_64") == find_known_qemu("qemu-10.0")
    assert find_known_qemu("/usr/bin/qemu-system-x86_64") is None
    assert find_known_qemu("qemu-mine") is None


def test_what_is_kept_is_read_again() -> None:
    """All that a case may need: names, machine types with what they set of VFIO and of migration, the digest."""
    machines = (
        MachineType(
            "pc-q35-9.2", None, True, (("vfio-pci", "x", "off"), ("other", "y", "on"), ("vfio-pci", "x", "on"))
        ),
        MachineType("pc-q35-10.0", "q35", False, ()),
        MachineType("pc-q35-7.2", None, False, None),
    )
    asked = replace(ABILITIES, machines=machines, traces=("vfio_save_block", "vmstate_downtime_save"))
    kept = parse_known(render_known(asked))
    assert kept.version == asked.version
    assert kept.digest == asked.digest
    for kind, name in ((Ability.PROPERTY, "migration-events"), (Ability.CAPABILITY, "switchover-ack"),
                       (Ability.MACHINE, "q35"), (Ability.TRACE, "vfio_save_block"), (Ability.ACCELERATOR,
                        "kvm")):  # fmt: skip
        assert kept.can(kind, name)
        assert not kept.can(kind, "no-such-thing")
    assert kept.compat_value("pc-q35-9.2", "vfio-pci", "x") == "on"
    assert [machine.compat for machine in kept.machines] == [(("vfio-pci", "x", "on"),), (), None]
    assert '"qemu-a"' in render_file({"qemu-a": asked})
